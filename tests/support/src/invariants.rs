//! What holds for the documents of any bytes at all. The fuzz target checks the same.

use std::collections::HashSet;

use auth0_ecs::geoip::GeoIp;
use auth0_ecs::input::split;
use auth0_ecs::{DocumentKind, Input, Mapper, MapperSettings};
use chrono::{DateTime, Utc};
use jiter::{Jiter, Peek};

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

/// Maps every event in `bytes`.
///
/// # Panics
/// If a document breaks an invariant.
pub fn check(mapper: &Mapper, bytes: &[u8]) {
    let mut pieces = 0;
    for piece in split::split(bytes) {
        assert!(!piece.is_empty());
        pieces += piece.len();
        check_document(mapper, piece);
    }
    assert!(pieces <= bytes.len(), "no byte belongs to two pieces");
    // Any result will do, as long as it returns.
    let _is_json = split::is_json(bytes);
}

fn check_document(mapper: &Mapper, piece: &[u8]) {
    let input = Input::HttpEndpoint;
    let received = DateTime::UNIX_EPOCH;
    let mut bytes = Vec::new();
    let document = mapper.document(piece, input, received, &mut bytes);
    let text = std::str::from_utf8(&bytes).expect("a document is UTF-8");
    assert!(!text.contains(['\n', '\r']), "a document is one line of the bulk body");
    let fields = Fields::read(text);

    assert!(!document.id.is_empty() && document.id.len() <= 512, "{:?}", document.id);
    assert_eq!(fields.id.as_ref(), Some(&document.id));
    assert_eq!(fields.timestamp, Some(document.date.unwrap_or(received)));
    let is_error = matches!(document.kind, DocumentKind::NotAnEvent | DocumentKind::NotJson);
    assert_eq!(fields.kind.as_deref(), Some(if is_error { "pipeline_error" } else { "event" }));
    let is_marked = is_error || fields.tags.iter().any(|tag| tag == "mapping_adjusted");
    assert_eq!(fields.has_original, is_marked, "an adjusted event is kept whole");
    assert_eq!(fields.has_error_message, is_marked, "an adjusted event says so");

    let mut again = Vec::new();
    assert_eq!(mapper.document(piece, input, received, &mut again), document);
    assert_eq!(again, bytes, "the same bytes yield the same document");
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
        let mut json = Jiter::new(text.as_bytes());
        let peek = json.peek().expect("a document is JSON");
        assert_eq!(peek, Peek::Object);
        fields.value(&mut json, peek, &mut Vec::new());
        json.finish().expect("a document is one JSON object");
        fields
    }

    fn value(&mut self, json: &mut Jiter<'_>, peek: Peek, path: &mut Vec<String>) {
        assert!(path.len() <= MAX_LEVELS, "nesting is bounded: {path:?}");
        match peek {
            Peek::Object => {
                let mut names = HashSet::new();
                let mut next = json.known_object().unwrap().map(str::to_owned);
                while let Some(name) = next {
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
                    let peek = json.peek().expect("a document is JSON");
                    self.value(json, peek, path);
                    path.pop();
                    next = json.next_key().expect("a document is JSON").map(str::to_owned);
                }
            }
            Peek::Array => {
                let mut next = json.known_array().expect("a document is JSON");
                path.push("[]".to_owned());
                while let Some(peek) = next {
                    self.value(json, peek, path);
                    next = json.array_step().expect("a document is JSON");
                }
                path.pop();
            }
            Peek::String => {
                let text = json.known_str().expect("a document is JSON").to_owned();
                self.text(&path.join("."), text);
            }
            _ => {
                let start = json.current_index();
                json.known_skip(peek).expect("a document is JSON");
                assert!(json.slice_to_current(start).len() <= 1_000, "numbers are bounded");
            }
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
