//! Body → pieces, one per event. JSON lines, a JSON array and a single object are told apart by the body
//! itself, because operators choose the Content-Type in Auth0's console.
//!
//! Pieces are cut without being parsed, so that a broken event does not affect its neighbors; mapping finds
//! out whether a piece is an event. The scan keeps no stack, so nesting costs nothing here.

use memchr::memchr;

use crate::json::lex::Lexer;
use crate::json::repair::repair;

/// Cuts a body into its pieces: the bytes of each event, without surrounding white space.
#[must_use]
pub fn split(body: &[u8]) -> Pieces<'_> {
    let body = body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(body);
    Pieces { rest: body, elements: None, may_span_lines: true }
}

/// Returns whether these bytes are JSON, apart from encoding and nesting that can be repaired.
#[must_use]
pub fn is_json(bytes: &[u8]) -> bool {
    let is_valid = |text: &str| {
        let mut json = Lexer::new(text);
        let skipped = json.peek().and_then(|kind| json.skip(kind));
        skipped.and_then(|_| json.finish()).is_ok()
    };
    std::str::from_utf8(bytes).is_ok_and(is_valid) || is_valid(&repair(bytes))
}

/// The pieces of a body, in order.
#[derive(Clone, Debug)]
pub struct Pieces<'a> {
    rest: &'a [u8],
    /// The rest of the array that is being read.
    elements: Option<&'a [u8]>,
    /// Whether to look for pretty-printed objects, which span lines. No longer once one turned out to have
    /// no end: the lines are broken then, and looking further would read the body once per line.
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
    /// The next line, or the value that starts on it and ends on a later one.
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
    /// The last element, or what there is of it, and what follows the array.
    End(&'a [u8], &'a [u8]),
}

/// Reads up to the comma or bracket that ends the element at the start of `bytes`.
fn next_element(bytes: &[u8]) -> Element<'_> {
    let mut scan = Scan::default();
    for (index, byte) in bytes.iter().enumerate() {
        let last = match byte {
            b',' if scan.is_between_values() => false,
            b']' if scan.is_between_values() => true,
            // JSON strings contain no line break. This one was cut, but the next line may be whole.
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

/// The index after the bracketed value at the start of `bytes`; `None` if it does not end.
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

/// The state of a scan of JSON text: enough to tell brackets from text in strings.
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
    fn pretty_printed_object_spans_lines() {
        let printed = "{\n  \"log_id\": \"1\",\n  \"data\": {\"x\": []}\n}";
        assert_eq!(pieces(&format!("{printed}\n{printed}")), [printed, printed]);
    }

    #[test]
    fn broken_line_does_not_affect_the_next_one() {
        assert_eq!(
            pieces("{\"a\":\"cut\n{\"b\":1}\n{{{\n{\"c\":2}"),
            ["{\"a\":\"cut", "{\"b\":1}", "{{{", "{\"c\":2}"]
        );
    }

    #[test]
    fn broken_element_does_not_affect_the_next_one() {
        assert_eq!(
            pieces(r#"[{"a":1}, nonsense, {"b":2},]"#),
            [r#"{"a":1}"#, "nonsense", r#"{"b":2}"#]
        );
        assert_eq!(pieces(r#"[{"a":1},{"b":"#), [r#"{"a":1}"#, r#"{"b":"#]);
        assert_eq!(pieces("[{\"a\":\"cut\n,{\"b\":1}]"), ["{\"a\":\"cut", "{\"b\":1}"]);
    }

    #[test]
    fn empty_body_has_no_pieces() {
        for empty in ["", " \n\r\n ", "[]", "[ ]", "\u{feff}"] {
            assert!(pieces(empty).is_empty(), "{empty:?}");
        }
    }

    #[test]
    fn arrays_may_follow_each_other() {
        assert_eq!(pieces("[1,2]\n[3]\n{\"a\":4}"), ["1", "2", "3", "{\"a\":4}"]);
    }

    #[test]
    fn many_unterminated_lines_are_read_once() {
        let body = "{\"a\":{\n".repeat(200_000);
        assert_eq!(split(body.as_bytes()).count(), 200_000);
    }
}
