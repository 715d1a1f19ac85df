//! What holds for the documents of any bytes at all. The fuzz target checks the same.

use std::collections::HashSet;
use std::fmt;

use auth0_ecs::geoip::GeoIp;
use auth0_ecs::input::split;
use auth0_ecs::{DocumentKind, Input, Mapper, MapperSettings, Piece};
use chrono::{DateTime, Utc};
use memchr::memchr2;
use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

/// 20 levels below `details`, which is the fifth level.
const MAX_LEVELS: usize = 24;

/// Objects below `auth0.logs.data` whose members are fields. In all others any name is allowed.
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
}

impl Fields {
    fn read(text: &str) -> Self {
        let mut fields = Self::default();
        assert!(text.starts_with('{'), "a document is a JSON object");
        fields.value(read(text), &mut Vec::new());
        fields
    }

    fn value(&mut self, value: &RawValue, path: &mut Vec<String>) {
        assert!(path.len() <= MAX_LEVELS, "nesting is bounded: {path:?}");
        let token = value.get();
        match token.as_bytes()[0] {
            b'{' => {
                let mut names = HashSet::new();
                for (name, value) in read::<Members<'_>>(token).0 {
                    assert!(!name.contains('\0'), "{name:?} in {path:?}");
                    if path.len() < 4
                        || path.len() == 4 && MAPPED_BY_NAME.contains(&path[3].as_str())
                    {
                        assert!(
                            !name.contains('.'),
                            "{name:?} in {path:?} would be read as a path"
                        );
                        assert!(!name.trim().is_empty(), "{name:?} in {path:?}");
                    }
                    assert!(names.insert(name.clone()), "{name:?} occurs twice in {path:?}");
                    path.push(name);
                    self.value(value, path);
                    path.pop();
                }
            }
            b'[' => {
                path.push("[]".to_owned());
                for value in read::<Vec<&RawValue>>(token) {
                    self.value(value, path);
                }
                path.pop();
            }
            b'"' => self.text(&path.join("."), read(token)),
            _ => assert!(token.len() <= 1_000, "numbers are bounded"),
        }
    }

    fn text(&mut self, path: &str, text: String) {
        match path {
            "event.id" => self.id = Some(text),
            "event.kind" => self.kind = Some(text),
            "event.original" => self.has_original = true,
            "error.message" => self.has_error_message = true,
            "tags.[]" => self.tags.push(text),
            "@timestamp" => self.timestamp = Some(text.parse().expect("a date")),
            _ => {}
        }
    }
}

fn read<'t, T: Deserialize<'t>>(token: &'t str) -> T {
    serde_json::from_str(token).expect("a document is JSON")
}

/// The members of an object, with those that occur twice.
struct Members<'t>(Vec<(String, &'t RawValue)>);

impl<'t> Deserialize<'t> for Members<'t> {
    fn deserialize<D: Deserializer<'t>>(deserializer: D) -> Result<Self, D::Error> {
        struct InOrder;
        impl<'t> Visitor<'t> for InOrder {
            type Value = Members<'t>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'t>>(self, mut map: A) -> Result<Members<'t>, A::Error> {
                let members = std::iter::from_fn(|| map.next_entry().transpose());
                members.collect::<Result<_, _>>().map(Members)
            }
        }
        deserializer.deserialize_map(InOrder)
    }
}
