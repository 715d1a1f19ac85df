//! Documents → the body of a `_bulk` request. No I/O.

use std::ops::Range;

use auth0_ecs::write::Object;
use auth0_ecs::{Document, key};

/// Room for the documents of most batches, so that they are not copied as a request grows, in bytes.
const ROOM: usize = 512 * 1024;

/// The documents of one `_bulk` request, and the events that they were made of.
#[derive(Debug, Default)]
pub struct Batch<'a> {
    pub(crate) bytes: Vec<u8>,
    pub(crate) entries: Vec<Entry<'a>>,
}

/// One document of a [`Batch`].
#[derive(Debug)]
pub(crate) struct Entry<'a> {
    /// The event as received.
    pub(crate) raw: &'a [u8],
    pub(crate) document: Document,
    /// The action and the document in the request.
    pub(crate) lines: Range<usize>,
}

impl<'a> Batch<'a> {
    /// Adds the document of the event `raw`, which `write` appends to the request.
    pub fn push(&mut self, raw: &'a [u8], write: impl FnOnce(&mut Vec<u8>) -> Document) {
        let start = self.bytes.len();
        if start == 0 {
            self.bytes.reserve(ROOM);
        }
        // A document is its event, what is said of it, and the fields that are the same in all.
        self.bytes.reserve(raw.len() + 2_048);
        // The id is known when the document is written, and its line comes first.
        let document = write(&mut self.bytes);
        self.bytes.push(b'\n');
        let end = self.bytes.len();
        write_action(&mut self.bytes, &document.id);
        let action = self.bytes.len() - end;
        if let Some(lines) = self.bytes.get_mut(start..) {
            lines.rotate_right(action);
        }
        self.entries.push(Entry { raw, document, lines: start..self.bytes.len() });
    }

    /// The size of the request so far, in bytes.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Whether there is nothing to send.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}

/// Appends the line that stands before a document: `create` takes each `_id` once.
fn write_action(out: &mut Vec<u8>, id: &str) {
    Object::write(out, |action| {
        action.object(key!("create"), |create| create.put(key!("_id"), id))
    });
    out.push(b'\n');
}
