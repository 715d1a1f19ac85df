//! One request to the engine, OpenSearch or Elasticsearch: sign-in, certificate, time limit.
//!
//! What a request means is up to the caller. A response of any status but 401 is returned as it is.
//! Everything else is an [`EngineError`], which names the host and the cause, and never a credential.

use std::fmt;
use std::sync::Arc;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use opensearch::cert::{Certificate, CertificateValidation};
use opensearch::http::headers::{
    ACCEPT_ENCODING, AUTHORIZATION, CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderValue,
    InvalidHeaderValue,
};
use opensearch::http::transport::{
    BuildError, SingleNodeConnectionPool, Transport, TransportBuilder,
};
use secrecy::ExposeSecret as _;
use serde_json::Value;

pub use opensearch::http::Method;

use super::credentials::Credentials;
use crate::error::BoxError;
use crate::retry::Deadline;
use crate::start::config::SearchConfig;
use crate::start::secrets::SearchCredentials;

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

/// Why settings and credentials do not make a client.
#[derive(Debug, thiserror::Error)]
pub enum EngineClientError {
    /// `SEARCH_CA_CERTIFICATE` is not a certificate.
    #[error("SEARCH_CA_CERTIFICATE cannot be used")]
    Certificate(#[source] opensearch::Error),
    /// The API key holds characters that a header cannot.
    #[error("the API key cannot be sent in a header")]
    ApiKey(#[source] InvalidHeaderValue),
    /// The AWS configuration lacks a region or credentials.
    #[error("requests cannot be signed")]
    SigV4(#[source] opensearch::Error),
    /// The HTTP client cannot be built.
    #[error("the engine's client cannot be set up")]
    Transport(#[source] BuildError),
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
    transport: Arc<Transport>,
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
    /// ignored: `credentials` are what was loaded from there.
    ///
    /// # Errors
    /// The certificate is unusable, the API key cannot be a header, or the AWS configuration has no
    /// region.
    pub fn new(config: &SearchConfig, credentials: Credentials) -> Result<Self, EngineClientError> {
        let is_aoss =
            matches!(&credentials, Credentials::SigV4 { service, .. } if service == "aoss");
        let pool = SingleNodeConnectionPool::new(config.endpoint.clone());
        let mut builder = TransportBuilder::new(pool);
        if let Some(pem) = &config.ca_certificate {
            let chain =
                Certificate::from_pem(pem.as_bytes()).map_err(EngineClientError::Certificate)?;
            builder = builder.cert_validation(CertificateValidation::Full(chain));
        }
        builder = match credentials {
            Credentials::None => builder,
            Credentials::Secret(credentials) => {
                // The crate would encode name and password anew for each request, and takes the two halves of
                // an API key separately, where engines issue the encoded form.
                let value = match credentials {
                    SearchCredentials::Basic { username, password } => {
                        let pair = format!("{username}:{}", password.expose_secret());
                        format!("Basic {}", BASE64_STANDARD.encode(pair))
                    }
                    SearchCredentials::ApiKey(key) => format!("ApiKey {}", key.expose_secret()),
                };
                let mut value = HeaderValue::from_str(&value).map_err(EngineClientError::ApiKey)?;
                value.set_sensitive(true);
                builder.header(AUTHORIZATION, value)
            }
            Credentials::SigV4 { service, aws } => {
                let credentials = opensearch::auth::Credentials::try_from(&*aws)
                    .map_err(EngineClientError::SigV4)?;
                builder.auth(credentials).service_name(&service)
            }
        };
        let transport = builder.build().map_err(EngineClientError::Transport)?;
        let host = config.endpoint.host_str().unwrap_or_default();
        let host = match config.endpoint.port_or_known_default() {
            Some(port) => format!("{host}:{port}"),
            None => host.to_owned(),
        };
        Ok(Self { transport: transport.into(), host: host.into(), is_aoss })
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
        let exchange = self.exchange(method, path, payload, deadline, |_| ());
        exchange.await.map(|(response, ())| response)
    }

    /// Like [`Self::send`], but returns what `read` makes of the response's headers too.
    pub(super) async fn exchange<H>(
        &self,
        method: Method,
        path: &str,
        payload: Payload,
        deadline: Deadline,
        read: impl FnOnce(&HeaderMap) -> H,
    ) -> Result<(EngineResponse, H), EngineError> {
        let mut headers = HeaderMap::new();
        // A response to `_bulk` is a twentieth of its request. By default the crate asks for it
        // compressed, which costs the engine more than it saves (docs/decisions.md).
        headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        let body = match payload {
            Payload::None => None,
            Payload::Json(bytes) => Some(bytes),
            Payload::Ndjson { bytes, gzip } => {
                headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-ndjson"));
                if gzip {
                    headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
                }
                Some(bytes)
            }
        };
        let exchange = async {
            let response =
                self.transport.send(method, path, headers, None::<&()>, body, None).await?;
            let status = response.status_code().as_u16();
            let headers = read(response.headers());
            let body = response.bytes().await?;
            Ok::<_, opensearch::Error>((EngineResponse { status, body }, headers))
        };
        // The crate's own limit covers neither signing nor reading the body.
        match tokio::time::timeout_at(deadline.instant(), exchange).await {
            Ok(Ok((response, _))) if response.status == 401 => {
                Err(EngineError::Unauthorized { host: self.host.to_string() })
            }
            Ok(Ok(answered)) => Ok(answered),
            Ok(Err(error)) => Err(self.unavailable(error.into())),
            Err(elapsed) => Err(self.unavailable(elapsed.into())),
        }
    }

    fn unavailable(&self, source: BoxError) -> EngineError {
        EngineError::Unavailable { host: self.host.to_string(), source }
    }
}

#[cfg(test)]
mod tests {
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

    fn engine(endpoint: Url, credentials: Credentials) -> Engine {
        let config =
            SearchConfig { endpoint, sign_in: SignIn::None, ca_certificate: None, gzip: true };
        Engine::new(&config, credentials).unwrap()
    }

    async fn get(engine: &Engine, payload: Payload) -> Result<String, EngineError> {
        let deadline = Deadline::after(Duration::from_secs(10));
        let response = engine.send(Method::Post, "/a/_bulk?b=c", payload, deadline).await?;
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
            let engine = engine(url.clone(), Credentials::Secret(credentials));
            let seen = get(&engine, Payload::None).await.unwrap();
            assert!(seen.starts_with("POST /a/_bulk?b=c\n"), "{seen}");
            assert!(seen.contains(header), "{seen}");
            assert!(!format!("{engine:?}").contains("a2V5"), "{engine:?}");
        }
        let seen = get(&engine(url, Credentials::None), Payload::None).await.unwrap();
        assert!(!seen.contains("authorization"), "{seen}");
    }

    #[tokio::test]
    async fn sigv4_signature_names_service_and_region() {
        let keys = aws_sdk_sqs::config::Credentials::new("id", "key", None, None, "test");
        let aws = SdkConfig::builder()
            .region(aws_config::Region::new("eu-west-1"))
            .credentials_provider(SharedCredentialsProvider::new(keys))
            .build();
        let credentials = Credentials::SigV4 { service: "aoss".into(), aws: Box::new(aws) };
        let engine = engine(echo().await, credentials);
        let seen = get(&engine, Payload::Json(Bytes::from_static(b"{}"))).await.unwrap();
        assert!(seen.contains("/eu-west-1/aoss/aws4_request"), "{seen}");
        assert!(seen.contains("x-amz-content-sha256: "), "{seen}");
    }

    #[tokio::test]
    async fn ndjson_payload_has_its_content_type_and_encoding() {
        let engine = engine(echo().await, Credentials::None);
        for gzip in [true, false] {
            let bytes = Bytes::from_static(b"x");
            let seen = get(&engine, Payload::Ndjson { bytes, gzip }).await.unwrap();
            assert!(seen.contains("content-type: application/x-ndjson\n"), "{seen}");
            assert_eq!(seen.contains("content-encoding: gzip\n"), gzip, "{seen}");
        }
    }

    #[tokio::test]
    async fn status_401_is_unauthorized_and_403_a_response() {
        let refuse = |status: StatusCode| any(move || async move { (status, "why") });
        let url = serve(refuse(StatusCode::UNAUTHORIZED)).await;
        let error = get(&engine(url, Credentials::None), Payload::None).await.unwrap_err();
        assert!(matches!(error, EngineError::Unauthorized { .. }), "{error}");
        let url = serve(refuse(StatusCode::FORBIDDEN)).await;
        assert_eq!(get(&engine(url, Credentials::None), Payload::None).await.unwrap(), "why");
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
        let silent = engine(url.clone(), Credentials::None);
        let deadline = Deadline::after(Duration::from_millis(50));
        let error = silent.send(Method::Get, "", Payload::None, deadline).await.unwrap_err();
        let error = chain(&error);
        assert!(error.ends_with(": deadline has elapsed"), "{error}");

        drop(listener);
        let error = get(&engine(url, Credentials::None), Payload::None).await.unwrap_err();
        let error = chain(&error);
        assert!(error.starts_with("no response from 127.0.0.1:"), "{error}");
        assert!(error.contains("Connection refused"), "{error}");
    }
}
