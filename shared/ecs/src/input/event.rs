//! A piece of the body → the event's own fields, with `auth0.logs.data` written along the way.
//!
//! One reader takes both forms: stream events are `{"log_id": …, "data": {…}}`, pulled events
//! (`GET /api/v2/logs`) are the bare data object. The members of `data` go to the output as they are read;
//! what the document needs elsewhere is remembered as a reference into the input.

use std::ops::Range;

use chrono::{DateTime, Utc};
use hashbrown::HashSet;

use super::date::parse_date;
use super::log_id::usable_log_id;
use super::members::{Fate, MAX_MEMBERS, MemberId, Members, Moved, Shape};
use crate::json::change::{Change, Changes};
use crate::json::lex::{Name, SyntaxError, ValueKind};
use crate::json::read::{decode, decode_name};
use crate::json::sanitize::{
    Emitted, MAX_DEPTH, MAX_PLACES, OutputPlaces, ROOT_PATH, Sanitizer, Savepoint, safe_name,
};

/// What the document needs of an event beyond `auth0.logs.data`.
#[derive(Debug)]
pub(crate) struct Event<'a> {
    tokens: [Option<&'a str>; MAX_MEMBERS],
    pub(crate) date: Option<DateTime<Utc>>,
    /// The places, in the output, of members of `details`.
    pub(crate) details: OutputPlaces,
    /// The members of [`Shape::Flat`] that hold anything that is no field.
    pub(crate) others: Vec<(&'static str, Range<usize>)>,
    /// What has been changed so far.
    pub(crate) changes: Changes,
    /// The members whose values were put into an object.
    pub(crate) wrapped: Vec<&'static str>,
}

impl<'a> Event<'a> {
    /// An event of which nothing has been read; `changes` are those that were made to its text.
    pub(crate) const fn unread(changes: Changes) -> Self {
        let tokens = [None; MAX_MEMBERS];
        Self {
            tokens,
            date: None,
            details: [(0, 0); MAX_PLACES],
            others: Vec::new(),
            changes,
            wrapped: Vec::new(),
        }
    }

    /// The JSON text of a member's value as received, never one that holds nothing. Of the members that
    /// are copied, only strings and records are remembered.
    pub(crate) fn token(&self, id: MemberId) -> Option<&'a str> {
        *self.tokens.get(id)?
    }

    /// The same for a member that moves.
    pub(crate) fn moved(&self, member: Moved) -> Option<&'a str> {
        self.token(member.id())
    }
}

/// Why a piece is not an event.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum EventError {
    #[error("not valid JSON: {error} at byte {at}")]
    Syntax {
        #[source]
        error: SyntaxError,
        at: usize,
    },
    #[error("not valid UTF-8: {0}")]
    Encoding(#[from] std::str::Utf8Error),
    #[error("not a JSON object")]
    NotAnObject,
    #[error("not a JSON object; its text is withheld, because user data cannot be masked in it")]
    Withheld,
    #[error("a JSON object without any field of an Auth0 log event")]
    NotALogEvent,
    #[error(
        "an event of an Auth0 Event Stream, not a log event: create a log stream \
         (Monitoring > Streams) instead of an event stream"
    )]
    EventStream,
    #[error("data is an object as text: send it as an object")]
    DataAsText,
}

/// Reads `text` into `event`, and appends the members of its data to `out`, each followed by a comma.
pub(crate) fn read<'a>(
    text: &'a str,
    members: &Members,
    event: &mut Event<'a>,
    out: &mut Vec<u8>,
) -> Result<(), EventError> {
    let mut reader = Reader {
        copy: Sanitizer::new(text, event.changes, out),
        event,
        members,
        is_log_event: false,
        is_cloud_event: false,
        has_text_as_data: false,
        outer: 0,
        emitted: Emitted::nothing(0),
        written: WrittenNames::default(),
    };
    match reader.read_text() {
        Ok(ValueKind::Object) if reader.is_event_stream() => Err(EventError::EventStream),
        Ok(ValueKind::Object)
            if reader.has_text_as_data && reader.event.moved(Moved::Type).is_none() =>
        {
            Err(EventError::DataAsText)
        }
        Ok(ValueKind::Object) if reader.is_log_event => {
            reader.finish();
            Ok(())
        }
        Ok(ValueKind::Object) => Err(EventError::NotALogEvent),
        Ok(_) => Err(EventError::NotAnObject),
        Err(error) => Err(EventError::Syntax { error, at: reader.copy.json.at() }),
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Level {
    /// The outermost object: a stream event's envelope, or a pulled event itself.
    Envelope,
    Data,
}

struct Reader<'a, 'o> {
    event: &'o mut Event<'a>,
    members: &'o Members,
    /// Whether any known member was seen.
    is_log_event: bool,
    /// Whether the envelope is one of `CloudEvents`.
    is_cloud_event: bool,
    /// Whether the data is an object as text.
    has_text_as_data: bool,
    copy: Sanitizer<'a, 'o>,
    /// A bit for each member that moves and was seen in the envelope only.
    outer: u64,
    emitted: Emitted,
    written: WrittenNames,
}

/// The names written so far: engines refuse a second member of the same name.
#[derive(Default)]
struct WrittenNames {
    /// A bit for each known member.
    members: u64,
    others: HashSet<String>,
}

/// A member's name in the output.
enum OutputName {
    Member(MemberId),
    Other(String),
}

impl WrittenNames {
    /// Returns whether the name is new.
    #[inline]
    fn insert(&mut self, name: OutputName) -> bool {
        match name {
            OutputName::Member(id) => {
                let bit = 1 << id;
                let is_new = self.members & bit == 0;
                self.members |= bit;
                is_new
            }
            OutputName::Other(name) => self.others.insert(name),
        }
    }
}

impl<'a> Reader<'a, '_> {
    /// Reads the whole text and returns the type of its one value.
    fn read_text(&mut self) -> Result<ValueKind, SyntaxError> {
        let kind = self.copy.json.peek()?;
        if kind == ValueKind::Object {
            self.read_members(Level::Envelope)?;
        } else {
            self.copy.json.skip(kind)?;
        }
        self.copy.json.finish()?;
        Ok(kind)
    }

    fn read_members(&mut self, level: Level) -> Result<(), SyntaxError> {
        let mut is_first = true;
        while let Some(name) = self.copy.json.next_name(&mut is_first)? {
            let kind = self.copy.json.peek()?;
            self.read_member(&name, kind, level)?;
        }
        Ok(())
    }

    fn read_member(
        &mut self,
        name: &Name<'a>,
        kind: ValueKind,
        level: Level,
    ) -> Result<(), SyntaxError> {
        let fate = if name.escaped {
            self.members.fate(&decode_name(name))
        } else {
            self.members.fate(name.raw)
        };
        let Some(fate) = fate else { return self.copy_unknown(name, kind) };
        self.is_log_event = true;
        match fate {
            Fate::Data if level == Level::Envelope && kind == ValueKind::Object => {
                self.read_members(Level::Data)
            }
            Fate::Data => {
                let start = self.copy.json.at();
                self.copy_unknown(name, kind)?;
                let data = self.copy.json.slice(start, self.copy.json.at());
                self.has_text_as_data |= level == Level::Envelope && is_object_as_text(data);
                Ok(())
            }
            Fate::EventStream => {
                self.is_cloud_event |= level == Level::Envelope;
                self.copy_unknown(name, kind)
            }
            Fate::Dropped => self.copy.json.skip(kind),
            Fate::Stays { id, field, shape } => self.copy_known(name, kind, id, field, shape),
            Fate::Moves(id) => {
                let token = self.copy.json.token(kind)?;
                let is_outer = level == Level::Envelope && id == Moved::LogId.id();
                let id = if is_outer { Moved::OuterLogId.id() } else { id };
                if holds_something(token) {
                    self.move_value(id, token, level);
                }
                Ok(())
            }
        }
    }

    /// Remembers a value that moves: the first one, or the first one in the data if there is one.
    #[inline]
    fn move_value(&mut self, id: MemberId, token: &'a str, level: Level) {
        let bit = 1 << id;
        let was_outer = self.outer & bit != 0;
        let is_outer = level == Level::Envelope;
        let kept = self.remember(id, token);
        if kept != token {
            let is_other_level = is_outer != was_outer;
            let change = if is_other_level { Change::OuterMember } else { Change::DuplicateName };
            self.copy.changes.note(change);
        } else if is_outer {
            self.outer |= bit;
        }
        if was_outer
            && !is_outer
            && let Some(slot) = self.event.tokens.get_mut(id)
        {
            *slot = Some(token);
            self.outer &= !bit;
        }
    }

    /// Whether this is an event of an Event Stream. Those have `type` and `data`, too, but no log id.
    fn is_event_stream(&self) -> bool {
        let ids = [Moved::LogId, Moved::OuterLogId, Moved::PulledId];
        self.is_cloud_event && ids.iter().all(|id| self.event.moved(*id).is_none())
    }

    fn finish(mut self) {
        let ids = [Moved::LogId, Moved::OuterLogId, Moved::PulledId].map(|id| self.event.moved(id));
        match ids {
            [None, Some(id), None] => {
                self.remember(Moved::LogId.id(), id);
            }
            [inner, outer, _] if inner == outer && inner.is_some() => {}
            _ => self.choose_log_id(ids),
        }
        if let Some(token) = self.event.moved(Moved::Date) {
            self.event.date = parse_date(&decode(token));
            if self.event.date.is_none() {
                self.copy.changes.note(Change::BadDate);
                self.insert_as_text("date", token);
            }
        }
        self.event.changes = self.copy.changes;
        self.copy.finish(self.emitted);
    }

    /// A stream event has its `log_id` twice, a pulled event has the one in the data, or an `_id`. The first
    /// that is usable is kept.
    fn choose_log_id(&mut self, ids: [Option<&'a str>; 3]) {
        let [inner, outer, _] = ids;
        let usable = ids.into_iter().flatten().find(|id| usable_log_id(id).is_some());
        if let Some(inner) = inner {
            let (text, outer) = (decode(inner), outer.map(decode));
            if usable == Some(inner) {
                if outer.is_some_and(|outer| outer != text) {
                    self.copy.changes.note(Change::OuterLogId);
                }
            } else if usable.is_some() && !text.trim().is_empty() {
                self.copy.changes.note(Change::TypeMismatch);
                self.insert_as_text("log_id", inner);
            }
        }
        if let Some(slot) = self.event.tokens.get_mut(Moved::LogId.id()) {
            *slot = usable.or_else(|| ids.into_iter().flatten().next());
        }
    }

    /// Copies a member that is a field.
    fn copy_known(
        &mut self,
        name: &Name<'a>,
        kind: ValueKind,
        id: MemberId,
        field: &'static str,
        shape: Shape,
    ) -> Result<(), SyntaxError> {
        let fits = match shape {
            Shape::Boolean => kind == ValueKind::Boolean,
            Shape::Record => kind == ValueKind::Object,
            Shape::Text | Shape::Flat => true,
        };
        if !fits {
            let token = self.copy.json.token(kind)?;
            if holds_something(token) {
                self.copy.changes.note(Change::TypeMismatch);
                self.insert_as_text(field, token);
            }
            return Ok(());
        }
        let renamed = (name.escaped || name.raw != field).then_some(field);
        let savepoint = self.copy.begin(self.emitted, name, renamed);
        let start = self.copy.json.at();
        let written_start = self.copy.out_position();
        self.copy.has_others = shape == Shape::Flat && kind != ValueKind::Object;
        let holds = match (shape, kind) {
            (Shape::Text, ValueKind::String) | (Shape::Boolean, _) => {
                self.copy.json.token(kind)? != "\"\""
            }
            (Shape::Text, ValueKind::Object) => self.copy.copy(kind, MAX_DEPTH + 1)?,
            (Shape::Text, _) => self.copy.copy(kind, MAX_DEPTH)?,
            (Shape::Record, _) => self.copy.copy_record()?,
            (Shape::Flat, ValueKind::Object) => {
                // A second one of the name is not kept.
                self.copy.remembers = field == "details" && self.written.members & (1 << id) == 0;
                let holds = self.copy.copy_object(self.members.schema(field))?;
                if self.copy.remembers {
                    self.event.details = self.copy.places;
                }
                holds
            }
            (Shape::Flat, _) => self.copy.copy_wrapped(kind, 1, ROOT_PATH)?,
        };
        if holds && shape == Shape::Flat && kind != ValueKind::Object {
            self.copy.changes.note(Change::Wrapped);
            self.event.wrapped.push(field);
        }
        if holds && (kind == ValueKind::String || shape == Shape::Record) {
            let token = self.copy.json.slice(start, self.copy.json.at());
            self.remember(id, token);
        }
        let value = written_start..self.copy.out_position();
        if self.end(savepoint, holds, OutputName::Member(id)) && self.copy.has_others {
            self.event.others.push((field, value));
        }
        Ok(())
    }

    /// Copies a member that is not a field. Its name must not be read as a path, or as a field's.
    fn copy_unknown(&mut self, name: &Name<'a>, kind: ValueKind) -> Result<(), SyntaxError> {
        let decoded = decode_name(name);
        let mut safe = safe_name(&decoded);
        if self.members.is_reserved(&safe) {
            safe.push_str("_text");
        }
        if safe != decoded {
            self.copy.changes.note(Change::NameAdjusted);
        }
        let renamed = (safe != name.raw).then_some(safe.as_str());
        let savepoint = self.copy.begin(self.emitted, name, renamed);
        let holds = self.copy.copy(kind, 1)?;
        self.end(savepoint, holds, OutputName::Other(safe));
        Ok(())
    }

    /// Ends a member. Returns whether it stays: it holds something and is the first of its name.
    fn end(&mut self, savepoint: Savepoint, holds: bool, name: OutputName) -> bool {
        let stays = holds && self.written.insert(name);
        if stays {
            self.copy.commit(&mut self.emitted);
        } else {
            if holds {
                self.copy.changes.note(Change::DuplicateName);
            }
            self.copy.rollback(savepoint);
        }
        stays
    }

    /// Keeps a value that does not fit its field as text in `<name>_text`.
    fn insert_as_text(&mut self, name: &str, token: &str) {
        let name = format!("{name}_text");
        if self.written.insert(OutputName::Other(name.clone())) {
            self.copy.insert(&mut self.emitted, &name, &decode(token));
        } else {
            self.copy.changes.note(Change::DuplicateName);
        }
    }

    /// Remembers a member's value, unless there was one before; returns the one that is remembered.
    fn remember(&mut self, id: MemberId, token: &'a str) -> &'a str {
        match self.event.tokens.get_mut(id) {
            Some(slot) => slot.get_or_insert(token),
            None => token,
        }
    }
}

/// Whether a value is a string that holds a JSON object, as far as its first bracket tells.
#[cold]
pub(super) fn is_object_as_text(token: &str) -> bool {
    token.starts_with('"') && decode(token).trim_ascii_start().starts_with('{')
}

/// Whether a value is anything but null, "", {} or [].
pub(super) fn holds_something(token: &str) -> bool {
    match token.as_bytes() {
        b"null" | b"\"\"" => false,
        [b'{', inner @ .., b'}'] | [b'[', inner @ .., b']'] => !inner.trim_ascii().is_empty(),
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json::schema::{Leaf, Schema};
    use crate::json::write::Object;

    fn members() -> Members {
        let stays = [
            ("details", Shape::Flat),
            ("is_mobile", Shape::Boolean),
            ("location_info", Shape::Record),
            ("description", Shape::Text),
            ("references", Shape::Record),
            ("scope", Shape::Text),
        ];
        let schemas = [("details", Schema::new(true))];
        let reserved = ["type_id", "user_id", "ip"];
        Members::new(stays.into_iter(), reserved.into_iter(), schemas.into_iter())
    }

    fn read_event<'a>(raw: &'a str, out: &mut Vec<u8>) -> Result<Event<'a>, EventError> {
        let mut event = Event::unread(Changes::default());
        read(raw, &members(), &mut event, out).map(|()| event)
    }

    /// What `read` writes for an event with these members in its data, and the changes.
    fn written(data: &str) -> (serde_json::Value, Changes) {
        let raw = format!("{{\"log_id\":\"1\",\"data\":{data}}}");
        let mut out = Vec::new();
        let changes = Object::write(&mut out, |data| read_event(&raw, data.out()).unwrap().changes);
        (serde_json::from_slice(&out).unwrap(), changes)
    }

    #[test]
    fn value_that_does_not_fit_its_field_is_kept_as_text_next_to_it() {
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

    /// Returns `details` as `read` writes it, the changes, and whether there are others.
    fn details(given: &serde_json::Value) -> (serde_json::Value, Changes, bool) {
        let stays = [("details", Shape::Flat)];
        let mut schema = Schema::new(true);
        for (path, leaf) in [
            ("id", Leaf::Text),
            ("on", Leaf::Boolean),
            ("count", Leaf::Long),
            ("when", Leaf::Date),
            ("from", Leaf::Ip),
            ("error.code", Leaf::Text),
            ("error_text", Leaf::Text),
            ("list.id", Leaf::Text),
        ] {
            schema.insert(path, leaf);
        }
        let members =
            Members::new(stays.into_iter(), [].into_iter(), [("details", schema)].into_iter());
        let raw = serde_json::json!({"log_id": "1", "details": given}).to_string();
        let mut event = Event::unread(Changes::default());
        let mut out = Vec::new();
        Object::write(&mut out, |data| read(&raw, &members, &mut event, data.out()).unwrap());
        let mut written: serde_json::Value = serde_json::from_slice(&out).unwrap();
        (written["details"].take(), event.changes, !event.others.is_empty())
    }

    #[test]
    fn value_in_details_that_does_not_fit_is_kept_as_text_next_to_its_field() {
        use serde_json::json;
        for (given, expected) in [
            (json!({"id": {"a": 1}}), json!({"id_text": "{\"a\":1}"})),
            (json!({"id": ["a", [1]]}), json!({"id": ["a", "[1]"]})),
            (json!({"on": "yes"}), json!({"on_text": "yes"})),
            (json!({"from": "fe80::1%eth0"}), json!({"from_text": "fe80::1%eth0"})),
            (json!({"from": ["::1"]}), json!({"from_text": ["::1"]})),
            (json!({"on": [true]}), json!({"on_text": [true]})),
            (json!({"count": {"a": 1}}), json!({"count_text": "{\"a\":1}"})),
            (json!({"list": "a"}), json!({"list_text": "a"})),
            (json!({"list": ["a", 2]}), json!({"list_text": ["a", 2]})),
            (json!({"list": [{"id": 1}, 2]}), json!({"list": [{"id": 1}, {"value": 2}]})),
            (
                json!({"list": [{"id": 1}, {"id": {"a": 1}}]}),
                json!({"list": [{"id": 1}, {"id_text": "{\"a\":1}"}]}),
            ),
            (json!({"error.code": {"a": 1}}), json!({"error_code": {"a": 1}})),
            (json!({"user.id": [{"a": 1}]}), json!({"user_id": [{"a": 1}]})),
            (json!({"error": [["a"], {"a": 1}]}), json!({"error_text": ["[\"a\"]", "{\"a\":1}"]})),
        ] {
            let (found, changes, _) = details(&given);
            assert_eq!(found, expected);
            assert!(!changes.is_empty(), "{given}");
        }
    }

    #[test]
    fn value_in_details_that_no_field_finds_is_one_of_the_others() {
        use serde_json::json;
        for (given, has_others) in [
            (json!({"id": 5, "on": true, "error": {"code": "x"}, "list": [{"id": "x"}]}), false),
            (json!({"count": 5, "when": 1_763_780_765_000_i64, "from": "::1"}), false),
            (json!({"count": "5", "when": "2026-03-14T10:05:13Z", "id": ["a", null]}), false),
            (json!({"other": 1}), true),
            (json!({"error": {"other": 1}}), true),
            (json!({"urn:user:2.0": {"name.first": 1}}), true),
            (json!({"list": [{"id": 1}, {"other": 1}]}), true),
            (json!({"count": "many"}), true),
            (json!({"count": 1.5}), true),
            (json!({"when": "today"}), true),
        ] {
            let (found, changes, others) = details(&given);
            let without_null = |value: serde_json::Value| value.to_string().replace(",null", "");
            assert_eq!(without_null(found), without_null(given.clone()));
            assert!(changes.is_empty(), "{given}");
            assert_eq!(others, has_others, "{given}");
        }
        // Auth0 itself sends these as objects or as text, so no change is noted.
        let (found, changes, others) = details(&json!({"error": "x", "other": null, "id": {}}));
        assert_eq!(found, json!({"error_text": "x"}));
        assert!(changes.is_empty() && !others);
    }

    #[test]
    fn reserved_names_and_paths_are_renamed() {
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
        // A name with escapes is the same name.
        let (found, changes) =
            written(r#"{"\u0069p":"81.2.69.143","d\u0061te":"2026-03-14T10:05:13Z"}"#);
        assert_eq!(found, json!({}));
        assert!(changes.is_empty());
    }

    #[test]
    fn first_of_two_moved_members_is_kept() {
        let raw = r#"{"log_id":"1","data":{"ip":"","ip":"::1","ip":"::2"}}"#;
        let event = read_event(raw, &mut Vec::new()).unwrap();
        assert_eq!(event.moved(Moved::Ip), Some("\"::1\""));
        assert_eq!(event.moved(Moved::LogId), Some("\"1\""));
        assert!(event.changes.has(Change::DuplicateName));
    }

    #[test]
    fn log_id_in_the_data_wins_whatever_the_order() {
        for raw in [
            r#"{"log_id":"1","data":{"log_id":"2","type":"s"}}"#,
            r#"{"data":{"type":"s","log_id":"2"},"log_id":"1"}"#,
        ] {
            let event = read_event(raw, &mut Vec::new()).unwrap();
            assert_eq!(event.moved(Moved::LogId), Some("\"2\""));
            assert!(event.changes.has(Change::OuterLogId), "{raw}");
        }
        for raw in [
            r#"{"log_id":"2","data":{"log_id":"2"}}"#,
            r#"{"log_id":"2","data":{"log_id":null,"type":"s"}}"#,
            r#"{"log_id":"2","type":"s","_id":"3"}"#,
        ] {
            let event = read_event(raw, &mut Vec::new()).unwrap();
            assert_eq!(event.moved(Moved::LogId), Some("\"2\""));
            assert!(event.changes.is_empty(), "{raw}");
        }
    }

    #[test]
    fn outer_log_id_is_kept_if_the_inner_one_is_unusable() {
        for (inner, text) in [
            (r#""""#, None),
            (r#"" ""#, None),
            (r#"{"a":1}"#, Some(r#"{"a":1}"#)),
            ("[1]", Some("[1]")),
            ("true", Some("true")),
        ] {
            for raw in [
                format!(r#"{{"log_id":"1","data":{{"log_id":{inner},"type":"s"}}}}"#),
                format!(r#"{{"data":{{"type":"s","log_id":{inner}}},"log_id":"1"}}"#),
            ] {
                let mut out = Vec::new();
                let read = |data: &mut Object<'_>| {
                    let event = read_event(&raw, data.out()).unwrap();
                    assert_eq!(event.moved(Moved::LogId), Some("\"1\""), "{raw}");
                    event.changes
                };
                let changes = Object::write(&mut out, read);
                assert_eq!(changes.has(Change::TypeMismatch), text.is_some(), "{raw}");
                assert!(!changes.has(Change::OuterLogId), "{raw}");
                let written: serde_json::Value = serde_json::from_slice(&out).unwrap();
                assert_eq!(written["log_id_text"].as_str(), text, "{raw}");
            }
        }
    }

    #[test]
    fn member_in_the_data_goes_before_the_one_next_to_it() {
        for raw in [
            r#"{"log_id":"1","type":"x","date":"y","data":{"type":"s","date":"2026-03-14T10:05:13Z"}}"#,
            r#"{"data":{"type":"s","date":"2026-03-14T10:05:13Z"},"date":"y","log_id":"1","type":"x"}"#,
        ] {
            let event = read_event(raw, &mut Vec::new()).unwrap();
            assert_eq!(event.moved(Moved::Type), Some("\"s\""), "{raw}");
            assert_eq!(event.date, Some("2026-03-14T10:05:13Z".parse().unwrap()), "{raw}");
            assert!(event.changes.has(Change::OuterMember), "{raw}");
            assert!(!event.changes.has(Change::DuplicateName), "{raw}");
        }
        for raw in [
            r#"{"log_id":"1","type":"s","data":{"type":"s","ip":"::1"}}"#,
            r#"{"log_id":"1","data":{"type":"","ip":"::1"},"type":"s"}"#,
        ] {
            let event = read_event(raw, &mut Vec::new()).unwrap();
            assert_eq!(event.moved(Moved::Type), Some("\"s\""), "{raw}");
            assert!(event.changes.is_empty(), "{raw}");
        }
        let twice = r#"{"log_id":"1","type":"x","data":{"type":"s","type":"f"}}"#;
        let event = read_event(twice, &mut Vec::new()).unwrap();
        assert_eq!(event.moved(Moved::Type), Some("\"s\""));
        assert!(event.changes.has(Change::DuplicateName));
    }

    #[test]
    fn log_id_as_number_and_as_text_is_the_same() {
        for raw in [
            r#"{"log_id":9001,"data":{"log_id":"9001"}}"#,
            r#"{"data":{"log_id":9001},"log_id":"9001"}"#,
        ] {
            let event = read_event(raw, &mut Vec::new()).unwrap();
            assert!(event.changes.is_empty(), "{raw}");
            assert_eq!(event.moved(Moved::LogId).map(decode).as_deref(), Some("9001"));
        }
    }

    #[test]
    fn event_of_an_event_stream_is_not_a_log_event() {
        let problem = |raw: &str| read_event(raw, &mut Vec::new()).map(drop).unwrap_err();
        let created =
            r#"{"type":"user.created","specversion":"1.0","data":{"object":{"user_id":"a"}}}"#;
        assert_eq!(problem(created), EventError::EventStream);
        // The name alone makes no difference to a log event.
        let (found, changes) = written(r#"{"specversion":"1.0","type":"s"}"#);
        assert_eq!(found, serde_json::json!({"specversion": "1.0"}));
        assert!(changes.is_empty());
        assert!(read_event(r#"{"log_id":"1","specversion":"1.0"}"#, &mut Vec::new()).is_ok());
    }

    #[test]
    fn data_as_text_is_not_an_event() {
        let problem = |raw: &str| read_event(raw, &mut Vec::new()).map(drop);
        let text = r#"{"log_id":"1","data":" {\"type\":\"s\"}"}"#;
        assert_eq!(problem(text), Err(EventError::DataAsText));
        for other in [
            r#"{"log_id":"1","data":"text"}"#,
            r#"{"log_id":"1","type":"s","data":"{}"}"#,
            r#"{"log_id":"1","data":{"data":"{}"}}"#,
        ] {
            assert_eq!(problem(other), Ok(()), "{other}");
        }
    }

    #[test]
    fn pulled_event_is_the_bare_data() {
        let raw = r#"{"_id":"7","type":"s","isMobile":true,"$event_schema":{"version":"1"},"x":1}"#;
        let mut out = Vec::new();
        let event = read_event(raw, &mut out).unwrap();
        assert_eq!(event.moved(Moved::LogId), Some("\"7\""));
        assert_eq!(event.moved(Moved::Type), Some("\"s\""));
        assert_eq!(out, br#""is_mobile":true,"x":1,"#);
        assert!(event.changes.is_empty());
    }

    #[test]
    fn object_without_a_known_member_is_not_an_event() {
        let problem = |raw: &str| read_event(raw, &mut Vec::new()).map(drop).unwrap_err();
        assert_eq!(problem("[]"), EventError::NotAnObject);
        assert_eq!(problem("{\"a\":1}"), EventError::NotALogEvent);
        assert!(matches!(problem("{\"type\":"), EventError::Syntax { .. }));
        assert!(matches!(problem("{\"type\":\"s\"} {}"), EventError::Syntax { .. }));
    }
}
