//! Error documents: what could not be mapped or was refused, kept as text and searchable.

use chrono::{DateTime, Utc};

use super::document::{Document, DocumentKind, Mapper, Piece};
use super::id::{document_id, substitute_id};
use crate::input::log_id::visible_log_id;
use crate::json::write::{Literal, Object};
use crate::key;

/// Upper bound for the text of a refused event in its error document, in bytes. JSON escapes a byte with up
/// to six, and proxies take 1 MiB by default, so that a document of this size gets through everywhere.
const MAX_ORIGINAL: usize = 128 * 1024;

/// What an error document says.
struct Content<'a> {
    /// `event.id`.
    event_id: &'a str,
    reason: &'a str,
    /// `event.original`.
    original: Option<&'a str>,
    tag: Option<&'static str>,
    timestamp: DateTime<Utc>,
}

impl Mapper {
    /// Appends the document of a piece that is not an event.
    pub(super) fn unreadable_document(
        &self,
        piece: Piece<'_>,
        kind: DocumentKind,
        reason: &str,
        out: &mut Vec<u8>,
    ) -> Document {
        // Not under its log_id, if it has one: the event may yet arrive in one piece.
        let (id, _) = document_id(None, piece.raw);
        let content = Content {
            event_id: &id,
            reason,
            original: Some(&String::from_utf8_lossy(piece.raw)),
            tag: None,
            timestamp: piece.received,
        };
        self.write_error_document(piece, &content, out);
        Document { id, date: None, kind }
    }

    /// Appends a document that keeps an event which the engine refused: as text, with the reason. A very
    /// long text is cut; [`Self::holds_whole`] tells.
    pub fn refused_document(&self, piece: Piece<'_>, reason: &str, out: &mut Vec<u8>) -> Document {
        let text = String::from_utf8_lossy(piece.raw);
        let original = text.get(..text.floor_char_boundary(MAX_ORIGINAL));
        let tag = (text.len() > MAX_ORIGINAL).then_some("original_cut");
        self.substitute(piece, "refused", reason, (original, tag), out)
    }

    /// Returns whether [`Self::refused_document`] holds the whole event.
    #[must_use]
    pub fn holds_whole(raw: &[u8]) -> bool {
        String::from_utf8_lossy(raw).len() <= MAX_ORIGINAL
    }

    /// Appends a document that says that an event could not be kept even as text. Nothing in it comes from
    /// the event but its ids.
    pub fn dead_letter_document(
        &self,
        piece: Piece<'_>,
        reason: &str,
        out: &mut Vec<u8>,
    ) -> Document {
        self.substitute(piece, "dead-letter", reason, (None, Some("dead_letter")), out)
    }

    /// Appends a document instead of an event's own, with the event's id and date.
    fn substitute(
        &self,
        piece: Piece<'_>,
        suffix: &'static str,
        reason: &str,
        (original, tag): (Option<&str>, Option<&'static str>),
        out: &mut Vec<u8>,
    ) -> Document {
        // Mapped again, since the document that was refused has the same id and date.
        let event = self.document(piece, &mut Vec::new());
        let timestamp = event.date.unwrap_or(piece.received);
        let content = Content { event_id: &event.id, reason, original, tag, timestamp };
        self.write_error_document(piece, &content, out);
        Document { id: substitute_id(&event.id, suffix), ..event }
    }

    fn write_error_document(&self, piece: Piece<'_>, content: &Content<'_>, out: &mut Vec<u8>) {
        Object::write(out, |doc| {
            self.write_constant(doc);
            if let Some(log_id) = visible_log_id(piece.raw) {
                doc.object(key!("auth0"), |auth0| {
                    auth0.object(key!("logs"), |logs| {
                        logs.object(key!("data"), |data| data.put(key!("log_id"), &*log_id));
                    });
                });
            }
            doc.object(key!("error"), |error| error.put(key!("message"), content.reason));
            doc.object(key!("event"), |event| {
                event.put(key!("kind"), Literal("pipeline_error"));
                event.put(key!("dataset"), Literal("auth0.logs"));
                event.put(key!("id"), content.event_id);
                event.maybe(key!("original"), content.original);
                event.put(key!("ingested"), piece.received);
            });
            // Among the tags of every document, if it is preserved in every document.
            let is_new = content.original.is_some() && !self.preserve_original_event;
            let preserved = is_new.then_some("preserve_original_event");
            self.write_input(doc, piece.input, [preserved, content.tag]);
            doc.put(key!("@timestamp"), content.timestamp);
        });
    }
}
