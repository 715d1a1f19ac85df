//! What holds for the documents of any bytes at all. The fuzz target checks the same.

use std::collections::HashSet;
use std::fmt;

use auth0_ecs::geoip::GeoIp;
use auth0_ecs::input::split;
use auth0_ecs::{DocumentKind, Input, Mapper, MapperSettings, Piece};
use chrono::{DateTime, Utc};
use memchr::memchr2;
use serde::de::{
    Deserialize as _, DeserializeSeed, Deserializer as _, Error as _, MapAccess, SeqAccess, Visitor,
};
use serde_json::Deserializer;
use serde_json::value::RawValue;

/// 20 levels below `details`, which is the fifth level.
const MAX_LEVELS: usize = 24;

/// The object that holds most of a document.
const DATA: &str = "auth0.logs.data";

/// Objects in it whose members are fields. In all others any name is allowed.
const MAPPED_BY_NAME: [&str; 3] = ["location_info", "references", "security_context"];

/// A mapper without GeoIP files.
pub fn mapper() -> Mapper {
    mapper_for("default")
}

/// A mapper without GeoIP files for the data stream of this namespace.
pub fn mapper_for(namespace: &str) -> Mapper {
    let settings = MapperSettings {
        namespace,
        tags: &[],
        preserve_original_event: false,
        agent_name: "webhook",
        ephemeral_id: "0123456789abcdef0123456789abcdef",
    };
    Mapper::new(&settings, GeoIp::open(None, None).expect("no file is opened"))
}

/// Maps every event in `bytes`, and returns the documents.
///
/// # Panics
/// If a document breaks an invariant.
pub fn check(mapper: &Mapper, bytes: &[u8]) -> Vec<String> {
    let mut pieces = 0;
    let documents = split::split(bytes).map(|piece| {
        assert!(!piece.is_empty());
        pieces += piece.len();
        check_document(mapper, piece)
    });
    let documents = documents.collect();
    assert!(pieces <= bytes.len(), "no byte belongs to two pieces");
    // Any result will do, as long as it returns.
    let _is_json = split::is_event_or_json(bytes);
    documents
}

fn check_document(mapper: &Mapper, raw: &[u8]) -> String {
    let received = DateTime::UNIX_EPOCH;
    let piece = Piece { raw, input: Input::HttpEndpoint, received };
    let mut bytes = Vec::new();
    let document = mapper.document(piece, &mut bytes);
    assert!(memchr2(b'\n', b'\r', &bytes).is_none(), "a document is one line of the bulk body");
    let text = String::from_utf8(bytes).expect("a document is UTF-8");
    assert!(text.starts_with('{'), "a document is a JSON object");
    let fields = Fields::read(&text);

    assert!(!document.id.is_empty() && document.id.len() <= 512, "{:?}", document.id);
    assert_eq!(fields.id.as_ref(), Some(&document.id));
    assert_eq!(fields.timestamp, Some(document.date.unwrap_or(received)));
    let is_error = matches!(document.kind, DocumentKind::NotAnEvent | DocumentKind::NotJson);
    assert_eq!(fields.kind.as_deref(), Some(if is_error { "pipeline_error" } else { "event" }));
    let is_marked = is_error || fields.tags.iter().any(|tag| tag == "mapping_adjusted");
    assert_eq!(fields.has_original, is_marked, "an adjusted event is kept whole");
    assert_eq!(fields.has_error_message, is_marked, "an adjusted event says so");

    let mut again = Vec::new();
    assert_eq!(mapper.document(piece, &mut again), document);
    assert_eq!(again, text.as_bytes(), "the same bytes yield the same document");
    text
}

/// The checked fields of a document, read by a parser that is as strict as an engine.
#[derive(Debug, Default)]
struct Fields {
    id: Option<String>,
    kind: Option<String>,
    timestamp: Option<DateTime<Utc>>,
    tags: Vec<String>,
    has_original: bool,
    has_error_message: bool,
    /// The names that lead to the value being read, and how many they are.
    path: String,
    levels: usize,
}

impl Fields {
    fn read(text: &str) -> Self {
        let mut fields = Self::default();
        fields.read_object_or_text(text).expect("a document is JSON");
        fields
    }

    /// Reads a value of this name in the one being read.
    fn below<R>(&mut self, name: &str, read: impl FnOnce(&mut Self) -> R) -> R {
        let end = self.path.len();
        if self.levels > 0 {
            self.path.push('.');
        }
        self.path.push_str(name);
        self.levels += 1;
        let result = read(self);
        self.levels -= 1;
        self.path.truncate(end);
        result
    }

    /// Reads any JSON text but a number, `true`, `false` or `null`.
    fn read_object_or_text(&mut self, token: &str) -> serde_json::Result<()> {
        let mut deserializer = Deserializer::from_str(token);
        deserializer.deserialize_any(&mut *self)?;
        deserializer.end()
    }
}

impl<'t> DeserializeSeed<'t> for &mut Fields {
    type Value = ();

    fn deserialize<D: serde::Deserializer<'t>>(self, deserializer: D) -> Result<(), D::Error> {
        assert!(self.levels <= MAX_LEVELS, "nesting is bounded: {}", self.path);
        // What holds most of a document is an object, and need not be read to know that.
        if DATA.starts_with(&self.path) {
            return deserializer.deserialize_any(self);
        }
        let token = <&RawValue>::deserialize(deserializer)?.get();
        if token.starts_with(['{', '[', '"']) {
            self.read_object_or_text(token).map_err(D::Error::custom)
        } else {
            assert!(token.len() <= 1_000, "numbers are bounded");
            Ok(())
        }
    }
}

impl<'t> Visitor<'t> for &mut Fields {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object, an array or text")
    }

    fn visit_map<A: MapAccess<'t>>(self, mut map: A) -> Result<(), A::Error> {
        let mut names = HashSet::new();
        while let Some(name) = map.next_key::<String>()? {
            let path = &self.path;
            assert!(!name.contains('\0'), "{name:?} in {path}");
            let parent = path.strip_prefix(DATA).and_then(|path| path.strip_prefix('.'));
            if self.levels < 4 || parent.is_some_and(|parent| MAPPED_BY_NAME.contains(&parent)) {
                assert!(!name.contains('.'), "{name:?} in {path} would be read as a path");
                assert!(!name.trim().is_empty(), "{name:?} in {path}");
            }
            self.below(&name, |fields| map.next_value_seed(fields))?;
            assert!(names.insert(name), "a name occurs twice in {}", self.path);
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'t>>(self, mut seq: A) -> Result<(), A::Error> {
        self.below("[]", |fields| {
            while seq.next_element_seed(&mut *fields)?.is_some() {}
            Ok(())
        })
    }

    fn visit_str<E>(self, text: &str) -> Result<(), E> {
        match self.path.as_str() {
            "event.id" => self.id = Some(text.to_owned()),
            "event.kind" => self.kind = Some(text.to_owned()),
            "event.original" => self.has_original = true,
            "error.message" => self.has_error_message = true,
            "tags.[]" => self.tags.push(text.to_owned()),
            "@timestamp" => self.timestamp = Some(text.parse().expect("a date")),
            _ => {}
        }
        Ok(())
    }
}
