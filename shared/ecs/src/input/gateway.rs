//! The gateway's event → the request's body, which stands in it as a JSON string.
//!
//! Nearly all of the event is its body, and every few bytes of a JSON body have to be escaped in a
//! JSON string. Unescaping it with `serde_json` costs as much as half the mapping of its events (see
//! `docs/performance.md`), so it is done here, and `lambda_http` reads the rest.

use bytes::Bytes;

use crate::json::lex::{Kind, Scanner};
use crate::json::text::{AHEAD, unescape};

/// What stands before the body is looked for in this many bytes. API Gateway takes 10,240 bytes of request
/// line and headers ("Quotas for HTTP APIs").
const MAX_HEAD: usize = 16 * 1024;

/// Takes the body out of an event: what was a string is the text in it, not checked to be UTF-8, and the
/// event has an empty body. `None` where there is none to be found: then the event is as it was, or, if that
/// string is broken, empty, since there was nothing to be read of it.
///
/// The event's form is that of "Working with AWS Lambda proxy integrations for HTTP APIs", payload format
/// version 2.0.
#[must_use]
pub fn take_body(event: &mut Bytes) -> Option<Bytes> {
    let head = event.get(..event.len().min(MAX_HEAD))?;
    let head = match std::str::from_utf8(head) {
        Ok(text) => text,
        // The limit may have cut a character of the body in two.
        Err(error) => std::str::from_utf8(head.get(..error.valid_up_to())?).ok()?,
    };
    let start = find_body(head)? + 1;
    // Behind `{"body":"` at the least.
    let begin = start.checked_sub(AHEAD)?;
    let mut rest = head.get(..start)?.as_bytes().to_vec();
    // The text takes the place of the string, so that a batch is not in memory twice.
    let mut bytes = Vec::from(std::mem::take(event));
    let (len, quote) = unescape(bytes.get_mut(begin..)?)?;
    rest.extend_from_slice(bytes.get(begin + quote..)?);
    *event = rest.into();
    Some(Bytes::from(bytes).slice(begin..begin + len))
}

/// Where the string is that is the outermost object's `body`.
fn find_body(head: &str) -> Option<usize> {
    let mut json = Scanner::new(head);
    if json.peek() != Ok(Kind::Object) {
        return None;
    }
    let mut is_first = true;
    while let Some(name) = json.next_name(is_first).ok()? {
        is_first = false;
        let kind = json.peek().ok()?;
        if name.raw == "body" {
            return (kind == Kind::String).then_some(json.at());
        }
        json.skip(kind).ok()?;
    }
    None
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
        fn any_body_is_what_serde_json_would_read(body in any::<String>(), lines in r#"(["\\{}:\n\t/a-zé😀]|\PC){0,80}"#) {
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
    fn a_body_may_go_on_behind_the_head_but_begins_in_it() {
        for path in ["/", "/a"] {
            // One of the two is cut in the middle of a character.
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
    fn of_an_event_with_a_broken_body_nothing_is_left_to_be_read() {
        for broken in ["{\"body\":\"cut", "{\"body\":\"a\\\"b\\x\"}"] {
            let mut left = Bytes::from(broken);
            assert_eq!(take_body(&mut left), None, "{broken}");
            assert!(left.is_empty(), "{broken}");
        }
    }

    #[test]
    fn what_has_no_body_is_left_as_it_is() {
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
