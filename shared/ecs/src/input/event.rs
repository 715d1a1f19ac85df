//! A piece of the body → the event's own fields, with `auth0.logs.data` written on the way.
//!
//! One reader takes both forms: stream events are `{"log_id": …, "data": {…}}`, pulled events
//! (`GET /api/v2/logs`) are the bare data object. The members of `data` go to the output as they
//! are read; what the document needs elsewhere is kept as a reference into the input.

use std::collections::HashSet;

use chrono::{DateTime, Datelike as _, NaiveDateTime, Timelike as _, Utc};

use crate::json::change::{Change, Changes};
use crate::json::lex::{Kind, Name, Syntax};
use crate::json::sanitize::{Copier, Kept, MAX_DEPTH, Mark, Member};
use crate::json::text as json;

/// What a member of `data` may hold so that every engine accepts it in its field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shape {
    /// Text, keyword: a scalar or an array of scalars; anything else becomes JSON text.
    Text,
    /// A boolean.
    Boolean,
    /// An object whose members are scalars.
    Record,
    /// An object of any kind: `flat_object`, `flattened`.
    Flat,
}

/// The members that are mapped by their own name below `auth0.logs.data`.
#[rustfmt::skip]
pub(crate) const MEMBERS: &[(&str, Shape)] = &[
    ("agent_id", Shape::Text),
    ("audience", Shape::Text),
    ("auth0_client", Shape::Flat),
    ("body", Shape::Flat),
    ("client_id", Shape::Text),
    ("client_ip", Shape::Text),
    ("client_name", Shape::Text),
    ("connection", Shape::Text),
    ("connection_id", Shape::Text),
    ("description", Shape::Text),
    ("details", Shape::Flat),
    ("email", Shape::Text),
    ("environment_name", Shape::Text),
    ("external_agent_id", Shape::Text),
    ("hostname", Shape::Text),
    ("identity_user_id", Shape::Text),
    ("is_mobile", Shape::Boolean),
    ("location_info", Shape::Record),
    ("mtls_thumbprint_sha256", Shape::Text),
    ("organization_id", Shape::Text),
    ("organization_name", Shape::Text),
    ("query", Shape::Flat),
    ("references", Shape::Record),
    ("scope", Shape::Text),
    ("security_context", Shape::Record),
    ("session_connection", Shape::Text),
    ("strategy", Shape::Text),
    ("strategy_type", Shape::Text),
    ("tenant_name", Shape::Text),
    ("title", Shape::Text),
    ("tracking_id", Shape::Text),
    ("transaction_linking_id", Shape::Text),
];

/// Names below `auth0.logs.data` that are no member's: the mapper writes them itself, or the index
/// template has them for what is moved elsewhere.
pub(crate) const TAKEN_NAMES: &[&str] = &[
    "$event_schema",
    "classification",
    "date",
    "ip",
    "log_id",
    "login",
    "type",
    "type_id",
    "user_agent",
    "user_id",
    "user_name",
];

/// The fields of an event that the document needs beyond `auth0.logs.data`. A token is the text of a
/// JSON value as received, never one that holds nothing.
#[derive(Debug, Default)]
pub(crate) struct Event<'a> {
    pub(crate) log_id: Option<&'a str>,
    pub(crate) date: Option<DateTime<Utc>>,
    /// The type's code.
    pub(crate) code: Option<&'a str>,
    pub(crate) ip: Option<&'a str>,
    pub(crate) client_ip: Option<&'a str>,
    pub(crate) user_id: Option<&'a str>,
    pub(crate) user_name: Option<&'a str>,
    pub(crate) user_agent: Option<&'a str>,
    pub(crate) organization_id: Option<&'a str>,
    pub(crate) organization_name: Option<&'a str>,
    pub(crate) location_info: Option<&'a str>,
    pub(crate) security_context: Option<&'a str>,
    pub(crate) references: Option<&'a str>,
    pub(crate) transaction_linking_id: Option<&'a str>,
    /// The members of `details` that are in the output.
    pub(crate) details: Vec<Member<'a>>,
    /// What had to be changed so far.
    pub(crate) changes: Changes,
}

/// Why a piece is no event.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Broken {
    #[error("not valid JSON: {0}")]
    Syntax(String),
    #[error("not a JSON object")]
    Shape,
    #[error("a JSON object without any field of an Auth0 log event")]
    Content,
}

/// Reads an event and writes the members of its data, each with a comma behind it, to `out`.
/// `changes` are those that were made to the event before.
pub(crate) fn read<'a>(
    text: &'a str,
    changes: Changes,
    out: &mut Vec<u8>,
) -> Result<Event<'a>, Broken> {
    let mut reader = Reader::new(Copier::new(text, changes, out));
    match reader.whole() {
        Ok(Kind::Object) if reader.is_log_event => Ok(reader.finish()),
        Ok(Kind::Object) => Err(Broken::Content),
        Ok(_) => Err(Broken::Shape),
        Err(error) => Err(Broken::Syntax(format!("{error} at byte {}", reader.copier.json.at()))),
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Level {
    /// The outermost object: a stream event's envelope, or a pulled event itself.
    Envelope,
    Data,
}

/// A member of an event whose name is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Known {
    Data,
    LogId,
    /// `_id`, which a pulled event has.
    PulledId,
    Schema,
    Date,
    Type,
    Ip,
    UserId,
    UserName,
    UserAgent,
    /// An index into [`MEMBERS`].
    Mapped(usize),
}

impl Known {
    /// What is known by this name, in one look.
    fn find(name: &str) -> Option<Self> {
        let (known, field) = (*KNOWN.get(slot(name.as_bytes()))?)?;
        (known == name).then_some(field)
    }
}

/// The names that are not in [`MEMBERS`].
const OTHERS: [(&str, Known); 11] = [
    ("data", Known::Data),
    ("log_id", Known::LogId),
    ("_id", Known::PulledId),
    ("$event_schema", Known::Schema),
    ("date", Known::Date),
    ("type", Known::Type),
    ("ip", Known::Ip),
    ("user_id", Known::UserId),
    ("user_name", Known::UserName),
    ("user_agent", Known::UserAgent),
    // Pulled events have it under this name.
    ("isMobile", Known::Mapped(IS_MOBILE)),
];

const IS_MOBILE: usize = 16;

/// Where in [`KNOWN`] a name is. The factors were found by trying: no two names meet.
#[expect(clippy::indexing_slicing, reason = "a name that has a first byte has a middle one")]
const fn slot(name: &[u8]) -> usize {
    let (Some(first), Some(last)) = (name.first(), name.last()) else { return 0 };
    let middle = name[name.len() / 2] as usize;
    (2 * name.len() + 34 * *first as usize + 21 * *last as usize + middle) % SLOTS
}

const SLOTS: usize = 128;

/// All names that are known, each in its slot.
#[expect(clippy::indexing_slicing, reason = "worked out by the compiler")]
static KNOWN: [Option<(&str, Known)>; SLOTS] = {
    let mut slots = [None; SLOTS];
    let mut index = 0;
    while index < MEMBERS.len() + OTHERS.len() {
        let (name, known) = if index < MEMBERS.len() {
            (MEMBERS[index].0, Known::Mapped(index))
        } else {
            OTHERS[index - MEMBERS.len()]
        };
        let slot = slot(name.as_bytes());
        assert!(slots[slot].is_none(), "two names in one slot: find other factors");
        slots[slot] = Some((name, known));
        index += 1;
    }
    slots
};

struct Reader<'a, 'o> {
    event: Event<'a>,
    /// A pulled event's `_id`, which stands in where there is no `log_id`.
    pulled_id: Option<&'a str>,
    date: Option<&'a str>,
    /// Whether anything in it is a log event's.
    is_log_event: bool,
    copier: Copier<'a, 'o>,
    /// What is in the output so far.
    kept: Kept,
    written: Names,
}

/// The names written so far: an engine refuses a second member of one name.
#[derive(Default)]
struct Names {
    /// A bit for each of [`MEMBERS`].
    members: u64,
    others: HashSet<String>,
}

/// A member's name in the output.
enum Key {
    /// One of [`MEMBERS`], by its index.
    Member(usize),
    Other(String),
}

impl Names {
    /// Whether there was none of this name yet.
    #[inline]
    fn insert(&mut self, key: Key) -> bool {
        match key {
            Key::Member(index) => {
                let bit = 1 << index;
                let is_new = self.members & bit == 0;
                self.members |= bit;
                is_new
            }
            Key::Other(name) => self.others.insert(name),
        }
    }
}

impl<'a, 'o> Reader<'a, 'o> {
    fn new(copier: Copier<'a, 'o>) -> Self {
        Self {
            event: Event::default(),
            pulled_id: None,
            date: None,
            is_log_event: false,
            copier,
            kept: Kept::nothing(0),
            written: Names::default(),
        }
    }

    /// Reads the whole text and gives the kind of the one value in it.
    fn whole(&mut self) -> Result<Kind, Syntax> {
        let kind = self.copier.json.peek()?;
        if kind == Kind::Object {
            self.members(Level::Envelope)?;
        } else {
            self.copier.json.skip(kind)?;
        }
        self.copier.json.finish()?;
        Ok(kind)
    }

    fn members(&mut self, level: Level) -> Result<(), Syntax> {
        let mut is_first = true;
        while let Some(name) = self.copier.json.next_name(is_first)? {
            is_first = false;
            let kind = self.copier.json.peek()?;
            self.member(&name, kind, level)?;
        }
        Ok(())
    }

    fn member(&mut self, name: &Name<'a>, kind: Kind, level: Level) -> Result<(), Syntax> {
        let known = if name.escaped {
            Known::find(&json::decode_name(name))
        } else {
            Known::find(name.raw)
        };
        let Some(known) = known else { return self.unmapped(name, kind) };
        self.is_log_event = true;
        // What goes to another place of the document is remembered, the rest is written here.
        let slot = match known {
            Known::Data if level == Level::Envelope && kind == Kind::Object => {
                return self.members(Level::Data);
            }
            Known::Data => return self.unmapped(name, kind),
            Known::Mapped(index) => return self.mapped(name, kind, index),
            Known::Schema => {
                self.copier.json.skip(kind)?;
                return Ok(());
            }
            Known::LogId => &mut self.event.log_id,
            Known::PulledId => &mut self.pulled_id,
            Known::Date => &mut self.date,
            Known::Type => &mut self.event.code,
            Known::Ip => &mut self.event.ip,
            Known::UserId => &mut self.event.user_id,
            Known::UserName => &mut self.event.user_name,
            Known::UserAgent => &mut self.event.user_agent,
        };
        // The first that holds something stays. (A stream event has its log_id twice.)
        let token = self.copier.json.token(kind)?;
        if holds_something(token) && *slot.get_or_insert(token) != token {
            self.copier.changes.note(Change::DuplicateName);
        }
        Ok(())
    }

    fn finish(mut self) -> Event<'a> {
        self.event.log_id = self.event.log_id.or(self.pulled_id);
        match self.date.map(|token| (token, parse_date(&json::decode(token)))) {
            Some((token, None)) => {
                self.copier.changes.note(Change::BadDate);
                self.beside("date", token);
            }
            Some((_, date)) => self.event.date = date,
            None => {}
        }
        self.event.changes = self.copier.changes;
        self.copier.finish(self.kept);
        self.event
    }

    /// A member that the index template knows.
    fn mapped(&mut self, name: &Name<'a>, kind: Kind, index: usize) -> Result<(), Syntax> {
        let Some(&(field, shape)) = MEMBERS.get(index) else { return Ok(()) };
        let fits = match shape {
            Shape::Boolean => kind == Kind::Boolean,
            Shape::Record => kind == Kind::Object,
            Shape::Text | Shape::Flat => true,
        };
        if !fits {
            let token = self.copier.json.token(kind)?;
            if holds_something(token) {
                self.copier.changes.note(Change::TypeMismatch);
                self.beside(field, token);
            }
            return Ok(());
        }
        let renamed = (name.escaped || name.raw != field).then_some(field);
        let mark = self.copier.begin(self.kept, name, renamed);
        let start = self.copier.json.at();
        let holds = match (shape, kind) {
            (Shape::Text, Kind::String) | (Shape::Boolean, _) => {
                self.copier.json.token(kind)? != "\"\""
            }
            (Shape::Text, Kind::Object) => self.copier.copy(kind, MAX_DEPTH + 1)?,
            (Shape::Text, _) => self.copier.copy(kind, MAX_DEPTH)?,
            (Shape::Record, _) => self.copier.copy_record()?,
            (Shape::Flat, Kind::Object) if field == "details" && self.event.details.is_empty() => {
                self.event.details = self.copier.copy_object(1)?;
                !self.event.details.is_empty()
            }
            (Shape::Flat, Kind::Object) => self.copier.copy(kind, 1)?,
            (Shape::Flat, _) => self.copier.copy_wrapped(kind)?,
        };
        if holds && shape == Shape::Flat && kind != Kind::Object {
            self.copier.changes.note(Change::DetailsWrapped);
        }
        if holds && (kind == Kind::String || shape == Shape::Record) {
            self.keep(field, self.copier.json.slice(start, self.copier.json.at()));
        }
        self.end(mark, holds, Key::Member(index));
        Ok(())
    }

    /// A member that the index template does not know. Its name must not be read as a path.
    fn unmapped(&mut self, name: &Name<'a>, kind: Kind) -> Result<(), Syntax> {
        let decoded = json::decode_name(name);
        let mut safe = json::safe_name(&decoded);
        if TAKEN_NAMES.contains(&safe.as_str()) || MEMBERS.iter().any(|(member, _)| *member == safe)
        {
            safe.push_str("_text");
        }
        if safe != decoded {
            self.copier.changes.note(Change::NameAdjusted);
        }
        let renamed = (safe != name.raw).then_some(safe.as_str());
        let mark = self.copier.begin(self.kept, name, renamed);
        let holds = self.copier.copy(kind, 1)?;
        self.end(mark, holds, Key::Other(safe));
        Ok(())
    }

    /// Ends a member: it stays if it holds something and is the first of its name.
    fn end(&mut self, mark: Mark, holds: bool, key: Key) {
        let stays = holds && self.written.insert(key);
        if holds && !stays {
            self.copier.changes.note(Change::DuplicateName);
        }
        self.copier.end(&mut self.kept, mark, stays);
    }

    /// Keeps a value that does not fit its field as text in a field beside it.
    fn beside(&mut self, name: &str, token: &str) {
        let name = format!("{name}_text");
        if self.written.insert(Key::Other(name.clone())) {
            self.copier.insert(&mut self.kept, &name, &json::decode(token));
        } else {
            self.copier.changes.note(Change::DuplicateName);
        }
    }

    /// Remembers a mapped member that the document needs in another place too.
    fn keep(&mut self, field: &str, token: &'a str) {
        let slot = match field {
            "client_ip" => &mut self.event.client_ip,
            "location_info" => &mut self.event.location_info,
            "organization_id" => &mut self.event.organization_id,
            "organization_name" => &mut self.event.organization_name,
            "references" => &mut self.event.references,
            "security_context" => &mut self.event.security_context,
            "transaction_linking_id" => &mut self.event.transaction_linking_id,
            _ => return,
        };
        slot.get_or_insert(token);
    }
}

/// Whether a value is more than null, "", {} or [].
fn holds_something(token: &str) -> bool {
    match token.as_bytes() {
        b"null" | b"\"\"" => false,
        [b'{', inner @ .., b'}'] | [b'[', inner @ .., b']'] => !inner.trim_ascii().is_empty(),
        _ => true,
    }
}

/// An ISO 8601 date and time; without a zone it is UTC, as Auth0's dates are.
fn parse_date(text: &str) -> Option<DateTime<Utc>> {
    let date = match DateTime::parse_from_rfc3339(text) {
        Ok(date) => date.to_utc(),
        Err(_) => NaiveDateTime::parse_from_str(text, "%Y-%m-%dT%H:%M:%S%.f").ok()?.and_utc(),
    };
    // From here on in whole milliseconds: the engines know neither finer times nor leap seconds.
    date_of_milliseconds(date.timestamp_millis())
}

/// A number of milliseconds as a date.
pub(crate) fn date_of_milliseconds(milliseconds: i64) -> Option<DateTime<Utc>> {
    let date = DateTime::from_timestamp_millis(milliseconds)?;
    (DATES.0..=DATES.1).contains(&date.timestamp()).then_some(date)
}

/// The years 1 to 9999: the engines' `strict_date_optional_time` takes four digits.
const DATES: (i64, i64) = (-62_135_596_800, 253_402_300_799);

/// Appends a date in the form that documents have: UTC, milliseconds, the year in four digits (see
/// [`DATES`]). By hand, since a format string costs more than the rest of a small document.
pub(crate) fn write_date(out: &mut Vec<u8>, date: DateTime<Utc>) {
    let mut text = *b"0000-00-00T00:00:00.000Z";
    let mut put = |at: usize, digits: usize, number: u32| {
        let mut number = number;
        for place in text.iter_mut().skip(at).take(digits).rev() {
            *place += u8::try_from(number % 10).unwrap_or(0);
            number /= 10;
        }
    };
    put(0, 4, u32::try_from(date.year()).unwrap_or(0));
    put(5, 2, date.month());
    put(8, 2, date.day());
    put(11, 2, date.hour());
    put(14, 2, date.minute());
    put(17, 2, date.second());
    put(20, 3, date.timestamp_subsec_millis() % 1_000);
    out.extend_from_slice(&text);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_are_in_order() {
        assert!(MEMBERS.windows(2).all(|pair| pair[0].0 < pair[1].0));
        assert!(MEMBERS.len() <= 64, "each has a bit of a u64");
    }

    #[test]
    fn every_known_name_is_found() {
        for (index, (name, _)) in MEMBERS.iter().enumerate() {
            assert_eq!(Known::find(name), Some(Known::Mapped(index)));
        }
        for (name, known) in OTHERS {
            assert_eq!(Known::find(name), Some(known));
        }
        assert_eq!(MEMBERS[IS_MOBILE].0, "is_mobile");
        for unknown in ["", "i", "ips", "Data"] {
            assert_eq!(Known::find(unknown), None);
        }
    }

    #[test]
    fn dates_are_whole_milliseconds_in_utc() {
        let written = |text| {
            let mut out = Vec::new();
            write_date(&mut out, parse_date(text)?);
            Some(String::from_utf8(out).unwrap())
        };
        for (given, expected) in [
            ("2021-11-03T03:06:05.696Z", "2021-11-03T03:06:05.696Z"),
            ("2021-11-03T05:06:05+02:00", "2021-11-03T03:06:05.000Z"),
            ("2021-11-03T03:06:05.696789", "2021-11-03T03:06:05.696Z"),
            ("2016-12-31T23:59:60Z", "2017-01-01T00:00:00.000Z"),
            ("0001-01-01T00:00:00Z", "0001-01-01T00:00:00.000Z"),
        ] {
            assert_eq!(written(given).as_deref(), Some(expected), "{given}");
        }
        for wrong in [
            "",
            "yesterday",
            "2021-13-01T00:00:00Z",
            "1635908765696",
            "0000-01-01T00:00:00Z",
            "9999-12-31T23:59:59-01:00",
            "2021-11-03",
        ] {
            assert_eq!(written(wrong), None, "{wrong}");
        }
    }

    /// What `read` writes for an event with these data members, and the event.
    fn written(data: &str) -> (serde_json::Value, Changes) {
        let raw = format!("{{\"log_id\":\"1\",\"data\":{data}}}");
        let mut out = b"{".to_vec();
        let changes = read(&raw, Changes::default(), &mut out).unwrap().changes;
        if out.last() == Some(&b',') {
            out.pop();
        }
        out.push(b'}');
        (serde_json::from_slice(&out).unwrap(), changes)
    }

    #[test]
    fn a_value_that_does_not_fit_its_field_is_kept_beside_it() {
        use serde_json::json;
        for (given, expected) in [
            (json!({"is_mobile": "yes"}), json!({"is_mobile_text": "yes"})),
            (json!({"location_info": "Rome"}), json!({"location_info_text": "Rome"})),
            (
                json!({"location_info": {"city_name": {"en": "Rome"}}}),
                json!({"location_info": {"city_name": "{\"en\":\"Rome\"}"}}),
            ),
            (json!({"description": {"a": 1}}), json!({"description": "{\"a\":1}"})),
            (json!({"scope": ["a", ["b"]]}), json!({"scope": ["a", "[\"b\"]"]})),
            (json!({"details": "gone"}), json!({"details": {"value": "gone"}})),
            (json!({"details": [1]}), json!({"details": {"value": [1]}})),
            (json!({"date": "yesterday"}), json!({"date_text": "yesterday"})),
        ] {
            let (found, changes) = written(&given.to_string());
            assert_eq!(found, expected);
            assert!(!changes.is_empty(), "{given}");
        }
    }

    #[test]
    fn names_that_are_taken_or_would_be_paths_are_changed() {
        use serde_json::json;
        for (given, expected) in [
            (r#"{"type_id":1}"#, json!({"type_id_text": 1})),
            (r#"{"type.id":{"a":1}}"#, json!({"type_id_text": {"a": 1}})),
            (r#"{"user.id":{"a":1}}"#, json!({"user_id_text": {"a": 1}})),
            (r#"{"details.error":1}"#, json!({"details_error": 1})),
            (r#"{"":1," ":2}"#, json!({"_": 1})),
            (
                r#"{"references":{"trace_id.x":1,"":2}}"#,
                json!({"references": {"trace_id_x": 1, "_": 2}}),
            ),
        ] {
            let (found, changes) = written(given);
            assert_eq!(found, expected);
            assert!(changes.has(Change::NameAdjusted));
        }
        // A name in escapes is the name all the same.
        let (found, changes) =
            written(r#"{"\u0069p":"81.2.69.143","d\u0061te":"2026-03-14T10:05:13Z"}"#);
        assert_eq!(found, json!({}));
        assert!(changes.is_empty());
    }

    #[test]
    fn the_first_of_two_members_that_move_elsewhere_stays() {
        let raw = r#"{"log_id":"1","data":{"log_id":"1","ip":"","ip":"::1","ip":"::2"}}"#;
        let event = read(raw, Changes::default(), &mut Vec::new()).unwrap();
        assert_eq!(event.ip, Some("\"::1\""));
        assert_eq!(event.log_id, Some("\"1\""));
        assert!(event.changes.has(Change::DuplicateName));
    }

    #[test]
    fn a_pulled_event_is_the_bare_data() {
        let raw = r#"{"_id":"7","type":"s","isMobile":true,"$event_schema":{"version":"1"},"x":1}"#;
        let mut out = Vec::new();
        let event = read(raw, Changes::default(), &mut out).unwrap();
        assert_eq!(event.log_id, Some("\"7\""));
        assert_eq!(event.code, Some("\"s\""));
        assert_eq!(out, br#""is_mobile":true,"x":1,"#);
        assert!(event.changes.is_empty());
    }

    #[test]
    fn what_has_no_field_of_an_event_is_none() {
        let problem =
            |raw: &str| read(raw, Changes::default(), &mut Vec::new()).map(drop).unwrap_err();
        assert_eq!(problem("[]"), Broken::Shape);
        assert_eq!(problem("{\"a\":1}"), Broken::Content);
        assert!(matches!(problem("{\"type\":"), Broken::Syntax(_)));
        assert!(matches!(problem("{\"type\":\"s\"} {}"), Broken::Syntax(_)));
    }
}
