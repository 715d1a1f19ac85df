//! Pieces of JSON text: tokens read as text, and text written as tokens.

use std::borrow::Cow;
use std::ops::Range;

use memchr::memchr;

use crate::json::lex::{Name, Scanner, Syntax, code_unit, is_escaped, plain_in, plain_len};

/// Writes `text` as a JSON string.
pub fn write_str(out: &mut Vec<u8>, text: &str) {
    out.reserve(text.len() + text.len() / 4 + 2);
    out.push(b'"');
    let bytes = text.as_bytes();
    let mut at = 0;
    while let Some(chunk) = bytes.get(at..).and_then(<[u8]>::first_chunk) {
        // All eight go, and those behind the first that is escaped come again: a copy of a fixed
        // length costs least, and an event as a string has a quote in every six bytes.
        out.extend_from_slice(chunk);
        let plain = plain_in(*chunk);
        at += plain;
        if let Some(escaped) = chunk.get(plain) {
            out.truncate(out.len() + plain - chunk.len());
            write_escape(out, *escaped);
            at += 1;
        }
    }
    for byte in bytes.get(at..).unwrap_or_default() {
        if is_escaped(byte) {
            write_escape(out, *byte);
        } else {
            out.push(*byte);
        }
    }
    out.push(b'"');
}

#[inline]
fn write_escape(out: &mut Vec<u8>, byte: u8) {
    match byte {
        b'"' => out.extend_from_slice(b"\\\""),
        b'\\' => out.extend_from_slice(b"\\\\"),
        control => write_control(out, control),
    }
}

#[cold]
fn write_control(out: &mut Vec<u8>, control: u8) {
    match control {
        b'\n' => out.extend_from_slice(b"\\n"),
        b'\r' => out.extend_from_slice(b"\\r"),
        b'\t' => out.extend_from_slice(b"\\t"),
        other => out.extend_from_slice(format!("\\u{other:04x}").as_bytes()),
    }
}

/// Writes a name or value of our own as a JSON string; it holds nothing that JSON escapes.
pub(crate) fn write_plain(out: &mut Vec<u8>, text: &str) {
    debug_assert!(plain_len(text.as_bytes()) == text.len(), "{text}");
    write_raw(out, text);
}

/// Writes what stands between the quotes of a JSON string, with quotes.
pub(crate) fn write_raw(out: &mut Vec<u8>, raw: &str) {
    out.reserve(raw.len() + 2);
    out.push(b'"');
    out.extend_from_slice(raw.as_bytes());
    out.push(b'"');
}

/// Writes a scalar token as a JSON string: a string as it stands, anything else as its text.
pub(crate) fn write_text(out: &mut Vec<u8>, token: &str) {
    if token.starts_with('"') {
        out.extend_from_slice(token.as_bytes());
    } else {
        write_str(out, token);
    }
}

/// How far the text that [`unescape`] writes is ahead of what it reads, at the least.
pub(crate) const AHEAD: usize = 8;

/// Writes the text of a JSON string to the start of `bytes`. The string stands behind it: its opening quote is
/// the last one of the first [`AHEAD`] bytes. Gives how long the text is, not checked to be UTF-8, and where
/// the closing quote is. `None` where the string is broken; `bytes` are then, too.
pub(crate) fn unescape(bytes: &mut [u8]) -> Option<(usize, usize)> {
    let (mut at, mut end) = (AHEAD, 0);
    loop {
        // As in `write_str`, a copy of a fixed length costs least; it ends before what is yet to be read.
        if let Some(&chunk) = bytes.get(at..)?.first_chunk::<AHEAD>() {
            *bytes.get_mut(end..)?.first_chunk_mut()? = chunk;
            let plain = plain_in(chunk);
            (at, end) = (at + plain, end + plain);
            if plain == chunk.len() {
                continue;
            }
        } else {
            let byte = *bytes.get(at)?;
            if !is_escaped(&byte) {
                *bytes.get_mut(end)? = byte;
                (at, end) = (at + 1, end + 1);
                continue;
            }
        }
        let Some([b'\\', letter]) = bytes.get(at..at + 2) else { break };
        match UNESCAPED.get(usize::from(*letter))? {
            0 => {
                let (letter, len) = unicode_escape(bytes.get(at..)?)?;
                at += len;
                end += letter.encode_utf8(bytes.get_mut(end..)?).len();
            }
            byte => {
                *bytes.get_mut(end)? = *byte;
                (at, end) = (at + 2, end + 1);
            }
        }
    }
    (bytes.get(at) == Some(&b'"')).then_some((end, at))
}

/// What stands for a byte behind a backslash; 0 where that is no escape sequence, or one of more letters.
#[expect(clippy::indexing_slicing, reason = "worked out by the compiler")]
static UNESCAPED: [u8; 256] = {
    let escapes = *b"\"\"\\\\//b\x08f\x0cn\nr\rt\t";
    let mut bytes = [0; 256];
    let mut at = 0;
    while at < escapes.len() {
        bytes[escapes[at] as usize] = escapes[at + 1];
        at += 2;
    }
    bytes
};

/// The character of the `\uXXXX`, or pair of them, that `bytes` begins with, and its length there.
#[cold]
fn unicode_escape(bytes: &[u8]) -> Option<(char, usize)> {
    let unit = |at: usize| code_unit(std::str::from_utf8(bytes.get(at..at + 6)?).ok()?);
    let first = unit(0)?;
    match char::from_u32(first.into()) {
        Some(letter) => Some((letter, 6)),
        None => Some((char::decode_utf16([first, unit(6)?]).next()?.ok()?, 12)),
    }
}

/// The text of a JSON string token; of any other token, the token itself.
pub(crate) fn decode(token: &str) -> Cow<'_, str> {
    match token.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) {
        Some(inner) if memchr(b'\\', inner.as_bytes()).is_none() => Cow::Borrowed(inner),
        Some(_) => serde_json::from_str(token).map_or(Cow::Borrowed(token), Cow::Owned),
        None => Cow::Borrowed(token),
    }
}

/// A member's name without escapes.
pub(crate) fn decode_name<'a>(name: &Name<'a>) -> Cow<'a, str> {
    if name.escaped {
        Cow::Owned(decode(&format!("\"{}\"", name.raw)).into_owned())
    } else {
        Cow::Borrowed(name.raw)
    }
}

/// The longest name of a field, in characters.
const MAX_FIELD_NAME: usize = 256;

/// Makes a name one that an engine cannot read as a path, and that is no blank.
pub(crate) fn safe_name(name: &str) -> String {
    if name.trim().is_empty() {
        return "_".to_owned();
    }
    let safe = |c: char| if c == '.' || c.is_control() { '_' } else { c };
    name.chars().map(safe).take(MAX_FIELD_NAME).collect()
}

/// Whether a name is such a one already, and of letters and digits.
pub(crate) fn is_safe_name(name: &str) -> bool {
    let is_letter = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    !name.is_empty() && name.len() <= MAX_FIELD_NAME && name.bytes().all(is_letter)
}

/// The longest prefix of at most `limit` bytes that ends between two characters.
pub(crate) fn cut(text: &str, limit: usize) -> &str {
    text.get(..text.floor_char_boundary(limit)).unwrap_or(text)
}

/// Where in the text of an object the value of a member is. Its names are taken as they stand.
pub(crate) fn find_member(object: &str, wanted: &str) -> Option<Range<usize>> {
    let find = || -> Result<Option<Range<usize>>, Syntax> {
        let mut json = Scanner::new(object);
        let mut is_first = true;
        while let Some(name) = json.next_name(is_first)? {
            is_first = false;
            let kind = json.peek()?;
            let start = json.at();
            json.skip(kind)?;
            if name.raw == wanted {
                return Ok(Some(start..json.at()));
            }
        }
        Ok(None)
    };
    if object.starts_with('{') { find().ok()? } else { None }
}

/// The text of a member's value.
pub(crate) fn member<'j>(object: &'j str, name: &str) -> Option<&'j str> {
    object.get(find_member(object, name)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_are_found_by_name() {
        let object = r#"{"a":{"b":1},"b":[2],"c":"x"}"#;
        assert_eq!(member(object, "b"), Some("[2]"));
        assert_eq!(member(object, "d"), None);
        assert_eq!(member("\"text\"", "d"), None);
    }

    #[test]
    fn any_text_is_written_as_a_string_of_json() {
        let all: String = (0..0x180).filter_map(char::from_u32).collect();
        for text in ["", "plain text", "\"", "a\\b\"c", "{\"a\":\"\\n\"}\n", &all] {
            let mut out = Vec::new();
            write_str(&mut out, text);
            assert_eq!(serde_json::from_slice::<String>(&out).unwrap(), text);
        }
    }
}
