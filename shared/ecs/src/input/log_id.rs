//! Recognizes log ids, in events and in pieces that cannot be read.

use std::borrow::Cow;

use crate::json::read::decode;

/// The longest log id that is taken for one, in bytes. Engines take no longer `_id`.
const MAX_LOG_ID: usize = 512;

/// The text of a `log_id`, if it is one: text that is not blank, or a number.
pub(crate) fn usable_log_id(token: &str) -> Option<Cow<'_, str>> {
    let is_text_or_number = token.starts_with(|c: char| c == '"' || c == '-' || c.is_ascii_digit());
    is_text_or_number.then(|| decode(token)).filter(|id| !id.trim().is_empty())
}

/// The `log_id` that is visible in a piece, whether or not the piece is JSON.
pub(crate) fn visible_log_id(raw: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(raw);
    let (_, after) = text.split_once("\"log_id\"")?;
    let value = after.trim_start().strip_prefix(':')?.trim_start().strip_prefix('"')?;
    let (id, _) = value.split_once('"')?;
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    let is_usable = !id.is_empty() && id.len() <= MAX_LOG_ID && id.chars().all(is_plain);
    is_usable.then(|| id.to_owned())
}
