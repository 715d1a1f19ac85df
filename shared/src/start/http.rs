//! The HTTP client for AWS's services and Auth0: one for all, made once at start.
//!
//! The AWS SDK and `reqwest` would each read the system's certificate authorities on their own, per
//! client, and from every place where they may be: 18 million instructions each time, most of a cold
//! start. Here they are read once, from one place.

use std::sync::Arc;
use std::time::Duration;

use aws_config::{BehaviorVersion, SdkConfig};
use aws_smithy_runtime_api::client::http::{
    HttpConnector, HttpConnectorFuture, SharedHttpClient, SharedHttpConnector, http_client_fn,
};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_types::body::SdkBody;
use bytes::Bytes;
use reqwest::{Client, redirect};
use rustls::crypto::aws_lc_rs;
use rustls::{ClientConfig, RootCertStore};

/// Why there is no client.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The cryptographic provider lacks the protocol versions.
    #[error("TLS cannot be set up")]
    Protocol(#[from] rustls::Error),
    /// The client does not take the TLS configuration.
    #[error("the HTTP client cannot be set up")]
    Client(#[from] reqwest::Error),
}

/// Enough for one repeat of a lost packet, which comes after a second. What a whole call may take is
/// the caller's to say.
const CONNECTING: Duration = Duration::from_secs(2);

/// The client; its clones share its connections.
///
/// Certificates are verified against the system's authorities, or those that `SSL_CERT_FILE` and
/// `SSL_CERT_DIR` name. Redirects are answers: neither AWS nor Auth0's API sends any, and none may
/// carry a request with its credentials elsewhere.
///
/// # Errors
/// TLS cannot be set up.
pub fn client() -> Result<Client, TlsError> {
    let tls = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_root_certificates(authorities())
        .with_no_client_auth();
    Ok(Client::builder()
        .tls_backend_preconfigured(tls)
        .user_agent(concat!("auth0-log-streams/", env!("CARGO_PKG_VERSION")))
        .connect_timeout(CONNECTING)
        .redirect(redirect::Policy::none())
        .build()?)
}

/// The AWS SDK's configuration from the environment, with `client` for its calls.
pub async fn aws(client: &Client) -> SdkConfig {
    aws_config::defaults(BehaviorVersion::latest()).http_client(sdk_client(client)).load().await
}

/// `client` in the form that the AWS SDK takes.
#[must_use]
pub fn sdk_client(client: &Client) -> SharedHttpClient {
    let connector = SharedHttpConnector::new(Connector(client.clone()));
    http_client_fn(move |_, _| connector.clone())
}

/// Where there is a file with all of them, as on Amazon Linux and Debian, that is enough: the folders
/// beside it hold the same ones again, each in a file of its own.
fn authorities() -> RootCertStore {
    let bundle = openssl_probe::probe().cert_file;
    let found = match bundle {
        Some(file) if !openssl_probe::has_ssl_cert_env_vars() => {
            rustls_native_certs::load_certs_from_paths(Some(&file), None)
        }
        _ => rustls_native_certs::load_native_certs(),
    };
    let mut authorities = RootCertStore::empty();
    let (usable, _) = authorities.add_parsable_certificates(found.certs);
    if usable == 0 {
        tracing::warn!(errors = ?found.errors, "no certificate authorities were found");
    }
    authorities
}

/// Carries the AWS SDK's requests. Its time limits are not for connecting alone, so that the client's
/// own limit does for all.
#[derive(Debug)]
struct Connector(Client);

impl HttpConnector for Connector {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let client = self.0.clone();
        HttpConnectorFuture::new(async move {
            // Our requests have their bodies in memory; one that had not could not be sent.
            let (parts, body) = request.try_into_http1x().map_err(user)?.into_parts();
            let body = body.bytes().map(Bytes::copy_from_slice);
            let body = body.ok_or_else(|| user("the body is not in memory"))?;
            let request = http::Request::from_parts(parts, body).try_into().map_err(user)?;

            let answer = client.execute(request).await.map_err(no_answer)?;
            let mut response = http::Response::new(SdkBody::empty());
            *response.status_mut() = answer.status();
            *response.headers_mut() = answer.headers().clone();
            *response.body_mut() = SdkBody::from(answer.bytes().await.map_err(no_answer)?);
            HttpResponse::try_from(response)
                .map_err(|error| ConnectorError::other(error.into(), None))
        })
    }
}

fn user(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> ConnectorError {
    ConnectorError::user(error.into())
}

/// The SDK tries again after both.
fn no_answer(error: reqwest::Error) -> ConnectorError {
    if error.is_timeout() {
        ConnectorError::timeout(error.into())
    } else {
        ConnectorError::io(error.into())
    }
}

#[cfg(test)]
mod tests {
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
    async fn the_sdks_requests_and_the_answers_arrive_whole() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/path?query", listener.local_addr().unwrap());
        let echo = any(|request: Request| async move {
            let head = format!("{} {}", request.method(), request.uri());
            let target = request.headers()["x-amz-target"].clone();
            let body = axum::body::to_bytes(request.into_body(), 100).await.unwrap();
            let answer = format!("{head} {}", String::from_utf8_lossy(&body));
            (StatusCode::BAD_REQUEST, [("x-target", target)], answer)
        });
        tokio::spawn(async move { axum::serve(listener, Router::new().fallback(echo)).await });

        let answer = call(&url).await.unwrap();
        assert_eq!(answer.status().as_u16(), 400);
        assert_eq!(answer.headers().get("x-target"), Some("service.Operation"));
        assert_eq!(answer.body().bytes(), Some(b"POST /path?query body".as_slice()));
    }

    #[tokio::test]
    async fn no_answer_is_an_error_after_which_the_sdk_tries_again() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        drop(listener);
        let error = call(&url).await.unwrap_err();
        assert!(error.is_io(), "{error}");
    }

    #[test]
    fn the_systems_authorities_are_found() {
        assert!(!authorities().is_empty());
    }
}
