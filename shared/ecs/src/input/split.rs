//! Body → pieces, one per event. The forms of a body are told apart by the body itself, because operators
//! choose the format in Auth0's console:
//!
//! | form | pieces |
//! | --- | --- |
//! | JSON lines, with or without a comma at the end | each object |
//! | JSON objects over several lines, or several on one | each object |
//! | JSON array | its elements |
//! | `{"logs":[…]}`, with or without scalars such as totals | the elements of `logs` |
//! | envelope of `EventBridge`, `{"detail-type":"Auth0 log","detail":{…},…}` | `detail` |
//! | several of these, one after the other | the pieces of each |
//!
//! Pieces are cut without being parsed, so that a broken event does not affect its neighbors; mapping finds
//! out whether a piece is an event. The scan keeps no stack, so nesting costs nothing here. Only what has
//! the first member of an `EventBridge` envelope is read.

use std::sync::LazyLock;

use memchr::memchr;
use memchr::memmem::Finder;

use crate::json::lex::Lexer;
use crate::json::read::member;
use crate::json::repair::repair;
use crate::json::scan::Scan;

/// Occurs in every line that holds several objects.
static BETWEEN_OBJECTS: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(b"}{"));

/// How many bytes of a line are searched for it. Few events are longer, and those cost no more.
const SEARCHED: usize = 4 * 1024;

/// Cuts a body into its pieces: the bytes of each event, without surrounding white space.
#[must_use]
pub fn split(body: &[u8]) -> Pieces<'_> {
    let body = body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(body);
    Pieces::of(body, true)
}

/// Returns whether these bytes are an event of the stream or other JSON, apart from encoding and nesting that
/// can be repaired.
///
/// An event is told by its ends: mapping reads it anyway, and keeps it if it is broken.
#[must_use]
pub fn is_event_or_json(bytes: &[u8]) -> bool {
    (is_stream_event(bytes) && bytes.ends_with(b"}")) || is_json(bytes)
}

fn is_json(bytes: &[u8]) -> bool {
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
    /// Whether that array is the `logs` of a page, whose end follows it.
    in_page: bool,
    /// Whether to look for pretty-printed objects, which span lines. No longer once one turned out to have
    /// no end: the lines are broken then, and looking further would read the body once per line.
    may_span_lines: bool,
    /// The rest of the body after a line that holds several objects.
    after_line: Option<&'a [u8]>,
    /// Whether elements of arrays may be pages.
    unwraps: bool,
    /// The rest of an element that is a page.
    page: Option<Box<Self>>,
}

impl<'a> Iterator for Pieces<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        loop {
            if let Some(page) = &mut self.page {
                match page.next() {
                    Some(piece) => return Some(piece),
                    None => self.page = None,
                }
            }
            if let Some(elements) = self.elements {
                let in_array = !self.in_page;
                let (piece, rest, is_last) = next_element(elements);
                if is_last {
                    self.elements = None;
                    self.rest = if self.in_page { after_page(rest) } else { rest };
                    self.in_page = false;
                } else {
                    self.elements = Some(rest);
                }
                if in_array && self.unwraps && logs_of_page(piece).is_some() {
                    self.page = Some(Box::new(Self::of(piece, false)));
                } else if !piece.is_empty() {
                    return Some(without_envelope(piece));
                }
                continue;
            }
            self.rest = self.rest.trim_ascii_start();
            while let Some(rest) = self.rest.strip_prefix(b",") {
                self.rest = rest.trim_ascii_start();
            }
            if *self.rest.first()? == b'[' {
                self.elements = self.rest.get(1..);
            } else if let Some(logs) = logs_of_page(self.rest) {
                self.elements = Some(logs);
                self.in_page = true;
            } else {
                return Some(without_envelope(self.next_line()));
            }
        }
    }
}

impl<'a> Pieces<'a> {
    const fn of(body: &'a [u8], unwraps: bool) -> Self {
        Self {
            rest: body,
            elements: None,
            in_page: false,
            may_span_lines: true,
            after_line: None,
            unwraps,
            page: None,
        }
    }

    /// The next line, the next value on it, or the value that starts on it and ends on a later one.
    fn next_line(&mut self) -> &'a [u8] {
        // A line of many objects is searched for its end only once.
        let known = self.after_line.and_then(|after| self.rest.len().checked_sub(after.len()));
        let end = known.or_else(|| memchr(b'\n', self.rest)).unwrap_or(self.rest.len());
        let (line, rest) = self.rest.split_at(end);
        let line = line.trim_ascii_end();
        let head = line.get(..SEARCHED).unwrap_or(line);
        if (known.is_some() || BETWEEN_OBJECTS.find(head).is_some())
            && let Some(end) = value_end(line).filter(|end| *end < line.len())
        {
            self.after_line = Some(rest);
            let (value, rest) = self.rest.split_at(end);
            self.rest = rest;
            return value;
        }
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
        line.strip_suffix(b",").filter(|line| line.ends_with(b"}")).unwrap_or(line)
    }
}

/// Whether this starts as nearly all events do: the other forms cost them nothing.
#[inline]
fn is_stream_event(bytes: &[u8]) -> bool {
    bytes.starts_with(b"{\"log_id\"")
}

/// Returns what follows the bracket that opens `logs`, if a page starts here: `{"logs":[`, or the same after
/// scalars.
#[inline]
fn logs_of_page(bytes: &[u8]) -> Option<&[u8]> {
    if is_stream_event(bytes) { None } else { logs_of_object(bytes) }
}

fn logs_of_object(bytes: &[u8]) -> Option<&[u8]> {
    let mut rest = bytes.strip_prefix(b"{")?;
    loop {
        let (name, value) = next_member(rest)?;
        if name == b"logs" {
            return value.strip_prefix(b"[");
        }
        rest = after_scalar(name, value)?.strip_prefix(b",")?;
    }
}

/// Returns what follows a page whose `logs` have been read. If that is not the end of a page, nothing is
/// skipped, so that it is kept as a piece.
fn after_page(bytes: &[u8]) -> &[u8] {
    let mut rest = bytes.trim_ascii_start();
    loop {
        if let Some(after) = rest.strip_prefix(b"}") {
            return after;
        }
        let next = rest
            .strip_prefix(b",")
            .and_then(next_member)
            .and_then(|(name, value)| after_scalar(name, value));
        match next {
            Some(next) => rest = next,
            None => return bytes,
        }
    }
}

/// Returns what follows a scalar of a page, such as a total; `None` if this is a member of an event, or no
/// scalar.
fn after_scalar<'a>(name: &[u8], value: &'a [u8]) -> Option<&'a [u8]> {
    if matches!(name, b"log_id" | b"_id" | b"date" | b"type") {
        return None;
    }
    let len = if value.starts_with(b"\"") {
        let mut scan = Scan::default();
        let ends = |byte: &u8| {
            scan.step(*byte);
            !scan.in_string || *byte == b'\n'
        };
        value.iter().position(ends).filter(|last| value.get(*last) == Some(&b'"'))? + 1
    } else {
        let is_literal = |byte: &&u8| byte.is_ascii_alphanumeric() || b"+-.".contains(byte);
        value.iter().take_while(is_literal).count()
    };
    (len > 0).then(|| value.get(len..))?.map(<[u8]>::trim_ascii_start)
}

/// Returns the name of the member at the start of `bytes`, and what starts with its value.
#[inline]
fn next_member(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let bytes = bytes.trim_ascii_start().strip_prefix(b"\"")?;
    let (name, rest) = bytes.split_at(memchr(b'"', bytes)?);
    let value = rest.get(1..)?.trim_ascii_start().strip_prefix(b":")?;
    Some((name, value.trim_ascii_start()))
}

/// Returns the event in an envelope of `EventBridge`, and any other piece as it is.
#[inline]
fn without_envelope(piece: &[u8]) -> &[u8] {
    if is_stream_event(piece) { piece } else { detail_or_whole(piece) }
}

fn detail_or_whole(piece: &[u8]) -> &[u8] {
    let first = piece.strip_prefix(b"{").and_then(next_member).map(|(name, _)| name);
    match first {
        Some(
            b"version" | b"id" | b"detail-type" | b"source" | b"account" | b"time" | b"region"
            | b"resources" | b"detail",
        ) => detail(piece).unwrap_or(piece),
        _ => piece,
    }
}

/// Returns the `detail` of an event that came by Auth0's partner event source.
#[cold]
fn detail(piece: &[u8]) -> Option<&[u8]> {
    let envelope = std::str::from_utf8(piece).ok()?;
    let is_of_auth0 = member(envelope, "detail-type") == Some("\"Auth0 log\"")
        || member(envelope, "source")?.starts_with("\"aws.partner/auth0.com/");
    let detail = member(envelope, "detail").filter(|detail| detail.starts_with('{'))?;
    is_of_auth0.then_some(detail.as_bytes())
}

/// Returns the element at the start of `bytes`, what follows the comma or bracket that ends it, and whether
/// it is the last one, or what there is of it.
fn next_element(bytes: &[u8]) -> (&[u8], &[u8], bool) {
    let mut scan = Scan::default();
    for (index, byte) in bytes.iter().enumerate() {
        let is_last = match byte {
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
        return (element.trim_ascii(), rest.get(1..).unwrap_or_default(), is_last);
    }
    (bytes.trim_ascii(), &[], true)
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
    fn page_gives_its_logs() {
        let [one, two] = [r#"{"log_id":"1","data":{"logs":[]}}"#, r#"{"log_id":"2"}"#];
        for page in [
            format!(r#"{{"logs":[{one},{two}]}}"#),
            format!("{{\n \"logs\" : [\n  {one},\n  {two}\n ]\n}}\n"),
            format!(r#"{{"start":0,"limit":2,"length":2,"total":5,"logs":[{one},{two}]}}"#),
            format!(r#"{{"logs":[{one},{two}],"start":0 , "limit":2,"length":2,"total":5}}"#),
            format!(r#"{{"total":1,"logs":[{one}],"limit":1}}{{"logs":[]}}{two}"#),
            format!("{{\"logs\":[{one}]}}\n[]\n{{\"logs\":[{two}]}}"),
            format!(r#"[{{"logs":[{one}]}},{{"total":1,"logs":[{two}]}},{{"logs":[]}}]"#),
            format!(r#"{one}{{"logs":[{two}]}}"#),
            format!(r#"{{"tenant":"a\"]}}","logs":[{one},{two}]}}"#),
            format!(r#"{{"start":null,"limit":"2","more" : true,"logs":[{one},{two}]}}"#),
            format!(r#"{{"logs":[{one},{two}],"next":"https://x/?a={{","total":null}}"#),
        ] {
            assert_eq!(pieces(&page), [one, two], "{page}");
        }
        assert!(pieces(r#"{"logs":[]}"#).is_empty());
    }

    #[test]
    fn broken_page_keeps_its_whole_events_and_its_text() {
        assert_eq!(
            pieces(r#"{"logs":[{"a":1},{"b":"cut"#),
            [r#"{"a":1}"#, r#"{"b":"cut"#],
            "a body that was cut"
        );
        assert_eq!(pieces("{\"logs\":[{\"a\":1}]\n{\"b\":2}"), [r#"{"a":1}"#, r#"{"b":2}"#]);
        assert_eq!(pieces(r#"{"logs":[1],"x":[2]}"#), ["1", r#""x":[2]}"#]);
        assert_eq!(
            pieces("{\"logs\":[1],\"x\":\"cut\n{\"a\":1}"),
            ["1", r#""x":"cut"#, r#"{"a":1}"#]
        );
        for other in [
            r#"{"logs":{"a":[1]}}"#,
            r#"{"x":[],"logs":[1]}"#,
            r#"{"_id":"1","logs":[1]}"#,
            r#"{"x": ,"logs":[1]}"#,
        ] {
            assert_eq!(pieces(other), [other], "not a page");
        }
    }

    #[test]
    fn page_in_a_page_is_a_piece() {
        let page = r#"{"logs":[1]}"#;
        assert_eq!(pieces(&format!(r#"{{"logs":[{page}]}}"#)), [page]);
        assert_eq!(pieces(&format!(r#"[{{"logs":[{page}]}}]"#)), [page]);
        let depth = 10_000;
        let nested = r#"[{"logs":[]}"#.repeat(depth) + &"]".repeat(depth);
        assert!(pieces(&nested).len() < depth);
    }

    #[test]
    fn objects_on_one_line_are_pieces() {
        let [one, two, three] = [r#"{"a":"}{"}"#, r#"{"b":{}}"#, r#"{"c":1}"#];
        assert_eq!(pieces(one), [one]);
        for body in [
            format!("{one}{two}{three}"),
            format!("{one}\n{two}{three}\n"),
            format!("{one}{two} {three}"),
            format!("{one}{two},{three}"),
            format!("{one}{two}\n{three}\n"),
        ] {
            assert_eq!(pieces(&body), [one, two, three], "{body}");
        }
        assert_eq!(pieces(r#"{"a":1}{"b":"#), [r#"{"a":1}"#, r#"{"b":"#]);
        assert_eq!(pieces(r#"{"a":1}{"b":1}x"#), [r#"{"a":1}"#, r#"{"b":1}"#, "x"]);
        assert_eq!(pieces("{\"a\":{{\"b\":1}\n{\"c\":1}"), ["{\"a\":{{\"b\":1}", "{\"c\":1}"]);
    }

    #[test]
    fn comma_after_a_line_is_no_piece() {
        let [one, two] = [r#"{"a":{"b":1}}"#, r#"{"c":1}"#];
        assert_eq!(pieces(&format!("{one},\n{two},\n")), [one, two]);
        assert_eq!(pieces(&format!("{one}\n, {two} ,\r\n")), [one, two]);
        assert_eq!(pieces(&format!("{{\"cut\":{{\n{one},\n{two},")), ["{\"cut\":{", one, two]);
        assert_eq!(pieces("{\"a\":{\"b\":1},\n\"c\":1}"), ["{\"a\":{\"b\":1},\n\"c\":1}"]);
    }

    #[test]
    fn envelope_of_eventbridge_gives_its_detail() {
        let event = r#"{"log_id":"1","data":{"detail":{}}}"#;
        let by_type =
            format!(r#"{{"version":"0","id":"x","detail-type":"Auth0 log","detail":{event}}}"#);
        let by_source = format!(
            r#"{{"detail" : {event} , "detail-type":"x","source":"aws.partner/auth0.com/a/auth0.logs"}}"#
        );
        assert_eq!(pieces(&format!("{by_type}\n{by_source}")), [event, event]);
        assert_eq!(pieces(&format!("[{by_type},{event},{by_source}]")), [event, event, event]);
        let cut = by_source.get(..by_source.len() - 1).unwrap();
        assert_eq!(pieces(cut), [event], "an envelope that was cut after the event");
        for other in [
            r#"{"version":"0","detail-type":"Scheduled Event","source":"aws.events","detail":{}}"#,
            r#"{"version":"0","detail-type":"Auth0 log","detail":"text"}"#,
            r#"{"version":"0","id":"x"}"#,
        ] {
            assert_eq!(pieces(other), [other]);
        }
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
        let body = "{\"a\":{\n".repeat(50_000);
        assert_eq!(split(body.as_bytes()).count(), 50_000);
        let body = "{\"a\":1\n".repeat(50_000);
        assert_eq!(split(body.as_bytes()).count(), 50_000);
    }

    #[test]
    fn line_of_many_objects_is_read_once() {
        assert_eq!(split("{\"a\":1}".repeat(50_000).as_bytes()).count(), 50_000);
    }
}
