//! A real engine and a data stream in it, as a test reads them: past the functions and the proxy.

use std::collections::BTreeMap;

use reqwest::{Client, Method};
use serde_json::{Value, json};

use crate::stack::{self, EngineKind, Variables};

/// Hits of one page of a search: an engine returns at most 10,000.
const PAGE: usize = 5_000;

/// An engine, as one user sees it.
#[derive(Clone, Debug)]
pub struct Engine {
    /// The base URL.
    pub url: String,
    client: Client,
    /// Name and password, where the engine has security.
    user: Option<(String, String)>,
}

impl Engine {
    /// The engine of the stack, which has no security.
    #[must_use]
    pub fn new(kind: EngineKind) -> Self {
        Self::at(kind.url())
    }

    /// The engine at this address.
    #[must_use]
    pub fn at(url: String) -> Self {
        Self { url, client: Client::new(), user: None }
    }

    /// An engine with security.
    #[must_use]
    pub fn secured(url: String, client: Client, user: &str, password: &str) -> Self {
        Self { url, client, user: Some((user.to_owned(), password.to_owned())) }
    }

    /// Sends a request and returns the JSON of the answer, whatever its status.
    ///
    /// # Panics
    /// If the engine does not answer in JSON.
    pub async fn call(&self, method: Method, path: &str, body: Option<Value>) -> Value {
        let mut request = self.client.request(method, format!("{}/{path}", self.url));
        if let Some((name, password)) = &self.user {
            request = request.basic_auth(name, Some(password));
        }
        if let Some(body) = body {
            request = request.json(&body);
        }
        let answer = request.send().await.expect("the engine answers");
        answer.json().await.expect("the engine answers in JSON")
    }
}

/// The data stream of one test.
#[derive(Debug)]
pub struct DataStream {
    /// Where it is.
    pub engine: Engine,
    /// `logs-auth0.logs-<namespace>`.
    pub name: String,
}

impl DataStream {
    /// The stream of this namespace; nothing is created before the first write.
    #[must_use]
    pub fn new(engine: Engine, namespace: &str) -> Self {
        Self { engine, name: format!("logs-auth0.logs-{namespace}") }
    }

    /// A new stream that has the product's index template and is ready for the first write.
    ///
    /// # Panics
    /// If the engine refuses it.
    pub async fn create(kind: EngineKind, namespace: &str) -> Self {
        Self::create_with(kind, namespace, "auto").await
    }

    /// The same, with this `DETAILS_INDEXING`.
    ///
    /// # Panics
    /// If the engine refuses it.
    pub async fn create_with(kind: EngineKind, namespace: &str, details: &str) -> Self {
        let stream = Self::prepare_with(kind, namespace, details).await;
        stream.warm_up().await;
        stream
    }

    /// The same, but the first write creates it.
    ///
    /// # Panics
    /// If the engine refuses the index template.
    pub async fn prepare(kind: EngineKind, namespace: &str) -> Self {
        Self::prepare_with(kind, namespace, "auto").await
    }

    /// The same, with this `DETAILS_INDEXING`.
    ///
    /// # Panics
    /// If the engine refuses the index template.
    pub async fn prepare_with(kind: EngineKind, namespace: &str, details: &str) -> Self {
        let stream = Self::new(Engine::new(kind), namespace);
        let settings = [
            ("SEARCH_ENDPOINT", stream.engine.url.as_str()),
            ("DATA_STREAM_NAMESPACE", namespace),
            ("DETAILS_INDEXING", details),
        ];
        let installed = stack::install(&Variables::default().with(settings)).await;
        assert!(installed.status.success(), "{}", String::from_utf8_lossy(&installed.stderr));
        stream
    }

    /// Creates the stream, which can take an engine seconds that no function has to spend then.
    async fn warm_up(&self) {
        let document = json!({ "@timestamp": "2026-01-01T00:00:00Z" });
        let path = format!("{}/_doc?refresh", self.name);
        let made = self.engine.call(Method::POST, &path, Some(document)).await;
        let (Some(index), Some(id)) = (made["_index"].as_str(), made["_id"].as_str()) else {
            panic!("the stream cannot be created: {made}");
        };
        let path = format!("{index}/_doc/{id}?refresh");
        let gone = self.engine.call(Method::DELETE, &path, None).await;
        assert_eq!(gone["result"], "deleted", "{gone}");
    }

    /// All hits, each with the whole document. A stream that does not exist yet has none.
    ///
    /// # Panics
    /// If the search fails.
    pub async fn documents(&self) -> Vec<Value> {
        self.search_all(json!(true)).await
    }

    /// All hits, each with these fields of the document.
    ///
    /// # Panics
    /// If the search fails.
    pub async fn documents_with(&self, fields: &[&str]) -> Vec<Value> {
        self.search_all(json!(fields)).await
    }

    async fn search_all(&self, source: Value) -> Vec<Value> {
        let mut found: Vec<Value> = Vec::new();
        if !self.refresh().await {
            return found;
        }
        let mut search = json!({
            "size": PAGE,
            "sort": [{ "event.id": { "order": "asc", "unmapped_type": "keyword" } }],
            "_source": source,
        });
        loop {
            let mut hits = self.search(search.clone()).await;
            let is_last = hits.len() < PAGE;
            found.append(&mut hits);
            match found.last() {
                Some(last) if !is_last => search["search_after"] = last["sort"].clone(),
                _ => return found,
            }
        }
    }

    async fn search(&self, search: Value) -> Vec<Value> {
        let path = format!("{}/_search", self.name);
        let mut answer = self.engine.call(Method::POST, &path, Some(search)).await;
        match answer["hits"]["hits"].take() {
            Value::Array(hits) => hits,
            _ => panic!("a search failed: {answer}"),
        }
    }

    /// Makes all writes visible; returns whether the stream exists.
    async fn refresh(&self) -> bool {
        let path = format!("{}/_refresh", self.name);
        self.engine.call(Method::POST, &path, None).await["status"] != 404
    }

    /// The number of documents under each `_id`, over all backing indices.
    pub async fn copies(&self) -> BTreeMap<String, usize> {
        let mut copies = BTreeMap::new();
        for hit in self.documents_with(&[]).await {
            *copies.entry(hit["_id"].as_str().unwrap().to_owned()).or_default() += 1;
        }
        copies
    }

    /// The number of documents.
    ///
    /// # Panics
    /// If they cannot be counted.
    pub async fn count(&self) -> usize {
        if !self.refresh().await {
            return 0;
        }
        let answer = self.engine.call(Method::GET, &format!("{}/_count", self.name), None).await;
        let count = answer["count"].as_u64().and_then(|count| usize::try_from(count).ok());
        count.unwrap_or_else(|| panic!("no count: {answer}"))
    }

    /// Asserts that the stream holds each of these log ids once, and nothing else.
    ///
    /// # Panics
    /// If it does not, with the ids that are missing, duplicated or unknown.
    pub async fn assert_holds_exactly(&self, log_ids: &[String]) {
        let copies = self.copies().await;
        let missing: Vec<_> = log_ids.iter().filter(|id| !copies.contains_key(*id)).collect();
        let duplicated: Vec<_> = copies.iter().filter(|(_, count)| **count > 1).collect();
        let unknown: Vec<_> = copies.keys().filter(|id| !log_ids.contains(id)).collect();
        assert!(
            missing.is_empty() && duplicated.is_empty() && unknown.is_empty(),
            "{}: of {} events {} are missing, {} duplicated, {} unknown: missing {missing:?}, \
             duplicated {duplicated:?}, unknown {unknown:?}",
            self.name,
            log_ids.len(),
            missing.len(),
            duplicated.len(),
            unknown.len(),
        );
    }

    /// The backing index with the highest generation.
    ///
    /// # Panics
    /// If the stream does not exist.
    pub async fn write_index(&self) -> String {
        let path = format!("{}/_settings", self.name);
        let indices = self.engine.call(Method::GET, &path, None).await;
        let indices = indices.as_object().expect("an object with the indices' names");
        indices.keys().max().expect("a backing index").clone()
    }

    /// Starts a new write index; the old one stays searchable.
    ///
    /// # Panics
    /// If the engine refuses it.
    pub async fn rollover(&self) {
        let path = format!("{}/_rollover", self.name);
        let answer = self.engine.call(Method::POST, &path, None).await;
        assert_eq!(answer["rolled_over"], true, "{answer}");
    }

    /// Sends a `_bulk` body and returns the items of the answer.
    ///
    /// # Panics
    /// If the engine refuses the whole body.
    pub async fn bulk(&self, body: Vec<u8>) -> Vec<Value> {
        let url = format!("{}/{}/_bulk", self.engine.url, self.name);
        let request = self.engine.client.post(url).header("content-type", "application/x-ndjson");
        let answer = request.body(body).send().await.expect("the engine answers");
        let mut answer: Value = answer.json().await.expect("the engine answers in JSON");
        match answer["items"].take() {
            Value::Array(items) => items,
            _ => panic!("a bulk request failed: {answer}"),
        }
    }
}

/// Adds a document to the body of a `_bulk` request.
pub fn push_create(bulk: &mut Vec<u8>, id: &str, document: &[u8]) {
    bulk.extend_from_slice(json!({ "create": { "_id": id } }).to_string().as_bytes());
    bulk.push(b'\n');
    bulk.extend_from_slice(document);
    bulk.push(b'\n');
}
