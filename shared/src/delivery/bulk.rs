//! Documents → a `_bulk` request, and its response → one item per document. No I/O.

use std::ops::Range;

use auth0_ecs::write::{Key, Object};
use auth0_ecs::{Document, key};
use bytes::Bytes;
use serde::Deserialize;

use super::gzip::gzip;
use super::incoming::Incoming;
use crate::engine::client::Payload;

/// Initial capacity of a request, in bytes: most batches fit without being copied as they grow.
const INITIAL_CAPACITY: usize = 512 * 1024;

/// Requests of at most this many bytes are not compressed: they fit into TCP's initial window of ten
/// segments (RFC 6928), so that compressing takes longer than it saves.
const MAX_UNCOMPRESSED: usize = 10 * 1_460;

/// Limits the response to what [`parse_response`] reads: `_id`, `_index`, `status`, `error` and `failure_store`
/// of each item. Short, because client and engine read it with each request, character by character.
const RESPONSE_FILTER: &str = "filter_path=items.*._i*,items.*.s*,items.*.e*,items.*.f*,error";

/// Returns the path of `_bulk` requests. No default pipeline: Elastic's integration puts its own on every
/// data stream of this name, which would change our documents. Collections of OpenSearch Serverless have no
/// integrations, and not all have pipelines.
pub(super) fn path(stream: &str, has_data_streams: bool) -> String {
    let pipeline = if has_data_streams { "pipeline=_none&" } else { "" };
    [stream, "/_bulk?", pipeline, RESPONSE_FILTER].concat()
}

/// The documents of one `_bulk` request, and the events that they were made of.
#[derive(Debug, Default)]
pub struct Batch<'a> {
    lines: Vec<u8>,
    entries: Vec<Entry<'a>>,
    /// Length of the last action.
    action: usize,
}

/// One document of a [`Batch`].
#[derive(Debug)]
pub(super) struct Entry<'a> {
    pub(super) event: Incoming<'a>,
    pub(super) document: Document,
    /// The action and the document in the request.
    lines: Range<usize>,
}

impl<'a> Batch<'a> {
    /// Adds the document of `event`, which `write` appends to the request.
    pub fn push(&mut self, event: Incoming<'a>, write: impl FnOnce(&mut Vec<u8>) -> Document) {
        let start = self.lines.len();
        if start == 0 {
            self.lines.reserve(INITIAL_CAPACITY);
        }
        // A document holds its event, what is derived from it, and the fields that all share.
        self.lines.reserve(event.raw.len() + 2_048);
        // The action comes first, but its id is known only when the document is written. Nearly all ids are of
        // one length, so that its place can be kept free.
        let place = start + self.action;
        self.lines.resize(place, 0);
        let document = write(&mut self.lines);
        self.lines.push(b'\n');
        let end = self.lines.len();
        // `create` takes each `_id` once.
        write_action(&mut self.lines, key!("create"), &document.id);
        let action = self.lines.len() - end;
        if action == self.action {
            self.lines.copy_within(end.., start);
            self.lines.truncate(end);
        } else {
            self.lines.drain(start..place);
            if let Some(lines) = self.lines.get_mut(start..) {
                lines.rotate_right(action);
            }
            self.action = action;
        }
        self.entries.push(Entry { event, document, lines: start..self.lines.len() });
    }

    /// Returns the size of the request so far, in bytes.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.lines.len()
    }

    /// Returns `true` if there is nothing to send.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Returns the whole request and its entries, for [`payload`].
    pub(super) fn into_parts(self) -> (Bytes, Vec<Entry<'a>>) {
        (self.lines.into(), self.entries)
    }
}

/// Appends an action line.
fn write_action(out: &mut Vec<u8>, name: Key<'_>, id: &str) {
    Object::write(out, |action| action.object(name, |object| object.put(key!("_id"), id)));
    out.push(b'\n');
}

/// Returns a request that an engine answers and that stores nothing: data streams refuse to delete by id,
/// and elsewhere there is no such document. What refuses even this is not about the documents.
pub(super) fn harmless_payload() -> Payload {
    let mut line = Vec::new();
    write_action(&mut line, key!("delete"), "auth0-log-streams");
    Payload::Ndjson { bytes: line.into(), gzip: false }
}

/// Returns the request for `pending`, some or all entries of the batch with these `lines`.
#[expect(clippy::expect_used, reason = "an entry's range was taken from its batch's lines")]
pub(super) fn payload(lines: &Bytes, pending: &[Entry<'_>], compress: bool) -> Payload {
    let size: usize = pending.iter().map(|entry| entry.lines.len()).sum();
    let bytes = if size == lines.len() {
        lines.clone()
    } else {
        let parts = pending.iter().map(|e| lines.get(e.lines.clone()).expect("an entry's range"));
        parts.collect::<Vec<_>>().concat().into()
    };
    if compress && size > MAX_UNCOMPRESSED {
        Payload::Ndjson { bytes: gzip(&bytes).into(), gzip: true }
    } else {
        Payload::Ndjson { bytes, gzip: false }
    }
}

/// The engine's result for one document.
#[derive(Debug, Deserialize)]
pub struct Item {
    _id: Option<String>,
    /// The backing index.
    #[serde(rename = "_index")]
    pub(super) index: String,
    pub(super) status: u16,
    pub(super) error: Option<ItemError>,
    /// Elasticsearch: what its failure store did with a document that the data stream does not have.
    pub(super) failure_store: Option<String>,
}

/// Why the engine did not store a document, in its own words.
#[derive(Clone, Debug, Default, Deserialize)]
pub(super) struct ItemError {
    #[serde(rename = "type", default)]
    pub(super) kind: String,
    #[serde(default)]
    pub(super) reason: String,
}

/// Why a response says nothing about any document.
#[derive(Debug, thiserror::Error)]
pub enum BulkResponseError {
    /// It is not an engine's.
    #[error("the response to _bulk is not an engine's")]
    NotReadable(#[from] serde_json::Error),
    /// It is truncated.
    #[error("the response to _bulk has {0} items for {1} documents")]
    WrongCount(usize, usize),
    /// An item has another id than the document in its place.
    #[error("the response to _bulk is about other documents")]
    WrongDocument,
}

/// Returns the items in the order of `ids`, the documents that were sent. HTTP 200 proves nothing: the
/// items are matched by position, so that their count and each `_id` are checked.
///
/// # Errors
/// The response is truncated, not the engine's, or about other documents.
pub fn parse_response<'a>(
    body: &[u8],
    ids: impl ExactSizeIterator<Item = &'a str>,
) -> Result<Vec<Item>, BulkResponseError> {
    #[derive(Deserialize)]
    struct BulkResponse {
        items: Vec<Action>,
    }
    #[derive(Deserialize)]
    struct Action {
        create: Item,
    }
    let BulkResponse { items } = serde_json::from_slice(body)?;
    if items.len() != ids.len() {
        return Err(BulkResponseError::WrongCount(items.len(), ids.len()));
    }
    let items = items.into_iter().zip(ids).map(|(Action { create }, id)| match &create._id {
        Some(answered) if answered != id => Err(BulkResponseError::WrongDocument),
        _ => Ok(create),
    });
    items.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn incoming(raw: &[u8]) -> Incoming<'_> {
        let (input, received) = (auth0_ecs::Input::HttpEndpoint, chrono::DateTime::UNIX_EPOCH);
        Incoming { raw, input, received, source: 0 }
    }

    #[test]
    fn response_that_does_not_match_the_request_is_an_error() {
        let parse = |items: &str, ids: &[&str]| {
            let body = format!(r#"{{"took":1,"errors":true,"items":[{items}]}}"#);
            parse_response(body.as_bytes(), ids.iter().copied()).map(|items| items.len())
        };
        let item = r#"{"create":{"_index":"i","_id":"a","status":201}}"#;
        assert_eq!(parse(item, &["a"]).unwrap(), 1);
        let count = parse(item, &["a", "b"]).unwrap_err();
        assert!(matches!(count, BulkResponseError::WrongCount(1, 2)));
        let document = parse(item, &["b"]).unwrap_err();
        assert!(matches!(document, BulkResponseError::WrongDocument));
        for body in ["", "<html>", "{}", "{\"items\":[{\"create\":{\"_in", "{\"errors\":false}"] {
            let error = parse_response(body.as_bytes(), ["a"].into_iter()).unwrap_err();
            assert!(matches!(error, BulkResponseError::NotReadable(_)), "{body}");
        }
    }

    #[test]
    fn data_stream_is_written_to_without_its_default_pipeline() {
        assert!(path("logs", true).starts_with("logs/_bulk?pipeline=_none&filter_path=items"));
        assert!(path("logs", false).starts_with("logs/_bulk?filter_path=items"));
    }

    #[test]
    fn payload_holds_the_pending_documents_and_is_compressed_if_large() {
        let events: [&[u8]; 3] = [b"{\"log_id\":\"1\"}", b"{\"log_id\":\"2\"}", b"{}"];
        let mut batch = Batch::default();
        for event in events {
            batch.push(incoming(event), |out| {
                out.extend_from_slice(event);
                Document { id: "x".into(), date: None, kind: auth0_ecs::DocumentKind::Event }
            });
        }
        let (lines, mut pending) = batch.into_parts();
        pending.remove(1);
        let Payload::Ndjson { bytes, gzip: false } = payload(&lines, &pending, true) else {
            panic!("a small request is not compressed")
        };
        let action = "{\"create\":{\"_id\":\"x\"}}\n";
        assert_eq!(bytes, format!("{action}{{\"log_id\":\"1\"}}\n{action}{{}}\n"));
        let large = Entry { lines: 0..MAX_UNCOMPRESSED + 1, ..pending.remove(0) };
        let large_lines = Bytes::from(vec![b' '; MAX_UNCOMPRESSED + 1]);
        for compress in [true, false] {
            let payload = payload(&large_lines, std::slice::from_ref(&large), compress);
            assert!(matches!(payload, Payload::Ndjson { gzip, .. } if gzip == compress));
        }
    }
}
