//! The `_id` of a document.

use sha2::{Digest as _, Sha256};

use crate::input::log_id::usable_log_id;
use crate::input::mask::hex;

/// The longest `_id` that engines take, in bytes.
const MAX_ID: usize = 512;

/// Returns the `_id`, and whether it was derived: from a `log_id` that is too long, or from the content if
/// there is no `log_id` that identifies the event. Every delivery of an event derives the same id.
pub(super) fn document_id(log_id: Option<&str>, raw: &[u8]) -> (String, bool) {
    match log_id.and_then(usable_log_id) {
        Some(id) if id.len() <= MAX_ID => (id.into_owned(), false),
        Some(id) => (content_id(id.as_bytes()), true),
        None => (content_id(String::from_utf8_lossy(raw).as_bytes()), true),
    }
}

/// Returns the `_id` of a document that is kept instead of the event with this id. It is not the event's
/// own, so that the event can still be stored once the cause is gone.
pub(super) fn substitute_id(id: &str, suffix: &'static str) -> String {
    let substitute = format!("{id}-{suffix}");
    if substitute.len() <= MAX_ID { substitute } else { content_id(substitute.as_bytes()) }
}

/// An id made from the content alone.
fn content_id(content: &[u8]) -> String {
    format!("sha256-{}", hex(&Sha256::digest(content)))
}
