//! JSON text → JSON text that an engine accepts, in one pass and without a tree in between.
//!
//! A value is copied as it is read: what holds nothing (null, "", {}, []) is left out, and what
//! engines refuse is put right on the way: nesting that would kill a node, strings longer than a
//! Lucene term, names that collide. Each such change is noted, so that the document can say so.

use std::borrow::Cow;
use std::collections::HashSet;
use std::ops::Range;

use jiter::{Jiter, JiterError, Peek};
use memchr::memchr;

use crate::changes::{Change, Changes};

/// Levels of nesting that are kept. Elasticsearch refuses more in a `flattened` field and OpenSearch
/// in arrays; at 900 an OpenSearch node dies.
pub(crate) const MAX_DEPTH: u8 = 20;

/// Lucene's limit for a term is 32,766 bytes (`IndexWriter.MAX_TERM_LENGTH`); the engines' flat
/// fields index the path, a separator and the value as one term.
const MAX_TERM: usize = 32_700;

/// `auth0.logs.data.` and the field's own name stand before each path.
const ROOT_PATH: usize = 64;

/// A name is cut here: 20 levels of names and a value have to fit one term.
const MAX_NAME: usize = 512;

/// Jackson, the engines' JSON reader, refuses numbers of over 1,000 characters.
const MAX_NUMBER: usize = 400;

/// Names up to this count are compared one by one; more than these go into a set.
const FEW_NAMES: usize = 48;

/// A member of the object that was copied last: where its name and its value are in the output.
#[derive(Clone, Debug)]
pub(crate) struct Member {
    pub(crate) name: Range<usize>,
    pub(crate) value: Range<usize>,
}

/// Copies values; keeps its buffers from one value to the next.
#[derive(Debug, Default)]
pub(crate) struct Copier {
    /// The members of all objects that are open, innermost last.
    open: Vec<Member>,
    pub(crate) changes: Changes,
}

impl Copier {
    /// Copies the value that `json` is at behind what `out` holds. `level` is the nesting level that
    /// a container here has: those beyond [`MAX_DEPTH`] are written as strings of JSON. Gives false,
    /// and leaves `out` as it was, where the value holds nothing.
    pub(crate) fn copy(
        &mut self,
        json: &mut Jiter<'_>,
        peek: Peek,
        out: &mut Vec<u8>,
        level: u8,
    ) -> Result<bool, JiterError> {
        self.copy_at(json, peek, out, level, ROOT_PATH)
    }

    /// Copies an object like [`Self::copy`] and gives its members, which are those of `out`.
    pub(crate) fn copy_object(
        &mut self,
        json: &mut Jiter<'_>,
        out: &mut Vec<u8>,
        level: u8,
    ) -> Result<Vec<Member>, JiterError> {
        let mut members = Vec::new();
        self.object(json, out, level, ROOT_PATH, Names::Keys, Some(&mut members))?;
        Ok(members)
    }

    /// Copies an object whose members are mapped each by its name. Containers in it become text.
    pub(crate) fn copy_record(
        &mut self,
        json: &mut Jiter<'_>,
        out: &mut Vec<u8>,
    ) -> Result<bool, JiterError> {
        self.object(json, out, MAX_DEPTH, ROOT_PATH, Names::Paths, None)
    }

    fn copy_at(
        &mut self,
        json: &mut Jiter<'_>,
        peek: Peek,
        out: &mut Vec<u8>,
        level: u8,
        path: usize,
    ) -> Result<bool, JiterError> {
        match peek {
            Peek::Object if level <= MAX_DEPTH => {
                self.object(json, out, level, path, Names::Keys, None)
            }
            Peek::Array if level <= MAX_DEPTH => self.array(json, out, level, path),
            Peek::Object | Peek::Array => {
                let text = skip(json, peek)?;
                Ok(self.container_as_text(text, out, path))
            }
            Peek::String => {
                let start = json.current_index();
                json.known_skip(peek)?;
                let token = json.slice_to_current(start);
                if token.len() <= 2 {
                    return Ok(false);
                }
                if token.len() - 2 + path <= MAX_TERM {
                    out.extend_from_slice(token);
                } else {
                    let text = decode(token);
                    let cut = cut(&text, MAX_TERM.saturating_sub(path));
                    if cut.len() < text.len() {
                        self.changes.note(Change::StringCut);
                    }
                    write_str(out, cut);
                }
                Ok(true)
            }
            Peek::Null => {
                json.known_null()?;
                Ok(false)
            }
            Peek::True | Peek::False => {
                let value = json.known_bool(peek)?;
                out.extend_from_slice(if value { b"true" } else { b"false" });
                Ok(true)
            }
            _ => {
                let number = json.known_number_bytes(peek)?;
                if number.len() <= MAX_NUMBER {
                    out.extend_from_slice(number);
                } else {
                    self.changes.note(Change::NumberAsText);
                    let number = String::from_utf8_lossy(number);
                    write_str(out, cut(&number, MAX_TERM.saturating_sub(path)));
                }
                Ok(true)
            }
        }
    }

    fn array(
        &mut self,
        json: &mut Jiter<'_>,
        out: &mut Vec<u8>,
        level: u8,
        path: usize,
    ) -> Result<bool, JiterError> {
        let start = out.len();
        out.push(b'[');
        let mut next = json.known_array()?;
        while let Some(peek) = next {
            let before = out.len();
            if before > start + 1 {
                out.push(b',');
            }
            if !self.copy_at(json, peek, out, level + 1, path)? {
                out.truncate(before);
            }
            next = json.array_step()?;
        }
        Ok(close(out, start, b']'))
    }

    fn object(
        &mut self,
        json: &mut Jiter<'_>,
        out: &mut Vec<u8>,
        level: u8,
        path: usize,
        names: Names,
        members: Option<&mut Vec<Member>>,
    ) -> Result<bool, JiterError> {
        let start = out.len();
        let first_member = self.open.len();
        let mut many: Option<HashSet<Vec<u8>>> = None;
        out.push(b'{');
        let mut next = json.next_object_bytes()?.map(|name| write_name(out, name, names));
        while let Some(written) = next {
            let Written { before, name, change } = written;
            if let Some(change) = change {
                self.changes.note(change);
            }
            let peek = json.peek()?;
            if self.is_taken(out, first_member, &name, &mut many) {
                self.changes.note(Change::DuplicateName);
                json.known_skip(peek)?;
                out.truncate(before);
            } else {
                let value = out.len();
                if self.copy_at(json, peek, out, level + 1, path + name.len() + 1)? {
                    self.open.push(Member { name, value: value..out.len() });
                } else {
                    out.truncate(before);
                }
            }
            next = json.next_key_bytes()?.map(|name| write_name(out, name, names));
        }
        if let Some(members) = members {
            members.extend(self.open.drain(first_member..));
        } else {
            self.open.truncate(first_member);
        }
        Ok(close(out, start, b'}'))
    }

    /// Whether the object that is being written has a member of this name already.
    fn is_taken(
        &self,
        out: &[u8],
        first_member: usize,
        name: &Range<usize>,
        many: &mut Option<HashSet<Vec<u8>>>,
    ) -> bool {
        let text = |range: &Range<usize>| out.get(range.clone()).unwrap_or_default();
        let siblings = self.open.get(first_member..).unwrap_or_default();
        if siblings.len() < FEW_NAMES {
            return siblings.iter().any(|member| text(&member.name) == text(name));
        }
        let set =
            many.get_or_insert_with(|| siblings.iter().map(|m| text(&m.name).to_owned()).collect());
        !set.insert(text(name).to_owned())
    }

    /// Writes the text of an object or array as a string; what holds nothing is left out.
    fn container_as_text(&mut self, text: &[u8], out: &mut Vec<u8>, path: usize) -> bool {
        let text = String::from_utf8_lossy(text);
        let inner = text.get(1..text.len().saturating_sub(1)).unwrap_or_default();
        if inner.trim().is_empty() {
            return false;
        }
        self.changes.note(Change::ContainerAsText);
        write_str(out, cut(&text, MAX_TERM.saturating_sub(path)));
        true
    }
}

/// Ends a container, or takes it back where it holds nothing.
fn close(out: &mut Vec<u8>, start: usize, bracket: u8) -> bool {
    if out.len() == start + 1 {
        out.truncate(start);
        return false;
    }
    out.push(bracket);
    true
}

/// What the names in an object are to an engine.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Names {
    /// Keys of a flat object, or of one that is not indexed: any text.
    Keys,
    /// Parts of a field's name, in which dots separate levels.
    Paths,
}

struct Written {
    /// The output's length before the name and its comma.
    before: usize,
    /// The name in the output, without its quotes.
    name: Range<usize>,
    change: Option<Change>,
}

/// Writes a member's name, given as it stands between its quotes.
fn write_name(out: &mut Vec<u8>, raw: &[u8], names: Names) -> Written {
    let before = out.len();
    if out.last() != Some(&b'{') {
        out.push(b',');
    }
    let start = out.len() + 1;
    let mut change = None;
    if names == Names::Keys && raw.len() <= MAX_NAME && memchr(b'\\', raw).is_none() {
        out.push(b'"');
        out.extend_from_slice(raw);
        out.push(b'"');
    } else {
        let decoded = decode_name(raw);
        let name = match names {
            Names::Keys => cut(&decoded, MAX_NAME).replace('\0', "\u{fffd}"),
            Names::Paths => safe_name(&decoded),
        };
        if name != decoded {
            change = Some(Change::NameAdjusted);
        }
        write_str(out, &name);
    }
    let name = start..out.len() - 1;
    out.push(b':');
    Written { before, name, change }
}

/// Steps over a value and gives its text.
pub(crate) fn skip<'j>(json: &mut Jiter<'j>, peek: Peek) -> Result<&'j [u8], JiterError> {
    let start = json.current_index();
    json.known_skip(peek)?;
    Ok(json.slice_to_current(start))
}

/// Writes `text` as a JSON string.
pub(crate) fn write_str(out: &mut Vec<u8>, text: &str) {
    // Writing to a Vec cannot fail.
    if serde_json::to_writer(&mut *out, text).is_err() {
        out.extend_from_slice(b"\"\"");
    }
}

/// Writes a name or value of our own as a JSON string; it holds nothing that JSON escapes.
pub(crate) fn write_plain(out: &mut Vec<u8>, text: &str) {
    debug_assert!(text.bytes().all(|b| b >= b' ' && b != b'"' && b != b'\\'), "{text}");
    out.push(b'"');
    out.extend_from_slice(text.as_bytes());
    out.push(b'"');
}

/// Writes a scalar token as a JSON string: a string as it stands, anything else as its text.
pub(crate) fn write_text(out: &mut Vec<u8>, token: &[u8]) {
    if token.first() == Some(&b'"') {
        out.extend_from_slice(token);
    } else {
        write_str(out, &decode(token));
    }
}

/// The text of a JSON string token; of any other token, the token itself.
pub(crate) fn decode(token: &[u8]) -> Cow<'_, str> {
    match token {
        [b'"', inner @ .., b'"'] if memchr(b'\\', inner).is_none() => text(inner),
        [b'"', ..] => match serde_json::from_slice(token) {
            Ok(text) => Cow::Owned(text),
            Err(_) => String::from_utf8_lossy(token),
        },
        _ => text(token),
    }
}

/// A name as it stands between its quotes → its text.
pub(crate) fn decode_name(raw: &[u8]) -> Cow<'_, str> {
    if memchr(b'\\', raw).is_none() {
        return text(raw);
    }
    Cow::Owned(decode(&[b"\"", raw, b"\""].concat()).into_owned())
}

/// Makes a name one that an engine cannot read as a path, and that is no blank.
pub(crate) fn safe_name(name: &str) -> String {
    if name.trim().is_empty() {
        return "_".to_owned();
    }
    let safe = |c: char| if c == '.' || c.is_control() { '_' } else { c };
    name.chars().map(safe).take(256).collect()
}

/// Bytes of a text that was checked before; lossy rather than wrong where it was not.
fn text(bytes: &[u8]) -> Cow<'_, str> {
    match std::str::from_utf8(bytes) {
        Ok(text) => Cow::Borrowed(text),
        Err(_) => String::from_utf8_lossy(bytes),
    }
}

/// The longest prefix of at most `limit` bytes that ends between two characters.
fn cut(text: &str, limit: usize) -> &str {
    text.get(..text.floor_char_boundary(limit)).unwrap_or(text)
}

/// Where in the text of an object the value of a member is. Its names are taken as they stand.
pub(crate) fn find_member(object: &[u8], name: &str) -> Option<Range<usize>> {
    let mut json = Jiter::new(object);
    let mut found = json.next_object_bytes().ok()?.map(|key| key == name.as_bytes());
    while let Some(is_it) = found {
        let peek = json.peek().ok()?;
        let start = json.current_index();
        json.known_skip(peek).ok()?;
        if is_it {
            return Some(start..json.current_index());
        }
        found = json.next_key_bytes().ok()?.map(|key| key == name.as_bytes());
    }
    None
}

/// The text of a member's value.
pub(crate) fn member<'j>(object: &'j [u8], name: &str) -> Option<&'j [u8]> {
    object.get(find_member(object, name)?)
}

/// Nesting beyond which [`repair`] writes a value as a string; what is left fits any parser.
const REPAIR_DEPTH: usize = 100;

/// Makes JSON of what is nearly JSON, in one pass that keeps no stack: bytes that are no UTF-8 and
/// lone surrogates become U+FFFD, control characters in strings are escaped, and values nested too
/// deep for any parser become strings. What is wrong otherwise stays so.
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

/// Copies the string that `text` begins with, put right, and gives what follows it.
fn repair_string<'t>(text: &'t str, out: &mut String) -> &'t str {
    out.push('"');
    let mut rest = text.get(1..).unwrap_or_default();
    loop {
        let Some(next) = rest.chars().next() else { return rest };
        let mut taken = next.len_utf8();
        match next {
            '"' => {
                out.push('"');
                return rest.get(1..).unwrap_or_default();
            }
            '\\' => match unicode_escape(rest) {
                Some(0xD800..=0xDBFF) => {
                    let low = rest.get(6..).and_then(unicode_escape);
                    if matches!(low, Some(0xDC00..=0xDFFF)) {
                        taken = 12;
                        out.push_str(rest.get(..taken).unwrap_or_default());
                    } else {
                        taken = 6;
                        out.push('\u{fffd}');
                    }
                }
                Some(0xDC00..=0xDFFF) => {
                    taken = 6;
                    out.push('\u{fffd}');
                }
                _ => {
                    // The escaped character goes along, so that an escaped quote ends nothing.
                    taken += rest.chars().nth(1).map_or(0, char::len_utf8);
                    out.push_str(rest.get(..taken).unwrap_or_default());
                }
            },
            control if control < ' ' => {
                out.push_str(&format!("\\u{:04x}", u32::from(control)));
            }
            other => out.push(other),
        }
        rest = rest.get(taken..).unwrap_or_default();
    }
}

/// The code unit of the `\uXXXX` that `text` begins with.
fn unicode_escape(text: &str) -> Option<u16> {
    let digits = text.strip_prefix("\\u")?.get(..4)?;
    u16::from_str_radix(digits, 16).ok()
}

/// The index behind the container that `text` begins with, or the text's end.
fn container_end(text: &str) -> usize {
    let mut depth = 0_usize;
    let mut in_string = false;
    let mut escaped = false;
    for (index, byte) in text.bytes().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            b'{' | b'[' if !in_string => depth += 1,
            b'}' | b']' if !in_string => {
                depth -= 1;
                if depth == 0 {
                    return index + 1;
                }
            }
            _ => {}
        }
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn copied(text: &str) -> (String, Changes) {
        let mut copier = Copier::default();
        let mut json = Jiter::new(text.as_bytes());
        let peek = json.peek().unwrap();
        let mut out = Vec::new();
        copier.copy(&mut json, peek, &mut out, 1).unwrap();
        json.finish().unwrap();
        (String::from_utf8(out).unwrap(), copier.changes)
    }

    #[test]
    fn what_holds_nothing_is_left_out_at_every_level() {
        let text = r#"{"a":null,"b":"","c":{},"d":[],"e":[null,{"f":[[]]},""],"g":{"h":{"i":null}},
                       "j":[0,null,false],"k":{"l":null,"m":" "}}"#;
        let (out, changes) = copied(text);
        assert_eq!(out, r#"{"j":[0,false],"k":{"m":" "}}"#);
        assert!(changes.is_empty());
        assert_eq!(copied("{\"a\":[[],{}]}").0, "");
    }

    #[test]
    fn numbers_and_strings_keep_their_text() {
        let text = r#"{"n":[1.6359e12,-0,1e400,123456789012345678901234567890],"s":"\u00e9\/\n"}"#;
        assert_eq!(copied(text).0, text);
    }

    #[test]
    fn nesting_stops_at_twenty_levels() {
        let nested = |levels: usize| format!("{}1{}", "{\"a\":".repeat(levels), "}".repeat(levels));
        let (out, changes) = copied(&nested(20));
        assert_eq!(out, nested(20));
        assert!(changes.is_empty());
        let (out, changes) = copied(&nested(22));
        let expected = nested(20).replace("1", "\"{\\\"a\\\":{\\\"a\\\":1}}\"");
        assert_eq!(out, expected);
        assert!(changes.has(Change::ContainerAsText));
    }

    #[test]
    fn ten_thousand_levels_are_repaired_without_a_stack() {
        let text = format!("{}1{}", "[".repeat(10_000), "]".repeat(10_000));
        let (out, _) = copied(&repair(text.as_bytes()));
        assert!(serde_json::from_str::<serde_json::Value>(&out).is_ok());
    }

    #[test]
    fn a_string_is_cut_between_characters_so_that_path_and_value_fit_a_term() {
        let (out, changes) = copied(&format!("{{\"name\":\"{}\"}}", "é".repeat(20_000)));
        let value: serde_json::Value = serde_json::from_str(&out).unwrap();
        let kept = value["name"].as_str().unwrap();
        assert!(kept.len() + "auth0.logs.data.details.name=".len() < 32_738);
        assert!(kept.len() > 32_000 && kept.chars().all(|c| c == 'é'));
        assert!(changes.has(Change::StringCut));
    }

    #[test]
    fn the_first_of_two_members_with_one_name_stays() {
        let (out, changes) = copied(r#"{"a":1,"b":2,"a":3,"\u0061":4}"#);
        assert_eq!(out, r#"{"a":1,"b":2}"#);
        assert!(changes.has(Change::DuplicateName));
        let many: Vec<_> = (0..2_000).map(|i| format!("\"k{}\":{i}", i % 1_500)).collect();
        let (out, _) = copied(&format!("{{{}}}", many.join(",")));
        let value: serde_json::Value = serde_json::from_str(&out).unwrap();
        assert_eq!(value.as_object().unwrap().len(), 1_500);
        assert_eq!(value["k7"], 7);
        assert_eq!(out.matches("\"k7\":").count(), 1);
    }

    #[test]
    fn a_nul_in_a_name_is_replaced() {
        let (out, changes) = copied(r#"{"a\u0000b":1}"#);
        assert_eq!(out, "{\"a\u{fffd}b\":1}");
        assert!(changes.has(Change::NameAdjusted));
    }

    #[test]
    fn repair_gives_json_of_broken_unicode() {
        let raw = b"{\"a\":\"\xff\",\"b\":\"\\ud800\",\"c\":\"\\ude00x\",\"d\":\"\\ud83d\\ude00\",\"e\\\"\":\"\t\"}";
        let value: serde_json::Value = serde_json::from_str(&repair(raw)).unwrap();
        let expected = serde_json::json!({"a": "\u{fffd}", "b": "\u{fffd}", "c": "\u{fffd}x",
            "d": "\u{1f600}", "e\"": "\t"});
        assert_eq!(value, expected);
    }

    #[test]
    fn members_are_found_by_name() {
        let object = br#"{"a":{"b":1},"b":[2],"c":"x"}"#;
        assert_eq!(member(object, "b"), Some(&b"[2]"[..]));
        assert_eq!(member(object, "d"), None);
        assert_eq!(member(b"\"text\"", "d"), None);
    }
}
