//! JSON, written member by member.
//!
//! There is one rule for commas: every member and every element ends in one, and the closing bracket
//! replaces the last. An object or list that stays empty disappears together with its name, so nobody
//! has to know in advance whether there will be anything to write.

use std::borrow::Cow;
use std::io::Write as _;
use std::ops::Range;

use chrono::{DateTime, Datelike as _, Timelike as _, Utc};

use super::lex::{is_escaped, plain_in, plain_len};
use super::read::decode;

/// A member's name with its quotes and colon, which is how it is written. See [`key!`](crate::key).
#[derive(Clone, Copy, Debug)]
pub struct Key<'k>(pub &'k str);

impl<'k> Key<'k> {
    /// The name alone.
    #[must_use]
    pub fn name(self) -> &'k str {
        self.0.trim_end_matches(':').trim_matches('"')
    }
}

/// The [`Key`] of a literal name, made at compile time.
#[macro_export]
macro_rules! key {
    ($name:literal) => {
        $crate::write::Key(concat!("\"", $name, "\":"))
    };
}

/// What can stand as the value of a member or as an element.
pub trait Value {
    /// Appends the JSON text of the value.
    fn write_to(self, out: &mut Vec<u8>);
}

/// Text of our own, known to hold nothing that JSON escapes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Literal<'a>(pub(crate) &'a str);

/// A JSON value as received, written as text: a string as it is, anything else as the text of its JSON.
#[derive(Clone, Copy, Debug)]
pub(crate) struct AsText<'a>(pub(crate) &'a str);

/// A JSON value as received or written before.
#[derive(Clone, Copy, Debug)]
pub struct AsWritten<'a>(pub &'a str);

/// Text of an event, which is often known to need no escapes because it was received without any.
#[derive(Clone, Debug)]
pub(crate) enum Text<'a> {
    /// Holds nothing that JSON escapes.
    Plain(&'a str),
    Any(String),
}

impl<'a> Text<'a> {
    /// The text of a string; any other value as the text of its JSON.
    #[inline]
    pub(crate) fn of(token: &'a str) -> Self {
        match decode(token) {
            Cow::Borrowed(text) if token.starts_with('"') => Self::Plain(text),
            text => Self::Any(text.into_owned()),
        }
    }

    pub(crate) fn as_str(&self) -> &str {
        match self {
            Self::Plain(text) => text,
            Self::Any(text) => text,
        }
    }

    /// A part of it, empty if there is no such part.
    pub(crate) fn part(&self, range: Range<usize>) -> Text<'_> {
        match self {
            Self::Plain(text) => Text::Plain(text.get(range).unwrap_or_default()),
            Self::Any(text) => Text::Any(text.get(range).unwrap_or_default().to_owned()),
        }
    }

    pub(crate) fn into_owned(self) -> Text<'static> {
        Text::Any(match self {
            Self::Plain(text) => text.to_owned(),
            Self::Any(text) => text,
        })
    }
}

impl Value for &Text<'_> {
    #[inline]
    fn write_to(self, out: &mut Vec<u8>) {
        match self {
            Text::Plain(text) => Literal(text).write_to(out),
            Text::Any(text) => write_str(out, text),
        }
    }
}

impl Value for &str {
    fn write_to(self, out: &mut Vec<u8>) {
        write_str(out, self);
    }
}

impl Value for Literal<'_> {
    #[inline(always)]
    fn write_to(self, out: &mut Vec<u8>) {
        debug_assert!(plain_len(self.0.as_bytes()) == self.0.len(), "{}", self.0);
        write_quoted(out, self.0);
    }
}

impl Value for AsText<'_> {
    #[inline(always)]
    fn write_to(self, out: &mut Vec<u8>) {
        if self.0.starts_with('"') {
            out.extend_from_slice(self.0.as_bytes());
        } else {
            write_str(out, self.0);
        }
    }
}

impl Value for AsWritten<'_> {
    fn write_to(self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.0.as_bytes());
    }
}

impl Value for i64 {
    /// By `serde_json`, whose digits cost a quarter of a format string's.
    #[expect(clippy::expect_used, reason = "writing to a Vec cannot fail")]
    fn write_to(self, out: &mut Vec<u8>) {
        serde_json::to_writer(out, &self).expect("a Vec takes all bytes");
    }
}

impl Value for f64 {
    #[expect(clippy::expect_used, reason = "writing to a Vec cannot fail")]
    fn write_to(self, out: &mut Vec<u8>) {
        debug_assert!(self.is_finite(), "JSON has no such number");
        write!(out, "{self}").expect("a Vec takes all bytes");
    }
}

/// The digits of the numbers below 100.
#[expect(clippy::indexing_slicing, clippy::cast_possible_truncation, reason = "at compile time")]
static PAIRS: [[u8; 2]; 100] = {
    let mut pairs = [[0; 2]; 100];
    let mut number = 0;
    while number < pairs.len() {
        pairs[number] = [b'0' + (number / 10) as u8, b'0' + (number % 10) as u8];
        number += 1;
    }
    pairs
};

impl Value for DateTime<Utc> {
    /// UTC with milliseconds and a year of four digits, which the caller ensures. Digit by digit, because
    /// a format string costs more than the rest of a small document.
    fn write_to(self, out: &mut Vec<u8>) {
        let date = self.naive_utc();
        let two = |number: u32| PAIRS.get(number as usize).copied().unwrap_or_default();
        let year = date.year().unsigned_abs();
        let ([a, b], [c, d]) = (two(year / 100), two(year % 100));
        let ([e, f], [g, h]) = (two(date.month()), two(date.day()));
        let seconds = date.num_seconds_from_midnight();
        let ([i, j], [k, l]) = (two(seconds / 3_600), two(seconds / 60 % 60));
        let milliseconds = date.nanosecond() / 1_000_000;
        let ([m, n], [_, o]) = (two(seconds % 60), two(milliseconds / 100));
        let [p, q] = two(milliseconds % 100);
        #[rustfmt::skip]
        let text = [
            b'"', a, b, c, d, b'-', e, f, b'-', g, h,
            b'T', i, j, b':', k, l, b':', m, n, b'.', o, p, q, b'Z', b'"',
        ];
        out.extend_from_slice(&text);
    }
}

/// An object that is being written.
#[derive(Debug)]
pub struct Object<'o> {
    out: &'o mut Vec<u8>,
}

impl<'o> Object<'o> {
    /// Appends an object to `out`.
    pub fn write<R>(out: &'o mut Vec<u8>, members: impl FnOnce(&mut Object<'_>) -> R) -> R {
        out.push(b'{');
        let result = members(&mut Object { out: &mut *out });
        close(out, b'}');
        result
    }

    /// Appends members without their object, each with its comma: for [`Self::rendered`].
    pub(crate) fn render(members: impl FnOnce(&mut Object<'_>)) -> String {
        let mut out = Vec::new();
        members(&mut Object { out: &mut out });
        #[expect(clippy::expect_used, reason = "only text is written here")]
        String::from_utf8(out).expect("JSON text is UTF-8")
    }

    /// Writes a member.
    #[inline(always)]
    pub fn put(&mut self, key: Key<'_>, value: impl Value) {
        self.out.extend_from_slice(key.0.as_bytes());
        value.write_to(self.out);
        self.out.push(b',');
    }

    /// Writes a member if there is a value.
    #[inline(always)]
    pub fn maybe(&mut self, key: Key<'_>, value: Option<impl Value>) {
        if let Some(value) = value {
            self.put(key, value);
        }
    }

    /// Writes an object, unless it stays empty.
    #[inline(always)]
    pub fn object<R>(&mut self, key: Key<'_>, members: impl FnOnce(&mut Object<'_>) -> R) -> R {
        let before = self.open(key, b'{');
        let result = members(&mut Object { out: &mut *self.out });
        close_or_undo(self.out, before, b'}');
        result
    }

    /// Writes a list, unless it stays empty.
    #[inline(always)]
    pub fn list<R>(&mut self, key: Key<'_>, elements: impl FnOnce(&mut List<'_>) -> R) -> R {
        let before = self.open(key, b'[');
        let result = elements(&mut List { out: &mut *self.out });
        close_or_undo(self.out, before, b']');
        result
    }

    /// Writes the value again that is at `place` in the output.
    #[inline(always)]
    pub(crate) fn put_again(&mut self, key: Key<'_>, place: Range<usize>) {
        self.out.extend_from_slice(key.0.as_bytes());
        self.out.extend_from_within(place);
        self.out.push(b',');
    }

    /// Writes members that [`Self::render`] made.
    #[inline(always)]
    pub(crate) fn rendered(&mut self, members: &str) {
        self.out.extend_from_slice(members.as_bytes());
    }

    /// The output, for the copier: it appends members, each with its comma.
    pub(crate) const fn out(&mut self) -> &mut Vec<u8> {
        self.out
    }

    /// All that is written so far, to look something up in it.
    pub(crate) const fn written(&self) -> &[u8] {
        self.out.as_slice()
    }

    #[inline(always)]
    fn open(&mut self, key: Key<'_>, bracket: u8) -> usize {
        let before = self.out.len();
        self.out.extend_from_slice(key.0.as_bytes());
        self.out.push(bracket);
        before
    }
}

/// A list that is being written.
#[derive(Debug)]
pub struct List<'o> {
    out: &'o mut Vec<u8>,
}

impl List<'_> {
    /// Writes an element.
    #[inline(always)]
    pub(crate) fn push(&mut self, value: impl Value) {
        value.write_to(self.out);
        self.out.push(b',');
    }

    /// Writes an object, unless it stays empty.
    pub fn object<R>(&mut self, members: impl FnOnce(&mut Object<'_>) -> R) -> R {
        let before = self.out.len();
        self.out.push(b'{');
        let result = members(&mut Object { out: &mut *self.out });
        close_or_undo(self.out, before, b'}');
        result
    }

    /// Writes elements that [`Self::render`] made.
    pub(crate) fn rendered(&mut self, elements: &str) {
        self.out.extend_from_slice(elements.as_bytes());
    }

    /// Elements without their list, each with its comma: for [`Self::rendered`].
    pub(crate) fn render<'t>(texts: impl Iterator<Item = &'t str>) -> String {
        texts.map(|text| serde_json::Value::from(text).to_string() + ",").collect()
    }
}

/// Replaces the last comma, if there is one, by the closing bracket.
#[inline(always)]
fn close(out: &mut Vec<u8>, bracket: u8) {
    match out.last_mut() {
        Some(last) if *last == b',' => *last = bracket,
        _ => out.push(bracket),
    }
}

/// Closes what was opened at `before`, followed by a comma, or removes it if it is empty.
#[inline(always)]
fn close_or_undo(out: &mut Vec<u8>, before: usize, bracket: u8) {
    if out.last() == Some(&b',') {
        close(out, bracket);
        out.push(b',');
    } else {
        out.truncate(before);
    }
}

/// Writes `text` as a JSON string.
pub(crate) fn write_str(out: &mut Vec<u8>, text: &str) {
    let plain = plain_len(text.as_bytes());
    if plain == text.len() {
        write_quoted(out, text);
    } else {
        write_escaped(out, text.as_bytes(), plain);
    }
}

/// Writes a text as a JSON string, of which this many bytes need no escape.
#[inline(never)]
fn write_escaped(out: &mut Vec<u8>, bytes: &[u8], plain: usize) {
    out.reserve(bytes.len() + bytes.len() / 4 + 2);
    out.push(b'"');
    out.extend_from_slice(bytes.get(..plain).unwrap_or_default());
    let mut at = plain;
    while let Some(chunk) = bytes.get(at..).and_then(<[u8]>::first_chunk) {
        // All eight bytes are copied, and those after the first escaped one are overwritten later: a copy
        // of fixed length is cheapest, and an event as a string has a quote every six bytes.
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

/// Writes the text between the quotes of a JSON string, with the quotes.
#[inline]
pub(super) fn write_quoted(out: &mut Vec<u8>, raw: &str) {
    out.reserve(raw.len() + 2);
    out.push(b'"');
    out.extend_from_slice(raw.as_bytes());
    out.push(b'"');
}

#[cfg(test)]
mod tests {
    use support::draw::{seeds, text};

    use super::*;

    fn written(members: impl FnOnce(&mut Object<'_>)) -> String {
        let mut out = Vec::new();
        Object::write(&mut out, members);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn object_writes_members_with_commas_between_them() {
        let date = DateTime::from_timestamp_millis(1_635_908_765_696).unwrap();
        let text = written(|doc| {
            doc.put(key!("text"), "a\"b");
            doc.put(key!("literal"), Literal("c"));
            doc.put(key!("token"), AsText("\"\\u00e9\""));
            doc.put(key!("number as text"), AsText("1e400"));
            doc.put(key!("number"), -7_i64);
            doc.put(key!("date"), date);
            doc.maybe(key!("absent"), None::<i64>);
            doc.list(key!("list"), |list| {
                list.push("x");
                list.push(1.5);
            });
            doc.rendered(&Object::render(|inner| inner.put(key!("rendered"), 1_i64)));
        });
        assert_eq!(
            text,
            r#"{"text":"a\"b","literal":"c","token":"\u00e9","number as text":"1e400","number":-7,"date":"2021-11-03T03:06:05.696Z","list":["x",1.5],"rendered":1}"#
        );
    }

    #[test]
    fn text_of_a_token_is_written_as_it_was_meant() {
        for (token, text) in [
            (r#""a b""#, "a b"),
            (r#""a\u00e9\"""#, "aé\""),
            ("7", "7"),
            (r#"{"a":1}"#, r#"{"a":1}"#),
        ] {
            let found = Text::of(token);
            assert_eq!(found.as_str(), text);
            for text in [&found, &found.clone().into_owned()] {
                let mut out = Vec::new();
                text.write_to(&mut out);
                assert_eq!(serde_json::from_slice::<String>(&out).unwrap(), text.as_str());
            }
            assert_eq!(Some(found.part(0..1).as_str()), text.get(..1));
        }
    }

    #[test]
    fn empty_object_disappears_with_its_name() {
        let text = written(|doc| {
            doc.object(key!("a"), |a| {
                a.object(key!("b"), |b| b.list(key!("c"), |_| {}));
            });
            doc.object(key!("d"), |d| d.put(key!("e"), ""));
        });
        assert_eq!(text, r#"{"d":{"e":""}}"#);
        assert_eq!(written(|_| {}), "{}");
    }

    #[test]
    fn value_ending_in_a_comma_is_not_taken_for_the_members_end() {
        let text = written(|doc| doc.object(key!("a"), |a| a.put(key!("b"), ",")));
        assert_eq!(text, r#"{"a":{"b":","}}"#);
    }

    #[test]
    fn any_text_is_written_as_a_json_string() {
        let all: String = (0..0x180).filter_map(char::from_u32).collect();
        let quotes = "\"#\"\"\\]!\u{1f}\u{0}\u{1}\n ".repeat(9);
        for text in ["", "plain text", "\"", "a\\b\"c", "{\"a\":\"\\n\"}\n", &all, &quotes] {
            for start in text.char_indices().map(|(start, _)| start) {
                let (_, text) = text.split_at(start);
                let mut out = b"x".to_vec();
                write_str(&mut out, text);
                assert_eq!(serde_json::from_slice::<String>(&out[1..]).unwrap(), text);
            }
        }
    }

    #[test]
    fn text_of_bytes_to_escape_is_written_as_a_json_string() {
        let controls: Vec<String> = ('\0'..='\x22').map(String::from).collect();
        let plain = ["a", "b", "\"", "#", "\\", "]", "\u{7f}", "é"];
        let parts: Vec<&str> = plain.into_iter().chain(controls.iter().map(|it| &**it)).collect();
        seeds(256, |rng| {
            let text = text(rng, &parts, 40);
            let mut out = Vec::new();
            write_str(&mut out, &text);
            assert_eq!(serde_json::from_slice::<String>(&out).unwrap(), text);
        });
    }
}
