//! A stand-in for OpenSearch or Elasticsearch: one data stream, the requests that the functions make of
//! it, and faults by script.
//!
//! Where its behavior is from:
//! - `_bulk` with `create`, `_mget` and deletes by sequence number: the engines' reference ("Bulk API",
//!   "Multi get", "Optimistic concurrency control"), and the answers that `tests/e2e` gets. `_id` is
//!   unique within a backing index; 409 names the index of the document that is there; a real-time get
//!   sees a document that no search does yet.
//! - A request resolves its write index when it arrives, and is written when a shard takes it. In between
//!   a rollover may come: this is what [`Fault::Hold`] does, and a frozen node (`make chaos`).
//! - `_settings/index.creation_date`, `_data_stream`: "Get index settings", "Get data stream". A shrunk
//!   index has the creation date of the shrinking, a name of its own with the old one at its end
//!   (`shrink-ab12-.ds-…-000001`, "ILM actions: Shrink"), and takes the old one's place in the stream.
//! - Refusals of items were read off real engines: the shard limit (400 `validation_exception`), an index
//!   block (403 `cluster_block_exception`), a missing pipeline (400 `illegal_argument_exception`).
//! - Answers of what stands in between (a firewall's 403, a proxy's 413, a redirect) have no form that
//!   could be relied on; HTML is what most of them send.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::{Map, Value, json};
use shared::clock;
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::runtime::Pulse;
use super::server::Server;
use crate::wire::{Reply, Request, bulk_items, render};

/// In an event: the engine cannot take it, but its error document.
pub const REFUSED: &str = "the-engine-refuses-this";

/// In an event: the engine takes neither it nor its error document.
pub const REFUSED_TWICE: &str = "the-engine-refuses-all-of-this";

/// In an event: the engine refuses it with an error that nobody has heard of.
pub const REFUSED_ODDLY: &str = "the-engine-finds-this-odd";

/// In an event: a firewall, if there is one, refuses each request that has it.
pub const FIREWALLED: &str = "${jndi:ldap";

/// What becomes of one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The engine's own error for the whole request.
    Engine(u16, &'static str),
    /// A page of HTML with this status, from what stands in between.
    Html(u16),
    /// Each document of the request is refused for this reason.
    All(Refusal),
    /// The same for those documents whose bit is set.
    Some(Refusal, u64),
    /// The connection ends before the request is executed.
    CloseBefore,
    /// It ends after that, without a response.
    CloseAfter,
    /// The response ends in its middle.
    CutAnswer,
    /// The request is executed this much later, whether or not somebody still waits.
    Slow(Duration),
    /// The request is executed at [`ModelEngine::release`], in the index that was the write index when it
    /// arrived.
    Hold,
}

/// Why a document is not written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The node is busy.
    Busy,
    /// The shard is not there now.
    Unavailable,
    /// The cluster has as many shards as it may have.
    ShardLimit,
    /// The index is read-only.
    Block,
    /// The index is not there, and may not be created.
    NoIndex,
    /// The pipeline that the index names is not there.
    NoPipeline,
}

impl Refusal {
    const fn item(self) -> (u16, &'static str, &'static str) {
        match self {
            Self::Busy => (429, "rejected_execution_exception", "rejected execution of primary"),
            Self::Unavailable => (503, "unavailable_shards_exception", "primary shard not active"),
            Self::ShardLimit => (
                400,
                "validation_exception",
                "Validation Failed: 1: this action would add [2] total shards, but this cluster \
                 currently has [1000]/[1000] maximum shards open;",
            ),
            Self::Block => (
                403,
                "cluster_block_exception",
                "index [logs] blocked by: [FORBIDDEN/8/index write (api)];",
            ),
            Self::NoIndex => (404, "index_not_found_exception", "no such index [logs]"),
            Self::NoPipeline => {
                (400, "illegal_argument_exception", "pipeline with id [audit] does not exist")
            }
        }
    }
}

/// A running stand-in; it stops when dropped.
#[derive(Debug)]
pub struct ModelEngine {
    server: Server,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    stream: String,
    /// The backing indices; the last one is written to.
    indices: Vec<BackingIndex>,
    next_generation: u64,
    faults: VecDeque<Option<Fault>>,
    outage: Option<Fault>,
    has_firewall: bool,
    longest_body: usize,
    held: Vec<(Instant, oneshot::Sender<()>)>,
    requests: usize,
    seq_no: u64,
    unserved: Vec<String>,
}

#[derive(Debug)]
struct BackingIndex {
    name: String,
    generation: u64,
    created: DateTime<Utc>,
    documents: BTreeMap<String, StoredDocument>,
}

#[derive(Debug)]
struct StoredDocument {
    source: Value,
    seq_no: u64,
}

/// A copy of a document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Copy {
    /// The generation of its backing index.
    pub generation: u64,
    /// Its id.
    pub id: String,
    /// What it says of an event.
    pub content: Content,
}

/// What a document says of an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    /// It is the event.
    Event,
    /// It is kept here as text, which this is.
    ErrorDocument(String),
    /// The event with this id is a dead letter.
    Note(String),
}

impl Content {
    fn of(source: &Value) -> Self {
        let event = &source["event"];
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let is_note = |tags: &Vec<Value>| tags.iter().any(|tag| tag == "dead_letter");
        match event["kind"] == "pipeline_error" {
            false => Self::Event,
            true if source["tags"].as_array().is_some_and(is_note) => {
                Self::Note(text(&event["id"]))
            }
            true => Self::ErrorDocument(text(&event["original"])),
        }
    }
}

impl ModelEngine {
    /// Starts an engine with an empty data stream whose first index was created `age` ago.
    ///
    /// # Panics
    /// If no port is free.
    pub async fn start(stream: &str, age: TimeDelta, pulse: Pulse) -> Self {
        let mut state = State {
            stream: stream.to_owned(),
            indices: Vec::new(),
            next_generation: 1,
            faults: VecDeque::new(),
            outage: None,
            has_firewall: false,
            longest_body: usize::MAX,
            held: Vec::new(),
            requests: 0,
            seq_no: 0,
            unserved: Vec::new(),
        };
        state.rollover(clock::now() - age);
        let shared = Arc::new(Shared { state: Mutex::new(state) });
        let answering = Arc::clone(&shared);
        let server = Server::start(pulse, move |request| {
            let shared = Arc::clone(&answering);
            async move { answer(&shared, &request).await }
        });
        Self { server: server.await, shared }
    }

    /// The base URL.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.server.url
    }

    /// One for each of the next requests, in order; `None` is no fault.
    pub fn fail_next(&self, faults: impl IntoIterator<Item = Option<Fault>>) {
        self.lock().faults.extend(faults);
    }

    /// The fault of each request from now on.
    pub fn fail(&self, fault: Fault) {
        self.lock().outage = Some(fault);
    }

    /// Refuses each request with [`FIREWALLED`] in it from now on.
    pub fn put_behind_firewall(&self) {
        self.lock().has_firewall = true;
    }

    /// Refuses each request with a larger body from now on, as the engine does
    /// (`http.max_content_length`).
    pub fn limit_bodies(&self, bytes: usize) {
        self.lock().longest_body = bytes;
    }

    /// Ends all faults but the firewall and the limit. Requests on hold stay there.
    pub fn heal(&self) {
        let mut state = self.lock();
        state.faults.clear();
        state.outage = None;
    }

    /// Executes the requests on hold, whether or not somebody still waits.
    pub fn release(&self) {
        self.release_after(Duration::ZERO);
    }

    /// Executes those that have been on hold for this long.
    pub fn release_after(&self, time: Duration) {
        let mut state = self.lock();
        let held = std::mem::take(&mut state.held);
        for (since, request) in held {
            if since.elapsed() >= time {
                request.send(()).ok();
            } else {
                state.held.push((since, request));
            }
        }
    }

    /// Creates a new write index.
    pub fn rollover(&self) {
        self.lock().rollover(clock::now());
    }

    /// Replaces one of the older indices by a shrunk one, if there is any. `which` counts from the oldest,
    /// and starts over at the end.
    pub fn shrink(&self, which: usize) {
        let mut state = self.lock();
        let older = state.indices.len() - 1;
        if older > 0 {
            let index = &mut state.indices[which % older];
            if !index.name.starts_with("shrink-") {
                index.name = format!("shrink-ab12-{}", index.name);
                index.created = clock::now();
            }
        }
    }

    /// Deletes the oldest index, as a lifecycle does, and returns the ids that it held. The write index
    /// is never deleted.
    pub fn delete_oldest(&self) -> Vec<String> {
        let mut state = self.lock();
        if state.indices.len() == 1 {
            return Vec::new();
        }
        state.indices.remove(0).documents.into_keys().collect()
    }

    /// All documents, over all backing indices.
    #[must_use]
    pub fn copies(&self) -> Vec<Copy> {
        let state = self.lock();
        let all = state.indices.iter().flat_map(|index| {
            index.documents.iter().map(|(id, document)| {
                let content = Content::of(&document.source);
                Copy { generation: index.generation, id: id.clone(), content }
            })
        });
        all.collect()
    }

    /// The number of requests that have arrived.
    #[must_use]
    pub fn requests(&self) -> usize {
        self.lock().requests
    }

    /// The requests that it does not know: then the functions need an engine that this is not.
    #[must_use]
    pub fn unserved(&self) -> Vec<String> {
        self.lock().unserved.clone()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.shared.lock()
    }
}

impl Drop for ModelEngine {
    fn drop(&mut self) {
        self.lock().held.clear();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no holder of this lock panics")
    }
}

async fn answer(shared: &Shared, request: &Request) -> Reply {
    let body = request.plain_body();
    let (fault, target) = {
        let mut state = shared.lock();
        state.requests += 1;
        let scripted = state.faults.pop_front().flatten();
        let is_firewalled = state.has_firewall && contains(&body, FIREWALLED);
        let fault = if is_firewalled {
            Some(Fault::Html(403))
        } else if body.len() > state.longest_body {
            Some(Fault::Engine(413, "content_too_long"))
        } else {
            scripted.or(state.outage)
        };
        (fault, state.write_index().name.clone())
    };
    let execute = |refusal, mask| shared.lock().execute(request, &body, &target, refusal, mask);
    let respond = |(status, answer): (u16, Value)| {
        render(status, "application/json", answer.to_string().as_bytes())
    };
    let right = || respond(execute(None, 0));
    match fault {
        None => Reply::Whole(right()),
        Some(Fault::Engine(status, kind)) => {
            Reply::Whole(respond((status, whole_error(status, kind, "by the script"))))
        }
        Some(Fault::Html(status)) => {
            let page = b"<html><head><title>Refused</title></head><body>Refused</body></html>";
            Reply::Whole(render(status, "text/html", page))
        }
        Some(Fault::All(refusal)) => Reply::Whole(respond(execute(Some(refusal), u64::MAX))),
        Some(Fault::Some(refusal, mask)) => Reply::Whole(respond(execute(Some(refusal), mask))),
        Some(Fault::CloseBefore) => Reply::Reset,
        Some(Fault::CloseAfter) => {
            right();
            Reply::Cut(Vec::new())
        }
        Some(Fault::CutAnswer) => {
            let mut whole = right();
            whole.truncate(whole.len() / 2);
            Reply::Cut(whole)
        }
        Some(Fault::Slow(delay)) => {
            tokio::time::sleep(delay).await;
            Reply::Whole(right())
        }
        Some(Fault::Hold) => {
            let (release, released) = oneshot::channel();
            shared.lock().held.push((Instant::now(), release));
            match released.await {
                Ok(()) => Reply::Whole(right()),
                // The engine is gone.
                Err(_) => Reply::Reset,
            }
        }
    }
}

impl State {
    fn rollover(&mut self, created: DateTime<Utc>) {
        let generation = self.next_generation;
        self.next_generation += 1;
        self.indices.push(BackingIndex {
            name: format!(".ds-{}-{generation:06}", self.stream),
            generation,
            created,
            documents: BTreeMap::new(),
        });
    }

    fn write_index(&self) -> &BackingIndex {
        self.indices.last().expect("a stream has a write index")
    }

    fn index(&mut self, name: &str) -> Option<&mut BackingIndex> {
        self.indices.iter_mut().find(|index| index.name == name)
    }

    /// Executes a request whose write index is `target`.
    fn execute(
        &mut self,
        request: &Request,
        body: &[u8],
        target: &str,
        refusal: Option<Refusal>,
        mask: u64,
    ) -> (u16, Value) {
        let (path, query) = request.target().split_once('?').unwrap_or((request.target(), ""));
        let path = path.trim_matches('/').to_owned();
        let stream = self.stream.clone();
        let (status, answer) = match (request.method(), path.as_str()) {
            ("POST" | "PUT", path) if path == format!("{stream}/_bulk") || path == "_bulk" => {
                (200, self.bulk(body, target, refusal, mask))
            }
            ("POST" | "GET", "_mget") => (200, self.mget(body)),
            ("GET", path) if path == format!("{stream}/_settings/index.creation_date") => {
                (200, self.settings())
            }
            ("GET", path) if path == format!("_data_stream/{stream}") => (200, self.data_stream()),
            (method, path) => {
                let text = format!("{method} /{path}?{query}");
                let error = format!("no handler found for uri [/{path}] and method [{method}]");
                self.unserved.push(text);
                (400, json!({ "error": error }))
            }
        };
        let filter = query.split('&').find_map(|part| part.strip_prefix("filter_path="));
        match filter {
            Some(filter) => (status, filtered(&answer, filter)),
            None => (status, answer),
        }
    }

    fn bulk(&mut self, body: &[u8], target: &str, refusal: Option<Refusal>, mask: u64) -> Value {
        let items: Vec<Value> = bulk_items(body)
            .iter()
            .enumerate()
            .map(|(n, item)| {
                let (name, action) = item.action.as_object().unwrap().iter().next().unwrap();
                let id = action["_id"].as_str().expect("the functions name each id");
                let refusal = refusal.filter(|_| n >= 64 || mask >> n & 1 == 1);
                let result = match (refusal, name.as_str()) {
                    (Some(refusal), _) => {
                        let (status, kind, reason) = refusal.item();
                        let index = action["_index"].as_str().unwrap_or(&self.stream);
                        item_error(index, id, status, kind, reason)
                    }
                    (None, "create") => {
                        let source = item.bytes.split(|byte| *byte == b'\n').nth(1);
                        self.create(target, id, source.expect("a create has a source"))
                    }
                    (None, "delete") => self.delete(action, id),
                    (None, other) => panic!("the functions do not {other}"),
                };
                json!({ name: result })
            })
            .collect();
        let errors = items
            .iter()
            .any(|item| item.as_object().unwrap().values().any(|item| item["error"].is_object()));
        json!({ "took": 1, "errors": errors, "items": items })
    }

    fn create(&mut self, target: &str, id: &str, source: &[u8]) -> Value {
        let text = String::from_utf8_lossy(source);
        let source: Value = serde_json::from_slice(source).expect("a document is JSON");
        let is_error = source["event"]["kind"] == "pipeline_error";
        let unparsable = "failed to parse field [auth0.logs.data.details] of type [flat_object]. \
                          Preview of field's value: 'private'";
        if text.contains(REFUSED_TWICE) || !is_error && text.contains(REFUSED) {
            return item_error(target, id, 400, "mapper_parsing_exception", unparsable);
        }
        if !is_error && text.contains(REFUSED_ODDLY) {
            return item_error(target, id, 422, "odd_document_exception", "nobody knows");
        }
        self.seq_no += 1;
        let seq_no = self.seq_no;
        let Some(index) = self.index(target) else {
            return item_error(target, id, 404, "index_not_found_exception", "no such index");
        };
        if index.documents.contains_key(id) {
            let reason = "version conflict, document already exists (current version [1])";
            return item_error(target, id, 409, "version_conflict_engine_exception", reason);
        }
        index.documents.insert(id.to_owned(), StoredDocument { source, seq_no });
        json!({ "_index": target, "_id": id, "_version": 1, "result": "created", "status": 201,
                "_seq_no": seq_no, "_primary_term": 1 })
    }

    fn delete(&mut self, action: &Value, id: &str) -> Value {
        let (Some(name), Some(expected)) =
            (action["_index"].as_str(), action["if_seq_no"].as_u64())
        else {
            // A data stream takes no deletes, and a backing index only conditional ones.
            let reason = "only write ops with an op_type of create are allowed in data streams";
            return item_error(&self.stream, id, 400, "illegal_argument_exception", reason);
        };
        let name = name.to_owned();
        let Some(index) = self.index(&name) else {
            return item_error(&name, id, 404, "index_not_found_exception", "no such index");
        };
        match index.documents.get(id) {
            None => json!({ "_index": name, "_id": id, "result": "not_found", "status": 404 }),
            Some(document) if document.seq_no != expected => {
                let kind = "version_conflict_engine_exception";
                item_error(&name, id, 409, kind, "required seqNo differs")
            }
            Some(_) => {
                index.documents.remove(id);
                json!({ "_index": name, "_id": id, "result": "deleted", "status": 200 })
            }
        }
    }

    fn mget(&mut self, body: &[u8]) -> Value {
        let request: Value = serde_json::from_slice(body).expect("a lookup is JSON");
        let lookups = request["docs"].as_array().expect("lookups name index and id");
        let found = |lookup: &Value| {
            let (name, id) = (&lookup["_index"], &lookup["_id"]);
            let name = name.as_str().expect("an index");
            let Some(index) = self.indices.iter().find(|index| index.name == name) else {
                let kind = "index_not_found_exception";
                let reason = format!("no such index [{name}]");
                let error = json!({ "type": kind, "reason": reason, "index": name });
                return json!({ "_index": name, "_id": id, "error": error });
            };
            match index.documents.get(id.as_str().expect("an id")) {
                Some(document) => json!({ "_index": name, "_id": id, "_version": 1,
                    "_seq_no": document.seq_no, "_primary_term": 1, "found": true }),
                None => json!({ "_index": name, "_id": id, "found": false }),
            }
        };
        json!({ "docs": lookups.iter().map(found).collect::<Vec<_>>() })
    }

    fn settings(&self) -> Value {
        let settings = |index: &BackingIndex| {
            let created = index.created.timestamp_millis().to_string();
            (index.name.clone(), json!({ "settings": { "index.creation_date": created } }))
        };
        Value::Object(self.indices.iter().map(settings).collect())
    }

    fn data_stream(&self) -> Value {
        let index = |index: &BackingIndex| json!({ "index_name": index.name, "index_uuid": "u" });
        json!({ "data_streams": [{
            "name": self.stream,
            "timestamp_field": { "name": "@timestamp" },
            "indices": self.indices.iter().map(index).collect::<Vec<_>>(),
            "generation": self.next_generation - 1,
            "status": "GREEN",
        }] })
    }
}

fn whole_error(status: u16, kind: &str, reason: &str) -> Value {
    let cause = json!({ "type": kind, "reason": reason });
    json!({ "error": { "root_cause": [cause], "type": kind, "reason": reason }, "status": status })
}

fn item_error(index: &str, id: &str, status: u16, kind: &str, reason: &str) -> Value {
    json!({ "_index": index, "_id": id, "status": status,
            "error": { "type": kind, "reason": reason, "index": index } })
}

fn contains(bytes: &[u8], text: &str) -> bool {
    bytes.windows(text.len()).any(|window| window == text.as_bytes())
}

/// Applies `filter_path` to an answer ("Common options: Response filtering"). A trailing `*` matches the
/// rest of a name, and arrays are transparent.
fn filtered(answer: &Value, filter: &str) -> Value {
    let paths: Vec<Vec<&str>> = filter.split(',').map(|path| path.split('.').collect()).collect();
    let paths: Vec<&[&str]> = paths.iter().map(Vec::as_slice).collect();
    keep(answer, &paths).unwrap_or_else(|| json!({}))
}

fn keep(value: &Value, paths: &[&[&str]]) -> Option<Value> {
    if paths.iter().any(|path| path.is_empty()) {
        return Some(value.clone());
    }
    match value {
        Value::Array(values) => {
            let kept: Vec<Value> = values.iter().filter_map(|value| keep(value, paths)).collect();
            (!kept.is_empty()).then_some(Value::Array(kept))
        }
        Value::Object(members) => {
            let mut kept = Map::new();
            for (name, value) in members {
                let matches = |part: &str| match part.strip_suffix('*') {
                    Some(start) => name.starts_with(start),
                    None => name == part,
                };
                let matching = paths.iter().filter(|path| matches(path[0]));
                let rest: Vec<&[&str]> = matching.map(|path| &path[1..]).collect();
                if !rest.is_empty()
                    && let Some(value) = keep(value, &rest)
                {
                    kept.insert(name.clone(), value);
                }
            }
            (!kept.is_empty()).then_some(Value::Object(kept))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filter_path_keeps_the_named_parts() {
        let answer = json!({ "took": 1, "items": [
            { "create": { "_id": "a", "status": 201, "_version": 1 } },
            { "create": { "_id": "b", "status": 400, "error": { "type": "t", "index": "i" } } },
        ]});
        let kept = json!({ "items": [
            { "create": { "status": 201 } },
            { "create": { "status": 400, "error": { "type": "t" } } },
        ]});
        assert_eq!(filtered(&answer, "items.*.s*,items.*.error.type,error"), kept);
        assert_eq!(filtered(&answer, "error"), json!({}));
    }
}
