//! Nearly JSON → JSON: repairs what a sender's encoding or nesting broke, so that the event can be read.
//! Only for events that could not be read as received.

use super::lex::code_unit;
use super::scan::Scan;
use super::write::write_str;

/// Values nested deeper become strings. Any parser can read what is left.
const REPAIR_DEPTH: usize = 100;

/// Repairs JSON in one pass without a stack: invalid UTF-8 and lone surrogates become U+FFFD, control
/// characters in strings are escaped, and values nested too deep for any parser become strings. Everything
/// else stays as it is, right or wrong.
pub(crate) fn repair(raw: &[u8]) -> String {
    let text = String::from_utf8_lossy(raw);
    let mut out = String::with_capacity(text.len() + 16);
    let mut rest = text.as_ref();
    let mut depth = 0_usize;
    while let Some(next) = rest.chars().next() {
        match next {
            '"' => rest = repair_string(rest, &mut out),
            '{' | '[' if depth == REPAIR_DEPTH => {
                let end = container_end(rest);
                let (container, after) = rest.split_at(end);
                let mut token = Vec::with_capacity(container.len() + 16);
                write_str(&mut token, container);
                out.push_str(&String::from_utf8_lossy(&token));
                rest = after;
            }
            _ => {
                match next {
                    '{' | '[' => depth += 1,
                    '}' | ']' => depth = depth.saturating_sub(1),
                    _ => {}
                }
                out.push(next);
                rest = rest.get(next.len_utf8()..).unwrap_or_default();
            }
        }
    }
    out
}

/// Copies the string at the start of `text`, repaired, and returns what follows it.
fn repair_string<'t>(text: &'t str, out: &mut String) -> &'t str {
    out.push('"');
    let mut rest = text.get(1..).unwrap_or_default();
    while let Some(next) = rest.chars().next() {
        let is_low = |text: &str| matches!(code_unit(text), Some(0xDC00..=0xDFFF));
        let (len, repaired) = match next {
            '\\' => match code_unit(rest) {
                Some(0xD800..=0xDBFF) if rest.get(6..).is_some_and(is_low) => (12, None),
                Some(0xD800..=0xDFFF) => (6, Some("\u{fffd}".to_owned())),
                // Takes the escaped character along, so that an escaped quote does not end the string.
                _ => (1 + rest.chars().nth(1).map_or(0, char::len_utf8), None),
            },
            control if control < ' ' => (1, Some(format!("\\u{:04x}", u32::from(control)))),
            other => (other.len_utf8(), None),
        };
        let (received, after) = rest.split_at(len);
        out.push_str(repaired.as_deref().unwrap_or(received));
        rest = after;
        if next == '"' {
            break;
        }
    }
    rest
}

/// The index after the container at the start of `text`, or the end of the text.
fn container_end(text: &str) -> usize {
    let mut scan = Scan::default();
    let ends = |byte| {
        scan.step(byte);
        scan.is_between_values()
    };
    text.bytes().position(ends).map_or(text.len(), |last| last + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repair_makes_json_of_broken_unicode() {
        let text = r#"{"a":"?","b":"\ud800","c":"\ude00x","d":"\ud83d\ude00","e\"":"	"}"#;
        let raw: Vec<u8> = text.bytes().map(|b| if b == b'?' { 0xff } else { b }).collect();
        let value: serde_json::Value = serde_json::from_str(&repair(&raw)).unwrap();
        let expected = serde_json::json!({"a": "\u{fffd}", "b": "\u{fffd}", "c": "\u{fffd}x",
            "d": "\u{1f600}", "e\"": "\t"});
        assert_eq!(value, expected);
    }
}
