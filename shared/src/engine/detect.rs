//! Detection of the engine's product and version, at deploy time only.

use std::fmt;

use auth0_ecs::index_template::Product;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::client::{Engine, EngineError, EngineResponse, Method, Payload};
use crate::retry::Deadline;

/// The part of an engine's version that features depend on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version {
    /// The first number of 8.11.0.
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

/// The engine that [`detect`] found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Detected {
    /// The product.
    pub product: Product,
    /// The version; `None` if the product has none, or hides it.
    pub version: Option<Version>,
}

/// Why the engine is unknown.
#[derive(Debug, thiserror::Error)]
pub enum DetectError {
    /// There is no usable response.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// 403: the user lacks the privilege; with the engine's reason.
    #[error("{0}")]
    Forbidden(String),
    /// The engine, or a proxy in front of it, is overloaded or starting.
    #[error("{host} is busy: {reason}")]
    Busy {
        /// Host and port.
        host: String,
        /// The reason that it gave, or its status.
        reason: String,
    },
    /// Something else answered.
    #[error("{host} answers, but is neither OpenSearch nor Elasticsearch: {reason}")]
    NotAnEngine {
        /// Host and port.
        host: String,
        /// The reason that it gave, or its status.
        reason: String,
    },
}

/// The part of the response at `/` that identifies the product.
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

/// Asks the engine at `/` for its product and version.
///
/// # Errors
/// There is no response, the engine is busy, the user lacks the privilege, or something else answered.
pub async fn detect(engine: &Engine, deadline: Deadline) -> Result<Detected, DetectError> {
    if engine.is_aoss {
        // A collection has no `/`, but only collections are signed in to with this service.
        return Ok(Detected { product: Product::OpenSearchServerless, version: None });
    }
    let (response, headers) = engine.exchange(Method::Get, "", Payload::None, deadline).await?;
    if response.status == 405 && headers.contains_key("x-elastic-product") {
        return detect_by_nodes(engine, deadline).await;
    }
    let root: Root = parse(engine, &response)?;
    let version = Version::parse(&root.version.number);
    Ok(match (root.version.distribution.as_deref(), root.version.build_flavor.as_deref()) {
        // OpenSearch has no version 7.10: it can be configured to claim it for old clients.
        (Some("opensearch"), _) => Detected {
            product: Product::OpenSearch,
            version: version.filter(|version| version.major < 7),
        },
        // Serverless reports a constant version.
        (_, Some("serverless")) => {
            Detected { product: Product::ElasticsearchServerless, version: None }
        }
        _ => Detected { product: Product::Elasticsearch, version },
    })
}

/// Elasticsearch's minimal distribution has no GET at `/`.
async fn detect_by_nodes(engine: &Engine, deadline: Deadline) -> Result<Detected, DetectError> {
    const NODES: &str = "_nodes/_local?filter_path=nodes.*.version";
    let response = engine.send(Method::Get, NODES, Payload::None, deadline).await?;
    let nodes: Value = parse(engine, &response)?;
    let version = nodes
        .get("nodes")
        .and_then(Value::as_object)
        .and_then(|nodes| nodes.values().next())
        .and_then(|node| Version::parse(node.get("version")?.as_str()?));
    Ok(Detected { product: Product::Elasticsearch, version })
}

fn parse<T: DeserializeOwned>(
    engine: &Engine,
    response: &EngineResponse,
) -> Result<T, DetectError> {
    if response.status == 403 {
        return Err(DetectError::Forbidden(response.reason()));
    }
    if response.is_busy() {
        return Err(DetectError::Busy { host: engine.host.to_string(), reason: response.reason() });
    }
    match serde_json::from_slice(&response.body) {
        Ok(parsed) if response.is_success() => Ok(parsed),
        _ => Err(DetectError::NotAnEngine {
            host: engine.host.to_string(),
            reason: response.reason(),
        }),
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
    use crate::engine::credentials::Credentials;
    use crate::start::config::{SearchConfig, SignIn};

    /// Returns what is detected if `/` answers `body`.
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
    async fn product_is_detected_from_the_root_response() {
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
