//! The engine's answer → whose fault it is. No I/O.
//!
//! `TABLE` decides by the HTTP status, the error's type, and words of its reason. Only what the engine
//! itself says about a document is the document's fault. What no row knows is [`Fault::Unclear`]: whether
//! that is the document's or the operator's depends on what became of its neighbors, which
//! `Writer` decides.
//!
//! Reasons quote events ("Preview of field's value: '…'", "failed to parse date field [the value]", the
//! whole request in "rejected execution of …"), and no event may reach a log line. So a line has the
//! error's type and the names of our own fields, and the reason itself only where a row says that it is
//! about the cluster. The error document, which is the event's own store, has the whole reason.

use std::fmt;
use std::ops::RangeInclusive;

use auth0_ecs::index_template::known_field;
use serde::Deserialize;

use super::bulk::{Item, ItemError};

/// What happens to one document, as far as its own item tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is new, in this backing index.
    Stored(String),
    /// It was already in this backing index.
    Duplicate(String),
    /// It was not stored.
    Failed(Fault, Reason),
}

/// Whose fault it is that a document, or a request, was not stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Nobody's for long: the engine is overloaded or away.
    Passing,
    /// The operator's: credentials or a privilege.
    Credentials,
    /// The operator's: the cluster, its settings, or what is in front of it.
    Operator,
    /// The document's: the engine read it and cannot take it.
    Document,
    /// The document's, if its neighbors are stored; otherwise the operator's.
    Unclear,
}

/// Why a document, or a request, was not stored. `Display` shows what may be logged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reason {
    /// The error's type; empty if the answer is not the engine's.
    pub(super) kind: String,
    summary: String,
    /// The engine's own words, which may quote the event.
    pub(super) full: String,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.summary)
    }
}

impl std::error::Error for Reason {}

/// Upper bound for the engine's words in a log line, in bytes.
const MAX_SUMMARY: usize = 500;

/// Upper bound for the engine's words in an error document, in bytes.
const MAX_REASON: usize = 4_096;

/// One row of the table. The first row that fits decides.
struct Row {
    status: RangeInclusive<u16>,
    /// The error's type, [`OWN`] or [`ANY`].
    kind: &'static str,
    /// What the reason contains; empty for any reason.
    words: &'static str,
    fault: Fault,
    /// Whether the reason is about the cluster and never quotes an event.
    is_loggable: bool,
}

/// Any answer of the engine's own.
const OWN: &str = "*";

/// Any answer, be it the engine's or not.
const ANY: &str = "";

/// A message of the gateway in front of Amazon's domains and collections.
const AMAZON: &str = "amazon_gateway";

/// A type that a missing type stands for, as in an item without an error.
const NO_TYPE: &str = "unknown_error";

const fn row(
    status: RangeInclusive<u16>,
    kind: &'static str,
    words: &'static str,
    fault: Fault,
) -> Row {
    Row { status, kind, words, fault, is_loggable: false }
}

/// A row of which the reason may be logged.
const fn cluster(
    status: RangeInclusive<u16>,
    kind: &'static str,
    words: &'static str,
    fault: Fault,
) -> Row {
    Row { status, kind, words, fault, is_loggable: true }
}

const ILLEGAL: &str = "illegal_argument_exception";

/// Both engines' wording, from their sources and from what they answered in tests.
#[rustfmt::skip]
const TABLE: &[Row] = {
    use Fault::{Credentials, Document, Operator, Passing, Unclear};
    &[
    // An operator's own ingest pipeline fails on the document, with a 500.
    row(500..=599, "fail_processor_exception", "", Unclear),
    row(500..=599, "ingest_processor_exception", "", Unclear),
    // es_rejected_execution_exception, circuit_breaking_exception, unavailable_shards_exception,
    // cluster_block_exception without a master, and all that a proxy says while the engine is away.
    row(500..=599, ANY, "", Passing),
    // A full disk: [TOO_MANY_REQUESTS/12/disk usage exceeded flood-stage watermark, …].
    cluster(429..=429, "cluster_block_exception", "", Operator),
    row(429..=429, ANY, "", Passing),
    // A network's timeouts, and a connection that serves another host.
    row(408..=408, ANY, "", Passing),
    row(421..=421, ANY, "", Passing),
    row(425..=425, ANY, "", Passing),
    // Two requests created the data stream at once.
    row(400..=499, "resource_already_exists_exception", "", Passing),

    cluster(400..=499, "security_exception", "", Credentials),
    cluster(400..=499, AMAZON, "", Credentials),
    row(401..=401, ANY, "", Credentials),

    // The limit of shards, when a data stream or a backing index is created.
    cluster(400..=499, "validation_exception", "", Operator),
    cluster(400..=499, ILLEGAL, "shards open", Operator),
    // index.blocks.*, and 403 for [FORBIDDEN/12/index read-only / allow delete (api)].
    cluster(400..=499, "cluster_block_exception", "", Operator),
    cluster(400..=499, "index_closed_exception", "", Operator),
    cluster(400..=499, "index_not_found_exception", "", Operator),
    cluster(400..=499, "invalid_index_name_exception", "", Operator),
    cluster(400..=499, PLAIN_INDEX, "", Operator),
    cluster(400..=499, ILLEGAL, "pipeline with id [", Operator),
    cluster(400..=499, ILLEGAL, "no write index is defined for alias", Operator),
    // A vector or time-series collection of OpenSearch Serverless. Some answer 409.
    cluster(400..=499, ILLEGAL, "Document ID is not supported", Operator),
    // Only a mapping other than ours can run out of fields: ours is not dynamic.
    cluster(400..=499, ILLEGAL, "Limit of total fields", Operator),
    row(403..=405, OWN, "", Operator),
    row(410..=410, OWN, "", Operator),

    row(400..=400, "mapper_parsing_exception", "", Document),
    row(400..=400, "document_parsing_exception", "", Document),
    row(400..=400, "strict_dynamic_mapping_exception", "", Document),
    row(400..=400, "x_content_parse_exception", "", Document),
    row(400..=400, "json_parse_exception", "", Document),
    row(400..=400, "number_format_exception", "", Document),
    row(400..=400, FAILURE_STORE, "", Document),
    row(400..=400, ILLEGAL, "immense term", Document),
    row(400..=400, ILLEGAL, "For input string", Document),
    row(400..=400, ILLEGAL, "field", Document),
    row(400..=400, ILLEGAL, "mapper [", Document),

    row(0..=u16::MAX, ANY, "", Unclear),
    ]
};

/// The type that stands for a document in Elasticsearch's failure store: its item says 201.
const FAILURE_STORE: &str = "failure_store";

/// The type that stands for a document in an index that has the data stream's name: its item says 201.
const PLAIN_INDEX: &str = "not_a_data_stream";

impl Row {
    fn fits(&self, status: u16, error: Option<&ItemError>) -> bool {
        self.status.contains(&status)
            && match (self.kind, error) {
                (ANY, _) => true,
                (_, None) => false,
                (OWN, Some(_)) => true,
                (kind, Some(error)) => kind == error.kind && error.reason.contains(self.words),
            }
    }
}

/// `error` is `None` if the answer is not the engine's.
fn look_up(status: u16, error: Option<&ItemError>) -> (Fault, Reason) {
    let row = TABLE.iter().find(|row| row.fits(status, error));
    let (fault, is_loggable) =
        row.map_or((Fault::Unclear, false), |row| (row.fault, row.is_loggable));
    (fault, Reason::new(status, error, is_loggable))
}

impl Reason {
    fn new(status: u16, error: Option<&ItemError>, is_loggable: bool) -> Self {
        let Some(ItemError { kind, reason }) = error else {
            let summary = format!("HTTP {status}, not from the engine");
            return Self { kind: String::new(), full: summary.clone(), summary };
        };
        let is_type = |kind: &str| {
            let is_plain = |c: char| c.is_ascii_lowercase() || c == '_';
            !kind.is_empty() && kind.len() <= 60 && kind.chars().all(is_plain)
        };
        let kind = if is_type(kind) { kind } else { NO_TYPE };
        let summary = match field_in(reason) {
            _ if is_loggable => format!("HTTP {status} {kind}: {}", cut(reason, MAX_SUMMARY)),
            Some(field) => format!("HTTP {status} {kind} [{field}]"),
            None => format!("HTTP {status} {kind}"),
        };
        let full = format!("HTTP {status} {kind}: {}", cut(reason, MAX_REASON));
        Self { kind: kind.to_owned(), summary, full }
    }
}

/// Returns the first field of ours that the reason names in brackets or quotes.
fn field_in(reason: &str) -> Option<&'static str> {
    reason.split(['[', ']', '"', '\'']).skip(1).find_map(known_field)
}

fn cut(text: &str, max: usize) -> &str {
    text.get(..text.floor_char_boundary(max)).unwrap_or(text)
}

/// Judges a document. `stream` is the data stream's name, or `None` if an index is to be written to.
#[must_use]
pub fn of_item(item: Item, stream: Option<&str>) -> Verdict {
    let Item { index, status, error, failure_store, .. } = item;
    let failed = |status, error| {
        let (fault, reason) = look_up(status, Some(&error));
        Verdict::Failed(fault, reason)
    };
    let error = error.unwrap_or_default();
    let is_new = matches!(status, 200 | 201);
    let is_duplicate = status == 409 && error.kind == "version_conflict_engine_exception";
    if is_new && failure_store.is_some() {
        let reason = "it went to the failure store of the data stream".to_owned();
        failed(400, ItemError { kind: FAILURE_STORE.to_owned(), reason })
    } else if (is_new || is_duplicate) && stream == Some(index.as_str()) {
        // Without its index template, a stream's first write makes an index. OpenSearch (3.8) refuses
        // requests that ask for a data stream (`require_data_stream`).
        let reason = format!("{index} is an index, not a data stream");
        failed(400, ItemError { kind: PLAIN_INDEX.to_owned(), reason })
    } else if is_new {
        Verdict::Stored(index)
    } else if is_duplicate {
        Verdict::Duplicate(index)
    } else {
        failed(status, error)
    }
}

/// Returns why no document of a request was stored; `None` if each item has a verdict of its own.
pub(super) fn of_response(status: u16, body: &[u8]) -> Option<(Fault, Reason)> {
    if status == 200 {
        return None;
    }
    let (fault, reason) = look_up(status, own_error(body).as_ref());
    // A success without items is no success.
    Some((if status < 300 { Fault::Passing } else { fault }, reason))
}

/// Returns whether the engine itself gave this response, so that the way to it is open.
pub(super) fn is_own(status: u16, body: &[u8]) -> bool {
    #[derive(Deserialize)]
    struct Items {
        #[expect(dead_code, reason = "it only has to be there")]
        items: Vec<serde::de::IgnoredAny>,
    }
    match status {
        200 => serde_json::from_slice::<Items>(body).is_ok(),
        _ => own_error(body).is_some_and(|error| error.kind != AMAZON),
    }
}

/// Returns the error of a response as a whole; `None` if it is not the engine's.
fn own_error(body: &[u8]) -> Option<ItemError> {
    /// What Amazon's gateway says about credentials. Its other lines hold the request.
    const AMAZON_SAYS: [&str; 3] = [
        "User: ",
        "The request signature we calculated",
        "The security token included in the request",
    ];
    #[derive(Deserialize)]
    struct Response {
        error: Option<serde_json::Value>,
        #[serde(alias = "Message")]
        message: Option<String>,
    }
    let Response { error, message } = serde_json::from_slice(body).ok()?;
    if let Some(error) = error {
        // A proxy may say `"error": "…"`, but an engine has a type.
        let error: ItemError = serde_json::from_value(error).ok()?;
        return (!error.kind.is_empty()).then_some(error);
    }
    let message = message.filter(|text| AMAZON_SAYS.iter().any(|start| text.starts_with(start)))?;
    let reason = message.lines().next().unwrap_or_default().to_owned();
    Some(ItemError { kind: AMAZON.to_owned(), reason })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::json;

    use super::Fault::{Credentials, Document, Operator, Passing, Unclear};
    use super::*;

    fn item(status: u16, kind: &str, reason: &str) -> Verdict {
        let error = json!({"type": kind, "reason": reason});
        let item = json!({"_index": "i-000001", "_id": "a", "status": status, "error": error});
        of_item(serde_json::from_value(item).unwrap(), None)
    }

    fn of(status: u16, kind: &str, reason: &str) -> (Fault, String) {
        match item(status, kind, reason) {
            Verdict::Failed(fault, reason) => (fault, reason.to_string()),
            verdict => panic!("{verdict:?}"),
        }
    }

    fn response(status: u16, body: &str) -> (Fault, String) {
        match of_response(status, body.as_bytes()) {
            Some((fault, reason)) => (fault, reason.to_string()),
            None => panic!("HTTP {status}"),
        }
    }

    #[test]
    fn stored_item_is_in_its_backing_index() {
        let item = |status| {
            let item = json!({"_index": "i-000001", "_id": "a", "status": status});
            of_item(serde_json::from_value(item).unwrap(), None)
        };
        assert_eq!(item(200), Verdict::Stored("i-000001".into()));
        assert_eq!(item(201), Verdict::Stored("i-000001".into()));
    }

    #[test]
    fn document_in_a_plain_index_is_not_stored() {
        let item = json!({"_index": "logs-auth0.logs-x", "_id": "a", "status": 201});
        let of = |stream| of_item(serde_json::from_value(item.clone()).unwrap(), stream);
        let Verdict::Failed(Operator, reason) = of(Some("logs-auth0.logs-x")) else {
            panic!("it is not in a data stream")
        };
        let said = "HTTP 400 not_a_data_stream: logs-auth0.logs-x is an index, not a data stream";
        assert_eq!(reason.to_string(), said);
        // A collection of OpenSearch Serverless has no data streams.
        assert_eq!(of(None), Verdict::Stored("logs-auth0.logs-x".into()));
    }

    #[test]
    fn version_conflict_alone_is_a_duplicate() {
        let conflict = "[a]: version conflict, document already exists (current version [1])";
        let duplicate = item(409, "version_conflict_engine_exception", conflict);
        assert_eq!(duplicate, Verdict::Duplicate("i-000001".into()));
        assert_eq!(of(409, "conflict_exception", "").0, Unclear);
    }

    #[test]
    fn document_in_the_failure_store_is_refused() {
        let item = json!({"_index": ".fs-i-000002", "_id": "a", "status": 201,
            "failure_store": "used"});
        let Verdict::Failed(Document, reason) =
            of_item(serde_json::from_value(item).unwrap(), None)
        else {
            panic!("it is not in the data stream")
        };
        assert_eq!(reason.to_string(), "HTTP 400 failure_store");
        // `not_enabled` and `failed` come with an error, which decides.
        let item = json!({"_index": "i", "_id": "a", "status": 400, "failure_store": "failed",
            "error": {"type": "document_parsing_exception", "reason": "[1:2] failed to parse"}});
        let verdict = of_item(serde_json::from_value(item).unwrap(), None);
        assert!(matches!(verdict, Verdict::Failed(Document, _)), "{verdict:?}");
    }

    /// A row of the table, and what it is for: status, type, reason, verdict, log line.
    type Case = (u16, &'static str, &'static str, Fault, &'static str);

    #[rustfmt::skip]
    const CASES: &[Case] = &[
        (500, "fail_processor_exception", "no such user", Unclear, "HTTP 500 fail_processor_exception"),
        (500, "ingest_processor_exception", "x", Unclear, "HTTP 500 ingest_processor_exception"),
        (503, "unavailable_shards_exception",
            "[i][0] primary shard is not active Timeout: [1m], request: [BulkShardRequest [[i][0]] containing [create {[i][a], source[{\"user_name\":\"anna\"}]}]]",
            Passing, "HTTP 503 unavailable_shards_exception"),
        (429, "cluster_block_exception",
            "index [i] blocked by: [TOO_MANY_REQUESTS/12/disk usage exceeded flood-stage watermark, index has read-only-allow-delete block];",
            Operator, "HTTP 429 cluster_block_exception: index [i] blocked by: [TOO_MANY_REQUESTS/12/disk usage exceeded flood-stage watermark, index has read-only-allow-delete block];"),
        (429, "es_rejected_execution_exception",
            "rejected execution of primary operation [coordinating_and_primary_bytes=0, primary_operation_bytes=9]",
            Passing, "HTTP 429 es_rejected_execution_exception"),
        (408, "timeout_exception", "", Passing, "HTTP 408 timeout_exception"),
        (421, "x", "", Passing, "HTTP 421 x"),
        (425, "x", "", Passing, "HTTP 425 x"),
        (400, "resource_already_exists_exception", "index [i/x] already exists", Passing,
            "HTTP 400 resource_already_exists_exception"),
        (403, "security_exception", "action [indices:data/write/bulk[s]] is unauthorized for user [writer]",
            Credentials, "HTTP 403 security_exception: action [indices:data/write/bulk[s]] is unauthorized for user [writer]"),
        (403, AMAZON, "User: anonymous is not authorized", Credentials,
            "HTTP 403 amazon_gateway: User: anonymous is not authorized"),
        (401, "x", "", Credentials, "HTTP 401 x"),
        (400, "validation_exception",
            "Validation Failed: 1: this action would add [2] total shards, but this cluster currently has [1000]/[1000] maximum shards open;",
            Operator, "HTTP 400 validation_exception: Validation Failed: 1: this action would add [2] total shards, but this cluster currently has [1000]/[1000] maximum shards open;"),
        (400, ILLEGAL,
            "Validation Failed: 1: this action would add [2] shards, but this cluster currently has [1000]/[1000] maximum normal shards open;",
            Operator, "HTTP 400 illegal_argument_exception: Validation Failed: 1: this action would add [2] shards, but this cluster currently has [1000]/[1000] maximum normal shards open;"),
        (403, "cluster_block_exception", "index [i] blocked by: [FORBIDDEN/8/index write (api)];",
            Operator, "HTTP 403 cluster_block_exception: index [i] blocked by: [FORBIDDEN/8/index write (api)];"),
        (400, "index_closed_exception", "closed", Operator, "HTTP 400 index_closed_exception: closed"),
        (404, "index_not_found_exception", "no such index [i]", Operator,
            "HTTP 404 index_not_found_exception: no such index [i]"),
        (400, "invalid_index_name_exception", "Invalid index name [I], must be lowercase", Operator,
            "HTTP 400 invalid_index_name_exception: Invalid index name [I], must be lowercase"),
        (400, PLAIN_INDEX, "x is an index, not a data stream", Operator,
            "HTTP 400 not_a_data_stream: x is an index, not a data stream"),
        (400, ILLEGAL, "pipeline with id [x] does not exist", Operator,
            "HTTP 400 illegal_argument_exception: pipeline with id [x] does not exist"),
        (400, ILLEGAL, "no write index is defined for alias [i].", Operator,
            "HTTP 400 illegal_argument_exception: no write index is defined for alias [i]."),
        (400, ILLEGAL, "Document ID is not supported in create/index operation request", Operator,
            "HTTP 400 illegal_argument_exception: Document ID is not supported in create/index operation request"),
        (400, ILLEGAL, "Limit of total fields [1000] has been exceeded while adding new fields [1]", Operator,
            "HTTP 400 illegal_argument_exception: Limit of total fields [1000] has been exceeded while adding new fields [1]"),
        (403, "x", "y", Operator, "HTTP 403 x"),
        (410, "x", "y", Operator, "HTTP 410 x"),
        (400, "mapper_parsing_exception",
            "failed to parse field [source.ip] of type [ip] in document with id 'a'. Preview of field's value: 'secret'",
            Document, "HTTP 400 mapper_parsing_exception [source.ip]"),
        (400, "document_parsing_exception",
            "[1:86] failed to parse field [auth0.logs.data.date] of type [date] in document with id 'a'. Preview of field's value: 'secret'",
            Document, "HTTP 400 document_parsing_exception [auth0.logs.data.date]"),
        (400, "strict_dynamic_mapping_exception",
            "[1:538] mapping set to strict, dynamic introduction of [secret] within [auth0.logs.data] is not allowed",
            Document, "HTTP 400 strict_dynamic_mapping_exception [auth0.logs.data]"),
        (400, "x_content_parse_exception", "[1:9] secret", Document, "HTTP 400 x_content_parse_exception"),
        (400, "json_parse_exception", "Duplicate field 'secret'", Document, "HTTP 400 json_parse_exception"),
        (400, "number_format_exception", "For input string: \"secret\"", Document,
            "HTTP 400 number_format_exception"),
        (400, FAILURE_STORE, "", Document, "HTTP 400 failure_store"),
        (400, ILLEGAL,
            "Document contains at least one immense term in field=\"auth0.logs.data.details._value\" (whose UTF8 encoding is longer than the max length 32766), all of which were skipped. The prefix of the first immense term is: '[115, 101]...'",
            Document, "HTTP 400 illegal_argument_exception [auth0.logs.data.details]"),
        (400, ILLEGAL, "For input string: \"secret\"", Document, "HTTP 400 illegal_argument_exception"),
        (400, ILLEGAL, "failed to parse date field [secret] with format [strict_date_optional_time]",
            Document, "HTTP 400 illegal_argument_exception"),
        (400, ILLEGAL, "mapper [secret] cannot be changed from type [long] to [text]", Document,
            "HTTP 400 illegal_argument_exception"),
        (418, "teapot_exception", "secret", Unclear, "HTTP 418 teapot_exception"),
    ];

    #[test]
    fn each_row_has_its_verdict_and_a_log_line_without_payload() {
        let mut rows = BTreeSet::new();
        for (status, kind, reason, fault, line) in CASES {
            assert_eq!(of(*status, kind, reason), (*fault, (*line).to_owned()));
            let error = ItemError { kind: (*kind).to_owned(), reason: (*reason).to_owned() };
            rows.insert(TABLE.iter().position(|row| row.fits(*status, Some(&error))).unwrap());
        }
        assert_eq!(rows.len(), TABLE.len(), "a row without a case: {rows:?}");
    }

    #[test]
    fn full_reason_is_kept_for_the_error_document() {
        let preview = "failed to parse field [x]. Preview of field's value: 'secret'";
        let Verdict::Failed(_, reason) = item(400, "mapper_parsing_exception", preview) else {
            panic!("it is refused")
        };
        assert_eq!(reason.full, format!("HTTP 400 mapper_parsing_exception: {preview}"));
        let Verdict::Failed(_, reason) = item(400, "x", &"ä".repeat(5_000)) else {
            panic!("it is refused")
        };
        assert!(reason.full.len() <= MAX_REASON + 20, "{}", reason.full.len());
    }

    #[test]
    fn type_that_is_not_a_type_is_not_repeated() {
        assert_eq!(of(400, "Secret value", ""), (Unclear, "HTTP 400 unknown_error".into()));
        assert_eq!(of(400, "", ""), (Unclear, "HTTP 400 unknown_error".into()));
    }

    #[test]
    fn response_that_is_not_the_engines_is_never_a_documents_fault() {
        let page = "<html>secret</html>";
        for status in [301, 302, 400, 403, 404, 405, 406, 413] {
            let line = format!("HTTP {status}, not from the engine");
            assert_eq!(response(status, page), (Unclear, line.clone()));
            assert_eq!(response(status, ""), (Unclear, line.clone()));
            assert_eq!(response(status, r#"{"error":"secret"}"#), (Unclear, line));
        }
        for status in [201, 204, 408, 421, 429, 500, 502, 503, 504] {
            assert_eq!(response(status, page).0, Passing, "{status}");
        }
        assert_eq!(of_response(200, page.as_bytes()), None);
    }

    #[test]
    fn response_of_the_engine_is_looked_up_like_an_item() {
        let error = |kind: &str, reason: &str| {
            json!({"error": {"root_cause": [], "type": kind, "reason": reason}}).to_string()
        };
        let denied = error("security_exception", "no permissions for [x] and User [name=writer]");
        assert_eq!(response(403, &denied).0, Credentials);
        assert_eq!(response(404, &error("index_not_found_exception", "no such index")).0, Operator);
        assert_eq!(response(400, &error(ILLEGAL, "Malformed action/metadata line [1]")).0, Unclear);
        assert_eq!(
            response(429, &error("circuit_breaking_exception", "Data too large")).0,
            Passing
        );
    }

    #[test]
    fn gateway_of_amazon_speaks_for_the_credentials_and_not_of_the_request() {
        let (fault, line) = response(403, r#"{"Message":"User: anonymous is not authorized"}"#);
        assert_eq!(fault, Credentials);
        assert_eq!(line, "HTTP 403 amazon_gateway: User: anonymous is not authorized");
        let signature = json!({"message": "The request signature we calculated does not match.\n\n\
            The Canonical String for this request should have been\nx-amz-security-token:secret"});
        let (fault, line) = response(403, &signature.to_string());
        assert_eq!(fault, Credentials);
        assert!(!line.contains("secret"), "{line}");
        assert_eq!(response(403, r#"{"message":"Forbidden"}"#).0, Unclear);
    }

    #[test]
    fn own_response_has_items_or_a_typed_error() {
        let items = br#"{"items":[{"delete":{"_index":"i","status":400}}]}"#;
        assert!(is_own(200, items));
        assert!(is_own(400, br#"{"error":{"type":"x","reason":"y"}}"#));
        for (status, body) in [(200, "<html>"), (200, "{}"), (403, "{\"error\":\"x\"}"), (301, "")]
        {
            assert!(!is_own(status, body.as_bytes()), "{status} {body}");
        }
    }
}
