//! Token → body → ship, unless an outage is known → park the rest → status. A 2xx means that every event of the body is durable.

use std::io::Read as _;
use std::time::Duration;

use auth0_ecs::Input;
use auth0_ecs::geoip::GeoIpError;
use aws_config::SdkConfig;
use bytes::Bytes;
use chrono::{DateTime, Utc};
use flate2::read::MultiGzDecoder;
use lambda_http::http::header::{ALLOW, CONTENT_TYPE, RETRY_AFTER};
use lambda_http::http::{HeaderValue, StatusCode};
use lambda_http::{Body, Response};
use secrecy::ExposeSecret as _;
use serde::Serialize;
use serde_json::json;
use shared::clock;
use shared::delivery::incoming::Incoming;
use shared::delivery::intake::Admitted;
use shared::delivery::report::Report;
use shared::delivery::ship::{NotJsonError, Shipper, split_body};
use shared::delivery::shipment::Shipment;
use shared::error::chain;
use shared::metrics::{Function, Metrics};
use shared::retry::Deadline;
use shared::start::config::WebhookConfig;
use shared::start::secrets::Secrets;
use shared::start::sources::AllowedSources;
use shared::start::token::WebhookToken;
use tokio::time::Instant;

use crate::breaker::Breaker;
use crate::invocation::Request;

/// Upper bound for a body as sent, in bytes. With API Gateway, Lambda's limit of 6 MB comes first.
const MAX_BODY: usize = 10 * 1024 * 1024;

/// Upper bound for an unpacked body, in bytes.
const MAX_UNPACKED: u64 = 64 * 1024 * 1024;

/// Upper bound for [`Webhook::prepare`]. The INIT phase may take 10 s.
const PREPARE_TIME: Duration = Duration::from_secs(3);

/// Upper bound for a request. API Gateway waits 30 s, Auth0 less.
const MAX_REQUEST_TIME: Duration = Duration::from_secs(20);

/// The engine's share of it. What is unwritten by then is parked.
const WRITE_TIME: Duration = Duration::from_secs(8);

/// The queue's share, reserved while writing.
const PARK_TIME: Duration = Duration::from_secs(5);

/// `Retry-After` of a 503, in seconds.
const RETRY_AFTER_SECONDS: HeaderValue = HeaderValue::from_static("30");

/// Everything that outlives an invocation.
pub struct Webhook {
    stack: String,
    path: String,
    allowed_sources: AllowedSources,
    token: WebhookToken,
    shipper: Shipper,
    breaker: Breaker,
}

/// Why a request is rejected: the status, and the public text, which reveals nothing internal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Rejection(StatusCode, &'static str);

impl Rejection {
    const UNKNOWN_PATH: Self = Self(StatusCode::NOT_FOUND, "unknown path");
    const NOT_POST: Self = Self(StatusCode::METHOD_NOT_ALLOWED, "only POST is allowed");
    const WRONG_TOKEN: Self =
        Self(StatusCode::UNAUTHORIZED, "missing or invalid Authorization header");
    const FOREIGN_SOURCE: Self = Self(StatusCode::FORBIDDEN, "source address is not allowed");
    const UNSUPPORTED_ENCODING: Self =
        Self(StatusCode::UNSUPPORTED_MEDIA_TYPE, "Content-Encoding must be gzip or identity");
    const TOO_LARGE: Self = Self(StatusCode::PAYLOAD_TOO_LARGE, "body too large");
    const UNREADABLE: Self = Self(StatusCode::BAD_REQUEST, "the gateway's event is not valid JSON");
    const INVALID_GZIP: Self = Self(StatusCode::BAD_REQUEST, "body is not valid gzip");
    const NOT_JSON: Self = Self(StatusCode::BAD_REQUEST, "body contains no JSON");
    const TOKEN_UNAVAILABLE: Self =
        Self(StatusCode::SERVICE_UNAVAILABLE, "token cannot be verified, try again later");
    const NOT_DURABLE: Self =
        Self(StatusCode::SERVICE_UNAVAILABLE, "events cannot be stored, try again later");
}

/// The body of a 200: what became of the events.
#[derive(Clone, Debug, Serialize)]
struct Counts {
    #[serde(flatten)]
    report: Report,
    parked: usize,
}

impl Webhook {
    /// Opens the GeoIP files. Nothing is requested before the first request.
    ///
    /// # Errors
    /// A configured GeoIP file cannot be used.
    pub fn new(config: &WebhookConfig, aws: &SdkConfig) -> Result<Self, GeoIpError> {
        Ok(Self {
            stack: config.pipeline.stack.clone(),
            path: config.path.clone(),
            allowed_sources: config.allowed_sources.clone(),
            token: WebhookToken::new(Secrets::new(aws), config.secret_id.clone()),
            shipper: Shipper::new(&config.pipeline, aws)?,
            breaker: Breaker::default(),
        })
    }

    /// Reads the secrets and makes the engine's client ahead of the first request: Lambda's INIT phase has a
    /// whole processor, an invocation a share of one. What fails is tried again by the first request.
    pub async fn prepare(&self) {
        let deadline = Deadline::after(PREPARE_TIME);
        let token = tokio::time::timeout_at(deadline.instant(), self.token.prepare());
        let ((), token) = tokio::join!(self.shipper.prepare(deadline), token);
        drop(token);
    }

    /// Answers one request of Auth0's, or what could not be read as one.
    pub async fn handle(&self, request: Option<Request>) -> Response<Body> {
        let received = clock::now();
        let mut metrics = Metrics::default();
        let response = match self.accept(request.as_ref(), received, &mut metrics).await {
            Ok(counts) => json_response(StatusCode::OK, &counts),
            Err(rejection) => {
                let Rejection(status, reason) = rejection;
                tracing::warn!(status = status.as_u16(), reason, "request rejected");
                metrics.unauthorized += usize::from(rejection == Rejection::WRONG_TOKEN);
                let mut response = json_response(status, &json!({ "error": reason }));
                if status == StatusCode::SERVICE_UNAVAILABLE {
                    response.headers_mut().insert(RETRY_AFTER, RETRY_AFTER_SECONDS);
                }
                if rejection == Rejection::NOT_POST {
                    response.headers_mut().insert(ALLOW, HeaderValue::from_static("POST"));
                }
                response
            }
        };
        let now = clock::now();
        metrics.took_ms = Some((now - received).num_milliseconds());
        metrics.emit(&self.stack, Function::Webhook, now);
        response
    }

    async fn accept(
        &self,
        request: Option<&Request>,
        received: DateTime<Utc>,
        metrics: &mut Metrics,
    ) -> Result<Counts, Rejection> {
        let request = request.ok_or(Rejection::UNREADABLE)?;
        let deadline =
            Deadline::from_epoch_millis(request.deadline, received).at_most(MAX_REQUEST_TIME);
        if request.path != self.path {
            return Err(Rejection::UNKNOWN_PATH);
        }
        if request.method != "POST" {
            return Err(Rejection::NOT_POST);
        }
        self.check_token(request).await?;
        let body = unpack(request)?;
        metrics.bytes = Some(body.len());

        let admitted = self.admit(&body, received, deadline).await?;
        let Shipment { mut report, unwritten, failure } = self.write(&admitted, deadline).await;
        report.count_filtered(&admitted);
        metrics.report.add(&report);
        if let Some(failure) = failure {
            let events = unwritten.len();
            tracing::error!(events, error = %chain(&failure), "events not stored, parking them");
        }
        self.park(&unwritten, deadline).await?;
        metrics.parked = unwritten.len();
        Ok(Counts { report, parked: unwritten.len() })
    }

    /// Returns the events of a body that go on. While they cannot be masked, the body has to be sent again: not
    /// even the queue may have them as they are.
    async fn admit<'b>(
        &self,
        body: &'b [u8],
        received: DateTime<Utc>,
        deadline: Deadline,
    ) -> Result<Admitted<'b>, Rejection> {
        let events = split_body(body, Input::HttpEndpoint, received);
        let events = events.map_err(|NotJsonError| Rejection::NOT_JSON)?;
        self.shipper.intake.admit(events, deadline.at_most(WRITE_TIME)).await.map_err(|error| {
            tracing::error!(error = %chain(&error), "user data cannot be masked");
            Rejection::NOT_DURABLE
        })
    }

    /// Writes events, unless an outage is under way: then they are all unwritten.
    async fn write<'a>(&self, admitted: &'a Admitted<'_>, deadline: Deadline) -> Shipment<'a> {
        let events = admitted.events();
        // A batch of unwanted events is no probe.
        if admitted.is_empty() || !self.breaker.lets_through(Instant::now()) {
            return Shipment::unsent(events);
        }
        let writing = deadline.minus(PARK_TIME).at_most(WRITE_TIME);
        let shipment = self.shipper.ship_events(events, writing).await;
        if shipment.is_outage() {
            self.breaker.failed(Instant::now());
        } else {
            self.breaker.succeeded(Instant::now());
        }
        shipment
    }

    async fn park(&self, events: &[Incoming<'_>], deadline: Deadline) -> Result<(), Rejection> {
        self.shipper.park(events, deadline).await.map_err(|error| {
            let events = events.len();
            tracing::error!(events, error = %chain(&error), "parking events failed");
            self.breaker.probe_next(Instant::now());
            Rejection::NOT_DURABLE
        })
    }

    async fn check_token(&self, request: &Request) -> Result<(), Rejection> {
        let authorization = request.authorization.as_ref();
        let authorization = authorization.map_or("", |value| value.expose_secret());
        let source_ip = request.source_ip.as_deref();
        match self.token.verify(authorization.as_bytes()).await {
            // After the token: so a 403 is either Auth0 at a new address, or somebody else with the token.
            Ok(true) if self.allowed_sources.allow(source_ip) => Ok(()),
            Ok(true) => Err(Rejection::FOREIGN_SOURCE),
            Ok(false) => Err(Rejection::WRONG_TOKEN),
            Err(error) => {
                tracing::error!(error = %chain(&error), "webhook token unavailable");
                Err(Rejection::TOKEN_UNAVAILABLE)
            }
        }
    }
}

/// Returns the body with its Content-Encoding undone.
fn unpack(request: &Request) -> Result<Bytes, Rejection> {
    let body = &request.body;
    if body.len() > MAX_BODY {
        return Err(Rejection::TOO_LARGE);
    }
    match request.content_encoding.trim() {
        "" | "identity" => Ok(body.clone()),
        encoding if encoding.eq_ignore_ascii_case("gzip") => {
            let mut bytes = Vec::new();
            MultiGzDecoder::new(body.as_ref())
                .take(MAX_UNPACKED + 1)
                .read_to_end(&mut bytes)
                .map_err(|_| Rejection::INVALID_GZIP)?;
            if bytes.len() as u64 > MAX_UNPACKED {
                return Err(Rejection::TOO_LARGE);
            }
            Ok(bytes.into())
        }
        _ => Err(Rejection::UNSUPPORTED_ENCODING),
    }
}

fn json_response(status: StatusCode, body: &impl Serialize) -> Response<Body> {
    #[expect(clippy::expect_used, reason = "counts and a text have no keys that JSON lacks")]
    let body = serde_json::to_string(body).expect("numbers and text are JSON");
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use flate2::Compression;
    use flate2::write::GzEncoder;

    use super::*;

    fn request(body: Vec<u8>, encoding: &str) -> Request {
        let content_encoding = encoding.into();
        Request { content_encoding, body: body.into(), ..Request::default() }
    }

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn body_is_unpacked_by_its_encoding() {
        assert_eq!(unpack(&request(gzip(b"[]"), "gzip")).unwrap(), "[]");
        assert_eq!(unpack(&request(b"[]".to_vec(), "identity")).unwrap(), "[]");
        assert_eq!(unpack(&request(b"[]".to_vec(), "gzip")), Err(Rejection::INVALID_GZIP));
        assert_eq!(unpack(&request(b"[]".to_vec(), "br")), Err(Rejection::UNSUPPORTED_ENCODING));
    }

    #[test]
    fn body_is_bounded_packed_and_unpacked() {
        let body = vec![b' '; MAX_BODY + 1];
        assert_eq!(unpack(&request(body, "")), Err(Rejection::TOO_LARGE));
        let bomb = gzip(&vec![b' '; usize::try_from(MAX_UNPACKED).unwrap() + 1]);
        assert!(bomb.len() < MAX_BODY);
        assert_eq!(unpack(&request(bomb, "gzip")), Err(Rejection::TOO_LARGE));
    }
}
