//! API Gateway's event → the body of the request, which is a JSON string in it.
//!
//! Nearly all of the event is its body, and a JSON body in a JSON string has an escape every few bytes.
//! Unescaping it with `serde_json` costs half as much as mapping its events (`docs/decisions.md`). So the
//! body is unescaped here, and the webhook reads the rest.

use bytes::Bytes;

use crate::json::lex::{Lexer, ValueKind};
use crate::json::read::{AHEAD, find_member, unescape};

/// The body has to start within this many bytes. API Gateway accepts 10,240 bytes of request line and
/// headers ("Quotas for HTTP APIs").
const MAX_HEAD: usize = 16 * 1024;

/// Takes the body out of an event and leaves an empty string in its place. Returns the text of the body, not
/// checked to be UTF-8, or `None` if no body is found: the event is unchanged then, or empty if the body's
/// string is broken, because such an event cannot be parsed anyway.
///
/// The format of the event is documented in "Working with AWS Lambda proxy integrations for HTTP APIs",
/// payload format version 2.0.
#[must_use]
pub fn take_body(event: &mut Bytes) -> Option<Bytes> {
    let head = event.get(..event.len().min(MAX_HEAD))?;
    let head = match std::str::from_utf8(head) {
        Ok(text) => text,
        // The limit may have split a character of the body.
        Err(error) => std::str::from_utf8(head.get(..error.valid_up_to())?).ok()?,
    };
    let start = find_body(head)? + 1;
    // `{"body":"` precedes it, at least.
    let begin = start.checked_sub(AHEAD)?;
    let mut rest = head.get(..start)?.as_bytes().to_vec();
    // The text replaces the string in place, so that a batch is not in memory twice.
    let mut bytes = Vec::from(std::mem::take(event));
    let (len, quote) = unescape(bytes.get_mut(begin..)?)?;
    rest.extend_from_slice(bytes.get(begin + quote..)?);
    *event = rest.into();
    Some(Bytes::from(bytes).slice(begin..begin + len))
}

/// The position of the string that is the `body` of the outermost object.
fn find_body(head: &str) -> Option<usize> {
    let mut json = Lexer::new(head);
    let kind = find_member(&mut json, "body")?;
    (kind == ValueKind::String).then_some(json.at())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    fn event(body: &str) -> Value {
        json!({
            "rawPath": "/auth0/logs",
            "queryStringParameters": { "body": "not this one", "x\"body": "nor this" },
            "body": body,
            "isBase64Encoded": false,
        })
    }

    proptest! {
        #[test]
        fn body_is_what_serde_json_reads(body in any::<String>(), lines in r#"(["\\{}:\n\t/a-zé😀]|\PC){0,80}"#) {
            for body in [body, lines] {
                let mut event = event(&body);
                let mut rest = Bytes::from(event.to_string());
                prop_assert_eq!(take_body(&mut rest).unwrap(), body);
                event["body"] = "".into();
                prop_assert_eq!(serde_json::from_slice::<Value>(&rest).unwrap(), event);
            }
        }
    }

    #[test]
    fn escapes_of_any_writer_are_read() {
        let taken = |body: &str| take_body(&mut format!("{{\"body\" : \"{body}\"}}").into());
        let all = r#"\"\\\/\b\f\n\r\t\u0022\u00E9\u20ac\ud83d\ude00"#;
        assert_eq!(taken(all).unwrap(), "\"\\/\u{8}\u{c}\n\r\t\"é€😀");
        for broken in [r"\x", r"\ud83d", r"\ude00", r"\u12", "\n", r#"\"#] {
            assert_eq!(taken(broken), None, "{broken}");
        }
    }

    #[test]
    fn body_starts_in_the_head_and_may_be_longer() {
        for path in ["/", "/a"] {
            // With one of the two paths, the limit splits a character.
            let body = "é".repeat(MAX_HEAD);
            let mut event = format!("{{\"rawPath\":\"{path}\",\"body\":\"{body}\"}}").into();
            assert_eq!(take_body(&mut event).unwrap(), body);
            assert_eq!(event, format!("{{\"rawPath\":\"{path}\",\"body\":\"\"}}"));
        }
        let late = format!("{{\"rawPath\":\"{}\",\"body\":\"x\"}}", "a".repeat(MAX_HEAD));
        let mut left = Bytes::from(late.clone());
        assert_eq!(take_body(&mut left), None);
        assert_eq!(left, late);
    }

    #[test]
    fn broken_body_leaves_an_empty_event() {
        for broken in ["{\"body\":\"cut", "{\"body\":\"a\\\"b\\x\"}"] {
            let mut left = Bytes::from(broken);
            assert_eq!(take_body(&mut left), None, "{broken}");
            assert!(left.is_empty(), "{broken}");
        }
    }

    #[test]
    fn event_without_body_is_unchanged() {
        for event in [
            "",
            "[]",
            "{}",
            "{\"body\":null}",
            "{\"body\":{\"body\":\"x\"}}",
            "{\"headers\":{\"body\":\"x\"}}",
            "{\"rawPath\":\"\n\",\"body\":\"x\"}",
        ] {
            let mut left = Bytes::from(event);
            assert_eq!(take_body(&mut left), None, "{event}");
            assert_eq!(left, event);
        }
    }
}
