//! Which engine answers, and in which version: asked at deploy time only.

use std::fmt;

use auth0_ecs::index_template::Product;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::client::{Engine, EngineError, EngineResponse, Method, Payload};
use crate::retry::Deadline;

/// An engine's version, as far as features depend on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version {
    /// The first number.
    pub major: u32,
    /// The second number.
    pub minor: u32,
}

impl Version {
    fn parse(text: &str) -> Option<Self> {
        let mut numbers = text.split('.').map(str::parse);
        match (numbers.next()?, numbers.next()?) {
            (Ok(major), Ok(minor)) => Some(Self { major, minor }),
            _ => None,
        }
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

/// What [`detect`] found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Detected {
    /// What it is.
    pub product: Product,
    /// Its version, where it has one that means something.
    pub version: Option<Version>,
}

/// Why it is not known what the engine is.
#[derive(Debug, thiserror::Error)]
pub enum DetectError {
    /// There is no answer to go on.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// 403: the user may not ask.
    #[error("{0}")]
    Forbidden(String),
    /// Something else answers there.
    #[error("{host} answers, but is neither OpenSearch nor Elasticsearch: {reason}")]
    NotAnEngine {
        /// Host and port.
        host: String,
        /// What it answered.
        reason: String,
    },
}

/// The part of the answer at `/` that tells the product.
#[derive(Deserialize)]
struct Root {
    version: RootVersion,
}

#[derive(Deserialize)]
struct RootVersion {
    number: String,
    distribution: Option<String>,
    build_flavor: Option<String>,
}

/// What the engine is, as it says itself at `/`.
///
/// # Errors
/// [`DetectError`]: no answer, not allowed, or something else answered.
pub async fn detect(engine: &Engine, deadline: Deadline) -> Result<Detected, DetectError> {
    if engine.is_aoss {
        // A collection has no `/`; that it is one follows from the way to sign in.
        return Ok(Detected { product: Product::OpenSearchServerless, version: None });
    }
    let (answer, headers) = engine.exchange(Method::Get, "", Payload::None, deadline).await?;
    if answer.status == 405 && headers.contains_key("x-elastic-product") {
        return detect_by_nodes(engine, deadline).await;
    }
    let root: Root = known(engine, &answer)?;
    let version = Version::parse(&root.version.number);
    Ok(match (root.version.distribution.as_deref(), root.version.build_flavor.as_deref()) {
        // 7.10 is no version of OpenSearch: it says so when told to, for old clients' sake.
        (Some("opensearch"), _) => Detected {
            product: Product::OpenSearch,
            version: version.filter(|version| version.major < 7),
        },
        // The version there is a constant.
        (_, Some("serverless")) => {
            Detected { product: Product::ElasticsearchServerless, version: None }
        }
        _ => Detected { product: Product::Elasticsearch, version },
    })
}

/// Elasticsearch's minimal distribution knows no GET at `/`.
async fn detect_by_nodes(engine: &Engine, deadline: Deadline) -> Result<Detected, DetectError> {
    const NODES: &str = "_nodes/_local?filter_path=nodes.*.version";
    let answer = engine.send(Method::Get, NODES, Payload::None, deadline).await?;
    let nodes: Value = known(engine, &answer)?;
    let version = nodes
        .get("nodes")
        .and_then(Value::as_object)
        .and_then(|nodes| nodes.values().next())
        .and_then(|node| Version::parse(node.get("version")?.as_str()?));
    Ok(Detected { product: Product::Elasticsearch, version })
}

/// The answer as JSON of the wanted form.
fn known<T: DeserializeOwned>(engine: &Engine, answer: &EngineResponse) -> Result<T, DetectError> {
    if answer.status == 403 {
        return Err(DetectError::Forbidden(answer.reason()));
    }
    match serde_json::from_slice(&answer.body) {
        Ok(known) if answer.is_success() => Ok(known),
        _ => Err(DetectError::NotAnEngine { host: engine.host.clone(), reason: answer.reason() }),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use axum::Router;
    use axum::routing::any;
    use serde_json::json;
    use tokio::net::TcpListener;

    use super::*;
    use crate::engine::connection::Credentials;
    use crate::start::config::{SearchConfig, SignIn};

    /// What is detected where `/` answers `body`.
    async fn detected(body: Value) -> Result<String, DetectError> {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap()).parse().unwrap();
        let router = Router::new().fallback(any(move || async move { body.to_string() }));
        tokio::spawn(async move { axum::serve(listener, router).await });
        let config =
            SearchConfig { endpoint: url, sign_in: SignIn::None, ca_certificate: None, gzip: true };
        let engine = Engine::new(&config, Credentials::None).unwrap();
        let found = detect(&engine, Deadline::after(Duration::from_secs(10))).await?;
        let version = found.version.map_or("?".to_owned(), |version| version.to_string());
        Ok(format!("{} {version}", found.product))
    }

    #[tokio::test]
    async fn products_are_told_apart_by_what_they_say() {
        let opensearch =
            |number| json!({"version": {"number": number, "distribution": "opensearch"}});
        assert_eq!(detected(opensearch("3.8.0")).await.unwrap(), "OpenSearch 3.8");
        assert_eq!(detected(opensearch("7.10.2")).await.unwrap(), "OpenSearch ?");
        let elastic = |flavor| json!({"version": {"number": "8.11.0", "build_flavor": flavor}});
        assert_eq!(detected(elastic("default")).await.unwrap(), "Elasticsearch 8.11");
        assert_eq!(detected(elastic("serverless")).await.unwrap(), "Elasticsearch Serverless ?");
        let error = detected(json!({"hello": "world"})).await.unwrap_err();
        assert!(matches!(error, DetectError::NotAnEngine { .. }), "{error}");
    }
}
