//! Event → ECS document: the only module that spells the names of ECS fields.
//!
//! The document is written straight into the body of the `_bulk` request, member by member; the
//! mapper never reads a clock and never touches the network, so that the same bytes give the same
//! document. Field names and values follow ECS 8.11 and Elastic's Auth0 integration (`docs/fields.md`).

use std::fmt::Write as _;
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex};

use chrono::{DateTime, Utc};
use lru::LruCache;
use sha2::{Digest, Sha256};

use super::details::{
    Details, is_scalar, write_analyst_fields, write_error, write_http, write_login,
};
use super::source::write_addresses;
use super::user::{write_organization, write_user, write_user_agent};
use crate::geoip::{GeoIp, RecordKey};
use crate::input::Input;
use crate::input::event::{self, Broken, Event};
use crate::input::types::{self, LogType};
use crate::json::change::{Change, Changes};
use crate::json::repair::repair;
use crate::json::text::{decode, member, write_plain, write_str, write_text};
use user_agent::UserAgentParser;

/// Makes documents of events; built once per process.
#[derive(Debug)]
pub struct Mapper {
    pub(super) geoip: GeoIp,
    /// Without a City file, a pulled event's own `location_info` says where it came from.
    pub(super) has_city_file: bool,
    /// The members of `source` that were written for the records looked up last.
    pub(super) places: Mutex<LruCache<RecordKey, Arc<Vec<u8>>>>,
    user_agents: UserAgentParser,
    preserve_original_event: bool,
    /// `"agent":{…},"data_stream":{…},"ecs":{…}`: the same in each document.
    constant: String,
    /// The tags that each document has, each with a comma behind it.
    tags: String,
}

/// Who writes the documents, and with which settings.
#[derive(Clone, Debug)]
pub struct MapperSettings<'a> {
    /// `data_stream.namespace`.
    pub namespace: &'a str,
    /// The operator's own tags.
    pub tags: &'a [String],
    /// Keep the bytes as received in `event.original`.
    pub preserve_original_event: bool,
    /// `agent.name`: the function.
    pub agent_name: &'a str,
    /// `agent.ephemeral_id`: one for each process.
    pub ephemeral_id: &'a str,
}

/// One document, and what delivery needs to know of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Document {
    /// `_id`: the event's `log_id`, or derived from its content.
    pub id: String,
    /// Auth0's date of the event; `None` where it has none that can be used.
    pub date: Option<DateTime<Utc>>,
    /// What the piece was found to be.
    pub kind: Kind,
}

/// What an error document needs beyond the text that it keeps.
struct ErrorDocument<'a> {
    id: String,
    date: Option<DateTime<Utc>>,
    kind: Kind,
    reason: &'a str,
}

/// What a piece of a body was found to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// An event of a known type.
    Event,
    /// An event whose type is not in the table.
    UnknownType,
    /// No event; the document says why, and holds the text as received.
    Broken,
    /// No event, nor JSON at all.
    NotJson,
}

/// Records of GeoIP files whose members of `source` are kept.
const PLACES: NonZeroUsize = NonZeroUsize::new(256).unwrap();

impl Mapper {
    /// A mapper with `geoip`'s files.
    #[must_use]
    pub fn new(settings: &MapperSettings<'_>, geoip: GeoIp) -> Self {
        let MapperSettings { namespace, tags, preserve_original_event, agent_name, ephemeral_id } =
            settings;
        let agent = serde_json::json!({
            "agent": {"type": "auth0-log-streams", "version": env!("CARGO_PKG_VERSION"),
                "name": agent_name, "ephemeral_id": ephemeral_id},
            "data_stream": {"type": "logs", "dataset": "auth0.logs", "namespace": namespace},
            "ecs": {"version": "8.11.0"},
        })
        .to_string();
        let constant = agent.trim_start_matches('{').trim_end_matches('}').to_owned() + "}";
        let own = if *preserve_original_event { &["preserve_original_event"][..] } else { &[] };
        let all = own.iter().chain(&["forwarded", "auth0-logstream"]).copied();
        let tags: Vec<String> = all
            .chain(tags.iter().map(String::as_str))
            .map(|tag| serde_json::Value::from(tag).to_string())
            .collect();
        Self {
            has_city_file: geoip.has_city(),
            geoip,
            places: Mutex::new(LruCache::new(PLACES)),
            user_agents: UserAgentParser::new(),
            preserve_original_event: *preserve_original_event,
            constant,
            tags: tags.join(","),
        }
    }

    /// Appends the document of one piece of a body to `out`. A piece that is no event gives an error
    /// document, never nothing.
    pub fn document(
        &self,
        raw: &[u8],
        input: Input,
        received: DateTime<Utc>,
        out: &mut Vec<u8>,
    ) -> Document {
        let start = out.len();
        let mut changes = Changes::default();
        let read = match std::str::from_utf8(raw) {
            Ok(text) => self.event_document(text, changes, raw, input, received, out),
            Err(error) => Err(Broken::Syntax(error.to_string())),
        };
        let problem = match read {
            Ok(document) => return document,
            Err(problem) => problem,
        };
        // The common case pays nothing for what follows: the event is read again, put right.
        out.truncate(start);
        let repaired = repair(raw);
        let mut is_json = !matches!(problem, Broken::Syntax(_));
        if repaired.as_bytes() != raw {
            changes.note(Change::Repaired);
            match self.event_document(&repaired, changes, raw, input, received, out) {
                Ok(document) => return document,
                Err(problem) => is_json = !matches!(problem, Broken::Syntax(_)),
            }
            out.truncate(start);
        }
        let kind = if is_json { Kind::Broken } else { Kind::NotJson };
        // Not under its log_id, if it has one: the event may yet come whole.
        let (id, _) = document_id(None, raw);
        let error = ErrorDocument { id, date: None, kind, reason: &problem.to_string() };
        self.error_document(raw, error, input, received, out)
    }

    /// Appends a document that keeps an event which the engine refused, as text, with the reason.
    pub fn refused_document(
        &self,
        raw: &[u8],
        refused: &Document,
        reason: &str,
        input: Input,
        received: DateTime<Utc>,
        out: &mut Vec<u8>,
    ) -> Document {
        let Document { id, date, kind, .. } = refused.clone();
        self.error_document(raw, ErrorDocument { id, date, kind, reason }, input, received, out)
    }

    fn error_document(
        &self,
        raw: &[u8],
        error: ErrorDocument<'_>,
        input: Input,
        received: DateTime<Utc>,
        out: &mut Vec<u8>,
    ) -> Document {
        let ErrorDocument { id, date, kind, reason } = error;
        out.push(b'{');
        out.extend_from_slice(self.constant.as_bytes());
        if let Some(log_id) = visible_log_id(raw) {
            out.extend_from_slice(b",\"auth0\":{\"logs\":{\"data\":{\"log_id\":");
            write_str(out, &log_id);
            out.extend_from_slice(b"}}}");
        }
        out.extend_from_slice(b",\"error\":{\"message\":");
        write_str(out, reason);
        out.extend_from_slice(
            b"},\"event\":{\"kind\":\"pipeline_error\",\"dataset\":\"auth0.logs\",\"id\":",
        );
        write_str(out, &id);
        write_original(out, &String::from_utf8_lossy(raw));
        write_ingested(out, received);
        out.push(b'}');
        self.write_input_tags(out, input, false, false);
        write_timestamp(out, date.unwrap_or(received));
        out.push(b'}');
        Document { id, date, kind }
    }

    /// `text` is what is read, with `changes` made to it before; `raw` is what was received.
    fn event_document(
        &self,
        text: &str,
        changes: Changes,
        raw: &[u8],
        input: Input,
        received: DateTime<Utc>,
        out: &mut Vec<u8>,
    ) -> Result<Document, Broken> {
        out.extend_from_slice(b"{\"auth0\":{\"logs\":{\"data\":{");
        let event = event::read(text, changes, out)?;
        let mut changes = event.changes;
        let code = event.code.map(decode);
        let code = code.as_deref();
        let log_type = code.and_then(types::find);
        let details = Details { members: &event.details };

        write_type(out, code, log_type);
        if let Some(date) = event.date {
            out.extend_from_slice(b"\"date\":");
            write_date(out, date);
            out.push(b',');
        } else {
            changes.note(Change::BadDate);
        }
        if code == Some("s") {
            write_login(out, &details);
        }
        let (id, derived) = document_id(event.log_id, raw);
        if derived {
            changes.note(Change::IdDerived);
            if let Some(log_id) = event.log_id {
                out.extend_from_slice(b"\"log_id\":");
                write_str(out, &decode(log_id));
            }
        }
        close(out);
        write_analyst_fields(out, &event, &details);
        close(out);
        close(out);
        out.push(b',');

        out.extend_from_slice(self.constant.as_bytes());
        let user_agent = event.user_agent.map(|token| self.user_agents.parse(&decode(token)));
        let has_error = details.find("error").is_some();

        write_http(out, &details);
        write_addresses(self, out, &event, &mut changes);
        write_user(out, &event);
        write_organization(out, &event);
        write_traces(out, &event);
        if let (Some(token), Some(parsed)) = (event.user_agent, &user_agent) {
            write_user_agent(out, token, parsed);
        }
        out.extend_from_slice(b",\"log\":{\"level\":");
        out.extend_from_slice(if has_error { b"\"error\"}" } else { b"\"info\"}" });

        // error.type belongs to the event, error.message to what was done to it.
        let message = (!changes.is_empty()).then(|| changes.message());
        write_error(out, &details, message.as_deref());
        write_event(out, code, log_type, &id);
        if changes.has(Change::Repaired) {
            write_original(out, &String::from_utf8_lossy(raw));
        } else if self.preserve_original_event || !changes.is_empty() {
            write_original(out, text);
        }
        write_ingested(out, received);
        out.push(b'}');
        let crawler = user_agent.is_some_and(|agent| agent.crawler);
        self.write_input_tags(out, input, crawler, !changes.is_empty());
        write_timestamp(out, event.date.unwrap_or(received));
        out.push(b'}');
        let kind = if log_type.is_some() { Kind::Event } else { Kind::UnknownType };
        Ok(Document { id, date: event.date, kind })
    }

    fn write_input_tags(&self, out: &mut Vec<u8>, input: Input, crawler: bool, adjusted: bool) {
        out.extend_from_slice(b",\"input\":{\"type\":\"");
        out.extend_from_slice(input.as_str().as_bytes());
        out.extend_from_slice(b"\"},\"tags\":[");
        out.extend_from_slice(self.tags.as_bytes());
        if crawler {
            out.extend_from_slice(b",\"crawler\"");
        }
        if adjusted {
            out.extend_from_slice(b",\"mapping_adjusted\"");
        }
        out.push(b']');
    }
}

/// The longest `_id` that engines take, in bytes.
const MAX_ID: usize = 512;

/// The `_id`, and whether it had to be derived: from a `log_id` that is too long, or, without one that
/// tells events apart, from the content. The same event gives the same id each time it is delivered.
fn document_id(log_id: Option<&str>, raw: &[u8]) -> (String, bool) {
    let is_text_or_number =
        |token: &&str| token.starts_with(|c: char| c == '"' || c == '-' || c.is_ascii_digit());
    let id = log_id.filter(is_text_or_number).map(decode).filter(|id| !id.trim().is_empty());
    let content = match id {
        Some(id) if id.len() <= MAX_ID => return (id.into_owned(), false),
        Some(id) => id,
        None => String::from_utf8_lossy(raw),
    };
    let digest = Sha256::digest(content.as_bytes());
    let mut id = String::with_capacity(40);
    id.push_str("sha256-");
    for byte in digest.iter().take(16) {
        // Writing to a String cannot fail.
        let _infallible = write!(id, "{byte:02x}");
    }
    (id, true)
}

/// The `log_id` that can be seen in a piece, be the piece JSON or not.
fn visible_log_id(raw: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(raw);
    let (_, after) = text.split_once("\"log_id\"")?;
    let value = after.trim_start().strip_prefix(':')?.trim_start().strip_prefix('"')?;
    let (id, _) = value.split_once('"')?;
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    (!id.is_empty() && id.len() <= MAX_ID && id.chars().all(is_plain)).then(|| id.to_owned())
}

/// `auth0.logs.data.{type,type_id,classification}`.
fn write_type(out: &mut Vec<u8>, code: Option<&str>, log_type: Option<&LogType>) {
    let Some(code) = code else { return };
    out.extend_from_slice(b"\"type_id\":");
    write_str(out, code);
    out.extend_from_slice(b",\"type\":");
    match log_type {
        Some(log_type) => write_plain(out, log_type.name),
        None => write_str(out, code),
    }
    if let Some(log_type) = log_type {
        out.extend_from_slice(b",\"classification\":");
        write_plain(out, log_type.classification);
    }
    out.push(b',');
}

/// `,"name":`.
pub(super) fn write_key(out: &mut Vec<u8>, name: &str) {
    out.push(b',');
    write_plain(out, name);
    out.push(b':');
}

/// `tls.client.ja3` and `trace.id`.
fn write_traces(out: &mut Vec<u8>, event: &Event<'_>) {
    if let Some(ja3) = event.security_context.and_then(|context| scalar_member(context, "ja3")) {
        out.extend_from_slice(b",\"tls\":{\"client\":{\"ja3\":");
        write_text(out, ja3);
        out.extend_from_slice(b"}}");
    }
    if let Some(trace) = event.references.and_then(|refs| scalar_member(refs, "trace_id")) {
        out.extend_from_slice(b",\"trace\":{\"id\":");
        write_text(out, trace);
        out.push(b'}');
    }
}

/// A scalar member of an object as received: to be written as text, since its type was not looked at.
pub(super) fn scalar_member<'a>(object: &'a str, name: &str) -> Option<&'a str> {
    member(object, name).filter(|value| is_scalar(value))
}

/// `event.*`, left open for what follows.
fn write_event(out: &mut Vec<u8>, code: Option<&str>, log_type: Option<&LogType>, id: &str) {
    out.extend_from_slice(b",\"event\":{\"kind\":\"event\",\"dataset\":\"auth0.logs\",\"id\":");
    write_str(out, id);
    out.extend_from_slice(b",\"action\":");
    match log_type {
        Some(log_type) => {
            write_plain(out, log_type.action);
            write_list(out, "category", log_type.category);
            write_list(out, "type", log_type.kind);
            out.extend_from_slice(b",\"outcome\":");
            write_plain(out, log_type.outcome.as_str());
        }
        None => {
            write_str(out, &format!("unknown-{}", code.unwrap_or("type")));
            write_list(out, "type", &["info"]);
            out.extend_from_slice(b",\"outcome\":\"unknown\"");
        }
    }
}

fn write_list(out: &mut Vec<u8>, name: &str, values: &[&str]) {
    out.push(b',');
    write_plain(out, name);
    out.extend_from_slice(b":[");
    for value in values {
        write_plain(out, value);
        out.push(b',');
    }
    out.pop();
    out.push(b']');
}

fn write_original(out: &mut Vec<u8>, text: &str) {
    out.extend_from_slice(b",\"original\":");
    write_str(out, text);
}

fn write_ingested(out: &mut Vec<u8>, received: DateTime<Utc>) {
    out.extend_from_slice(b",\"ingested\":");
    write_date(out, received);
}

fn write_timestamp(out: &mut Vec<u8>, date: DateTime<Utc>) {
    out.extend_from_slice(b",\"@timestamp\":");
    write_date(out, date);
}

pub(super) fn write_date(out: &mut Vec<u8>, date: DateTime<Utc>) {
    out.push(b'"');
    event::write_date(out, date);
    out.push(b'"');
}

/// Ends an object whose members were written with a comma behind each.
pub(super) fn close(out: &mut Vec<u8>) {
    if out.last() == Some(&b',') {
        out.pop();
    }
    out.push(b'}');
}
