//! Event → ECS document: the only file that spells the names of ECS fields.
//!
//! The document is written straight into the body of the `_bulk` request, member by member; the
//! mapper never reads a clock and never touches the network, so that the same bytes give the same
//! document. Field names and values follow ECS 8.11 and Elastic's Auth0 integration (`docs/fields.md`).

use std::borrow::Cow;
use std::fmt::Write as _;
use std::net::IpAddr;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use chrono::{DateTime, Utc};
use sha2::{Digest, Sha256};

use crate::Input;
use crate::cache::Cache;
use crate::changes::{Change, Changes};
use crate::codes::{self, LogType};
use crate::copier::Member;
use crate::event::{self, Broken, Event};
use crate::geoip::{Geo, GeoIp, Location, Network, Place, RecordKey};
use crate::json::{decode, find_member, member, write_plain, write_str, write_text};
use crate::repair::repair;
use crate::user_agent::{UserAgent, UserAgents};

/// Makes documents of events; built once per process.
#[derive(Debug)]
pub struct Mapper {
    geoip: GeoIp,
    /// Without a City file, a pulled event's own `location_info` says where it came from.
    has_city_file: bool,
    /// The members of `source` that were written for the records looked up last.
    places: Mutex<Cache<RecordKey, Vec<u8>>>,
    user_agents: UserAgents,
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
            places: Mutex::default(),
            user_agents: UserAgents::new(),
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
        let log_type = code.and_then(codes::find);
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

    /// `source.geo` and `source.as`, from the GeoIP files.
    fn write_place(&self, ip: IpAddr, out: &mut Vec<u8>) {
        let Some(records) = self.geoip.lookup(ip) else { return };
        let mut places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = places.get(&records.key()) {
            out.extend_from_slice(&known);
            return;
        }
        let mut text = Vec::new();
        if let Some(Place { geo, network }) = records.place() {
            if let Some(geo) = geo {
                write_geo(&mut text, &geo);
            }
            if let Some(network) = network {
                write_network(&mut text, &network);
            }
        }
        out.extend_from_slice(&text);
        places.insert(records.key(), &Arc::new(text));
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

/// The members of `details`, as they stand in the output.
struct Details<'a> {
    members: &'a [Member<'a>],
}

impl Details<'_> {
    fn find(&self, name: &str) -> Option<Range<usize>> {
        self.members.iter().find(|member| member.name == name).map(|member| member.value.clone())
    }

    /// Where the value at `path` is in `out`: a member's, or that of a member of a member.
    fn get(&self, out: &[u8], path: &[&str]) -> Option<Range<usize>> {
        let (first, rest) = path.split_first()?;
        let mut place = self.find(first)?;
        for name in rest {
            let found = find_member(text(out, &place)?, name)?;
            place = place.start + found.start..place.start + found.end;
        }
        Some(place)
    }

    /// Where the scalar at `path` is.
    fn scalar(&self, out: &[u8], path: &[&str]) -> Option<Range<usize>> {
        self.get(out, path).filter(|place| text(out, place).is_some_and(is_scalar))
    }

    /// The number at `path`.
    fn number(&self, out: &[u8], path: &[&str]) -> Option<i64> {
        whole_number(text(out, &self.get(out, path)?)?)
    }
}

/// What is written at `place`.
fn text<'o>(out: &'o [u8], place: &Range<usize>) -> Option<&'o str> {
    std::str::from_utf8(out.get(place.clone())?).ok()
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

/// `auth0.logs.data.login`, from the details of a successful login.
fn write_login(out: &mut Vec<u8>, details: &Details<'_>) {
    let date = |number: Option<i64>| number.and_then(event::date_of_milliseconds);
    let initiated = date(details.number(out, &["initiatedAt"]));
    let completed = date(details.number(out, &["completedAt"]));
    let elapsed = details.number(out, &["elapsedTime"]);
    let logins = details.number(out, &["stats", "loginsCount"]);
    let before = out.len();
    out.extend_from_slice(b"\"login\":{");
    for (name, date) in [("initiatedAt", initiated), ("completedAt", completed)] {
        if let Some(date) = date {
            write_plain(out, name);
            out.push(b':');
            write_date(out, date);
            out.push(b',');
        }
    }
    if let Some(elapsed) = elapsed {
        out.extend_from_slice(b"\"elapsedTime\":");
        write_number(out, elapsed);
        out.push(b',');
    }
    if let Some(logins) = logins {
        out.extend_from_slice(b"\"stats\":{\"loginsCount\":");
        write_number(out, logins);
        out.extend_from_slice(b"},");
    }
    if out.ends_with(b"{") {
        out.truncate(before);
        return;
    }
    close(out);
    out.push(b',');
}

/// A JSON number, or a string of one, as a whole number; 1.6359e12 and 1635908765696.4 are numbers too.
fn whole_number(token: &str) -> Option<i64> {
    let text = decode(token);
    if let Ok(number) = text.parse::<i64>() {
        return Some(number);
    }
    let number: f64 = text.parse().ok()?;
    // Dates in milliseconds and counts are far below 2^53, where a double is still exact.
    const EXACT: f64 = 9_007_199_254_740_992.0;
    #[expect(clippy::cast_possible_truncation, reason = "the bound is checked")]
    (number.abs() < EXACT).then_some(number as i64)
}

/// What analysts group by, copied out of `details` to keyword fields: `flat_object` cannot be
/// aggregated on.
fn write_analyst_fields(out: &mut Vec<u8>, event: &Event<'_>, details: &Details<'_>) {
    const COPIES: &[(&str, &[&[&str]])] = &[
        ("family_id", &[&["familyId"]]),
        // Token exchanges name it below the token.
        ("session_id", &[&["session_id"], &["refresh_token", "session_id"]]),
        ("device_id", &[&["device_id"]]),
        ("grant_type", &[&["grantType"], &["grant_type"], &["body", "grant_type"]]),
    ];
    for (name, paths) in COPIES {
        if let Some(place) = paths.iter().find_map(|path| details.scalar(out, path)) {
            write_key(out, name);
            out.extend_from_within(place);
        }
    }
    if let Some(ja4) = event.security_context.and_then(|context| scalar_member(context, "ja4")) {
        write_key(out, "ja4");
        write_text(out, ja4);
    }
    // The name differs from type to type; no type has two of them.
    const TRANSACTION: &[&[&str]] =
        &[&["transaction_id"], &["transaction_linking_id"], &["transaction", "id"]];
    if let Some(id) = event.transaction_linking_id {
        write_key(out, "transaction_id");
        write_text(out, id);
    } else if let Some(place) = TRANSACTION.iter().find_map(|path| details.scalar(out, path)) {
        write_key(out, "transaction_id");
        out.extend_from_within(place);
    }
}

/// `,"name":`.
fn write_key(out: &mut Vec<u8>, name: &str) {
    out.push(b',');
    write_plain(out, name);
    out.push(b':');
}

fn is_scalar(token: &str) -> bool {
    !matches!(token.as_bytes(), b"null" | b"\"\"" | [b'{' | b'[', ..] | [])
}

/// `http.*` and `url.path`, from the API calls that some types log.
fn write_http(out: &mut Vec<u8>, details: &Details<'_>) {
    let method = details.scalar(out, &["request", "method"]);
    let status = details.number(out, &["response", "statusCode"]);
    if method.is_some() || status.is_some() {
        out.extend_from_slice(b",\"http\":{");
        if let Some(place) = method {
            out.extend_from_slice(b"\"request\":{\"method\":");
            out.extend_from_within(place);
            out.extend_from_slice(b"},");
        }
        if let Some(status) = status {
            out.extend_from_slice(b"\"response\":{\"status_code\":");
            write_number(out, status);
            out.extend_from_slice(b"},");
        }
        close(out);
    }
    if let Some(place) = details.scalar(out, &["request", "path"]) {
        out.extend_from_slice(b",\"url\":{\"path\":");
        out.extend_from_within(place);
        out.push(b'}');
    }
}

fn write_number(out: &mut Vec<u8>, number: i64) {
    out.extend_from_slice(number.to_string().as_bytes());
}

/// A value that is an IP address.
struct Address<'a> {
    text: Cow<'a, str>,
    ip: IpAddr,
}

impl<'a> Address<'a> {
    fn read(token: &'a str) -> Option<Self> {
        let text = decode(token);
        let ip = text.parse().ok()?;
        Some(Self { text, ip })
    }
}

/// `source`, `client`, `network` and `related`.
fn write_addresses(mapper: &Mapper, out: &mut Vec<u8>, event: &Event<'_>, changes: &mut Changes) {
    let source = event.ip.and_then(Address::read);
    let client = event.client_ip.and_then(Address::read);
    if client.is_none() && event.client_ip.is_some() {
        // The text itself stays in auth0.logs.data.client_ip.
        changes.note(Change::BadAddress);
    }
    let location_info = event.location_info.filter(|_| !mapper.has_city_file);
    let located = location_info.map(LocationInfo::read);
    let geo = located.as_ref().and_then(LocationInfo::geo);

    if event.ip.is_some() || geo.is_some() {
        out.extend_from_slice(b",\"source\":{");
        if let Some(source) = &source {
            out.extend_from_slice(b"\"ip\":");
            write_plain(out, &source.text);
            out.push(b',');
        } else if let Some(token) = event.ip {
            changes.note(Change::BadAddress);
            out.extend_from_slice(b"\"address\":");
            write_text(out, token);
            out.push(b',');
        }
        if let Some(geo) = geo {
            write_geo(out, &geo);
        }
        if let Some(source) = &source {
            mapper.write_place(source.ip, out);
        }
        close(out);
    }
    if let Some(client) = &client {
        out.extend_from_slice(b",\"client\":{\"ip\":");
        write_plain(out, &client.text);
        out.push(b'}');
    }
    if let Some(source) = &source {
        let kind: &[u8] = if source.ip.is_ipv4() { b"ipv4" } else { b"ipv6" };
        out.extend_from_slice(b",\"network\":{\"type\":\"");
        out.extend_from_slice(kind);
        out.extend_from_slice(b"\"}");
    }
    write_related(out, event, source.as_ref(), client.as_ref());
}

/// `related.user` and `related.ip`: every name and address of the event in one field to search.
fn write_related(
    out: &mut Vec<u8>,
    event: &Event<'_>,
    source: Option<&Address<'_>>,
    client: Option<&Address<'_>>,
) {
    let client = client.filter(|client| source.is_none_or(|source| source.ip != client.ip));
    let id = event.user_id.filter(|id| event.user_name != Some(id));
    if source.or(client).is_none() && event.user_name.or(id).is_none() {
        return;
    }
    out.extend_from_slice(b",\"related\":{\"ip\":[");
    for address in [source, client].into_iter().flatten() {
        write_plain(out, &address.text);
        out.push(b',');
    }
    close_list(out, "\"ip\":[");
    out.extend_from_slice(b"\"user\":[");
    for token in [event.user_name, id].into_iter().flatten() {
        write_text(out, token);
        out.push(b',');
    }
    close_list(out, "\"user\":[");
    close(out);
}

/// Ends a member that is a list, or takes it back where the list is empty.
fn close_list(out: &mut Vec<u8>, opening: &str) {
    if out.last() == Some(&b',') {
        out.pop();
        out.extend_from_slice(b"],");
    } else {
        out.truncate(out.len() - opening.len());
    }
}

/// A pulled event's `location_info`.
struct LocationInfo<'a> {
    token: &'a str,
    texts: [Option<Cow<'a, str>>; 5],
}

impl<'a> LocationInfo<'a> {
    fn read(token: &'a str) -> Self {
        let text = |name| scalar_member(token, name).map(decode);
        let texts = ["city_name", "continent_code", "country_code", "country_name", "time_zone"];
        Self { token, texts: texts.map(text) }
    }

    fn geo(&self) -> Option<Geo<'_>> {
        let [city, continent, country_code, country, zone] =
            self.texts.each_ref().map(Option::as_deref);
        let degrees = |name, limit: f64| {
            let number: f64 = decode(member(self.token, name)?).parse().ok()?;
            (number.abs() <= limit).then_some(number)
        };
        let location = degrees("latitude", 90.0)
            .zip(degrees("longitude", 180.0))
            .map(|(lat, lon)| Location { lat, lon });
        let geo = Geo {
            continent_name: continent.and_then(continent_name),
            country_iso_code: country_code,
            country_name: country,
            city_name: city,
            timezone: zone,
            location,
            ..Geo::default()
        };
        (geo != Geo::default()).then_some(geo)
    }
}

/// The English names that MaxMind's files have for the continents' codes.
fn continent_name(code: &str) -> Option<&'static str> {
    Some(match code {
        "AF" => "Africa",
        "AN" => "Antarctica",
        "AS" => "Asia",
        "EU" => "Europe",
        "NA" => "North America",
        "OC" => "Oceania",
        "SA" => "South America",
        _ => return None,
    })
}

fn write_geo(out: &mut Vec<u8>, geo: &Geo<'_>) {
    let texts = [
        ("city_name", geo.city_name),
        ("continent_name", geo.continent_name),
        ("country_iso_code", geo.country_iso_code),
        ("country_name", geo.country_name),
        ("postal_code", geo.postal_code),
        ("region_iso_code", geo.region_iso_code.as_deref()),
        ("region_name", geo.region_name),
        ("timezone", geo.timezone),
    ];
    out.extend_from_slice(b"\"geo\":{");
    for (name, value) in texts {
        if let Some(value) = value {
            write_plain(out, name);
            out.push(b':');
            write_str(out, value);
            out.push(b',');
        }
    }
    if let Some(Location { lat, lon }) = geo.location {
        out.extend_from_slice(format!("\"location\":{{\"lat\":{lat},\"lon\":{lon}}},").as_bytes());
    }
    close(out);
    out.push(b',');
}

fn write_network(out: &mut Vec<u8>, network: &Network<'_>) {
    out.extend_from_slice(b"\"as\":{");
    if let Some(number) = network.number {
        out.extend_from_slice(format!("\"number\":{number},").as_bytes());
    }
    if let Some(name) = network.organization_name {
        out.extend_from_slice(b"\"organization\":{\"name\":");
        write_str(out, name);
        out.extend_from_slice(b"},");
    }
    close(out);
    out.push(b',');
}

/// `user.*`: the whole user name, and its parts where it is an address.
fn write_user(out: &mut Vec<u8>, event: &Event<'_>) {
    if event.user_id.is_none() && event.user_name.is_none() {
        return;
    }
    out.extend_from_slice(b",\"user\":{");
    if let Some(id) = event.user_id {
        out.extend_from_slice(b"\"id\":");
        write_text(out, id);
        out.push(b',');
    }
    if let Some(token) = event.user_name {
        let name = decode(token);
        out.extend_from_slice(b"\"name\":");
        write_text(out, token);
        out.push(b',');
        if let Some(domain) = email_domain(&name) {
            out.extend_from_slice(b"\"email\":");
            write_text(out, token);
            out.extend_from_slice(b",\"domain\":");
            write_str(out, domain);
            out.push(b',');
        }
    }
    close(out);
}

/// The domain of an e-mail address; `None` for what is no address.
fn email_domain(name: &str) -> Option<&str> {
    let (local, domain) = name.rsplit_once('@')?;
    let is_plain = |text: &str| {
        let is_sign = |byte: u8| byte <= b' ' || byte == b'@' || byte == 0x7f;
        !text.is_empty()
            && !text.bytes().any(is_sign)
            && (text.is_ascii() || !text.contains(|c: char| c.is_whitespace() || c.is_control()))
    };
    let has_labels = domain.contains('.')
        && !domain.starts_with('.')
        && !domain.ends_with('.')
        && !domain.contains("..");
    (is_plain(local) && is_plain(domain) && has_labels).then_some(domain)
}

fn write_organization(out: &mut Vec<u8>, event: &Event<'_>) {
    let members = [("id", event.organization_id), ("name", event.organization_name)];
    if members.iter().all(|(_, value)| value.is_none()) {
        return;
    }
    out.extend_from_slice(b",\"organization\":{");
    for (name, value) in members {
        if let Some(value) = value {
            write_plain(out, name);
            out.push(b':');
            out.extend_from_slice(value.as_bytes());
            out.push(b',');
        }
    }
    close(out);
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
fn scalar_member<'a>(object: &'a str, name: &str) -> Option<&'a str> {
    member(object, name).filter(|value| is_scalar(value))
}

fn write_user_agent(out: &mut Vec<u8>, original: &str, parsed: &UserAgent) {
    out.extend_from_slice(b",\"user_agent\":{\"original\":");
    write_text(out, original);
    out.extend_from_slice(b",\"name\":");
    write_str(out, &parsed.name);
    if let Some(version) = &parsed.version {
        out.extend_from_slice(b",\"version\":");
        write_str(out, version);
    }
    out.extend_from_slice(b",\"device\":{\"name\":");
    write_str(out, &parsed.device);
    out.push(b'}');
    if let Some(os) = &parsed.os {
        out.extend_from_slice(b",\"os\":{\"name\":");
        write_str(out, &os.name);
        for (name, value) in [("version", &os.version), ("full", &os.full)] {
            if let Some(value) = value {
                out.push(b',');
                write_plain(out, name);
                out.push(b':');
                write_str(out, value);
            }
        }
        out.push(b'}');
    }
    out.push(b'}');
}

/// `error.type`, from the event, and `error.message`, about the mapping.
fn write_error(out: &mut Vec<u8>, details: &Details<'_>, message: Option<&str>) {
    let kind = details.scalar(out, &["error", "type"]);
    if kind.is_none() && message.is_none() {
        return;
    }
    out.extend_from_slice(b",\"error\":{");
    if let Some(kind) = kind {
        out.extend_from_slice(b"\"type\":");
        out.extend_from_within(kind);
        out.push(b',');
    }
    if let Some(message) = message {
        out.extend_from_slice(b"\"message\":");
        write_str(out, message);
        out.push(b',');
    }
    close(out);
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

fn write_date(out: &mut Vec<u8>, date: DateTime<Utc>) {
    out.push(b'"');
    event::write_date(out, date);
    out.push(b'"');
}

/// Ends an object whose members were written with a comma behind each.
fn close(out: &mut Vec<u8>) {
    if out.last() == Some(&b',') {
        out.pop();
    }
    out.push(b'}');
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn mapper() -> Mapper {
        let settings = MapperSettings {
            namespace: "test",
            tags: &["production".to_owned()],
            preserve_original_event: false,
            agent_name: "webhook",
            ephemeral_id: "1",
        };
        Mapper::new(&settings, GeoIp::open(None, None).unwrap())
    }

    fn mapped_text(event: &str) -> (Value, Document) {
        let mut out = Vec::new();
        let received = DateTime::from_timestamp(1_750_000_000, 0).unwrap();
        let document = mapper().document(event.as_bytes(), Input::HttpEndpoint, received, &mut out);
        (serde_json::from_slice(&out).unwrap(), document)
    }

    /// The document of an event with these members in its data.
    fn mapped(mut data: Value) -> Value {
        data["log_id"] = json!("900");
        data["date"] = json!("2026-03-14T10:05:13.013Z");
        let (document, found) = mapped_text(&json!({"log_id": "900", "data": data}).to_string());
        assert_eq!(found.id, "900");
        document
    }

    fn data(document: &Value) -> &Value {
        &document["auth0"]["logs"]["data"]
    }

    #[test]
    fn login_times_are_read_in_every_form_of_number() {
        for (number, date) in [
            ("1773482703200", Some("2026-03-14T10:05:03.200Z")),
            ("1.7734827032e12", Some("2026-03-14T10:05:03.200Z")),
            ("1773482703200.9", Some("2026-03-14T10:05:03.200Z")),
            ("\"1773482703200\"", Some("2026-03-14T10:05:03.200Z")),
            ("1e30", None),
            ("253402300800000", None),
            ("\"yesterday\"", None),
            ("{\"a\":1}", None),
        ] {
            let details = format!("{{\"initiatedAt\":{number},\"stats\":{{\"loginsCount\":7}}}}");
            let (document, _) = mapped_text(&format!(
                "{{\"log_id\":\"900\",\"type\":\"s\",\"date\":\"2026-03-14T10:05:13Z\",\
                 \"details\":{details}}}"
            ));
            let login = &data(&document)["login"];
            assert_eq!(login.get("initiatedAt").and_then(Value::as_str), date, "{number}");
            assert_eq!(login["stats"]["loginsCount"], 7);
        }
    }

    #[test]
    fn login_is_for_successful_logins_with_something_to_tell() {
        let details = json!({"completedAt": 1_773_482_703_200_i64, "elapsedTime": 12});
        let failed = mapped(json!({"type": "f", "details": details}));
        assert!(data(&failed).get("login").is_none());
        let login = mapped(json!({"type": "s", "details": details}));
        assert_eq!(
            data(&login)["login"],
            json!({"completedAt": "2026-03-14T10:05:03.200Z", "elapsedTime": 12})
        );
        assert!(data(&mapped(json!({"type": "s", "details": {"a": 1}}))).get("login").is_none());
    }

    #[test]
    fn location_info_is_the_place_where_no_file_tells_it() {
        let info = json!({
            "country_code": "SE", "country_code3": "SWE", "country_name": "Sweden",
            "city_name": "Linköping", "latitude": "58.4167", "longitude": 15.6167,
            "time_zone": "Europe/Stockholm", "continent_code": "EU",
        });
        let document = mapped(json!({"type": "s", "ip": "89.160.20.112", "location_info": info}));
        assert_eq!(
            document["source"],
            json!({"ip": "89.160.20.112", "geo": {
                "city_name": "Linköping", "continent_name": "Europe", "country_iso_code": "SE",
                "country_name": "Sweden", "timezone": "Europe/Stockholm",
                "location": {"lat": 58.4167, "lon": 15.6167},
            }})
        );
        assert_eq!(data(&document)["location_info"], info);
        let wrong = json!({"latitude": 91, "longitude": "x", "continent_code": "XX"});
        assert!(mapped(json!({"type": "s", "location_info": wrong})).get("source").is_none());
    }

    #[test]
    fn a_user_name_that_is_an_address_has_email_and_domain_too() {
        let user =
            |name: &str| mapped(json!({"user_name": name, "user_id": "auth0|1"}))["user"].take();
        assert_eq!(
            user("Anna.Berg@mail.example.com"),
            json!({"id": "auth0|1", "name": "Anna.Berg@mail.example.com",
                "email": "Anna.Berg@mail.example.com", "domain": "mail.example.com"})
        );
        for name in ["anna", "anna@", "@example.com", "anna@localhost", "a b@example.com", "a@b..c"]
        {
            assert_eq!(user(name), json!({"id": "auth0|1", "name": name}));
        }
    }

    #[test]
    fn related_names_each_user_and_address_once() {
        let both = mapped(json!({"user_name": "anna", "user_id": "auth0|1", "ip": "81.2.69.143",
            "client_ip": "2a02:cf40::1"}));
        assert_eq!(
            both["related"],
            json!({"ip": ["81.2.69.143", "2a02:cf40::1"], "user": ["anna", "auth0|1"]})
        );
        assert_eq!(both["client"]["ip"], "2a02:cf40::1");
        assert_eq!(both["network"]["type"], "ipv4");
        let same = mapped(json!({"user_name": "anna", "user_id": "anna", "ip": "81.2.69.143",
            "client_ip": "81.2.69.143"}));
        assert_eq!(same["related"], json!({"ip": ["81.2.69.143"], "user": ["anna"]}));
        assert!(mapped(json!({"type": "fn"})).get("related").is_none());
    }

    #[test]
    fn a_bad_address_is_text_beside_the_field() {
        let document = mapped(json!({"ip": "81.2.69.143, 10.0.0.1", "client_ip": "unknown"}));
        assert_eq!(document["source"], json!({"address": "81.2.69.143, 10.0.0.1"}));
        assert_eq!(data(&document)["client_ip"], "unknown");
        assert!(document.get("client").is_none() && document.get("network").is_none());
        let message = document["error"]["message"].as_str().unwrap();
        assert_eq!(message, "an address was no IP address and is kept as text");
        assert!(document["tags"].as_array().unwrap().contains(&json!("mapping_adjusted")));
        assert!(document["event"]["original"].as_str().unwrap().contains("81.2.69.143, 10"));
    }

    #[test]
    fn organization_fingerprints_and_traces_have_their_ecs_fields() {
        let document = mapped(json!({
            "organization_id": "org_1", "organization_name": "nordic-retail",
            "security_context": {"ja3": "772b", "ja4": "t13d"},
            "references": {"trace_id": "4bf9", "correlation_id": "c"},
        }));
        assert_eq!(document["organization"], json!({"id": "org_1", "name": "nordic-retail"}));
        assert_eq!(document["tls"]["client"]["ja3"], "772b");
        assert_eq!(document["auth0"]["logs"]["ja4"], "t13d");
        assert_eq!(document["trace"]["id"], "4bf9");
    }

    #[test]
    fn what_analysts_group_by_is_copied_out_of_details() {
        let document = mapped(json!({"type": "sertft", "details": {
            "familyId": "f1", "session_id": "s1", "device_id": "d1",
            "body": {"grant_type": "refresh_token"}, "transaction": {"id": "t1"},
            "request": {"method": "patch", "path": "/api/v2/users"},
            "response": {"statusCode": "204"}, "error": {"type": "invalid_grant"},
        }}));
        let logs = &document["auth0"]["logs"];
        for (name, value) in [
            ("family_id", "f1"),
            ("session_id", "s1"),
            ("device_id", "d1"),
            ("grant_type", "refresh_token"),
            ("transaction_id", "t1"),
        ] {
            assert_eq!(logs[name], value, "{name}");
        }
        let http = json!({"request": {"method": "patch"}, "response": {"status_code": 204}});
        assert_eq!(document["http"], http);
        assert_eq!(document["url"]["path"], "/api/v2/users");
        assert_eq!(document["error"], json!({"type": "invalid_grant"}));
        assert_eq!(document["log"]["level"], "error");
    }

    #[test]
    fn a_code_that_is_not_in_the_table_is_an_event_all_the_same() {
        let (document, found) =
            mapped_text(r#"{"log_id":"900","type":"brand_new","date":"2026-03-14T10:05:13Z"}"#);
        assert_eq!(found.kind, Kind::UnknownType);
        assert_eq!(document["event"]["action"], "unknown-brand_new");
        assert_eq!(document["event"]["type"], json!(["info"]));
        assert_eq!(document["event"]["outcome"], "unknown");
        let expected = json!({"type": "brand_new", "type_id": "brand_new",
            "date": "2026-03-14T10:05:13.000Z"});
        assert_eq!(data(&document), &expected);
        assert_eq!(document["tags"], json!(["forwarded", "auth0-logstream", "production"]));
    }

    #[test]
    fn what_is_no_event_keeps_its_text_and_the_log_id_that_can_be_seen() {
        let cut = r#"{"log_id": "90020260314", "data": {"type": "s", "desc"#;
        let (document, found) = mapped_text(cut);
        assert_eq!(found.kind, Kind::NotJson);
        assert_eq!(found.date, None);
        assert_ne!(found.id, "90020260314", "the event may yet come whole");
        assert_eq!(data(&document)["log_id"], "90020260314");
        assert_eq!(document["event"]["id"], found.id);
        assert_eq!(document["event"]["kind"], "pipeline_error");
        assert_eq!(document["event"]["original"], cut);
        assert_eq!(document["@timestamp"], "2025-06-15T15:06:40.000Z");
        assert!(document["error"]["message"].as_str().unwrap().starts_with("not valid JSON: "));

        for (text, kind) in [
            ("[1]", Kind::Broken),
            ("{\"a\":1}", Kind::Broken),
            ("\"\\ud800\"", Kind::Broken),
            ("nonsense", Kind::NotJson),
        ] {
            let (document, found) = mapped_text(text);
            assert_eq!(found.kind, kind, "{text}");
            assert_eq!(document["event"]["original"], text);
            assert!(document.get("auth0").is_none());
        }
    }

    #[test]
    fn a_refused_event_keeps_id_date_and_the_engines_reason() {
        let raw = br#"{"log_id":"900","data":{"type":"s","date":"2026-03-14T10:05:13Z"}}"#;
        let mapper = mapper();
        let received = DateTime::from_timestamp(1_750_000_000, 0).unwrap();
        let mut out = Vec::new();
        let refused = mapper.document(raw, Input::HttpEndpoint, received, &mut out);
        out.clear();
        let kept = mapper.refused_document(
            raw,
            &refused,
            "illegal",
            Input::HttpEndpoint,
            received,
            &mut out,
        );
        assert_eq!(kept, refused);
        let document: Value = serde_json::from_slice(&out).unwrap();
        assert_eq!(document["@timestamp"], "2026-03-14T10:05:13.000Z");
        assert_eq!(document["event"]["id"], "900");
        assert_eq!(document["error"]["message"], "illegal");
        assert_eq!(document["event"]["original"].as_str().unwrap().as_bytes(), raw);
    }

    #[test]
    fn an_id_that_cannot_be_one_is_derived_the_same_way_each_time() {
        let long = "x".repeat(513);
        let with_id = |id: &Value| json!({"log_id": id, "data": {"type": "s"}}).to_string();
        let mut seen = Vec::new();
        let unusable = [json!({"$oid": "1"}), json!(["1"]), json!(" "), json!(true), Value::Null];
        for id in unusable.into_iter().chain([json!(long)]) {
            let (document, first) = mapped_text(&with_id(&id));
            let (_, second) = mapped_text(&with_id(&id));
            assert_eq!(first, second);
            assert!(first.id.starts_with("sha256-") && !seen.contains(&first.id), "{id}");
            assert!(document["error"]["message"].as_str().unwrap().contains("id was derived"));
            seen.push(first.id);
        }
        let other = |id: &str| format!(r#"{{"log_id":"{id}","type":"f"}}"#);
        assert!(!seen.contains(&mapped_text(&other(" ")).1.id), "a blank tells no events apart");
        assert!(seen.contains(&mapped_text(&other(&long)).1.id), "a long id does");
        let (document, _) = mapped_text(&with_id(&json!(long)));
        assert_eq!(data(&document)["log_id"], long);
        assert_eq!(mapped_text(&with_id(&json!(900))).1.id, "900");
        assert_eq!(mapped_text(&with_id(&json!("y".repeat(512)))).1.id, "y".repeat(512));
    }
}
