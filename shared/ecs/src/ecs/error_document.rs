//! Error documents: what could not be mapped or was refused, kept as text and searchable.

use chrono::{DateTime, Utc};

use super::document::{Document, DocumentKind, Mapper, Piece};
use super::id::{document_id, visible_log_id};
use crate::input::origin::Input;
use crate::json::write::{Literal, Object};
use crate::key;

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
        let document = Document { id, date: None, kind };
        self.write_error_document(piece, &document, reason, out);
        document
    }

    /// Appends a document that keeps an event which the engine refused: as text, with the reason.
    pub fn refused_document(
        &self,
        raw: &[u8],
        refused: &Document,
        reason: &str,
        input: Input,
        received: DateTime<Utc>,
        out: &mut Vec<u8>,
    ) -> Document {
        self.write_error_document(Piece { raw, input, received }, refused, reason, out);
        refused.clone()
    }

    fn write_error_document(
        &self,
        piece: Piece<'_>,
        document: &Document,
        reason: &str,
        out: &mut Vec<u8>,
    ) {
        Object::write(out, |doc| {
            self.write_constant(doc);
            if let Some(log_id) = visible_log_id(piece.raw) {
                doc.object(key!("auth0"), |auth0| {
                    auth0.object(key!("logs"), |logs| {
                        logs.object(key!("data"), |data| data.put(key!("log_id"), &*log_id));
                    });
                });
            }
            doc.object(key!("error"), |error| error.put(key!("message"), reason));
            doc.object(key!("event"), |event| {
                event.put(key!("kind"), Literal("pipeline_error"));
                event.put(key!("dataset"), Literal("auth0.logs"));
                event.put(key!("id"), &*document.id);
                event.put(key!("original"), &*String::from_utf8_lossy(piece.raw));
                event.put(key!("ingested"), piece.received);
            });
            // Among the tags of every document, if it is preserved in every document.
            let preserved = (!self.preserve_original_event).then_some("preserve_original_event");
            self.write_input(doc, piece.input, [preserved, None]);
            doc.put(key!("@timestamp"), document.date.unwrap_or(piece.received));
        });
    }
}
