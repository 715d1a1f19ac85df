//! Plain copies: fields that hold the value at a path of the event.

use std::ops::Range;

use super::details::{self, Details, is_scalar, text_at, whole_number};
use super::fields::{FIELDS, FieldType, Source};
use crate::input::event::Event;
use crate::input::members::{MemberId, Members};
use crate::json::read::member;
use crate::json::write::{AsText, Key, Object};

/// The copies below one object of the document.
#[derive(Debug, Default)]
pub(super) struct Copies(Vec<Copy>);

#[derive(Debug)]
enum Copy {
    Object { name: &'static str, key: String, copies: Copies },
    Field { key: String, kind: FieldType, paths: Vec<Path> },
}

/// Where a value is in an event.
#[derive(Debug)]
enum Path {
    /// In `details`, and so in the output.
    Details(details::Path),
    /// A member of its data, and the names below it.
    Member(MemberId, Vec<&'static str>),
}

/// A value that was found.
enum Found<'a> {
    /// As received.
    Received(&'a str),
    /// Already in the output, at this place.
    Written(Range<usize>),
}

impl Copies {
    /// The copies of all fields.
    pub(super) fn new(members: &Members) -> Self {
        let mut all = Self::default();
        for field in FIELDS {
            let Source::First(paths) = field.source else { continue };
            let paths = paths.iter().map(|path| Path::new(path, members)).collect();
            all.insert(field.name, field.kind, paths);
        }
        all
    }

    fn insert(&mut self, path: &'static str, kind: FieldType, paths: Vec<Path>) {
        let Some((name, rest)) = path.split_once('.') else {
            self.0.push(Copy::Field { key: quoted(path), kind, paths });
            return;
        };
        // Fields are sorted, so those of one object follow each other.
        match self.0.last_mut() {
            Some(Copy::Object { name: last, copies, .. }) if *last == name => {
                copies.insert(rest, kind, paths);
            }
            _ => {
                let mut copies = Self::default();
                copies.insert(rest, kind, paths);
                self.0.push(Copy::Object { name, key: quoted(name), copies });
            }
        }
    }

    /// Takes out the copies below the object `name`, for an object that holds more than copies.
    pub(super) fn take(&mut self, name: &str) -> Self {
        let is_wanted =
            |copy: &Copy| matches!(copy, Copy::Object { name: found, .. } if *found == name);
        match self.0.iter().position(is_wanted).map(|index| self.0.remove(index)) {
            Some(Copy::Object { copies, .. }) => copies,
            _ => Self::default(),
        }
    }

    /// Writes the members that the event has values for.
    pub(super) fn write(&self, object: &mut Object<'_>, event: &Event<'_>) {
        for copy in &self.0 {
            match copy {
                Copy::Object { key, copies, .. } => {
                    object.object(Key(key), |inner| copies.write(inner, event));
                }
                Copy::Field { key, kind, paths, .. } => {
                    let found = paths.iter().find_map(|path| path.find(event, object.written()));
                    if let Some(found) = found {
                        found.write(Key(key), *kind, object);
                    }
                }
            }
        }
    }
}

fn quoted(name: &str) -> String {
    format!("\"{name}\":")
}

impl Path {
    /// # Panics
    /// If the first name of the path is not a known member.
    fn new(path: &'static str, members: &Members) -> Self {
        if let Some(path) = path.strip_prefix("details.") {
            return Self::Details(details::Path::new(path));
        }
        let mut names = path.split('.');
        #[expect(clippy::expect_used, reason = "the table is wrong then, and every test fails")]
        let root = names.next().and_then(|name| members.id(name)).expect("a known member");
        Self::Member(root, names.collect())
    }

    fn find<'a>(&self, event: &Event<'a>, written: &[u8]) -> Option<Found<'a>> {
        match self {
            Self::Details(path) => Details::of(event).scalar(written, *path).map(Found::Written),
            Self::Member(id, below) => {
                let token = event.token(*id)?;
                if below.is_empty() {
                    return Some(Found::Received(token));
                }
                let value = below.iter().try_fold(token, |value, name| member(value, name))?;
                is_scalar(value).then_some(Found::Received(value))
            }
        }
    }
}

impl Found<'_> {
    fn write(self, key: Key<'_>, kind: FieldType, object: &mut Object<'_>) {
        match (kind, self) {
            (FieldType::Long, found) => {
                let number = match &found {
                    Self::Received(token) => whole_number(token),
                    Self::Written(place) => text_at(object.written(), place).and_then(whole_number),
                };
                object.maybe(key, number);
            }
            // Its type was not checked: a number may have more digits than an engine takes.
            (_, Self::Received(token)) => object.put(key, AsText(token)),
            (_, Self::Written(place)) => object.put_again(key, place),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::ecs::details_fields;
    use crate::ecs::fields::members;
    use crate::input::event::read;
    use crate::json::change::Changes;

    /// The value `leaf` at `path`.
    fn nested(path: &str, leaf: &Value) -> Value {
        path.rsplit('.').fold(leaf.clone(), |inner, name| json!({ name: inner }))
    }

    fn copies_of(event: &Value) -> Value {
        let members = members(details_fields::schemas());
        let raw = event.to_string();
        let mut out = Vec::new();
        Object::write(&mut out, |doc| {
            let mut event = Event::unread(Changes::default());
            doc.object(Key("\"data\":"), |data| {
                read(&raw, &members, &mut event, data.out()).unwrap();
            });
            Copies::new(&members).write(doc, &event);
        });
        let mut document: Value = serde_json::from_slice(&out).unwrap();
        document.as_object_mut().unwrap().remove("data");
        document
    }

    #[test]
    fn every_path_of_the_table_is_copied_to_its_field() {
        for field in FIELDS {
            let Source::First(paths) = field.source else { continue };
            let leaf = if matches!(field.kind, FieldType::Long) { json!(204) } else { json!("x") };
            for path in paths {
                let mut event = nested(path, &leaf);
                event["log_id"] = json!("1");
                let copies = copies_of(&event);
                let pointer = format!("/{}", field.name.replace('.', "/"));
                assert_eq!(copies.pointer(&pointer), Some(&leaf), "{path}: {copies}");
            }
        }
    }

    #[test]
    fn first_path_with_a_scalar_is_copied() {
        let copies = copies_of(&json!({
            "log_id": "1", "transaction_linking_id": "", "details": {
                "grantType": {"not": "a scalar"}, "grant_type": "password", "body": {"grant_type": "x"},
                "transaction": {"id": 7}, "response": {"statusCode": "204.0"},
            },
        }));
        let expected = json!({
            "auth0": {"logs": {"grant_type": "password", "transaction_id": 7}},
            "http": {"response": {"status_code": 204}},
        });
        assert_eq!(copies, expected);
    }
}
