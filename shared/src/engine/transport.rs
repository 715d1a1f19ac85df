//! How requests get to the engine: directly, or by the crate `opensearch`.
//!
//! The crate signs requests for AWS, and finds the way through a proxy. All others are sent by the HTTP
//! client that the crate's own is built on: 46,000 instructions less per request, and no second reading of
//! the root certificates (`docs/decisions.md`).

use std::sync::Arc;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use http::uri::InvalidUri;
use http::{Request, Response, Uri};
use http_body_util::{BodyExt as _, Full};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::proxy::matcher::Matcher;
use hyper_util::rt::TokioExecutor;
use opensearch::cert::{Certificate, CertificateValidation};
use opensearch::http::Method;
use opensearch::http::headers::{
    ACCEPT_ENCODING, AUTHORIZATION, HeaderMap, HeaderValue, InvalidHeaderValue, USER_AGENT,
};
use opensearch::http::transport::{
    BuildError, SingleNodeConnectionPool, Transport as CrateTransport, TransportBuilder,
};
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use secrecy::ExposeSecret as _;

use super::credentials::Credentials;
use crate::error::BoxError;
use crate::start::config::SearchConfig;
use crate::start::http::{CONNECT_TIMEOUT, OUR_USER_AGENT, ROOT_CERTIFICATES, tls};
use crate::start::secrets::SearchCredentials;

/// Why settings and credentials do not make a client.
#[derive(Debug, thiserror::Error)]
pub enum EngineClientError {
    /// `SEARCH_CA_CERTIFICATE` is not a certificate.
    #[error("SEARCH_CA_CERTIFICATE cannot be used")]
    Certificate(#[source] BoxError),
    /// The API key holds characters that a header cannot.
    #[error("the API key cannot be sent in a header")]
    ApiKey(#[source] InvalidHeaderValue),
    /// The AWS configuration lacks a region or credentials.
    #[error("requests cannot be signed")]
    SigV4(#[source] opensearch::Error),
    /// `SEARCH_ENDPOINT` is a URL that no request can be sent to.
    #[error("SEARCH_ENDPOINT cannot be used")]
    Endpoint(#[source] InvalidUri),
    /// TLS cannot be set up.
    #[error("TLS cannot be set up")]
    Tls(#[source] rustls::Error),
    /// The crate's HTTP client cannot be built.
    #[error("the engine's client cannot be set up")]
    Crate(#[source] BuildError),
}

/// How a request gets to the engine; cheap to clone.
#[derive(Clone)]
pub(super) enum Transport {
    Direct(Arc<Direct>),
    Crate(Arc<CrateTransport>),
}

impl Transport {
    /// Prepares the way to `config.endpoint`; `proxies` are those of the environment. Nothing is sent yet.
    pub(super) fn new(
        config: &SearchConfig,
        credentials: Credentials,
        proxies: &Matcher,
    ) -> Result<Self, EngineClientError> {
        let authorization = match credentials {
            Credentials::SigV4 { service, aws } => {
                let credentials = opensearch::auth::Credentials::try_from(&*aws)
                    .map_err(EngineClientError::SigV4)?;
                return by_crate(config, |it| it.auth(credentials).service_name(&service));
            }
            Credentials::Secret(credentials) => Some(authorization(credentials)?),
            Credentials::None => None,
        };
        let mut endpoint = config.endpoint.clone();
        if !endpoint.path().ends_with('/') {
            endpoint.set_path(&format!("{}/", endpoint.path()));
        }
        let endpoint = endpoint.as_str().parse().map_err(EngineClientError::Endpoint)?;
        if proxies.intercept(&endpoint).is_some() {
            return by_crate(config, |it| match authorization {
                Some(value) => it.header(AUTHORIZATION, value),
                None => it,
            });
        }
        Ok(Self::Direct(Direct::new(config, endpoint, authorization)?.into()))
    }

    /// Sends one request to `path` (which may have a query) and reads the complete response. `headers` add
    /// to those that all requests have.
    pub(super) async fn send(
        &self,
        method: Method,
        path: &str,
        headers: HeaderMap,
        body: Option<Bytes>,
    ) -> Result<Response<Bytes>, BoxError> {
        match self {
            Self::Direct(direct) => direct.send(method, path, headers, body).await,
            Self::Crate(transport) => {
                let sent = transport.send(method, path, headers, None::<&()>, body, None);
                let received = sent.await?;
                let mut response = Response::new(Bytes::new());
                *response.status_mut() = received.status_code();
                *response.headers_mut() = received.headers().clone();
                *response.body_mut() = received.bytes().await?;
                Ok(response)
            }
        }
    }
}

/// Returns the value of `Authorization`. The crate would encode name and password anew for each request, and
/// takes the two halves of an API key separately, where engines issue the encoded form.
fn authorization(credentials: SearchCredentials) -> Result<HeaderValue, EngineClientError> {
    let value = match credentials {
        SearchCredentials::Basic { username, password } => {
            let pair = format!("{username}:{}", password.expose_secret());
            format!("Basic {}", BASE64_STANDARD.encode(pair))
        }
        SearchCredentials::ApiKey(key) => format!("ApiKey {}", key.expose_secret()),
    };
    let mut value = HeaderValue::from_str(&value).map_err(EngineClientError::ApiKey)?;
    value.set_sensitive(true);
    Ok(value)
}

/// Prepares the crate's transport, which `sign_in` completes.
fn by_crate(
    config: &SearchConfig,
    sign_in: impl FnOnce(TransportBuilder) -> TransportBuilder,
) -> Result<Transport, EngineClientError> {
    let pool = SingleNodeConnectionPool::new(config.endpoint.clone());
    let mut builder = TransportBuilder::new(pool)
        .header(USER_AGENT, HeaderValue::from_static(OUR_USER_AGENT))
        // By default, the crate asks for a compressed response, which costs the engine more than it saves
        // (docs/decisions.md).
        .header(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    if let Some(pem) = &config.ca_certificate {
        let chain = Certificate::from_pem(pem.as_bytes())
            .map_err(|error| EngineClientError::Certificate(error.into()))?;
        builder = builder.cert_validation(CertificateValidation::Full(chain));
    }
    let transport = sign_in(builder).build().map_err(EngineClientError::Crate)?;
    Ok(Transport::Crate(transport.into()))
}

/// The HTTP client without the crate. It follows no redirect, which could carry the credentials elsewhere.
pub(super) struct Direct {
    client: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
    /// With a path that ends in a slash.
    endpoint: Uri,
    authorization: Option<HeaderValue>,
}

impl Direct {
    fn new(
        config: &SearchConfig,
        endpoint: Uri,
        authorization: Option<HeaderValue>,
    ) -> Result<Self, EngineClientError> {
        let roots = match &config.ca_certificate {
            Some(pem) => roots_and(pem).map_err(EngineClientError::Certificate)?,
            None => Arc::clone(&ROOT_CERTIFICATES),
        };
        let mut connector = HttpConnector::new();
        connector.enforce_http(false);
        connector.set_nodelay(true);
        connector.set_connect_timeout(Some(CONNECT_TIMEOUT));
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(tls(roots).map_err(EngineClientError::Tls)?)
            .https_or_http()
            .enable_http1()
            .wrap_connector(connector);
        let client = Client::builder(TokioExecutor::new()).build(connector);
        Ok(Self { client, endpoint, authorization })
    }

    async fn send(
        &self,
        method: Method,
        path: &str,
        mut headers: HeaderMap,
        body: Option<Bytes>,
    ) -> Result<Response<Bytes>, BoxError> {
        headers.insert(USER_AGENT, HeaderValue::from_static(OUR_USER_AGENT));
        if let Some(authorization) = &self.authorization {
            headers.insert(AUTHORIZATION, authorization.clone());
        }
        let mut uri = self.endpoint.clone().into_parts();
        uri.path_and_query = Some([self.endpoint.path(), path].concat().try_into()?);
        let mut request = Request::new(Full::from(body.unwrap_or_default()));
        *request.method_mut() = match method {
            Method::Get => http::Method::GET,
            Method::Put => http::Method::PUT,
            Method::Post => http::Method::POST,
            Method::Delete => http::Method::DELETE,
            Method::Head => http::Method::HEAD,
        };
        *request.uri_mut() = Uri::from_parts(uri)?;
        *request.headers_mut() = headers;
        let (head, body) = self.client.request(request).await?.into_parts();
        Ok(Response::from_parts(head, body.collect().await?.to_bytes()))
    }
}

/// Returns the system's root certificates and those of `pem`.
fn roots_and(pem: &str) -> Result<Arc<RootCertStore>, BoxError> {
    let mut roots = RootCertStore::clone(&ROOT_CERTIFICATES);
    for certificate in CertificateDer::pem_slice_iter(pem.as_bytes()) {
        roots.add(certificate?)?;
    }
    Ok(roots.into())
}
