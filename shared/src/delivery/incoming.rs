//! An event on its way to the engine, before it is mapped.

use auth0_ecs::{Input, Piece};
use chrono::{DateTime, Utc};

/// An event as it reached us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Incoming<'a> {
    /// Its bytes.
    pub raw: &'a [u8],
    /// How it reached us.
    pub input: Input,
    /// When it reached us.
    pub received: DateTime<Utc>,
    /// The caller's number for what it came in: ingest and redrive ship several messages at once. A body or a
    /// page is alone, and is 0.
    pub source: usize,
}

impl<'a> Incoming<'a> {
    /// Returns what is mapped of it.
    #[must_use]
    pub const fn piece(&self) -> Piece<'a> {
        let Self { raw, input, received, .. } = *self;
        Piece { raw, input, received }
    }
}
