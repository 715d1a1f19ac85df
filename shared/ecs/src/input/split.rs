//! Body → pieces, one for each event: JSON lines, a JSON array, or one object, told apart by the
//! body itself (the Content-Type is the operator's to choose in Auth0's console).
//!
//! Pieces are cut without being parsed, so that one broken event does not take its neighbours with
//! it; whether a piece is an event is found when it is mapped. The scan keeps no stack, so nesting
//! costs nothing here.

use memchr::memchr;

use crate::json::lex::Scanner;
use crate::json::repair::repair;

/// Cuts a body into its pieces: the bytes of each event, without white space around them.
#[must_use]
pub fn split(body: &[u8]) -> Pieces<'_> {
    let body = body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(body);
    Pieces { rest: body, elements: None, may_span_lines: true }
}

/// Whether these bytes are JSON, or would be but for their encoding or nesting.
#[must_use]
pub fn is_json(bytes: &[u8]) -> bool {
    let is_valid = |text: &str| {
        let mut json = Scanner::new(text);
        let skipped = json.peek().and_then(|kind| json.skip(kind));
        skipped.and_then(|_| json.finish()).is_ok()
    };
    std::str::from_utf8(bytes).is_ok_and(is_valid) || is_valid(&repair(bytes))
}

/// The pieces of a body, in order.
#[derive(Clone, Debug)]
pub struct Pieces<'a> {
    rest: &'a [u8],
    /// What is left of the array that is being read.
    elements: Option<&'a [u8]>,
    /// A pretty-printed object spans lines. It is looked for until one is found to have no end: then
    /// the lines are broken ones, and looking on would read the body once per line.
    may_span_lines: bool,
}

impl<'a> Iterator for Pieces<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        loop {
            if let Some(elements) = self.elements {
                match next_element(elements) {
                    Element::Piece(piece, rest) => {
                        self.elements = Some(rest);
                        if !piece.is_empty() {
                            return Some(piece);
                        }
                    }
                    Element::End(piece, rest) => {
                        self.elements = None;
                        self.rest = rest;
                        if !piece.is_empty() {
                            return Some(piece);
                        }
                    }
                }
                continue;
            }
            self.rest = self.rest.trim_ascii_start();
            match self.rest.first()? {
                b'[' => self.elements = self.rest.get(1..),
                _ => return Some(self.next_line()),
            }
        }
    }
}

impl<'a> Pieces<'a> {
    /// The next line, or the value that begins on it and ends on a later one.
    fn next_line(&mut self) -> &'a [u8] {
        let end = memchr(b'\n', self.rest).unwrap_or(self.rest.len());
        let (line, rest) = self.rest.split_at(end);
        let line = line.trim_ascii_end();
        if self.may_span_lines && line.first() == Some(&b'{') && line.last() != Some(&b'}') {
            match value_end(self.rest) {
                Some(end) => {
                    let (value, rest) = self.rest.split_at(end);
                    self.rest = rest;
                    return value;
                }
                None => self.may_span_lines = false,
            }
        }
        self.rest = rest;
        line
    }
}

enum Element<'a> {
    /// An element and what follows its comma.
    Piece(&'a [u8], &'a [u8]),
    /// The last element (or what there is of it) and what follows the array.
    End(&'a [u8], &'a [u8]),
}

/// Reads up to the comma or bracket that ends the element `bytes` begins with.
fn next_element(bytes: &[u8]) -> Element<'_> {
    let mut scan = Scan::default();
    for (index, byte) in bytes.iter().enumerate() {
        let last = match byte {
            b',' if scan.is_between_values() => false,
            b']' if scan.is_between_values() => true,
            // JSON has no line break in a string: this one was cut, and the next line may be whole.
            b'\n' if scan.in_string => false,
            _ => {
                scan.step(*byte);
                continue;
            }
        };
        let (element, rest) = bytes.split_at(index);
        let rest = rest.get(1..).unwrap_or_default();
        let element = element.trim_ascii();
        return if last { Element::End(element, rest) } else { Element::Piece(element, rest) };
    }
    Element::End(bytes.trim_ascii(), &[])
}

/// The index behind the bracketed value that `bytes` begins with; `None` if it does not end.
fn value_end(bytes: &[u8]) -> Option<usize> {
    let mut scan = Scan::default();
    for (index, byte) in bytes.iter().enumerate() {
        scan.step(*byte);
        if scan.in_string && *byte == b'\n' {
            return None;
        }
        if scan.is_between_values() {
            return Some(index + 1);
        }
    }
    None
}

/// Where in a JSON text a scan is: enough to tell brackets from the text in strings.
#[derive(Default)]
struct Scan {
    depth: usize,
    in_string: bool,
    escaped: bool,
}

impl Scan {
    const fn step(&mut self, byte: u8) {
        if self.in_string {
            match byte {
                _ if self.escaped => self.escaped = false,
                b'\\' => self.escaped = true,
                b'"' => self.in_string = false,
                _ => {}
            }
            return;
        }
        match byte {
            b'"' => self.in_string = true,
            b'{' | b'[' => self.depth += 1,
            b'}' | b']' => self.depth = self.depth.saturating_sub(1),
            _ => {}
        }
    }

    const fn is_between_values(&self) -> bool {
        self.depth == 0 && !self.in_string
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pieces(body: &str) -> Vec<&str> {
        split(body.as_bytes()).map(|piece| std::str::from_utf8(piece).unwrap()).collect()
    }

    #[test]
    fn lines_array_and_object_give_the_same_pieces() {
        let events = [r#"{"log_id":"1","data":{"a":"]}\"\\"}}"#, r#"{"log_id":"2"}"#];
        assert_eq!(pieces(&events.join("\n")), events);
        assert_eq!(pieces(&format!("{}\r\n\r\n", events.join("\r\n"))), events);
        assert_eq!(pieces(&format!(" [{}]\n", events.join(" , "))), events);
        assert_eq!(pieces(&format!("\u{feff}[\n  {}\n]", events.join(",\n  "))), events);
        assert_eq!(pieces(events[0]), [events[0]]);
    }

    #[test]
    fn a_printed_object_may_span_lines() {
        let printed = "{\n  \"log_id\": \"1\",\n  \"data\": {\"x\": []}\n}";
        assert_eq!(pieces(&format!("{printed}\n{printed}")), [printed, printed]);
    }

    #[test]
    fn a_broken_line_does_not_take_the_next_one() {
        assert_eq!(
            pieces("{\"a\":\"cut\n{\"b\":1}\n{{{\n{\"c\":2}"),
            ["{\"a\":\"cut", "{\"b\":1}", "{{{", "{\"c\":2}"]
        );
    }

    #[test]
    fn a_broken_element_does_not_take_the_next_one() {
        assert_eq!(
            pieces(r#"[{"a":1}, nonsense, {"b":2},]"#),
            [r#"{"a":1}"#, "nonsense", r#"{"b":2}"#]
        );
        assert_eq!(pieces(r#"[{"a":1},{"b":"#), [r#"{"a":1}"#, r#"{"b":"#]);
        assert_eq!(pieces("[{\"a\":\"cut\n,{\"b\":1}]"), ["{\"a\":\"cut", "{\"b\":1}"]);
    }

    #[test]
    fn nothing_gives_no_piece() {
        for empty in ["", " \n\r\n ", "[]", "[ ]", "\u{feff}"] {
            assert!(pieces(empty).is_empty(), "{empty:?}");
        }
    }

    #[test]
    fn arrays_may_follow_one_another() {
        assert_eq!(pieces("[1,2]\n[3]\n{\"a\":4}"), ["1", "2", "3", "{\"a\":4}"]);
    }

    #[test]
    fn many_open_lines_are_read_once() {
        let body = "{\"a\":{\n".repeat(200_000);
        assert_eq!(split(body.as_bytes()).count(), 200_000);
    }
}
