//! The HTTP client for AWS's services and Auth0, made once at start, and the TLS settings that the engine's
//! client shares.
//!
//! The AWS SDK and `reqwest` would each load the system's root certificates for every client, and from
//! every place that may hold them: 18 million instructions each time, most of a cold start. Here they
//! are loaded once, from one place.

use std::sync::{Arc, LazyLock};
use std::time::Duration;
use std::{env, fs};

use aws_config::environment::EnvironmentVariableCredentialsProvider;
use aws_config::{BehaviorVersion, SdkConfig};
use aws_smithy_runtime_api::client::http::{
    HttpConnector, HttpConnectorFuture, SharedHttpClient, SharedHttpConnector, http_client_fn,
};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_types::body::SdkBody;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use reqwest::{Client, redirect};
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::CertificateDer;
use rustls::{ClientConfig, RootCertStore};

use crate::error::BoxError;

/// Why there is no HTTP client.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The cryptography provider lacks the default protocol versions.
    #[error("TLS cannot be set up")]
    Protocol(#[from] rustls::Error),
    /// The client rejects its configuration.
    #[error("the HTTP client cannot be set up")]
    Client(#[from] reqwest::Error),
}

/// Time to connect: enough for one retransmission of a lost packet, which comes after a second. The
/// caller limits the whole call.
pub(crate) const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

/// The `User-Agent` of our requests.
pub(crate) const OUR_USER_AGENT: &str = concat!("auth0-log-streams/", env!("CARGO_PKG_VERSION"));

/// The root certificates that we trust, loaded on first use.
pub(crate) static ROOT_CERTIFICATES: LazyLock<Arc<RootCertStore>> =
    LazyLock::new(|| root_certificates().into());

/// Creates the client; its clones share its connections.
///
/// Certificates are verified against the system's root certificates, or those that `SSL_CERT_FILE` and
/// `SSL_CERT_DIR` name. Redirects are not followed: neither AWS nor Auth0's API sends any, and none may
/// carry a request with its credentials elsewhere.
///
/// # Errors
/// TLS cannot be set up.
pub fn client() -> Result<Client, TlsError> {
    Ok(Client::builder()
        .tls_backend_preconfigured(tls(Arc::clone(&ROOT_CERTIFICATES))?)
        .user_agent(OUR_USER_AGENT)
        .connect_timeout(CONNECT_TIMEOUT)
        .redirect(redirect::Policy::none())
        .build()?)
}

/// Returns the TLS side of a client that trusts `roots`.
pub(crate) fn tls(roots: Arc<RootCertStore>) -> Result<ClientConfig, rustls::Error> {
    Ok(ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth())
}

/// Loads the AWS SDK's configuration from the environment; `client` makes its calls.
///
/// In Lambda, that includes the credentials. The SDK's chain, which looks for them in six places, would be a
/// twentieth of a start, so it is built only where the environment has none.
pub async fn aws(client: &Client) -> SdkConfig {
    let loader = aws_config::defaults(BehaviorVersion::latest()).http_client(sdk_client(client));
    let loader = match env::var_os("AWS_ACCESS_KEY_ID") {
        Some(id) if !id.is_empty() => {
            loader.credentials_provider(EnvironmentVariableCredentialsProvider::new())
        }
        _ => loader,
    };
    loader.load().await
}

/// Adapts `client` to the AWS SDK.
#[must_use]
pub fn sdk_client(client: &Client) -> SharedHttpClient {
    let connector = SharedHttpConnector::new(Connector(client.clone()));
    http_client_fn(move |_, _| connector.clone())
}

/// Loads the system's root certificates. A bundle file, as on Amazon Linux and Debian, is enough: the
/// directories next to it hold the same certificates again, each in its own file.
fn root_certificates() -> RootCertStore {
    let mut roots = RootCertStore::empty();
    if env::var_os("SSL_CERT_DIR").is_none()
        && let Some(bundle) = openssl_probe::probe().cert_file
        && let Ok(pem) = fs::read_to_string(bundle)
    {
        roots.add_parsable_certificates(certificates(&pem));
    }
    if roots.is_empty() {
        let found = rustls_native_certs::load_native_certs();
        let (usable, _) = roots.add_parsable_certificates(found.certs);
        if usable == 0 {
            tracing::warn!(errors = ?found.errors, "no root certificates were found");
        }
    }
    roots
}

/// Returns the certificates of a bundle in PEM. `rustls-pki-types`, which reads a byte at a time, takes three
/// times as many instructions: 5 million more of a cold start (`docs/decisions.md`).
fn certificates(pem: &str) -> impl Iterator<Item = CertificateDer<'static>> {
    pem.split("-----BEGIN CERTIFICATE-----").skip(1).filter_map(|block| {
        let (base64, _) = block.split_once("-----END CERTIFICATE-----")?;
        Some(BASE64.decode(base64.lines().collect::<String>()).ok()?.into())
    })
}

/// Sends the AWS SDK's requests. The SDK's own connect timeout is ignored: the client has one.
#[derive(Debug)]
struct Connector(Client);

impl HttpConnector for Connector {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let client = self.0.clone();
        HttpConnectorFuture::new(async move {
            // A streaming body could not be sent, but all requests of ours are in memory.
            let (parts, body) = request.try_into_http1x().map_err(user)?.into_parts();
            let body = body.bytes().map(Bytes::copy_from_slice);
            let body = body.ok_or_else(|| user("the body is not in memory"))?;
            let request = http::Request::from_parts(parts, body).try_into().map_err(user)?;

            let received = client.execute(request).await.map_err(no_response)?;
            let mut response = http::Response::new(SdkBody::empty());
            *response.status_mut() = received.status();
            *response.headers_mut() = received.headers().clone();
            *response.body_mut() = SdkBody::from(received.bytes().await.map_err(no_response)?);
            HttpResponse::try_from(response)
                .map_err(|error| ConnectorError::other(error.into(), None))
        })
    }
}

fn user(error: impl Into<BoxError>) -> ConnectorError {
    ConnectorError::user(error.into())
}

/// The SDK retries after both kinds of error.
fn no_response(error: reqwest::Error) -> ConnectorError {
    if error.is_timeout() {
        ConnectorError::timeout(error.into())
    } else {
        ConnectorError::io(error.into())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use axum::Router;
    use axum::extract::Request;
    use axum::http::StatusCode;
    use axum::routing::any;
    use tokio::net::TcpListener;

    use super::*;

    async fn call(url: &str) -> Result<HttpResponse, ConnectorError> {
        let mut request = HttpRequest::new(SdkBody::from("body"));
        request.set_method("POST").unwrap();
        request.set_uri(url.to_owned()).unwrap();
        request.headers_mut().insert("x-amz-target", "service.Operation");
        Connector(client().unwrap()).call(request).await
    }

    #[tokio::test]
    async fn connector_passes_request_and_response_complete() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/path?query", listener.local_addr().unwrap());
        let echo = any(|request: Request| async move {
            let head = format!("{} {}", request.method(), request.uri());
            let target = request.headers()["x-amz-target"].clone();
            let body = axum::body::to_bytes(request.into_body(), 100).await.unwrap();
            let text = format!("{head} {}", String::from_utf8_lossy(&body));
            (StatusCode::BAD_REQUEST, [("x-target", target)], text)
        });
        tokio::spawn(async move { axum::serve(listener, Router::new().fallback(echo)).await });

        let response = call(&url).await.unwrap();
        assert_eq!(response.status().as_u16(), 400);
        assert_eq!(response.headers().get("x-target"), Some("service.Operation"));
        assert_eq!(response.body().bytes(), Some(b"POST /path?query body".as_slice()));
    }

    #[tokio::test]
    async fn missing_response_is_an_error_that_the_sdk_retries() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        drop(listener);
        let error = call(&url).await.unwrap_err();
        assert!(error.is_io(), "{error}");
    }

    #[test]
    fn root_certificates_are_all_those_of_the_systems_bundle() {
        let bundle = openssl_probe::probe().cert_file.expect("this system has a bundle file");
        let bundle = std::fs::read_to_string(bundle).unwrap();
        let blocks = bundle.split("-----BEGIN CERTIFICATE-----").skip(1);
        let distinct: HashSet<&str> = blocks.filter_map(|b| b.split("-----END").next()).collect();
        assert!(!distinct.is_empty());
        // There may be more: `SSL_CERT_DIR` adds a directory's.
        assert!(root_certificates().len() >= distinct.len(), "{} in the bundle", distinct.len());
    }
}
