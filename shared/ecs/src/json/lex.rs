//! JSON text, token by token, without a copy and without a tree: where each name and value is.
//!
//! The grammar is RFC 8259's, with strings that a JSON writer could have written: no lone surrogates
//! in escapes. What a general parser would decode is left as it stands, since most of it goes to the
//! output that way.

/// Nesting beyond which a text is refused; `crate::repair` makes strings of what lies deeper.
const MAX_NESTING: usize = 200;

/// Why a text is not JSON; where, is where the scanner stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Syntax {
    #[error("no value")]
    NoValue,
    #[error("no name")]
    NoName,
    #[error("no colon")]
    NoColon,
    #[error("neither a comma nor an end")]
    NoEnd,
    #[error("text behind the value")]
    TextBehind,
    #[error("a string without an end")]
    OpenString,
    #[error("a control character in a string")]
    ControlCharacter,
    #[error("no escape sequence")]
    BadEscape,
    #[error("a lone surrogate")]
    LoneSurrogate,
    #[error("no digit")]
    NoDigit,
    #[error("nested too deep")]
    TooDeep,
}

/// What a value is, by its first byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Object,
    Array,
    String,
    Number,
    Boolean,
    Null,
}

/// A member's name.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Name<'a> {
    /// The text between its quotes, as it stands.
    pub(crate) raw: &'a str,
    /// Whether there is a backslash in it.
    pub(crate) escaped: bool,
    /// Where its opening quote is.
    pub(crate) start: usize,
}

impl Name<'_> {
    /// Where its value begins if nothing but the colon is in between.
    pub(crate) const fn end(&self) -> usize {
        self.start + self.raw.len() + "\"\":".len()
    }
}

/// A text and how far it has been read.
#[derive(Clone, Debug)]
pub(crate) struct Scanner<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Scanner<'a> {
    pub(crate) const fn new(text: &'a str) -> Self {
        Self { text, at: 0 }
    }

    /// How many bytes have been read.
    pub(crate) const fn at(&self) -> usize {
        self.at
    }

    /// The text between two places where a token begins or ends.
    pub(crate) fn slice(&self, start: usize, end: usize) -> &'a str {
        self.text.get(start..end).unwrap_or_default()
    }

    /// What the value is that begins here, behind white space.
    pub(crate) fn peek(&mut self) -> Result<Kind, Syntax> {
        match self.next_byte() {
            Some(b'"') => Ok(Kind::String),
            Some(b'{') => Ok(Kind::Object),
            Some(b'[') => Ok(Kind::Array),
            Some(b'-' | b'0'..=b'9') => Ok(Kind::Number),
            Some(b't' | b'f') => Ok(Kind::Boolean),
            Some(b'n') => Ok(Kind::Null),
            _ => Err(Syntax::NoValue),
        }
    }

    /// Steps over the value of this kind that begins here.
    #[inline(always)]
    pub(crate) fn skip(&mut self, kind: Kind) -> Result<(), Syntax> {
        match kind {
            Kind::String => self.string().map(|_| ()),
            _ => self.skip_nested(kind, 0),
        }
    }

    /// Steps over a value and gives its text.
    pub(crate) fn token(&mut self, kind: Kind) -> Result<&'a str, Syntax> {
        let start = self.at;
        self.skip(kind)?;
        Ok(self.slice(start, self.at))
    }

    fn skip_nested(&mut self, kind: Kind, depth: usize) -> Result<(), Syntax> {
        match kind {
            Kind::String => self.string().map(|_| ()),
            Kind::Number => self.number(),
            Kind::Boolean | Kind::Null => self.literal(),
            Kind::Object | Kind::Array if depth == MAX_NESTING => Err(Syntax::TooDeep),
            Kind::Object => {
                let mut is_first = true;
                while self.next_name(is_first)?.is_some() {
                    let kind = self.peek()?;
                    self.skip_nested(kind, depth + 1)?;
                    is_first = false;
                }
                Ok(())
            }
            Kind::Array => {
                let mut is_first = true;
                while self.next_element(is_first)? {
                    let kind = self.peek()?;
                    self.skip_nested(kind, depth + 1)?;
                    is_first = false;
                }
                Ok(())
            }
        }
    }

    /// The name of the next member of the object that begins here, which is its first, or whose last
    /// member's value ends here. At its end, none.
    #[inline(always)]
    pub(crate) fn next_name(&mut self, is_first: bool) -> Result<Option<Name<'a>>, Syntax> {
        if !self.next_item(is_first, b'}')? {
            return Ok(None);
        }
        if self.next_byte() != Some(b'"') {
            return Err(Syntax::NoName);
        }
        let start = self.at;
        let escaped = self.string()?;
        let raw = self.slice(start + 1, self.at - 1);
        if self.next_byte() != Some(b':') {
            return Err(Syntax::NoColon);
        }
        self.at += 1;
        Ok(Some(Name { raw, escaped, start }))
    }

    /// Whether there is one more element in the array that begins here (`is_first`), or whose last
    /// element ends here.
    #[inline]
    pub(crate) fn next_element(&mut self, is_first: bool) -> Result<bool, Syntax> {
        self.next_item(is_first, b']')
    }

    /// Whether nothing but white space is left.
    pub(crate) fn finish(&mut self) -> Result<(), Syntax> {
        match self.next_byte() {
            None => Ok(()),
            Some(_) => Err(Syntax::TextBehind),
        }
    }

    #[inline]
    fn next_item(&mut self, is_first: bool, end: u8) -> Result<bool, Syntax> {
        self.at += usize::from(is_first);
        match self.next_byte() {
            Some(byte) if byte == end => {
                self.at += 1;
                Ok(false)
            }
            _ if is_first => Ok(true),
            Some(b',') => {
                self.at += 1;
                Ok(true)
            }
            _ => Err(Syntax::NoEnd),
        }
    }

    fn byte(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    /// The next byte that is no white space.
    fn next_byte(&mut self) -> Option<u8> {
        loop {
            let byte = self.byte()?;
            if byte > b' ' || !matches!(byte, b' ' | b'\n' | b'\r' | b'\t') {
                return Some(byte);
            }
            self.at += 1;
        }
    }

    /// Steps over the string that begins here; whether there is a backslash in it.
    #[inline(always)]
    fn string(&mut self) -> Result<bool, Syntax> {
        self.at += 1;
        self.skip_plain();
        if self.byte() == Some(b'"') {
            self.at += 1;
            return Ok(false);
        }
        self.rest_of_string()
    }

    /// What is left of a string from its first backslash on.
    #[cold]
    fn rest_of_string(&mut self) -> Result<bool, Syntax> {
        loop {
            match self.byte() {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(true);
                }
                Some(b'\\') => self.escape()?,
                Some(_) => return Err(Syntax::ControlCharacter),
                None => return Err(Syntax::OpenString),
            }
            self.skip_plain();
        }
    }

    fn skip_plain(&mut self) {
        self.at += plain_len(self.text.as_bytes().get(self.at..).unwrap_or_default());
    }

    fn escape(&mut self) -> Result<(), Syntax> {
        match self.text.as_bytes().get(self.at + 1) {
            Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => {
                self.at += 2;
                Ok(())
            }
            Some(b'u') => match [self.at, self.at + 6].map(|at| code_unit(self.text.get(at..)?)) {
                [Some(0xD800..=0xDBFF), Some(0xDC00..=0xDFFF)] => {
                    self.at += 12;
                    Ok(())
                }
                [Some(0xD800..=0xDFFF), _] => Err(Syntax::LoneSurrogate),
                [Some(_), _] => {
                    self.at += 6;
                    Ok(())
                }
                [None, _] => Err(Syntax::BadEscape),
            },
            _ => Err(Syntax::BadEscape),
        }
    }

    fn number(&mut self) -> Result<(), Syntax> {
        if self.byte() == Some(b'-') {
            self.at += 1;
        }
        if self.byte() == Some(b'0') {
            self.at += 1;
        } else {
            self.digits()?;
        }
        if self.byte() == Some(b'.') {
            self.at += 1;
            self.digits()?;
        }
        if matches!(self.byte(), Some(b'e' | b'E')) {
            self.at += 1;
            if matches!(self.byte(), Some(b'+' | b'-')) {
                self.at += 1;
            }
            self.digits()?;
        }
        Ok(())
    }

    fn digits(&mut self) -> Result<(), Syntax> {
        let start = self.at;
        while matches!(self.byte(), Some(b'0'..=b'9')) {
            self.at += 1;
        }
        if self.at > start { Ok(()) } else { Err(Syntax::NoDigit) }
    }

    fn literal(&mut self) -> Result<(), Syntax> {
        let rest = self.text.as_bytes().get(self.at..).unwrap_or_default();
        let word = ["null", "true", "false"].into_iter().find(|w| rest.starts_with(w.as_bytes()));
        self.at += word.ok_or(Syntax::NoValue)?.len();
        Ok(())
    }
}

/// The code unit of the `\uXXXX` that `text` begins with.
pub(crate) fn code_unit(text: &str) -> Option<u16> {
    let digits = text.strip_prefix("\\u")?.get(..4)?;
    let is_hex = digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    is_hex.then(|| u16::from_str_radix(digits, 16).ok())?
}

/// How many bytes there are before the first that cannot stand in a JSON string as it is: a quote, a
/// backslash or a control character.
pub(crate) fn plain_len(bytes: &[u8]) -> usize {
    let mut rest = bytes;
    while let Some((chunk, behind)) = rest.split_first_chunk() {
        let plain = plain_in(*chunk);
        if plain < 8 {
            return bytes.len() - rest.len() + plain;
        }
        rest = behind;
    }
    bytes.len() - rest.len() + rest.iter().position(is_escaped).unwrap_or(rest.len())
}

/// Whether a JSON string has a byte in an escape sequence only.
pub(crate) const fn is_escaped(byte: &u8) -> bool {
    matches!(byte, b'"' | b'\\' | 0..b' ')
}

/// [`plain_len`] of eight bytes at once.
#[inline]
pub(crate) const fn plain_in(chunk: [u8; 8]) -> usize {
    const ONES: u64 = 0x0101_0101_0101_0101;
    let word = u64::from_le_bytes(chunk);
    // The high bit of a byte is set where the byte was less than what is taken from it, if it was
    // ASCII at all. A borrow can set one too many, but only behind one that is right. The quote, 0x22,
    // comes to stand behind the control characters by the change of one bit.
    let quotes_and_controls = (word ^ (ONES * 0x02)).wrapping_sub(ONES * 0x21);
    let backslashes = (word ^ (ONES * 0x5c)).wrapping_sub(ONES);
    let stops = (quotes_and_controls | backslashes) & !word & (ONES << 7);
    stops.trailing_zeros() as usize / 8
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde::de::IgnoredAny;
    use serde_json::Value;

    use super::*;

    /// Whether the scanner takes the text as one value.
    fn is_json(text: &str) -> bool {
        let mut scanner = Scanner::new(text);
        let skipped = scanner.peek().and_then(|kind| scanner.skip(kind));
        skipped.and_then(|_| scanner.finish()).is_ok()
    }

    #[test]
    fn what_is_json_is_what_serde_json_takes() {
        for text in [
            "0",
            "-0",
            "01",
            "1.",
            ".5",
            "-",
            "1e5",
            "1E+05",
            "1e",
            "1.5e-3",
            "+1",
            "0x1",
            "NaN",
            "null",
            "nul",
            "true",
            "false",
            "falsey",
            "True",
            "\"\"",
            "\"",
            "\"\\\"",
            "\"\\u00e9\"",
            "\"\\u00g9\"",
            "\"\\u+0e9\"",
            "\"\\x\"",
            "\"\\ud83d\\ude00\"",
            "\"\\ud83d\"",
            "\"\\ude00\"",
            "\"\\ud83d\\u0041\"",
            "\"\u{1f}\"",
            "\"\u{7f}é😀\"",
            "[]",
            "[1]",
            "[1,]",
            "[,1]",
            "[1 2]",
            "[1",
            "{}",
            "{\"a\":1}",
            "{\"a\":1,}",
            "{\"a\" : 1 , \"b\":[{}]}",
            "{a:1}",
            "{\"a\"}",
            "{\"a\":}",
            "{\"a\":1 \"b\":2}",
            "{]",
            "[}",
            "",
            " ",
            " 1 ",
            "1 1",
            "\u{a0}1",
            "{\"a\":\"\n\"}",
        ] {
            assert_eq!(is_json(text), serde_json::from_str::<Value>(text).is_ok(), "{text:?}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(if cfg!(debug_assertions) { 2_000 } else { 20_000 }))]

        #[test]
        fn any_text_of_json_characters_is_told_as_serde_json_tells_it(
            text in r#"[\[\]{}",:0-9eE.+\-tfnulrase \\b"\n\u{e9}]{0,24}"#,
        ) {
            prop_assert_eq!(is_json(&text), serde_json::from_str::<IgnoredAny>(&text).is_ok());
        }

        #[test]
        fn a_string_ends_at_the_first_byte_that_must_be_escaped(bytes in prop::collection::vec(any::<u8>(), 0..40)) {
            let expected = bytes.iter().position(|b| matches!(b, b'"' | b'\\' | 0..32)).unwrap_or(bytes.len());
            prop_assert_eq!(plain_len(&bytes), expected);
        }
    }

    #[test]
    fn deep_nesting_is_refused_before_the_stack_ends() {
        let nested = |levels: usize| format!("{}{}", "[".repeat(levels), "]".repeat(levels));
        assert!(is_json(&nested(MAX_NESTING)));
        assert!(!is_json(&nested(MAX_NESTING + 1)));
        assert!(!is_json(&"{\"a\":".repeat(100_000)));
    }
}
