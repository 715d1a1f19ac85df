//! A data stream of a real engine, as a test looks at it.

use std::collections::BTreeMap;

use reqwest::{Client, Method};
use serde_json::{Value, json};

use crate::stack::EngineKind;

/// The data stream of one test.
#[derive(Debug)]
pub struct DataStream {
    /// The engine's base URL.
    pub engine: String,
    /// `logs-auth0.logs-<namespace>`.
    pub name: String,
    client: Client,
}

impl DataStream {
    /// The stream of this namespace; nothing is made before the first write.
    #[must_use]
    pub fn new(kind: EngineKind, namespace: &str) -> Self {
        let name = format!("logs-auth0.logs-{namespace}");
        Self { engine: kind.url(), name, client: Client::new() }
    }

    /// Installs what the product needs before the first write; harmless where it is there.
    ///
    /// # Panics
    /// Where the engine does not take it.
    pub async fn install_template(&self) {
        let namespace = self.name.strip_prefix("logs-auth0.logs-").expect("the name's form");
        let installed = tokio::process::Command::new(crate::stack::binary("setup"))
            .arg("install")
            .env_clear()
            .envs([("SEARCH_ENDPOINT", self.engine.as_str()), ("DATA_STREAM_NAMESPACE", namespace)])
            .output()
            .await
            .expect("setup can be started");
        assert!(installed.status.success(), "{}", String::from_utf8_lossy(&installed.stderr));
    }

    /// Makes the stream, which can take an engine seconds, so that no function's time is spent on it.
    ///
    /// # Panics
    /// Where the engine does not do it.
    pub async fn warm_up(&self) {
        let document = json!({ "@timestamp": "2026-01-01T00:00:00Z" });
        let made =
            self.call(Method::POST, &format!("{}/_doc?refresh", self.name), Some(document)).await;
        let (Some(index), Some(id)) = (made["_index"].as_str(), made["_id"].as_str()) else {
            panic!("the stream cannot be made: {made}");
        };
        let gone = self.call(Method::DELETE, &format!("{index}/_doc/{id}?refresh"), None).await;
        assert_eq!(gone["result"], "deleted", "{gone}");
    }

    /// All documents. A stream that is not there yet has none.
    ///
    /// # Panics
    /// Where the engine does not answer.
    pub async fn documents(&self) -> Vec<Value> {
        let name = &self.name;
        let refreshed = self.call(Method::POST, &format!("{name}/_refresh"), None).await;
        if refreshed["status"] == 404 {
            return Vec::new();
        }
        let mut found: Vec<Value> = Vec::new();
        loop {
            // Pages by `search_after`: a single search gives 10,000 hits at the most.
            let mut search = json!({
                "size": 5_000,
                "sort": [{ "event.id": { "order": "asc", "unmapped_type": "keyword" } }],
                "query": { "match_all": {} },
            });
            if let Some(last) = found.last() {
                search["search_after"] = last["sort"].clone();
            }
            let answer = self.call(Method::POST, &format!("{name}/_search"), Some(search)).await;
            let hits = answer["hits"]["hits"].as_array();
            let mut hits = hits.unwrap_or_else(|| panic!("a search failed: {answer}")).clone();
            if hits.is_empty() {
                return found;
            }
            let whole = hits.len() < 5_000;
            found.append(&mut hits);
            if whole {
                return found;
            }
        }
    }

    /// How many documents there are under each `_id`, over all backing indices.
    pub async fn copies(&self) -> BTreeMap<String, usize> {
        let mut copies = BTreeMap::new();
        for document in self.documents().await {
            *copies.entry(document["_id"].as_str().unwrap().to_owned()).or_default() += 1;
        }
        copies
    }

    /// How many documents there are.
    pub async fn count(&self) -> usize {
        self.documents().await.len()
    }

    /// Asserts that the stream holds each of these log ids once, and nothing else.
    ///
    /// # Panics
    /// Where it does not, with what is missing, double or unknown.
    pub async fn assert_holds_exactly(&self, log_ids: &[String]) {
        let copies = self.copies().await;
        let missing: Vec<_> = log_ids.iter().filter(|id| !copies.contains_key(*id)).collect();
        let double: Vec<_> = copies.iter().filter(|(_, count)| **count > 1).collect();
        let unknown: Vec<_> = copies.keys().filter(|id| !log_ids.contains(id)).collect();
        assert!(
            missing.is_empty() && double.is_empty() && unknown.is_empty(),
            "{}: of {} events {} are missing, {} double, {} unknown: missing {missing:?}, double \
             {double:?}, unknown {unknown:?}",
            self.name,
            log_ids.len(),
            missing.len(),
            double.len(),
            unknown.len(),
        );
    }

    /// A new write index; the old one stays searchable.
    ///
    /// # Panics
    /// Where the engine does not do it.
    pub async fn rollover(&self) {
        let answer = self.call(Method::POST, &format!("{}/_rollover", self.name), None).await;
        assert_eq!(answer["rolled_over"], true, "{answer}");
    }

    /// Any request to the engine; gives the answer's JSON.
    ///
    /// # Panics
    /// Where the engine does not answer in JSON.
    pub async fn call(&self, method: Method, path: &str, body: Option<Value>) -> Value {
        let mut request = self.client.request(method, format!("{}/{path}", self.engine));
        if let Some(body) = body {
            request = request.json(&body);
        }
        let answer = request.send().await.expect("the engine answers");
        answer.json().await.expect("the engine answers in JSON")
    }
}
