//! The text that rules are matched against.

use std::borrow::Cow;
use std::ops::Range;

/// The longest agent that is matched, in bytes; the rest is ignored. The longest one in uap-core's
/// tests has 492.
pub(super) const MAX_LEN: usize = 1024;

/// Stands for a character beyond ASCII.
const NOT_ASCII: u8 = 0xff;

/// A user-agent string as one byte per character.
///
/// The rules are pure ASCII and count characters, not bytes. To them all other characters are alike.
pub(super) struct Haystack<'a> {
    text: &'a str,
    bytes: Cow<'a, [u8]>,
}

impl<'a> Haystack<'a> {
    /// Returns the part of an agent that is matched, cut between two characters.
    pub(super) fn truncate(text: &str) -> &str {
        text.get(..text.floor_char_boundary(MAX_LEN)).unwrap_or(text)
    }

    pub(super) fn new(text: &'a str) -> Self {
        let text = Self::truncate(text);
        let bytes = if text.is_ascii() {
            Cow::Borrowed(text.as_bytes())
        } else {
            let byte = |character: char| u8::try_from(character).ok().filter(u8::is_ascii);
            text.chars().map(|character| byte(character).unwrap_or(NOT_ASCII)).collect()
        };
        Self { text, bytes }
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Returns the characters that a range of [`Self::bytes`] stands for.
    pub(super) fn slice(&self, range: Range<usize>) -> Cow<'a, str> {
        match self.bytes {
            #[expect(clippy::expect_used, reason = "an invariant")]
            Cow::Borrowed(_) => self.text.get(range).expect("in range, and all ASCII").into(),
            Cow::Owned(_) => self.text.chars().skip(range.start).take(range.len()).collect(),
        }
    }
}
