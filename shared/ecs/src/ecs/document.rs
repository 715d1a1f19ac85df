//! Event → ECS document.
//!
//! The document is written straight into the body of the `_bulk` request, member by member. The mapper
//! never reads a clock and never touches the network: the same bytes give the same document. Names and
//! values follow ECS 8.11 and Elastic's Auth0 integration; [`fields`] lists them all.

use std::borrow::Cow;

use chrono::{DateTime, Utc};
use user_agent::UserAgentParser;

use super::copies::Copies;
use super::details::{Details, Path, text_at};
use super::id::document_id;
use super::login::write_login;
use super::source::{Places, write_addresses};
use super::user::{People, write_user_agent};
use super::{details_fields, fields};
use crate::geoip::GeoIp;
use crate::input::event::{self, Event, EventError};
use crate::input::mask::is_note;
use crate::input::members::{MemberId, Members, Moved};
use crate::input::origin::Input;
use crate::input::types::{self, LogType};
use crate::json::change::{Change, Changes};
use crate::json::read::decode;
use crate::json::repair::repair;
use crate::json::write::{AsText, Key, List, Literal, Object};
use crate::key;

/// Maps events to documents; built once per process.
#[derive(Debug)]
pub struct Mapper {
    members: Members,
    organization_id: MemberId,
    copies: DocumentCopies,
    places: Places,
    user_agents: UserAgentParser,
    pub(super) preserve_original_event: bool,
    /// `agent`, `data_stream` and `ecs`, the same in every document.
    constant: String,
    /// The tags of every document.
    tags: String,
}

/// Plain copies, by the object that they are written into.
#[derive(Debug)]
struct DocumentCopies {
    logs: Copies,
    error: Copies,
    organization: Copies,
    /// All that stand alone in their objects.
    others: Copies,
}

/// Who writes the documents, and with which settings.
#[derive(Clone, Debug)]
pub struct MapperSettings<'a> {
    /// `data_stream.namespace`.
    pub namespace: &'a str,
    /// The operator's own tags.
    pub tags: &'a [String],
    /// Whether to keep the bytes as received in `event.original`.
    pub preserve_original_event: bool,
    /// `agent.name`: the function.
    pub agent_name: &'a str,
    /// `agent.ephemeral_id`: one per process.
    pub ephemeral_id: &'a str,
}

/// A document, as far as delivery needs to know it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Document {
    /// `_id`: the event's `log_id`, or derived from its content.
    pub id: String,
    /// Auth0's date of the event; `None` if it has no usable one.
    pub date: Option<DateTime<Utc>>,
    /// What the piece turned out to be.
    pub kind: DocumentKind,
}

/// What a piece of a body turned out to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DocumentKind {
    /// An event of a known type.
    Event,
    /// An event whose type is not in the table.
    UnknownType,
    /// JSON, but not an event. The document says why, and holds the text as received.
    NotAnEvent,
    /// Not even JSON.
    NotJson,
}

/// A piece of a body on its way to its document.
#[derive(Clone, Copy, Debug)]
pub struct Piece<'a> {
    /// The bytes as received.
    pub raw: &'a [u8],
    /// How they were received.
    pub input: Input,
    /// When they were received.
    pub received: DateTime<Utc>,
}

impl Mapper {
    /// A mapper with the files of `geoip`.
    #[must_use]
    pub fn new(settings: &MapperSettings<'_>, geoip: GeoIp) -> Self {
        let members = fields::members(details_fields::schemas());
        #[expect(clippy::expect_used, reason = "every test fails if the table lacks them")]
        let id = |name| members.id(name).expect("a member in the table of fields");
        let preserve = settings.preserve_original_event.then_some("preserve_original_event");
        let tags = preserve.into_iter().chain(["forwarded", "auth0-logstream"]);
        Self {
            copies: DocumentCopies::new(&members),
            organization_id: id("organization_id"),
            places: Places::new(geoip, id("client_ip"), id("location_info")),
            members,
            user_agents: UserAgentParser::new(),
            preserve_original_event: settings.preserve_original_event,
            constant: Object::render(|doc| write_constant(doc, settings)),
            tags: List::render(tags.chain(settings.tags.iter().map(String::as_str))),
        }
    }

    /// Appends the document of one piece of a body to `out`. A piece that is not an event gives an error
    /// document, never nothing.
    pub fn document(&self, piece: Piece<'_>, out: &mut Vec<u8>) -> Document {
        let (raw, start) = (piece.raw, out.len());
        let mut changes = Changes::default();
        let read = std::str::from_utf8(raw)
            .map_err(EventError::from)
            .and_then(|text| self.event_document(text, changes, piece, out));
        let error = match read {
            Ok(document) => return document,
            Err(_) if is_note(raw) => EventError::Withheld,
            Err(error) => error,
        };
        // Ordinary events pay nothing for this: what cannot be read is read once more, repaired.
        out.truncate(start);
        let repaired = repair(raw);
        let mut kind = kind_of(&error);
        if repaired.as_bytes() != raw {
            changes.note(Change::Repaired);
            match self.event_document(&repaired, changes, piece, out) {
                Ok(document) => return document,
                Err(again) => kind = kind_of(&again),
            }
            out.truncate(start);
        }
        self.unreadable_document(piece, kind, &error.to_string(), out)
    }

    /// `text` is what is read: the piece as received, or repaired with `changes`.
    fn event_document(
        &self,
        text: &str,
        changes: Changes,
        piece: Piece<'_>,
        out: &mut Vec<u8>,
    ) -> Result<Document, EventError> {
        let mut event = Event::unread(changes);
        Object::write(out, |doc| {
            let Identity { id, code, log_type, people } = doc.object(key!("auth0"), |auth0| {
                auth0.object(key!("logs"), |logs| self.write_logs(logs, text, &mut event, piece))
            })?;
            let code = code.as_deref();
            let agent = event.moved(Moved::UserAgent);
            let parsed_agent = agent.map(|token| self.user_agents.parse(&decode(token)));
            let details = Details::of(&event);
            const ERRORS: [Path; 2] = [Path::new("error"), Path::new("error_text")];
            let has_error = ERRORS.into_iter().any(|path| details.place(path).is_some());

            self.write_constant(doc);
            self.copies.others.write(doc, &event);
            write_addresses(doc, &mut event, &self.places, &people);
            people.write(doc);
            doc.object(key!("organization"), |organization| {
                self.copies.organization.write(organization, &event);
                match event.token(self.organization_id) {
                    Some(token) => organization.put(key!("id"), AsText(token)),
                    None => organization.maybe(key!("id"), people.organization()),
                }
            });
            if let (Some(token), Some(parsed)) = (agent, &parsed_agent) {
                write_user_agent(doc, token, parsed);
            }
            doc.object(key!("log"), |log| {
                log.put(key!("level"), Literal(if has_error { "error" } else { "info" }));
            });
            let changes = event.changes;
            // error.type is about the event, error.message about what was done to it.
            let adjusted = !changes.is_empty();
            doc.object(key!("error"), |error| {
                self.copies.error.write(error, &event);
                let message = adjusted.then(|| changes.message(&event.wrapped));
                error.maybe(key!("message"), message.as_deref());
            });
            doc.object(key!("event"), |object| {
                object.put(key!("kind"), Literal("event"));
                object.put(key!("dataset"), Literal("auth0.logs"));
                object.put(key!("id"), id.as_str());
                write_type(object, code, log_type);
                if changes.has(Change::Repaired) {
                    object.put(key!("original"), &*String::from_utf8_lossy(piece.raw));
                } else if self.preserve_original_event || adjusted {
                    object.put(key!("original"), text);
                }
                object.put(key!("ingested"), piece.received);
            });
            let crawler = parsed_agent.is_some_and(|agent| agent.crawler).then_some("crawler");
            let adjusted = adjusted.then_some("mapping_adjusted");
            self.write_input(doc, piece.input, [crawler, adjusted]);
            doc.put(key!("@timestamp"), event.date.unwrap_or(piece.received));
            let kind = match log_type {
                Some(_) => DocumentKind::Event,
                None => DocumentKind::UnknownType,
            };
            Ok(Document { id, date: event.date, kind })
        })
    }

    /// `auth0.logs`: the event's data, and what analysts group by.
    fn write_logs<'t>(
        &self,
        logs: &mut Object<'_>,
        text: &'t str,
        event: &mut Event<'t>,
        piece: Piece<'_>,
    ) -> Result<Identity<'t>, EventError> {
        let identity = logs.object(key!("data"), |data| {
            event::read(text, &self.members, event, data.out())?;
            let code = event.moved(Moved::Type).map(decode);
            let log_type = code.as_deref().and_then(types::find);
            if let Some(code) = code.as_deref() {
                data.put(key!("type_id"), code);
                match log_type {
                    Some(log_type) => {
                        data.put(key!("type"), Literal(log_type.name));
                        data.put(key!("classification"), Literal(log_type.classification));
                    }
                    None => data.put(key!("type"), code),
                }
            }
            data.maybe(key!("date"), event.date);
            if event.date.is_none() {
                event.changes.note(Change::BadDate);
            }
            write_login(data, Details::of(event), code.as_deref());
            let people = People::read(event, data.written());
            let [masked_id, masked_name] = people.masked();
            data.maybe(key!("user_id"), masked_id.map(AsText));
            data.maybe(key!("user_name"), masked_name.map(AsText));
            let log_id = event.moved(Moved::LogId);
            let (id, derived) = document_id(log_id, piece.raw);
            if derived {
                event.changes.note(Change::IdDerived);
                data.maybe(key!("log_id"), log_id.map(decode).as_deref());
            }
            Ok::<_, EventError>(Identity { id, code, log_type, people })
        })?;
        self.copies.logs.write(logs, event);
        self.write_others(logs, event);
        logs.maybe(key!("channel"), identity.people.channel());
        Ok(identity)
    }

    /// `details_other`: what no field finds, if details are indexed by fields. The document is the same with
    /// every other setting, so that a change of it never meets an event that does not fit.
    fn write_others(&self, logs: &mut Object<'_>, event: &Event<'_>) {
        logs.object(key!("details_other"), |others| {
            for (name, place) in &event.others {
                let text = text_at(others.written(), place).unwrap_or_default().to_owned();
                let key = format!("\"{name}\":");
                let schema = self.members.schema(name);
                others.object(Key(&key), |inner| schema.write_others(&text, inner));
            }
        });
    }

    pub(super) fn write_constant(&self, doc: &mut Object<'_>) {
        doc.rendered(&self.constant);
    }

    /// `input` and `tags`.
    pub(super) fn write_input(
        &self,
        doc: &mut Object<'_>,
        input: Input,
        tags: [Option<&'static str>; 2],
    ) {
        doc.object(key!("input"), |object| object.put(key!("type"), Literal(input.as_str())));
        doc.list(key!("tags"), |list| {
            list.rendered(&self.tags);
            for tag in tags.into_iter().flatten() {
                list.push(Literal(tag));
            }
        });
    }
}

/// What an event is.
struct Identity<'t> {
    /// `_id` of the document.
    id: String,
    /// The code of its type.
    code: Option<Cow<'t, str>>,
    log_type: Option<&'static LogType>,
    people: People<'t>,
}

impl DocumentCopies {
    fn new(members: &Members) -> Self {
        let mut others = Copies::new(members);
        let logs = others.take("auth0").take("logs");
        Self {
            logs,
            error: others.take("error"),
            organization: others.take("organization"),
            others,
        }
    }
}

const fn kind_of(error: &EventError) -> DocumentKind {
    match error {
        EventError::Syntax { .. } | EventError::Encoding(_) => DocumentKind::NotJson,
        EventError::NotAnObject
        | EventError::Withheld
        | EventError::NotALogEvent
        | EventError::EventStream
        | EventError::DataAsText => DocumentKind::NotAnEvent,
    }
}

/// The version of ECS that our documents follow: `ecs.version`.
pub const ECS_VERSION: &str = "8.11.0";

/// What is the same in all documents of a process.
fn write_constant(doc: &mut Object<'_>, settings: &MapperSettings<'_>) {
    doc.object(key!("agent"), |agent| {
        agent.put(key!("type"), "auth0-log-streams");
        agent.put(key!("version"), env!("CARGO_PKG_VERSION"));
        agent.put(key!("name"), settings.agent_name);
        agent.put(key!("ephemeral_id"), settings.ephemeral_id);
    });
    doc.object(key!("data_stream"), |stream| {
        stream.put(key!("type"), "logs");
        stream.put(key!("dataset"), "auth0.logs");
        stream.put(key!("namespace"), settings.namespace);
    });
    doc.object(key!("ecs"), |ecs| ecs.put(key!("version"), ECS_VERSION));
}

/// `event.action`, `category`, `type` and `outcome`.
fn write_type(event: &mut Object<'_>, code: Option<&str>, log_type: Option<&LogType>) {
    let list = |event: &mut Object<'_>, key, values: &[&'static str]| {
        event.list(key, |list| values.iter().for_each(|value| list.push(Literal(value))));
    };
    match log_type {
        Some(log_type) => {
            event.put(key!("action"), Literal(log_type.action));
            list(event, key!("category"), log_type.category);
            list(event, key!("type"), log_type.kind);
            event.put(key!("outcome"), Literal(log_type.outcome.as_str()));
        }
        None => {
            event.put(key!("action"), &*format!("unknown-{}", code.unwrap_or("type")));
            list(event, key!("type"), &["info"]);
            event.put(key!("outcome"), Literal("unknown"));
        }
    }
}
