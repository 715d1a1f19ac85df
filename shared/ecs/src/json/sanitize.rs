//! Copies values of an event to its document, so that every engine accepts them. One pass, no tree.
//!
//! Most of an event goes to the output unchanged. So the copier does not copy value by value: it remembers
//! where the pending run of unchanged text starts, reads on, and writes the run in one piece when something
//! has to be left out or changed.
//!
//! ```text
//! event    {"a":1,"b":null,"c":2,"d":"too long"}
//!           └run┘ └dropped┘└──run───┘└replaced─┘
//! output   {"a":1,         "c":2,"d":"too lo"
//! ```
//!
//! - `pending_start` is where the run starts that is not yet written.
//! - [`Emitted`] says, for the container being read, where its last emitted item ends in the event, and
//!   whether there was any: the run goes on if only a comma separates that end from the next item.
//! - Each item starts with a [`Savepoint`] and ends with [`Sanitizer::commit`], or with
//!   [`Sanitizer::rollback`] if it turned out to hold nothing (null, "", {} or []).
//!
//! What engines refuse is changed on the way: nesting that would kill a node, strings longer than a Lucene
//! term, names that collide. Every change is noted, so that the document can say so.

use std::borrow::Cow;
use std::collections::HashSet;

use super::change::{Change, Changes};
use super::lex::{Lexer, Name, SyntaxError, ValueKind};
use super::read::{decode, decode_name};
use super::schema::{Leaf, Node, Schema};
use super::write::{write_quoted, write_str};
use crate::key;

/// Levels of nesting that are kept. Elasticsearch refuses more in a `flattened` field, and OpenSearch in
/// arrays; at 900 levels an OpenSearch node crashes.
pub(crate) const MAX_DEPTH: u8 = 20;

/// Lucene's limit for a term is 32,766 bytes (`IndexWriter.MAX_TERM_LENGTH`). The engines' flat fields
/// index path, separator and value as one term.
const MAX_TERM: usize = 32_700;

/// Allowance for `auth0.logs.data.` and the field's own name, which precede each path.
pub(crate) const ROOT_PATH: usize = 64;

/// Longer names are cut, because 20 levels of names and a value have to fit into one term.
const MAX_NAME: usize = 512;

/// Longer numbers become text: Jackson, the engines' JSON parser, refuses over 1,000 characters.
const MAX_NUMBER: usize = 400;

/// Up to this many names are compared one by one; more go into a set.
const FEW_NAMES: usize = 48;

/// Places in the output, for as many members as are looked up there; an empty one if there is no such member.
pub(crate) type OutputPlaces = [(u32, u32); MAX_PLACES];

/// The most members whose places are remembered.
pub(crate) const MAX_PLACES: usize = 22;

/// Copies values from an event to its document; see the module documentation.
#[derive(Debug)]
pub(crate) struct Sanitizer<'a, 'o> {
    pub(crate) json: Lexer<'a>,
    pub(crate) changes: Changes,
    /// Whether an object with a [`Schema`] had anything that none of its fields finds.
    pub(crate) has_others: bool,
    /// Whether the places of known members are remembered now.
    pub(crate) remembers: bool,
    /// Those places.
    pub(crate) places: OutputPlaces,
    out: &'o mut Vec<u8>,
    /// Start, in the event, of the text that goes to the output next.
    pending_start: usize,
    /// Members of all open objects, innermost last.
    open: Vec<Cow<'a, str>>,
}

/// What has been emitted of the container being read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Emitted {
    /// End, in the event, of the last item that was emitted, or of the opening bracket.
    end: usize,
    any: bool,
}

impl Emitted {
    /// Nothing yet; `start` is the position after the opening bracket.
    pub(crate) const fn nothing(start: usize) -> Self {
        Self { end: start, any: false }
    }
}

/// A state of the output to roll back to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Savepoint {
    len: usize,
    pending_start: usize,
}

impl<'a, 'o> Sanitizer<'a, 'o> {
    /// Starts at the beginning of `event` and appends to `out`.
    pub(crate) fn new(event: &'a str, changes: Changes, out: &'o mut Vec<u8>) -> Self {
        let json = Lexer::new(event);
        let open = Vec::with_capacity(16);
        let places = [(0, 0); MAX_PLACES];
        let (has_others, remembers) = (false, false);
        Self { json, changes, has_others, remembers, places, out, pending_start: 0, open }
    }

    /// Begins the member whose value comes next. `renamed` is its name in the output, if that differs from
    /// the one in the event.
    #[inline(always)]
    pub(crate) fn begin(
        &mut self,
        emitted: Emitted,
        name: &Name<'_>,
        renamed: Option<&str>,
    ) -> Savepoint {
        let savepoint = self.begin_item(emitted, name.start);
        // White space after the colon is dropped.
        if renamed.is_some() || name.end() < self.json.at() {
            self.write_name(name, renamed);
        }
        savepoint
    }

    /// Begins a member or an element that starts at `start` in the event.
    #[inline(always)]
    fn begin_item(&mut self, emitted: Emitted, start: usize) -> Savepoint {
        // The run goes on if only a comma separates two emitted items.
        if start - emitted.end != usize::from(emitted.any) {
            return self.begin_run(emitted, start);
        }
        Savepoint { len: self.out.len(), pending_start: self.pending_start }
    }

    fn begin_run(&mut self, emitted: Emitted, start: usize) -> Savepoint {
        self.flush(emitted.end);
        let savepoint = Savepoint { len: self.out.len(), pending_start: self.pending_start };
        if emitted.any {
            self.out.push(b',');
        }
        self.pending_start = start;
        savepoint
    }

    fn write_name(&mut self, name: &Name<'_>, renamed: Option<&str>) {
        self.flush(name.start);
        match renamed {
            Some(renamed) => write_str(self.out, renamed),
            None => write_quoted(self.out, name.raw),
        }
        self.out.push(b':');
        self.pending_start = self.json.at();
    }

    /// Keeps the item that was just read.
    #[inline(always)]
    pub(crate) const fn commit(&self, emitted: &mut Emitted) {
        *emitted = Emitted { end: self.json.at(), any: true };
    }

    /// Drops the item that began at `savepoint`.
    #[inline]
    pub(crate) fn rollback(&mut self, savepoint: Savepoint) {
        self.out.truncate(savepoint.len);
        self.pending_start = savepoint.pending_start;
    }

    /// Inserts a member that is not in the event, with `text` as its value.
    pub(crate) fn insert(&mut self, emitted: &mut Emitted, name: &str, text: &str) {
        self.begin_run(*emitted, self.json.at());
        write_str(self.out, name);
        self.out.push(b':');
        write_str(self.out, text);
        self.commit(emitted);
    }

    /// Writes the pending run up to `end`.
    #[inline]
    fn flush(&mut self, end: usize) {
        if self.pending_start < end {
            self.out.extend_from_slice(self.json.slice(self.pending_start, end).as_bytes());
            self.pending_start = end;
        }
    }

    /// Writes what is still pending, followed by a comma if anything was emitted.
    pub(crate) fn finish(mut self, emitted: Emitted) {
        self.flush(emitted.end);
        if emitted.any {
            self.out.push(b',');
        }
    }

    /// Copies the value that comes next. `level` is the nesting level of a container here; containers
    /// deeper than [`MAX_DEPTH`] are written as strings of JSON. Returns false if the value holds nothing
    /// and has to be rolled back.
    pub(crate) fn copy(&mut self, kind: ValueKind, level: u8) -> Result<bool, SyntaxError> {
        self.copy_at(kind, level, ROOT_PATH, None)
    }

    /// Copies an object like [`Self::copy`]. A value that does not fit its field is kept in `<name>_text`.
    pub(crate) fn copy_object(&mut self, schema: &Schema) -> Result<bool, SyntaxError> {
        self.object(1, ROOT_PATH, NameRole::FieldName(Some(schema)))
    }

    /// Copies an object each of whose members is a field. Containers in it become text.
    pub(crate) fn copy_record(&mut self) -> Result<bool, SyntaxError> {
        self.object(MAX_DEPTH, ROOT_PATH, NameRole::FieldName(None))
    }

    /// Position, in the output, of what is read next.
    pub(crate) const fn out_position(&self) -> usize {
        self.out.len() + self.json.at() - self.pending_start
    }

    /// Copies a value that is not an object as `{"value":…}`, the object being at `level`.
    pub(crate) fn copy_wrapped(
        &mut self,
        kind: ValueKind,
        level: u8,
        path: usize,
    ) -> Result<bool, SyntaxError> {
        self.flush(self.json.at());
        self.out.push(b'{');
        self.out.extend_from_slice(key!("value").0.as_bytes());
        let holds = self.copy_at(kind, level + 1, path, None)?;
        self.flush(self.json.at());
        self.out.push(b'}');
        Ok(holds)
    }

    #[inline(always)]
    fn copy_at(
        &mut self,
        kind: ValueKind,
        level: u8,
        path: usize,
        schema: Option<&Schema>,
    ) -> Result<bool, SyntaxError> {
        match kind {
            ValueKind::String => {
                let start = self.json.at();
                self.json.skip(kind)?;
                let len = self.json.at() - start - 2;
                if len + path > MAX_TERM {
                    self.cut_string(start, path);
                }
                Ok(len > 0)
            }
            ValueKind::Number => {
                let start = self.json.at();
                self.json.skip(kind)?;
                if self.json.at() - start > MAX_NUMBER {
                    self.changes.note(Change::NumberAsText);
                    let number = self.json.slice(start, self.json.at());
                    self.replace(start, cut_at_char(number, MAX_TERM.saturating_sub(path)));
                }
                Ok(true)
            }
            ValueKind::Boolean | ValueKind::Null => {
                self.json.skip(kind)?;
                Ok(kind == ValueKind::Boolean)
            }
            ValueKind::Object if level <= MAX_DEPTH => {
                let role = schema.map_or(NameRole::Key, |schema| NameRole::FieldName(Some(schema)));
                self.object(level, path, role)
            }
            ValueKind::Array if level <= MAX_DEPTH => self.array(level, path, schema),
            ValueKind::Object | ValueKind::Array => self.container_as_text(kind, path),
        }
    }

    fn cut_string(&mut self, start: usize, path: usize) {
        let text = decode(self.json.slice(start, self.json.at()));
        let cut = cut_at_char(&text, MAX_TERM.saturating_sub(path));
        if cut.len() < text.len() {
            self.changes.note(Change::StringCut);
        }
        self.replace(start, cut);
    }

    /// Writes an object or array as a string of its JSON.
    fn container_as_text(&mut self, kind: ValueKind, path: usize) -> Result<bool, SyntaxError> {
        let start = self.json.at();
        let token = self.json.token(kind)?;
        let inner = token.get(1..token.len() - 1).unwrap_or_default();
        if inner.trim_ascii().is_empty() {
            return Ok(false);
        }
        self.changes.note(Change::ContainerAsText);
        self.replace(start, cut_at_char(token, MAX_TERM.saturating_sub(path)));
        Ok(true)
    }

    /// Writes `text` as a string in place of the value that started at `start`.
    fn replace(&mut self, start: usize, text: &str) {
        self.flush(start);
        write_str(self.out, text);
        self.pending_start = self.json.at();
    }

    fn array(
        &mut self,
        level: u8,
        path: usize,
        schema: Option<&Schema>,
    ) -> Result<bool, SyntaxError> {
        let mut emitted = Emitted::nothing(self.json.at() + 1);
        let mut is_first = true;
        // A member of an element is one of several.
        let remembers = std::mem::take(&mut self.remembers);
        while self.json.next_element(&mut is_first)? {
            let kind = self.json.peek()?;
            let savepoint = self.begin_item(emitted, self.json.at());
            let holds = match (schema, kind) {
                (None, _) | (_, ValueKind::Object | ValueKind::Null) => {
                    self.copy_at(kind, level + 1, path, schema)?
                }
                // No engine takes it where another element is an object with fields.
                (Some(_), _) => {
                    self.changes.note(Change::TypeMismatch);
                    self.has_others = true;
                    self.copy_wrapped(kind, level + 1, path)?
                }
            };
            if holds {
                self.commit(&mut emitted);
            } else {
                self.rollback(savepoint);
            }
        }
        self.remembers = remembers;
        Ok(self.close(emitted))
    }

    fn object(&mut self, level: u8, path: usize, role: NameRole<'_>) -> Result<bool, SyntaxError> {
        let mut emitted = Emitted::nothing(self.json.at() + 1);
        let mut taken = TakenNames { first: self.open.len(), filter: 0, many: None };
        let mut is_first = true;
        while let Some(name) = self.json.next_name(&mut is_first)? {
            let kind = self.json.peek()?;
            let schema = role.schema();
            let mut known = schema.and_then(|schema| schema.get(name.raw));
            let mut written = Cow::Borrowed(name.raw);
            if known.is_none() {
                written = role.output_name(&name, &mut self.changes);
                if matches!(written, Cow::Owned(_)) {
                    known = schema.and_then(|schema| schema.get_changed(&written));
                }
            }
            let mut is_new = false;
            if known.is_some_and(|known| !known.node.takes(kind, &self.json)) {
                written = Cow::Owned(format!("{written}_text"));
                known = schema.and_then(|schema| schema.get_changed(&written));
                is_new = known.is_none();
            }
            let node = known.map(|known| &known.node);
            if taken.has(&written, &self.open) {
                self.changes.note(Change::DuplicateName);
                self.json.skip(kind)?;
            } else {
                let renamed = matches!(written, Cow::Owned(_)).then_some(&*written);
                let savepoint = self.begin(emitted, &name, renamed);
                let start = self.out_position();
                let at = self.json.at();
                let path = path + written.len() + 1;
                let (inner_level, inner) = match (node, kind) {
                    (Some(Node::Object(inner)), _) => (level + 1, Some(inner)),
                    (None, _) if !is_new => (level + 1, None),
                    // A leaf, in which a container becomes text.
                    (_, ValueKind::Object) => (MAX_DEPTH + 1, None),
                    _ => (MAX_DEPTH, None),
                };
                if self.copy_at(kind, inner_level, path, inner)? {
                    match node {
                        Some(
                            Node::Leaf(Leaf::Text | Leaf::Boolean | Leaf::Ip) | Node::Object(_),
                        ) => {}
                        Some(Node::Leaf(leaf)) => {
                            self.has_others |= !leaf.finds(self.json.slice(at, self.json.at()));
                        }
                        None => self.has_others |= schema.is_some(),
                    }
                    if is_new {
                        self.changes.note(Change::TypeMismatch);
                    }
                    if let Some(place) = known.and_then(|known| known.place)
                        && self.remembers
                    {
                        let end = self.out_position();
                        self.remember(place, start, end);
                    }
                    self.commit(&mut emitted);
                    taken.add(&written);
                    self.open.push(written);
                } else {
                    self.rollback(savepoint);
                }
            }
        }
        self.open.truncate(taken.first);
        Ok(self.close(emitted))
    }

    /// Remembers a place; one beyond the size that a request can have is none.
    fn remember(&mut self, place: usize, start: usize, end: usize) {
        if let (Some(place), Ok(start), Ok(end)) =
            (self.places.get_mut(place), u32::try_from(start), u32::try_from(end))
        {
            *place = (start, end);
        }
    }

    /// Ends the container whose closing bracket was just read. Returns whether anything of it was emitted.
    fn close(&mut self, emitted: Emitted) -> bool {
        let bracket = self.json.at() - 1;
        if emitted.any && emitted.end < bracket {
            self.flush(emitted.end);
            self.pending_start = bracket;
        }
        emitted.any
    }
}

/// The names that the object being read already has in the output.
struct TakenNames<'a> {
    /// Index of its first member among those of all open objects.
    first: usize,
    /// A Bloom filter: one bit per name.
    filter: u64,
    /// All names, once there are many.
    many: Option<HashSet<Cow<'a, str>>>,
}

impl<'a> TakenNames<'a> {
    const fn bit(name: &str) -> u64 {
        let name = name.as_bytes();
        match name {
            [first, .., last] => {
                1 << ((name.len() + 5 * *first as usize + 11 * *last as usize) % 64)
            }
            _ => 1,
        }
    }

    fn has(&mut self, name: &str, open: &[Cow<'a, str>]) -> bool {
        if self.filter & Self::bit(name) == 0 {
            return false;
        }
        let siblings = open.get(self.first..).unwrap_or_default();
        if siblings.len() < FEW_NAMES {
            return siblings.iter().any(|sibling| sibling == name);
        }
        let names = || siblings.iter().cloned().collect();
        self.many.get_or_insert_with(names).contains(name)
    }

    #[expect(clippy::ptr_arg, reason = "the clone of a borrowed name borrows too")]
    fn add(&mut self, name: &Cow<'a, str>) {
        self.filter |= Self::bit(name);
        if let Some(many) = &mut self.many {
            many.insert(name.clone());
        }
    }
}

/// What an engine makes of the names in an object.
#[derive(Clone, Copy)]
enum NameRole<'s> {
    /// Keys of a flat object, or of one that is not indexed: any text.
    Key,
    /// Parts of a field's name, in which dots separate levels; with the fields, if values have to fit them.
    FieldName(Option<&'s Schema>),
}

impl<'s> NameRole<'s> {
    const fn schema(self) -> Option<&'s Schema> {
        match self {
            Self::Key => None,
            Self::FieldName(schema) => schema,
        }
    }

    /// The name in the output, borrowed if it is written unchanged.
    fn output_name<'a>(self, name: &Name<'a>, changes: &mut Changes) -> Cow<'a, str> {
        let is_plain = match self {
            Self::Key => name.raw.len() <= MAX_NAME,
            Self::FieldName(schema) => {
                is_safe_name(name.raw)
                    || schema.is_some_and(|schema| is_unknown_path(name.raw, schema))
            }
        };
        if is_plain && !name.escaped {
            return Cow::Borrowed(name.raw);
        }
        let decoded = decode_name(name);
        let adjusted = match self {
            Self::Key => cut_at_char(&decoded, MAX_NAME).replace('\0', "\u{fffd}"),
            Self::FieldName(_) => safe_name(&decoded),
        };
        if adjusted != decoded {
            changes.note(Change::NameAdjusted);
        }
        Cow::Owned(adjusted)
    }
}

/// Longest name of a field, in characters.
const MAX_FIELD_NAME: usize = 256;

/// Makes a name that is not blank and that an engine cannot read as a path.
pub(crate) fn safe_name(name: &str) -> String {
    if name.trim().is_empty() {
        return "_".to_owned();
    }
    let safe = |c: char| if c == '.' || c.is_control() { '_' } else { c };
    name.chars().map(safe).take(MAX_FIELD_NAME).collect()
}

/// Whether a name is safe already, and of ASCII letters, digits and underscores only.
fn is_safe_name(name: &str) -> bool {
    let is_letter = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    !name.is_empty() && name.len() <= MAX_FIELD_NAME && name.bytes().all(is_letter)
}

/// Whether an engine reads a name with dots as the path of something that is no field. In an array,
/// OpenSearch (3.8) takes the last part of such a name for a member of the object around it.
fn is_unknown_path(name: &str, schema: &Schema) -> bool {
    let is_dotted = name.contains('.');
    let misleads = |part: &str| part.trim().is_empty() || is_dotted && schema.get(part).is_some();
    name.len() <= MAX_FIELD_NAME && !name.split('.').any(misleads)
}

/// The longest prefix of at most `limit` bytes that ends at a character boundary.
fn cut_at_char(text: &str, limit: usize) -> &str {
    text.get(..text.floor_char_boundary(limit)).unwrap_or(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json::repair::repair;

    fn copied(text: &str) -> (String, Changes) {
        let mut out = Vec::new();
        let mut sanitizer = Sanitizer::new(text, Changes::default(), &mut out);
        let kind = sanitizer.json.peek().unwrap();
        let mut emitted = Emitted::nothing(sanitizer.json.at());
        let savepoint = sanitizer.begin_item(emitted, sanitizer.json.at());
        if sanitizer.copy(kind, 1).unwrap() {
            sanitizer.commit(&mut emitted);
        } else {
            sanitizer.rollback(savepoint);
        }
        sanitizer.json.finish().unwrap();
        let changes = sanitizer.changes;
        sanitizer.flush(emitted.end);
        (String::from_utf8(out).unwrap(), changes)
    }

    #[test]
    fn empty_values_are_dropped_at_every_level() {
        let text = r#"{"a":null,"b":"","c":{},"d":[],"e":[null,{"f":[[]]},""],"g":{"h":{"i":null}},
                       "j":[0,null,false],"k":{"l":null,"m":" "}}"#;
        let (out, changes) = copied(text);
        assert_eq!(out, r#"{"j":[0,false],"k":{"m":" "}}"#);
        assert!(changes.is_empty());
        assert_eq!(copied("{\"a\":[[],{}]}").0, "");
    }

    #[test]
    fn numbers_and_strings_keep_their_text() {
        let text = r#"{"n":[1.6359e12,-0,1e400,123456789012345678901234567890],"s":"\u00e9\/\n"}"#;
        assert_eq!(copied(text).0, text);
    }

    #[test]
    fn nesting_beyond_twenty_levels_becomes_text() {
        let nested = |levels: usize| format!("{}1{}", "{\"a\":".repeat(levels), "}".repeat(levels));
        let (out, changes) = copied(&nested(20));
        assert_eq!(out, nested(20));
        assert!(changes.is_empty());
        let (out, changes) = copied(&nested(22));
        let expected = nested(20).replace("1", "\"{\\\"a\\\":{\\\"a\\\":1}}\"");
        assert_eq!(out, expected);
        assert!(changes.has(Change::ContainerAsText));
    }

    #[test]
    fn ten_thousand_levels_are_copied_after_repair() {
        let text = format!("{}1{}", "[".repeat(10_000), "]".repeat(10_000));
        let (out, _) = copied(&repair(text.as_bytes()));
        assert!(serde_json::from_str::<serde_json::Value>(&out).is_ok());
    }

    #[test]
    fn long_string_is_cut_at_a_character_so_that_path_and_value_fit_a_term() {
        let (out, changes) = copied(&format!("{{\"name\":\"{}\"}}", "é".repeat(20_000)));
        let value: serde_json::Value = serde_json::from_str(&out).unwrap();
        let kept = value["name"].as_str().unwrap();
        assert!(kept.len() + "auth0.logs.data.details.name=".len() < 32_738);
        assert!(kept.len() > 32_000 && kept.chars().all(|c| c == 'é'));
        assert!(changes.has(Change::StringCut));
    }

    #[test]
    fn first_of_two_members_with_one_name_is_kept() {
        let (out, changes) = copied(r#"{"a":1,"b":2,"a":3,"\u0061":4}"#);
        assert_eq!(out, r#"{"a":1,"b":2}"#);
        assert!(changes.has(Change::DuplicateName));
        let many: Vec<_> = (0..2_000).map(|i| format!("\"k{}\":{i}", i % 1_500)).collect();
        let (out, _) = copied(&format!("{{{}}}", many.join(",")));
        let value: serde_json::Value = serde_json::from_str(&out).unwrap();
        assert_eq!(value.as_object().unwrap().len(), 1_500);
        assert_eq!(value["k7"], 7);
        assert_eq!(out.matches("\"k7\":").count(), 1);
    }

    #[test]
    fn nul_in_a_name_is_replaced() {
        let (out, changes) = copied(r#"{"a\u0000b":1}"#);
        assert_eq!(out, "{\"a\u{fffd}b\":1}");
        assert!(changes.has(Change::NameAdjusted));
    }
}
