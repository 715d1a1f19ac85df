//! API Gateway's event → its members, and the body of the request, which is a JSON string in it.
//!
//! Nearly all of the event is its body, and a JSON body in a JSON string has an escape every few bytes.
//! Unescaping it with `serde_json` costs half as much as mapping its events (`docs/decisions.md`).

use std::borrow::Cow;

use bytes::Bytes;

use crate::json::lex::{Lexer, ValueKind};
use crate::json::read::{AHEAD, unescape};

/// The body has to start within this many bytes. API Gateway accepts 10,240 bytes of request line and headers
/// ("Quotas for HTTP APIs"); the event has the query twice, and each byte of it in up to two.
const MAX_HEAD: usize = 64 * 1024;

/// Objects nested deeper are passed on as a whole.
const MAX_LEVELS: usize = 3;

/// Reads an event: passes path and JSON text of each member but the body to `member`, and returns the body's text,
/// which is not checked to be UTF-8. Without a body, that is empty. `None` if the event is not valid JSON.
///
/// A path has up to three names, as written. The format of the event is documented in "Working with AWS Lambda
/// proxy integrations for HTTP APIs", payload format version 2.0.
#[must_use]
pub fn read(event: Bytes, mut member: impl FnMut(&[&str], &str)) -> Option<Bytes> {
    let head = text(event.get(..event.len().min(MAX_HEAD))?);
    let mut json = Lexer::new(&head);
    if json.peek() != Ok(ValueKind::Object) {
        return None;
    }
    let Some(string) = read_members(&mut json, true, &[], &mut member)? else {
        json.finish().ok()?;
        return Some(Bytes::new());
    };
    drop(head);
    // The text replaces the string in place, so that a batch is not in memory twice. `{"body":"` precedes it, at
    // least.
    let mut bytes = Vec::from(event);
    let start = (string + 1).checked_sub(AHEAD)?;
    let (len, quote) = unescape(bytes.get_mut(start..)?)?;
    let rest = text(bytes.get(start + quote + 1..)?);
    let mut json = Lexer::new(&rest);
    if read_members(&mut json, false, &[], &mut member)?.is_some() {
        return None;
    }
    json.finish().ok()?;
    drop(rest);
    Some(Bytes::from(bytes).slice(start..start + len))
}

/// Returns bytes as text of the same length, with question marks for what is not UTF-8: it matters only to those
/// who look at it.
fn text(bytes: &[u8]) -> Cow<'_, str> {
    match std::str::from_utf8(bytes) {
        Ok(text) => text.into(),
        Err(_) => {
            let chunks = bytes.utf8_chunks();
            let marks = chunks.map(|it| it.valid().to_owned() + &"?".repeat(it.invalid().len()));
            marks.collect::<String>().into()
        }
    }
}

/// Reads an object's members, up to its end or to the string that is the body, and returns where that starts.
fn read_members<'j>(
    json: &mut Lexer<'j>,
    mut is_first: bool,
    parents: &[&'j str],
    member: &mut impl FnMut(&[&str], &str),
) -> Option<Option<usize>> {
    let level = parents.len();
    let mut path = [""; MAX_LEVELS];
    path.get_mut(..level)?.copy_from_slice(parents);
    while let Some(name) = json.next_name(&mut is_first).ok()? {
        *path.get_mut(level)? = name.raw;
        let path = path.get(..=level)?;
        match json.peek().ok()? {
            ValueKind::String if path == ["body"] => return Some(Some(json.at())),
            ValueKind::Object if path.len() < MAX_LEVELS => {
                read_members(json, true, path, member)?;
            }
            kind => member(path, json.token(kind).ok()?),
        }
    }
    Some(None)
}

#[cfg(test)]
mod tests {
    use serde_json::{Map, Value, json};
    use support::draw::{any_text, one, seeds, text};

    use super::*;

    /// The body, and the other members.
    fn read_all(event: &[u8]) -> Option<(Bytes, Value)> {
        let mut members = Map::new();
        let body = read(Bytes::copy_from_slice(event), |path, value| {
            members.insert(path.join("/"), serde_json::from_str(value).unwrap());
        });
        body.map(|body| (body, members.into()))
    }

    fn body_of(event: &str) -> Option<Bytes> {
        read_all(event.as_bytes()).map(|(body, _)| body)
    }

    #[test]
    fn event_is_what_serde_json_reads() {
        let parts =
            ["\"", "\\", "{", "}", ":", "\n", "\t", "/", "a", "n", "u", "z", "é", "😀", "\0"];
        seeds(256, |rng| {
            for body in [any_text(rng, 100), text(rng, &parts, 80)] {
                let event = json!({
                    "rawPath": "/auth0/logs",
                    "cookies": [{ "body": "no" }],
                    "queryStringParameters": { "body": "not this one", "x\"body": "nor this" },
                    "requestContext": { "http": { "method": "POST", "body": {} } },
                    "body": body,
                    "isBase64Encoded": false,
                });
                let members = json!({
                    "rawPath": "/auth0/logs",
                    "cookies": [{ "body": "no" }],
                    "queryStringParameters/body": "not this one",
                    r#"queryStringParameters/x\"body"#: "nor this",
                    "requestContext/http/method": "POST",
                    "requestContext/http/body": {},
                    "isBase64Encoded": false,
                });
                let read = read_all(event.to_string().as_bytes());
                assert_eq!(read, Some((body.into(), members)));
            }
        });
    }

    #[test]
    fn broken_event_is_read_if_serde_json_reads_it() {
        let event = json!({
            "version": "2.0",
            "headers": { "authorization": "a \"token\"", "x": ["1", {}] },
            "requestContext": { "http": { "method": "POST" }, "timeEpoch": 1_773_342_238_000_i64 },
            "body": "[{\"a\":\"b\"}]\n",
            "isBase64Encoded": false,
        });
        let event = event.to_string();
        let parts =
            ["\"", "\\", "{", "}", "[", "]", ":", ",", " ", "0", "-", "a", "\n", "é", "null", ""];
        let mut valid = 0;
        seeds(20_000, |rng| {
            let mut broken = event.clone();
            for _ in 0..rng.usize(1..3) {
                let at = rng.usize(..broken.len());
                if broken.is_char_boundary(at) && broken.is_char_boundary(at + 1) {
                    let part: &&str = one(rng, &parts);
                    broken.replace_range(at..at + 1, part);
                }
            }
            let is_valid = serde_json::from_str::<Map<String, Value>>(&broken).is_ok();
            assert_eq!(read_all(broken.as_bytes()).is_some(), is_valid, "{broken}");
            valid += usize::from(is_valid);
        });
        assert!((1_000..19_000).contains(&valid), "both happen: {valid}");
    }

    #[test]
    fn escapes_of_any_writer_are_read() {
        let body = |body: &str| body_of(&format!("{{\"body\" : \"{body}\"}}"));
        let all = r#"\"\\\/\b\f\n\r\t\u0022\u00E9\u20ac\ud83d\ude00"#;
        assert_eq!(body(all).unwrap(), "\"\\/\u{8}\u{c}\n\r\t\"é€😀");
        for broken in [r"\x", r"\ud83d", r"\ude00", r"\u12", "\n", r#"\"#] {
            assert_eq!(body(broken), None, "{broken}");
        }
    }

    #[test]
    fn body_starts_in_the_head_and_may_be_longer() {
        for path in ["/", "/a"] {
            // With one of the two paths, the limit splits a character.
            let body = "é".repeat(MAX_HEAD);
            let event = format!("{{\"rawPath\":\"{path}\",\"body\":\"{body}\"}}");
            assert_eq!(body_of(&event).unwrap(), body);
        }
        let late = format!("{{\"rawPath\":\"{}\",\"body\":\"x\"}}", "a".repeat(MAX_HEAD));
        assert_eq!(body_of(&late), None);
    }

    #[test]
    fn largest_request_that_the_gateway_accepts_is_read() {
        let control = "\u{1}".repeat(10_240 / "%01".len());
        let event = json!({
            "rawQueryString": control.replace('\u{1}', "%01"),
            "headers": { "x": "\"".repeat(10_240) },
            "queryStringParameters": { "a": control },
        });
        let head = event.to_string();
        let event = format!("{},\"body\":\"x\"}}", head.strip_suffix('}').unwrap());
        assert_eq!(body_of(&event).unwrap(), "x", "after {} bytes", head.len());
    }

    #[test]
    fn event_without_body_has_an_empty_one() {
        for body in
            ["", "\"body\":null", "\"body\":{\"body\":\"x\"}", "\"headers\":{\"body\":\"x\"}"]
        {
            assert_eq!(body_of(&format!("{{{body}}}")).unwrap(), "", "{body}");
        }
    }

    #[test]
    fn byte_that_is_not_utf_8_harms_its_own_member_alone() {
        let event = b"{\"a\":\"\xee\",\"b\":\"\xc3\xa9\",\"body\":\"\xee\",\"c\":\"\xee\"}";
        let members = json!({ "a": "?", "b": "é", "c": "?" });
        assert_eq!(read_all(event), Some((Bytes::from_static(b"\xee"), members)));
    }

    #[test]
    fn what_is_not_json_is_not_read() {
        for broken in [
            "",
            "[]",
            "null",
            "{",
            "{}}",
            "{\"body\":\"cut",
            "{\"body\":\"x\"",
            "{\"body\":\"x\"}}",
            "{\"body\":\"x\",\"body\":\"y\"}",
            "{\"body\":\"x\" \"a\":1}",
            "{\"a\":\"\n\",\"body\":\"x\"}",
            "{\"a\":\"\\x\",\"body\":\"x\"}",
        ] {
            assert_eq!(body_of(broken), None, "{broken}");
        }
    }
}
