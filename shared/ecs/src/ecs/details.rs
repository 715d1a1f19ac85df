//! Values in `details`, which differs from type to type. They are read from the output, where they are
//! acceptable already.

use std::ops::Range;

use crate::input::event::Event;
use crate::json::read::decode;
use crate::json::sanitize::{MAX_PLACES, OutputPlaces};

/// The paths that are looked up, each by its index.
pub(crate) const PATHS: [&str; MAX_PLACES] = [
    "body.grant_type",
    "completedAt",
    "device_id",
    "elapsedTime",
    "error",
    "error.type",
    "error_text",
    "familyId",
    "grantType",
    "grant_type",
    "initiatedAt",
    "refresh_token.session_id",
    "request",
    "request.method",
    "request.path",
    "response.body",
    "response.statusCode",
    "session_id",
    "stats.loginsCount",
    "transaction.id",
    "transaction_id",
    "transaction_linking_id",
];

/// The index of one of [`PATHS`].
#[derive(Clone, Copy, Debug)]
pub(super) struct Path(usize);

impl Path {
    /// # Panics
    /// If it is none of them; in a constant, the compiler says so.
    #[expect(clippy::indexing_slicing, reason = "the bounds are checked")]
    pub(super) const fn new(path: &str) -> Self {
        let mut index = 0;
        loop {
            let (known, wanted) = (PATHS[index].as_bytes(), path.as_bytes());
            let mut same = 0;
            while same < known.len() && same < wanted.len() && known[same] == wanted[same] {
                same += 1;
            }
            if same == known.len() && same == wanted.len() {
                return Self(index);
            }
            index += 1;
        }
    }
}

/// The values in the output.
#[derive(Clone, Copy)]
pub(super) struct Details<'a> {
    places: &'a OutputPlaces,
}

impl<'a> Details<'a> {
    pub(super) fn of(event: &'a Event<'_>) -> Self {
        Self { places: &event.details }
    }

    /// The place of the value at `path`.
    pub(super) fn place(self, path: Path) -> Option<Range<usize>> {
        let &(start, end) = self.places.get(path.0)?;
        (start < end).then_some(start as usize..end as usize)
    }

    /// The text of the value at `path`.
    pub(super) fn text(self, written: &[u8], path: Path) -> Option<&str> {
        text_at(written, &self.place(path)?)
    }

    /// The place of the scalar at `path`.
    pub(super) fn scalar(self, written: &[u8], path: Path) -> Option<Range<usize>> {
        self.place(path).filter(|place| written.get(place.clone()).is_some_and(is_scalar))
    }

    /// The number at `path`.
    pub(super) fn number(self, written: &[u8], path: Path) -> Option<i64> {
        whole_number(self.text(written, path)?)
    }
}

/// The text at a place of the output.
pub(super) fn text_at<'o>(written: &'o [u8], place: &Range<usize>) -> Option<&'o str> {
    std::str::from_utf8(written.get(place.clone())?).ok()
}

/// Whether a JSON value is a scalar that holds something.
pub(super) fn is_scalar(token: impl AsRef<[u8]>) -> bool {
    !matches!(token.as_ref(), b"null" | b"\"\"" | [b'{' | b'[', ..] | [])
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
