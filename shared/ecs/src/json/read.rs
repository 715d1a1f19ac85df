//! Pieces of JSON text: what a token says, and where a member is.

use std::borrow::Cow;

use memchr::memchr;

use super::lex::{Lexer, Name, ValueKind, code_unit, is_escaped, plain_in};

/// The distance in bytes by which [`unescape`] writes ahead of what it reads, at least.
pub(crate) const AHEAD: usize = 8;

/// Unescapes a JSON string in place: reads it from `bytes[AHEAD..]` (its opening quote is the last of the
/// first [`AHEAD`] bytes) and writes its text to the start of `bytes`. Returns the text's length, not
/// checked to be UTF-8, and the position of the closing quote. `None` if the string is broken; `bytes` are
/// garbage then.
pub(crate) fn unescape(bytes: &mut [u8]) -> Option<(usize, usize)> {
    let (mut at, mut end) = (AHEAD, 0);
    loop {
        // As in `write_str`, a copy of fixed length is cheapest. It ends before the bytes still to be read.
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

/// The byte that a backslash and this byte stand for; 0 for `\\u` and for bytes that no backslash precedes.
#[expect(clippy::indexing_slicing, reason = "evaluated at compile time")]
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

/// The character of the `\uXXXX`, or surrogate pair of them, at the start of `bytes`, and its length there.
#[cold]
fn unicode_escape(bytes: &[u8]) -> Option<(char, usize)> {
    let unit = |at: usize| code_unit(std::str::from_utf8(bytes.get(at..at + 6)?).ok()?);
    let first = unit(0)?;
    match char::from_u32(first.into()) {
        Some(letter) => Some((letter, 6)),
        None => Some((char::decode_utf16([first, unit(6)?]).next()?.ok()?, 12)),
    }
}

/// The text of a string token; any other token as it is.
#[must_use]
pub fn decode(token: &str) -> Cow<'_, str> {
    match token.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) {
        Some(inner) if memchr(b'\\', inner.as_bytes()).is_none() => Cow::Borrowed(inner),
        Some(_) => serde_json::from_str(token).map_or(Cow::Borrowed(token), Cow::Owned),
        None => Cow::Borrowed(token),
    }
}

/// A member's name with its escapes resolved.
pub(crate) fn decode_name<'a>(name: &Name<'a>) -> Cow<'a, str> {
    if name.escaped {
        Cow::Owned(decode(&format!("\"{}\"", name.raw)).into_owned())
    } else {
        Cow::Borrowed(name.raw)
    }
}

/// Moves `json`, which is at the start of a text, to the value of an object's member, and returns its type. Names
/// are compared as written, escapes and all.
pub(crate) fn find_member(json: &mut Lexer<'_>, wanted: &str) -> Option<ValueKind> {
    if json.peek() != Ok(ValueKind::Object) {
        return None;
    }
    let mut is_first = true;
    while let Some(name) = json.next_name(&mut is_first).ok()? {
        let kind = json.peek().ok()?;
        if name.raw == wanted {
            return Some(kind);
        }
        json.skip(kind).ok()?;
    }
    None
}

/// The text of a member's value, or `None`; see [`find_member`].
pub(crate) fn member<'j>(object: &'j str, name: &str) -> Option<&'j str> {
    let mut json = Lexer::new(object);
    let kind = find_member(&mut json, name)?;
    json.token(kind).ok()
}

/// The texts of the values of several members, found in one pass; see [`find_member`].
pub(crate) fn members<'j, const N: usize>(
    object: &'j str,
    names: [&str; N],
) -> [Option<&'j str>; N] {
    let mut values = [None; N];
    if !object.starts_with('{') {
        return values;
    }
    let mut json = Lexer::new(object);
    let mut is_first = true;
    // The rest of a broken object holds nothing.
    while let Ok(Some(name)) = json.next_name(&mut is_first) {
        let Ok(value) = json.peek().and_then(|kind| json.token(kind)) else { break };
        for (wanted, found) in names.iter().zip(&mut values) {
            if name.raw == *wanted {
                found.get_or_insert(value);
            }
        }
    }
    values
}

/// The string tokens of a list.
pub(crate) fn strings(list: &str) -> Vec<&str> {
    let mut strings = Vec::new();
    if !list.starts_with('[') {
        return strings;
    }
    let mut json = Lexer::new(list);
    while let Ok(true) = json.next_element(&mut strings.is_empty()) {
        let Ok(element) = json.peek().and_then(|kind| json.token(kind)) else { break };
        if !element.starts_with('"') {
            return Vec::new();
        }
        strings.push(element);
    }
    strings
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
        assert_eq!(members(object, ["c", "d", "b"]), [Some("\"x\""), None, Some("[2]")]);
        assert_eq!(members("[1]", ["a"]), [None]);
    }

    #[test]
    fn strings_of_a_list_are_its_tokens() {
        assert_eq!(strings(r#"["a", "b\n"]"#), ["\"a\"", "\"b\\n\""]);
        for other in ["[]", "[1]", r#"["a",{}]"#, "{}", "\"a\""] {
            assert!(strings(other).is_empty(), "{other}");
        }
    }
}
