//! One request to the engine, OpenSearch or Elasticsearch, and its response until a deadline.
//!
//! What a request means is up to the caller. A response of any status but 401 is returned as it is.
//! Everything else is an [`EngineError`], which names the host and the cause, and never a credential.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use hyper_util::client::proxy::matcher::Matcher;
use opensearch::http::headers::{ACCEPT, CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderValue};
use serde_json::Value;

pub use opensearch::http::Method;

use super::credentials::Credentials;
use super::transport::{EngineClientError, Transport};
use crate::error::BoxError;
use crate::retry::Deadline;
use crate::start::config::SearchConfig;

/// Why there is no usable response.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// 401: the credentials are wrong, or missing.
    #[error("{host} did not accept the credentials (HTTP 401)")]
    Unauthorized {
        /// Host and port.
        host: String,
    },
    /// No connection, no response before the deadline, or an incomplete one.
    #[error("no response from {host}")]
    Unavailable {
        /// Host and port.
        host: String,
        /// The client's error, or the timeout's.
        source: BoxError,
    },
}

/// The body of a request.
#[derive(Clone, Debug)]
pub enum Payload {
    /// No body.
    None,
    /// One JSON value.
    Json(Bytes),
    /// JSON lines, for `_bulk`.
    Ndjson {
        /// The lines, including the last line break; already compressed if `gzip` is set.
        bytes: Bytes,
        /// Whether `bytes` is gzip.
        gzip: bool,
    },
}

/// The engine's response, successful or not.
#[derive(Clone, Debug)]
pub struct EngineResponse {
    /// The HTTP status, never 401.
    pub status: u16,
    /// The complete body.
    pub body: Bytes,
}

impl EngineResponse {
    /// Returns `true` for a 2xx status.
    #[must_use]
    pub const fn is_success(&self) -> bool {
        self.status >= 200 && self.status < 300
    }

    /// Returns `true` if the engine, or a proxy in front of it, is overloaded or starting.
    #[must_use]
    pub const fn is_busy(&self) -> bool {
        matches!(self.status, 429 | 502..=504)
    }

    /// Returns the body; null if it is not JSON.
    #[must_use]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }

    /// Returns the engine's own explanation of an error, or else the status.
    #[must_use]
    pub fn reason(&self) -> String {
        let body = self.json();
        // The innermost cause says most. The gateway of Amazon's domains uses `message` or `Message`.
        let mut error = body.get("error").unwrap_or(&Value::Null);
        while let Some(cause) = error.get("caused_by") {
            error = cause;
        }
        let words = [error.get("reason"), Some(error), body.get("message"), body.get("Message")];
        match words.into_iter().flatten().find_map(Value::as_str) {
            Some(words) => words.chars().take(MAX_REASON).collect(),
            None => format!("HTTP status {}", self.status),
        }
    }
}

/// Upper bound for a reason, in characters: the engine may quote the request in it.
const MAX_REASON: usize = 500;

/// A client for one engine; cheap to clone; keeps its connections open.
#[derive(Clone)]
pub struct Engine {
    transport: Transport,
    pub(super) host: Arc<str>,
    pub(super) is_aoss: bool,
}

impl fmt::Debug for Engine {
    /// Leaves out the transport, which would print its headers and credentials.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Engine").field("host", &self.host).finish_non_exhaustive()
    }
}

impl Engine {
    /// Returns `false` for a collection of OpenSearch Serverless, where an index is written to instead.
    pub(crate) const fn has_data_streams(&self) -> bool {
        !self.is_aoss
    }

    /// Creates a client for the engine at `config.endpoint`. Nothing is sent yet. `config.sign_in` is
    /// ignored: `credentials` are what was loaded from there. A proxy that the environment names
    /// (`HTTPS_PROXY`, `NO_PROXY` …) is used.
    ///
    /// # Errors
    /// The certificate is unusable, the API key cannot be a header, or the AWS configuration has no
    /// region.
    pub fn new(config: &SearchConfig, credentials: Credentials) -> Result<Self, EngineClientError> {
        Self::through(&Matcher::from_env(), config, credentials)
    }

    fn through(
        proxies: &Matcher,
        config: &SearchConfig,
        credentials: Credentials,
    ) -> Result<Self, EngineClientError> {
        let is_aoss =
            matches!(&credentials, Credentials::SigV4 { service, .. } if service == "aoss");
        let transport = Transport::new(config, credentials, proxies)?;
        let host = config.endpoint.host_str().unwrap_or_default();
        let host = match config.endpoint.port_or_known_default() {
            Some(port) => format!("{host}:{port}"),
            None => host.to_owned(),
        };
        Ok(Self { transport, host: host.into(), is_aoss })
    }

    /// Sends one request to `path` (which may have a query) and waits for the complete response until
    /// `deadline`. Nothing is retried here.
    ///
    /// # Errors
    /// [`EngineError::Unauthorized`] on a 401, [`EngineError::Unavailable`] without a response.
    pub async fn send(
        &self,
        method: Method,
        path: &str,
        payload: Payload,
        deadline: Deadline,
    ) -> Result<EngineResponse, EngineError> {
        self.exchange(method, path, payload, deadline).await.map(|(response, _)| response)
    }

    /// Like [`Self::send`], but returns the response's headers, too.
    pub(super) async fn exchange(
        &self,
        method: Method,
        path: &str,
        payload: Payload,
        deadline: Deadline,
    ) -> Result<(EngineResponse, HeaderMap), EngineError> {
        const JSON: HeaderValue = HeaderValue::from_static("application/json");
        let mut headers = HeaderMap::with_capacity(6);
        headers.insert(ACCEPT, JSON);
        let body = match payload {
            Payload::None => None,
            Payload::Json(bytes) => {
                headers.insert(CONTENT_TYPE, JSON);
                Some(bytes)
            }
            Payload::Ndjson { bytes, gzip } => {
                headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-ndjson"));
                if gzip {
                    headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
                }
                Some(bytes)
            }
        };
        // The crate's own limit covers neither signing nor reading the body.
        let exchange = self.transport.send(method, path, headers, body);
        let (head, body) = match tokio::time::timeout_at(deadline.instant(), exchange).await {
            Ok(Ok(response)) => response.into_parts(),
            Ok(Err(error)) => return Err(self.unavailable(error)),
            Err(elapsed) => return Err(self.unavailable(elapsed.into())),
        };
        match head.status.as_u16() {
            401 => Err(EngineError::Unauthorized { host: self.host.to_string() }),
            status => Ok((EngineResponse { status, body }, head.headers)),
        }
    }

    fn unavailable(&self, source: BoxError) -> EngineError {
        EngineError::Unavailable { host: self.host.to_string(), source }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::process::Command;
    use std::time::Duration;

    use aws_config::SdkConfig;
    use aws_sdk_sqs::config::SharedCredentialsProvider;
    use axum::Router;
    use axum::extract::Request;
    use axum::routing::any;
    use opensearch::http::StatusCode;
    use serde_json::json;
    use tokio::net::TcpListener;
    use url::Url;

    use super::*;
    use crate::error::chain;
    use crate::start::config::SignIn;
    use crate::start::secrets::SearchCredentials;

    /// An engine that answers 200 with the request's method, target and headers, one per line.
    async fn echo() -> Url {
        serve(any(|request: Request| async move {
            let mut seen = format!("{} {}\n", request.method(), request.uri());
            for (name, value) in request.headers() {
                seen += &format!("{name}: {}\n", String::from_utf8_lossy(value.as_bytes()));
            }
            seen
        }))
        .await
    }

    async fn serve(handler: axum::routing::MethodRouter) -> Url {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, Router::new().fallback(handler)).await });
        Url::parse(&url).unwrap()
    }

    /// Returns a client without and one with the crate `opensearch`, which is to look for the proxy of an
    /// environment that has none.
    fn both(endpoint: &Url, credentials: &Credentials) -> [Engine; 2] {
        let (endpoint, sign_in) = (endpoint.clone(), SignIn::None);
        let config = SearchConfig { endpoint, sign_in, ca_certificate: None, gzip: true };
        let proxy = Matcher::builder().all("http://127.0.0.1:1").build();
        [Matcher::builder().build(), proxy]
            .map(|proxies| Engine::through(&proxies, &config, credentials.clone()).unwrap())
    }

    async fn get(engine: &Engine, payload: Payload) -> Result<String, EngineError> {
        let deadline = Deadline::after(Duration::from_secs(10));
        let response = engine.send(Method::Post, "a/_bulk?b=c", payload, deadline).await?;
        Ok(String::from_utf8(response.body.to_vec()).unwrap())
    }

    #[tokio::test]
    async fn credentials_become_the_authorization_header() {
        let url = echo().await;
        let basic = SearchCredentials::Basic { username: "writer".into(), password: "pass".into() };
        for (credentials, header) in [
            (basic, "authorization: Basic d3JpdGVyOnBhc3M=\n"),
            (SearchCredentials::ApiKey("aWQ6a2V5".into()), "authorization: ApiKey aWQ6a2V5\n"),
        ] {
            for engine in both(&url, &Credentials::Secret(credentials)) {
                let seen = get(&engine, Payload::None).await.unwrap();
                assert!(seen.starts_with("POST /a/_bulk?b=c\n"), "{seen}");
                assert!(seen.contains(header), "{seen}");
                assert!(!format!("{engine:?}").contains("a2V5"), "{engine:?}");
            }
        }
        for engine in both(&url, &Credentials::None) {
            let seen = get(&engine, Payload::None).await.unwrap();
            assert!(!seen.contains("authorization"), "{seen}");
        }
    }

    #[tokio::test]
    async fn sigv4_signature_names_service_and_region() {
        let keys = aws_sdk_sqs::config::Credentials::new("id", "key", None, None, "test");
        let aws = SdkConfig::builder()
            .region(aws_config::Region::new("eu-west-1"))
            .credentials_provider(SharedCredentialsProvider::new(keys))
            .build();
        let credentials = Credentials::SigV4 { service: "aoss".into(), aws: Box::new(aws) };
        let [engine, _] = both(&echo().await, &credentials);
        let seen = get(&engine, Payload::Json(Bytes::from_static(b"{}"))).await.unwrap();
        assert!(seen.contains("/eu-west-1/aoss/aws4_request"), "{seen}");
        assert!(seen.contains("x-amz-content-sha256: "), "{seen}");
    }

    #[tokio::test]
    async fn request_is_the_same_with_and_without_the_crate() {
        let below_a_path = echo().await.join("path").unwrap();
        let bytes = Bytes::from_static(b"x");
        let ndjson = |gzip| Payload::Ndjson { bytes: bytes.clone(), gzip };
        for (payload, content) in [
            (Payload::Json(bytes.clone()), "application/json"),
            (ndjson(false), "application/x-ndjson"),
            (ndjson(true), "application/x-ndjson, gzip"),
        ] {
            for engine in both(&below_a_path, &Credentials::None) {
                let seen = get(&engine, payload.clone()).await.unwrap();
                let (target, headers) = seen.split_once('\n').unwrap();
                assert_eq!(target, "POST /path/a/_bulk?b=c");
                let headers: BTreeMap<_, _> =
                    headers.lines().map(|line| line.split_once(": ").unwrap()).collect();
                let of = |name| headers.get(name).copied();
                let kind = [of("content-type"), of("content-encoding")].into_iter().flatten();
                assert_eq!(kind.collect::<Vec<_>>().join(", "), content);
                assert_eq!(of("content-length"), Some("1"));
                assert_eq!(of("accept"), Some("application/json"));
                // A compressed response would cost the engine more than it saves.
                assert!(matches!(of("accept-encoding"), None | Some("identity")), "{seen}");
                assert!(of("user-agent").unwrap().starts_with("auth0-log-streams/"), "{seen}");
            }
        }
    }

    /// A process must not change its own environment while it runs: the other half runs in another one.
    #[tokio::test]
    async fn proxy_of_the_environment_is_used() {
        let proxy = echo().await;
        let mut other = Command::new(std::env::current_exe().unwrap());
        other.args(["--exact", "engine::client::tests::engine_behind_a_proxy", "--ignored"]);
        other.env("HTTP_PROXY", proxy.as_str());
        let ended = tokio::task::spawn_blocking(move || other.output()).await.unwrap().unwrap();
        let output = String::from_utf8_lossy(&ended.stdout);
        assert!(output.contains("1 passed"), "{output}");
    }

    #[tokio::test]
    #[ignore = "proxy_of_the_environment_is_used runs it, with HTTP_PROXY"]
    async fn engine_behind_a_proxy() {
        let endpoint = Url::parse("http://engine.invalid:9200").unwrap();
        let config =
            SearchConfig { endpoint, sign_in: SignIn::None, ca_certificate: None, gzip: true };
        let engine = Engine::new(&config, Credentials::None).unwrap();
        let seen = get(&engine, Payload::None).await.unwrap();
        assert!(seen.starts_with("POST http://engine.invalid:9200/a/_bulk?b=c\n"), "{seen}");
    }

    #[tokio::test]
    async fn status_401_is_unauthorized_and_403_a_response() {
        let refuse = |status: StatusCode| any(move || async move { (status, "why") });
        let url = serve(refuse(StatusCode::UNAUTHORIZED)).await;
        for engine in both(&url, &Credentials::None) {
            let error = get(&engine, Payload::None).await.unwrap_err();
            assert!(matches!(error, EngineError::Unauthorized { .. }), "{error}");
        }
        let url = serve(refuse(StatusCode::FORBIDDEN)).await;
        for engine in both(&url, &Credentials::None) {
            assert_eq!(get(&engine, Payload::None).await.unwrap(), "why");
        }
    }

    #[test]
    fn response_reason_is_the_innermost_cause() {
        let reason =
            |body: Value| EngineResponse { status: 400, body: body.to_string().into() }.reason();
        let nested =
            json!({"error": {"reason": "invalid", "caused_by": {"reason": "no such type"}}});
        assert_eq!(reason(nested), "no such type");
        assert_eq!(reason(json!({"error": "no handler found"})), "no handler found");
        assert_eq!(
            reason(json!({"Message": "User: x is not authorized"})),
            "User: x is not authorized"
        );
        assert_eq!(reason(json!([])), "HTTP status 400");
    }

    #[tokio::test]
    async fn missing_response_is_unavailable_and_names_host_and_cause() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = Url::parse(&format!("http://{}", listener.local_addr().unwrap())).unwrap();
        for silent in both(&url, &Credentials::None) {
            let deadline = Deadline::after(Duration::from_millis(50));
            let error = silent.send(Method::Get, "", Payload::None, deadline).await.unwrap_err();
            let error = chain(&error);
            assert!(error.ends_with(": deadline has elapsed"), "{error}");
        }
        drop(listener);
        for refused in both(&url, &Credentials::None) {
            let error = chain(&get(&refused, Payload::None).await.unwrap_err());
            assert!(error.starts_with("no response from 127.0.0.1:"), "{error}");
            assert!(error.contains("Connection refused"), "{error}");
        }
    }
}
