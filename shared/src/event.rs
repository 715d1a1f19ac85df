//! A piece of the body → the event's own fields, with `auth0.logs.data` written on the way.
//!
//! One reader takes both forms: stream events are `{"log_id": …, "data": {…}}`, pulled events
//! (`GET /api/v2/logs`) are the bare data object. The members of `data` go to the output as they
//! are read; what the document needs elsewhere is kept as a reference into the input.

use std::collections::HashSet;

use chrono::{DateTime, Datelike as _, NaiveDateTime, Timelike as _, Utc};
use jiter::{Jiter, JiterError, Peek};

use crate::changes::Change;
use crate::json::{self, Copier, MAX_DEPTH, Member};

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
    pub(crate) log_id: Option<&'a [u8]>,
    pub(crate) date: Option<DateTime<Utc>>,
    /// The type's code.
    pub(crate) code: Option<&'a [u8]>,
    pub(crate) ip: Option<&'a [u8]>,
    pub(crate) client_ip: Option<&'a [u8]>,
    pub(crate) user_id: Option<&'a [u8]>,
    pub(crate) user_name: Option<&'a [u8]>,
    pub(crate) user_agent: Option<&'a [u8]>,
    pub(crate) organization_id: Option<&'a [u8]>,
    pub(crate) organization_name: Option<&'a [u8]>,
    pub(crate) location_info: Option<&'a [u8]>,
    pub(crate) security_context: Option<&'a [u8]>,
    pub(crate) references: Option<&'a [u8]>,
    pub(crate) transaction_linking_id: Option<&'a [u8]>,
    /// The members of `details` that are in the output.
    pub(crate) details: Vec<Member>,
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

impl From<JiterError> for Broken {
    fn from(error: JiterError) -> Self {
        Self::Syntax(format!("{} at byte {}", error.error_type, error.index))
    }
}

/// Reads an event and writes the members of its data, each with a comma behind it, to `out`.
pub(crate) fn read<'a>(
    raw: &'a [u8],
    copier: &mut Copier,
    out: &mut Vec<u8>,
) -> Result<Event<'a>, Broken> {
    let mut json = Jiter::new(raw);
    if json.peek()? != Peek::Object {
        json.next_skip()?;
        json.finish()?;
        return Err(Broken::Shape);
    }
    let mut reader = Reader {
        event: Event::default(),
        pulled_id: None,
        date: None,
        is_log_event: false,
        copier,
        out,
        written: Names::default(),
    };
    reader.members(&mut json, Level::Envelope)?;
    json.finish()?;
    if reader.is_log_event { Ok(reader.finish()) } else { Err(Broken::Content) }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Level {
    /// The outermost object: a stream event's envelope, or a pulled event itself.
    Envelope,
    Data,
}

/// What to do with a member, by its name.
enum Name {
    Data,
    LogId,
    PulledId,
    Schema,
    Date,
    Type,
    Ip,
    UserId,
    Username,
    UserAgent,
    /// An index into [`MEMBERS`].
    Mapped(usize),
    Other(String),
}

impl Name {
    /// `raw` is the name as it stands between its quotes.
    fn of(raw: &[u8]) -> Self {
        let name = json::decode_name(raw);
        match name.as_bytes() {
            b"data" => Self::Data,
            b"log_id" => Self::LogId,
            b"_id" => Self::PulledId,
            b"$event_schema" => Self::Schema,
            b"date" => Self::Date,
            b"type" => Self::Type,
            b"ip" => Self::Ip,
            b"user_id" => Self::UserId,
            b"user_name" => Self::Username,
            b"user_agent" => Self::UserAgent,
            b"isMobile" => member_index("is_mobile").map_or(Self::Schema, Self::Mapped),
            _ => match member_index(&name) {
                Some(index) => Self::Mapped(index),
                None => Self::Other(name.into_owned()),
            },
        }
    }
}

fn member_index(name: &str) -> Option<usize> {
    MEMBERS.binary_search_by(|(member, _)| (*member).cmp(name)).ok()
}

struct Reader<'a, 'r> {
    event: Event<'a>,
    /// A pulled event's `_id`, which stands in where there is no `log_id`.
    pulled_id: Option<&'a [u8]>,
    date: Option<&'a [u8]>,
    /// Whether anything in it is a log event's.
    is_log_event: bool,
    copier: &'r mut Copier,
    out: &'r mut Vec<u8>,
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
    Member(usize, &'static str),
    Other(String),
}

impl Names {
    /// Whether there was none of this name yet.
    fn insert(&mut self, key: Key) -> bool {
        match key {
            Key::Member(index, _) => {
                let bit = 1 << index;
                let is_new = self.members & bit == 0;
                self.members |= bit;
                is_new
            }
            Key::Other(name) => self.others.insert(name),
        }
    }
}

impl<'a> Reader<'a, '_> {
    fn members(&mut self, json: &mut Jiter<'a>, level: Level) -> Result<(), Broken> {
        let mut next = json.next_object_bytes()?.map(Name::of);
        while let Some(name) = next {
            let peek = json.peek()?;
            self.member(json, peek, name, level)?;
            next = json.next_key_bytes()?.map(Name::of);
        }
        Ok(())
    }

    fn member(
        &mut self,
        json: &mut Jiter<'a>,
        peek: Peek,
        name: Name,
        level: Level,
    ) -> Result<(), Broken> {
        if !matches!(name, Name::Other(_)) {
            self.is_log_event = true;
        }
        // What goes to another place of the document is kept, the rest is written here.
        let slot = match name {
            Name::Data if level == Level::Envelope && peek == Peek::Object => {
                return self.members(json, Level::Data);
            }
            Name::Data => return self.unmapped(json, peek, "data"),
            Name::Mapped(index) => return self.mapped(json, peek, index),
            Name::Other(name) => return self.unmapped(json, peek, &name),
            Name::Schema => {
                json.known_skip(peek)?;
                return Ok(());
            }
            Name::LogId => &mut self.event.log_id,
            Name::PulledId => &mut self.pulled_id,
            Name::Date => &mut self.date,
            Name::Type => &mut self.event.code,
            Name::Ip => &mut self.event.ip,
            Name::UserId => &mut self.event.user_id,
            Name::Username => &mut self.event.user_name,
            Name::UserAgent => &mut self.event.user_agent,
        };
        // The first that holds something stays. (A stream event has its log_id twice.)
        if let Some(token) = token(json, peek)?
            && *slot.get_or_insert(token) != token
        {
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
        self.event
    }

    /// A member that the index template knows.
    fn mapped(&mut self, json: &mut Jiter<'a>, peek: Peek, index: usize) -> Result<(), Broken> {
        let Some(&(name, shape)) = MEMBERS.get(index) else { return Ok(()) };
        match (shape, peek) {
            (Shape::Text, Peek::String) | (Shape::Boolean, Peek::True | Peek::False) => {
                if let Some(token) = token(json, peek)? {
                    self.keep(name, token);
                    self.put(Key::Member(index, name), |_, out| {
                        out.extend_from_slice(token);
                        Ok(true)
                    })?;
                }
                Ok(())
            }
            (Shape::Text, _) => {
                let level = if peek == Peek::Object { MAX_DEPTH + 1 } else { MAX_DEPTH };
                self.put(Key::Member(index, name), |copier, out| {
                    copier.copy(json, peek, out, level)
                })
            }
            (Shape::Record, Peek::Object) => {
                let start = json.current_index();
                self.put(Key::Member(index, name), |copier, out| copier.copy_record(json, out))?;
                self.keep(name, json.slice_to_current(start));
                Ok(())
            }
            (Shape::Flat, Peek::Object) if name == "details" && self.event.details.is_empty() => {
                let mut members = Vec::new();
                self.put(Key::Member(index, name), |copier, out| {
                    let before = out.len();
                    members = copier.copy_object(json, out, 1)?;
                    Ok(out.len() > before)
                })?;
                self.event.details = members;
                Ok(())
            }
            (Shape::Flat, Peek::Object) => {
                self.put(Key::Member(index, name), |copier, out| copier.copy(json, peek, out, 1))
            }
            (Shape::Flat, _) => self.put(Key::Member(index, name), |copier, out| {
                let before = out.len();
                out.extend_from_slice(b"{\"value\":");
                if copier.copy(json, peek, out, 2)? {
                    copier.changes.note(Change::DetailsWrapped);
                    out.push(b'}');
                    return Ok(true);
                }
                out.truncate(before);
                Ok(false)
            }),
            (Shape::Boolean | Shape::Record, _) => {
                if let Some(token) = token(json, peek)? {
                    self.copier.changes.note(Change::TypeMismatch);
                    self.beside(name, token);
                }
                Ok(())
            }
        }
    }

    /// A member that the index template does not know. Its name must not be read as a path.
    fn unmapped(&mut self, json: &mut Jiter<'a>, peek: Peek, name: &str) -> Result<(), Broken> {
        let mut safe = json::safe_name(name);
        if TAKEN_NAMES.contains(&safe.as_str()) || MEMBERS.iter().any(|(member, _)| *member == safe)
        {
            safe.push_str("_text");
        }
        if safe != name {
            self.copier.changes.note(Change::NameAdjusted);
        }
        self.put(Key::Other(safe), |copier, out| copier.copy(json, peek, out, 1))
    }

    /// Keeps a value that does not fit its field as text in a field beside it.
    fn beside(&mut self, name: &str, token: &[u8]) {
        let text = json::decode(token);
        // The closure cannot fail, so neither can this.
        let _infallible = self.put(Key::Other(format!("{name}_text")), |_, out| {
            json::write_str(out, &text);
            Ok(true)
        });
    }

    /// Writes a member of `data` with a comma behind it, unless `write` finds that it holds nothing
    /// or there is one of this name already.
    fn put(
        &mut self,
        key: Key,
        write: impl FnOnce(&mut Copier, &mut Vec<u8>) -> Result<bool, JiterError>,
    ) -> Result<(), Broken> {
        let before = self.out.len();
        match &key {
            Key::Member(_, name) => json::write_plain(self.out, name),
            Key::Other(name) => json::write_str(self.out, name),
        }
        self.out.push(b':');
        if !write(self.copier, self.out)? {
            self.out.truncate(before);
        } else if self.written.insert(key) {
            self.out.push(b',');
        } else {
            self.copier.changes.note(Change::DuplicateName);
            self.out.truncate(before);
        }
        Ok(())
    }

    /// Remembers a mapped member that the document needs in another place too.
    fn keep(&mut self, name: &str, token: &'a [u8]) {
        let slot = match name {
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

/// Reads a value as text; `None` where it holds nothing.
fn token<'a>(json: &mut Jiter<'a>, peek: Peek) -> Result<Option<&'a [u8]>, JiterError> {
    let token = json::skip(json, peek)?;
    let holds_nothing = match token {
        b"null" | b"\"\"" => true,
        [b'{', inner @ .., b'}'] | [b'[', inner @ .., b']'] => inner.trim_ascii().is_empty(),
        _ => false,
    };
    Ok((!holds_nothing).then_some(token))
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
    let mut digits = |number: u32, scale: u32, after: u8| {
        let mut scale = scale;
        while scale > 0 {
            // A digit is always below ten.
            out.push(b'0' + u8::try_from(number / scale % 10).unwrap_or(0));
            scale /= 10;
        }
        out.push(after);
    };
    digits(u32::try_from(date.year()).unwrap_or(0), 1_000, b'-');
    digits(date.month(), 10, b'-');
    digits(date.day(), 10, b'T');
    digits(date.hour(), 10, b':');
    digits(date.minute(), 10, b':');
    digits(date.second(), 10, b'.');
    digits(date.timestamp_subsec_millis() % 1_000, 100, b'Z');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_are_sorted_for_the_search() {
        assert!(MEMBERS.windows(2).all(|pair| pair[0].0 < pair[1].0));
        assert!(MEMBERS.len() <= 64, "each has a bit of a u64");
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
    fn written(data: &str) -> (serde_json::Value, crate::changes::Changes) {
        let raw = format!("{{\"log_id\":\"1\",\"data\":{data}}}");
        let mut copier = Copier::default();
        let mut out = b"{".to_vec();
        read(raw.as_bytes(), &mut copier, &mut out).unwrap();
        if out.last() == Some(&b',') {
            out.pop();
        }
        out.push(b'}');
        (serde_json::from_slice(&out).unwrap(), copier.changes)
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
        let raw = br#"{"log_id":"1","data":{"log_id":"1","ip":"","ip":"::1","ip":"::2"}}"#;
        let mut copier = Copier::default();
        let event = read(raw, &mut copier, &mut Vec::new()).unwrap();
        assert_eq!(event.ip, Some(&b"\"::1\""[..]));
        assert_eq!(event.log_id, Some(&b"\"1\""[..]));
        assert!(copier.changes.has(Change::DuplicateName));
    }

    #[test]
    fn a_pulled_event_is_the_bare_data() {
        let raw =
            br#"{"_id":"7","type":"s","isMobile":true,"$event_schema":{"version":"1"},"x":1}"#;
        let mut copier = Copier::default();
        let mut out = Vec::new();
        let event = read(raw, &mut copier, &mut out).unwrap();
        assert_eq!(event.log_id, Some(&b"\"7\""[..]));
        assert_eq!(event.code, Some(&b"\"s\""[..]));
        assert_eq!(out, br#""is_mobile":true,"x":1,"#);
        assert!(copier.changes.is_empty());
    }

    #[test]
    fn what_has_no_field_of_an_event_is_none() {
        let problem = |raw: &str| {
            read(raw.as_bytes(), &mut Copier::default(), &mut Vec::new()).map(drop).unwrap_err()
        };
        assert_eq!(problem("[]"), Broken::Shape);
        assert_eq!(problem("{\"a\":1}"), Broken::Content);
        assert!(matches!(problem("{\"type\":"), Broken::Syntax(_)));
        assert!(matches!(problem("{\"type\":\"s\"} {}"), Broken::Syntax(_)));
    }
}
