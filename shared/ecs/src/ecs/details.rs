//! Values in `details`, which differs from type to type. They are read from the output, where they are
//! acceptable already.

use std::ops::Range;

use crate::input::event::Event;
use crate::json::read::{decode, find_member};
use crate::json::sanitize::OutputMember;

/// The members of `details` in the output.
#[derive(Clone, Copy)]
pub(super) struct Details<'a> {
    members: &'a [OutputMember<'a>],
}

impl<'a> Details<'a> {
    pub(super) fn of(event: &'a Event<'_>) -> Self {
        Self { members: &event.details }
    }

    pub(super) fn has(self, name: &str) -> bool {
        self.find(name).is_some()
    }

    fn find(self, name: &str) -> Option<Range<usize>> {
        self.members.iter().find(|member| member.name == name).map(|member| member.value.clone())
    }

    /// The place in `written` of the value at `path`.
    fn place(self, written: &[u8], path: &[&str]) -> Option<Range<usize>> {
        let (first, rest) = path.split_first()?;
        let mut place = self.find(first)?;
        for name in rest {
            let found = find_member(text_at(written, &place)?, name)?;
            place = place.start + found.start..place.start + found.end;
        }
        Some(place)
    }

    /// The text of the value at `path`.
    pub(super) fn text<'o>(self, written: &'o [u8], path: &[&str]) -> Option<&'o str> {
        text_at(written, &self.place(written, path)?)
    }

    /// The place of the scalar at `path`.
    pub(super) fn scalar(self, written: &[u8], path: &[&str]) -> Option<Range<usize>> {
        self.place(written, path).filter(|place| text_at(written, place).is_some_and(is_scalar))
    }

    /// The number at `path`.
    pub(super) fn number(self, written: &[u8], path: &[&str]) -> Option<i64> {
        whole_number(text_at(written, &self.place(written, path)?)?)
    }
}

/// The text at a place of the output.
pub(super) fn text_at<'o>(written: &'o [u8], place: &Range<usize>) -> Option<&'o str> {
    std::str::from_utf8(written.get(place.clone())?).ok()
}

/// Whether a JSON value is a scalar that holds something.
pub(super) fn is_scalar(token: &str) -> bool {
    !matches!(token.as_bytes(), b"null" | b"\"\"" | [b'{' | b'[', ..] | [])
}

/// The integer part of a JSON number, or of a string that holds one. 1.6359e12 and 1635908765696.4 are
/// numbers, too.
pub(super) fn whole_number(token: &str) -> Option<i64> {
    let text = decode(token);
    if let Ok(number) = text.parse::<i64>() {
        return Some(number);
    }
    let number: f64 = text.parse().ok()?;
    // Counts and dates in milliseconds are far below 2^53, up to which a double is exact.
    const EXACT: f64 = 9_007_199_254_740_992.0;
    #[expect(clippy::cast_possible_truncation, reason = "the bound is checked")]
    (number.abs() < EXACT).then_some(number as i64)
}
