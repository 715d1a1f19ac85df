//! JSON text, token by token, without a copy and without a tree: the position of each name and value.
//!
//! The grammar is RFC 8259's, without lone surrogates in escapes, which no JSON writer produces. Tokens are
//! not decoded, because most of them go to the output as they came.

/// Deeper texts are refused; [`repair`](super::repair) turns what is nested deeper into strings.
const MAX_NESTING: usize = 200;

/// Why a text is not JSON. The lexer stopped where it is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum SyntaxError {
    #[error("expected a value")]
    ExpectedValue,
    #[error("expected a member's name")]
    ExpectedName,
    #[error("expected `:`")]
    ExpectedColon,
    #[error("expected `,` or `{}`", *.0 as char)]
    ExpectedCommaOr(u8),
    #[error("trailing characters")]
    TrailingCharacters,
    #[error("unterminated string")]
    UnterminatedString,
    #[error("control character in a string")]
    ControlCharacter,
    #[error("invalid escape")]
    InvalidEscape,
    #[error("lone surrogate in an escape")]
    LoneSurrogate,
    #[error("expected a digit")]
    ExpectedDigit,
    #[error("nested too deep")]
    NestedTooDeep,
}

/// The type of a value, known from its first byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ValueKind {
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
    /// The text between its quotes, as written.
    pub(crate) raw: &'a str,
    /// Whether it contains a backslash.
    pub(crate) escaped: bool,
    /// Position of its opening quote.
    pub(crate) start: usize,
}

impl Name<'_> {
    /// Position of its value if only the colon is in between.
    pub(crate) const fn end(&self) -> usize {
        self.start + self.raw.len() + "\"\":".len()
    }
}

/// A text and the position reached in it.
#[derive(Clone, Debug)]
pub(crate) struct Lexer<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Lexer<'a> {
    pub(crate) const fn new(text: &'a str) -> Self {
        Self { text, at: 0 }
    }

    /// The position: how many bytes have been read.
    pub(crate) const fn at(&self) -> usize {
        self.at
    }

    /// The text between two positions, each at the start or end of a token.
    pub(crate) fn slice(&self, start: usize, end: usize) -> &'a str {
        self.text.get(start..end).unwrap_or_default()
    }

    /// Skips white space and returns the type of the value that starts there.
    pub(crate) fn peek(&mut self) -> Result<ValueKind, SyntaxError> {
        match self.next_byte() {
            Some(b'"') => Ok(ValueKind::String),
            Some(b'{') => Ok(ValueKind::Object),
            Some(b'[') => Ok(ValueKind::Array),
            Some(b'-' | b'0'..=b'9') => Ok(ValueKind::Number),
            Some(b't' | b'f') => Ok(ValueKind::Boolean),
            Some(b'n') => Ok(ValueKind::Null),
            _ => Err(SyntaxError::ExpectedValue),
        }
    }

    /// Skips the value of this type that starts here.
    #[inline(always)]
    pub(crate) fn skip(&mut self, kind: ValueKind) -> Result<(), SyntaxError> {
        match kind {
            ValueKind::String => self.string().map(|_| ()),
            _ => self.skip_nested(kind, 0),
        }
    }

    /// Skips a value and returns its text.
    pub(crate) fn token(&mut self, kind: ValueKind) -> Result<&'a str, SyntaxError> {
        let start = self.at;
        self.skip(kind)?;
        Ok(self.slice(start, self.at))
    }

    fn skip_nested(&mut self, kind: ValueKind, depth: usize) -> Result<(), SyntaxError> {
        match kind {
            ValueKind::String => self.string().map(|_| ()),
            ValueKind::Number => self.number(),
            ValueKind::Boolean | ValueKind::Null => self.literal(),
            ValueKind::Object | ValueKind::Array if depth == MAX_NESTING => {
                Err(SyntaxError::NestedTooDeep)
            }
            ValueKind::Object => {
                let mut is_first = true;
                while self.next_name(&mut is_first)?.is_some() {
                    let kind = self.peek()?;
                    self.skip_nested(kind, depth + 1)?;
                }
                Ok(())
            }
            ValueKind::Array => {
                let mut is_first = true;
                while self.next_element(&mut is_first)? {
                    let kind = self.peek()?;
                    self.skip_nested(kind, depth + 1)?;
                }
                Ok(())
            }
        }
    }

    /// Returns the name of the object's next member, and stops after the colon; `None` at the object's end.
    /// The object starts here (`is_first`, which is cleared), or the value of its previous member ends here.
    #[inline(always)]
    pub(crate) fn next_name(
        &mut self,
        is_first: &mut bool,
    ) -> Result<Option<Name<'a>>, SyntaxError> {
        if !self.next_item(is_first, b'}')? {
            return Ok(None);
        }
        if self.next_byte() != Some(b'"') {
            return Err(SyntaxError::ExpectedName);
        }
        let start = self.at;
        let escaped = self.string()?;
        let raw = self.slice(start + 1, self.at - 1);
        if self.next_byte() != Some(b':') {
            return Err(SyntaxError::ExpectedColon);
        }
        self.at += 1;
        Ok(Some(Name { raw, escaped, start }))
    }

    /// Returns whether the array has another element. The array starts here (`is_first`, which is
    /// cleared), or its previous element ends here.
    #[inline]
    pub(crate) fn next_element(&mut self, is_first: &mut bool) -> Result<bool, SyntaxError> {
        self.next_item(is_first, b']')
    }

    /// Checks that only white space is left.
    pub(crate) fn finish(&mut self) -> Result<(), SyntaxError> {
        match self.next_byte() {
            None => Ok(()),
            Some(_) => Err(SyntaxError::TrailingCharacters),
        }
    }

    #[inline]
    fn next_item(&mut self, is_first: &mut bool, end: u8) -> Result<bool, SyntaxError> {
        let is_first = std::mem::take(is_first);
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
            _ => Err(SyntaxError::ExpectedCommaOr(end)),
        }
    }

    fn byte(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    /// Skips white space and returns the byte after it.
    fn next_byte(&mut self) -> Option<u8> {
        loop {
            let byte = self.byte()?;
            if byte > b' ' || !matches!(byte, b' ' | b'\n' | b'\r' | b'\t') {
                return Some(byte);
            }
            self.at += 1;
        }
    }

    /// Skips the string that starts here; returns whether it contains a backslash.
    #[inline(always)]
    fn string(&mut self) -> Result<bool, SyntaxError> {
        self.at += 1;
        self.skip_plain();
        if self.byte() == Some(b'"') {
            self.at += 1;
            return Ok(false);
        }
        self.rest_of_string()
    }

    /// Skips the rest of a string from its first backslash on.
    #[cold]
    fn rest_of_string(&mut self) -> Result<bool, SyntaxError> {
        loop {
            match self.byte() {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(true);
                }
                Some(b'\\') => self.escape()?,
                Some(_) => return Err(SyntaxError::ControlCharacter),
                None => return Err(SyntaxError::UnterminatedString),
            }
            self.skip_plain();
        }
    }

    fn skip_plain(&mut self) {
        self.at += plain_len(self.text.as_bytes().get(self.at..).unwrap_or_default());
    }

    fn escape(&mut self) -> Result<(), SyntaxError> {
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
                [Some(0xD800..=0xDFFF), _] => Err(SyntaxError::LoneSurrogate),
                [Some(_), _] => {
                    self.at += 6;
                    Ok(())
                }
                [None, _] => Err(SyntaxError::InvalidEscape),
            },
            _ => Err(SyntaxError::InvalidEscape),
        }
    }

    fn number(&mut self) -> Result<(), SyntaxError> {
        self.accept(b'-');
        if !self.accept(b'0') {
            self.digits()?;
        }
        if self.accept(b'.') {
            self.digits()?;
        }
        if self.accept(b'e') || self.accept(b'E') {
            if !self.accept(b'+') {
                self.accept(b'-');
            }
            self.digits()?;
        }
        Ok(())
    }

    /// Passes this byte, if it is next.
    fn accept(&mut self, byte: u8) -> bool {
        let is_next = self.byte() == Some(byte);
        self.at += usize::from(is_next);
        is_next
    }

    fn digits(&mut self) -> Result<(), SyntaxError> {
        let start = self.at;
        while matches!(self.byte(), Some(b'0'..=b'9')) {
            self.at += 1;
        }
        if self.at > start { Ok(()) } else { Err(SyntaxError::ExpectedDigit) }
    }

    fn literal(&mut self) -> Result<(), SyntaxError> {
        let rest = self.text.as_bytes().get(self.at..).unwrap_or_default();
        let word = ["null", "true", "false"].into_iter().find(|w| rest.starts_with(w.as_bytes()));
        self.at += word.ok_or(SyntaxError::ExpectedValue)?.len();
        Ok(())
    }
}

/// The UTF-16 code unit of the `\uXXXX` at the start of `text`.
pub(crate) fn code_unit(text: &str) -> Option<u16> {
    let digits = text.strip_prefix("\\u")?.get(..4)?;
    let is_hex = digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    is_hex.then(|| u16::from_str_radix(digits, 16).ok())?
}

/// The number of bytes before the first one that a JSON string must escape: a quote, a backslash or a
/// control character.
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

/// Whether a JSON string must escape this byte.
pub(crate) const fn is_escaped(byte: &u8) -> bool {
    matches!(byte, b'"' | b'\\' | 0..b' ')
}

/// [`plain_len`] of eight bytes at once.
#[inline]
pub(crate) const fn plain_in(chunk: [u8; 8]) -> usize {
    const ONES: u64 = 0x0101_0101_0101_0101;
    let word = u64::from_le_bytes(chunk);
    // For ASCII bytes, the subtraction sets the high bit of each byte smaller than what is subtracted. A
    // borrow can set one bit too many, but only after a correct one. Flipping one bit moves the quote,
    // 0x22, next to the control characters.
    let quotes_and_controls = (word ^ (ONES * 0x02)).wrapping_sub(ONES * 0x21);
    let backslashes = (word ^ (ONES * 0x5c)).wrapping_sub(ONES);
    let stops = (quotes_and_controls | backslashes) & !word & (ONES << 7);
    stops.trailing_zeros() as usize / 8
}

#[cfg(test)]
mod tests {
    use serde::de::IgnoredAny;
    use serde_json::Value;
    use support::draw::{seeds, text};

    use super::*;

    /// Whether the lexer accepts the text as one value.
    fn is_json(text: &str) -> bool {
        let mut lexer = Lexer::new(text);
        let skipped = lexer.peek().and_then(|kind| lexer.skip(kind));
        skipped.and_then(|_| lexer.finish()).is_ok()
    }

    #[test]
    fn lexer_accepts_what_serde_json_accepts() {
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
            "1e+-5",
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

    #[test]
    fn lexer_agrees_with_serde_json_on_any_text_of_json_characters() {
        let number = ["0", "1", "9", "-", "+", ".", "e", "E"];
        let string = ["\"", "\\", "\\u00", "u", "b", "e", "0", "9", "\n", "é"];
        let value = ["null", "true", "7", "\"a\"", "\"a\":", "[", "]", "{", "}", ",", ":", " "];
        let words = ["t", "f", "n", "u", "l", "r", "a", "s"];
        let all = [&number[..], &string, &value, &words].concat();
        seeds(100_000, |rng| {
            let text = match rng.u8(..4) {
                0 => text(rng, &number, 8),
                1 => format!("\"{}\"", text(rng, &string, 8)),
                2 => text(rng, &value, 12),
                _ => text(rng, &all, 24),
            };
            let is_valid = serde_json::from_str::<IgnoredAny>(&text).is_ok();
            assert_eq!(is_json(&text), is_valid, "{text}");
        });
    }

    #[test]
    fn plain_len_ends_at_the_first_byte_to_escape() {
        seeds(2_000, |rng| {
            let bytes: Vec<u8> = (0..rng.usize(..40)).map(|_| rng.u8(..)).collect();
            let escaped = bytes.iter().position(|b| matches!(b, b'"' | b'\\' | 0..32));
            assert_eq!(plain_len(&bytes), escaped.unwrap_or(bytes.len()), "{bytes:?}");
        });
    }

    #[test]
    fn deep_nesting_is_refused_before_the_stack_overflows() {
        let nested = |levels: usize| format!("{}{}", "[".repeat(levels), "]".repeat(levels));
        assert!(is_json(&nested(MAX_NESTING)));
        assert!(!is_json(&nested(MAX_NESTING + 1)));
        assert!(!is_json(&"{\"a\":".repeat(100_000)));
    }
}
