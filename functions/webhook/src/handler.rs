//! Token → body → ship → park what is left → status. 2xx is only answered when every event of the
//! body is durable.

use std::io::Read as _;
use std::time::Duration;

use auth0_ecs::Input;
use auth0_ecs::geoip::GeoIpError;
use aws_config::SdkConfig;
use bytes::Bytes;
use chrono::{DateTime, Utc};
use flate2::read::MultiGzDecoder;
use lambda_http::http::header::{
    ALLOW, AUTHORIZATION, CONTENT_ENCODING, CONTENT_TYPE, RETRY_AFTER,
};
use lambda_http::http::{HeaderValue, Method, Request, StatusCode};
use lambda_http::{Body, RequestExt as _, Response};
use serde_json::{Value, json};
use shared::clock;
use shared::delivery::frames::Origin;
use shared::delivery::queue::Queue;
use shared::delivery::report::Report;
use shared::delivery::ship::{NotJsonError, Shipper};
use shared::delivery::shipment::Shipment;
use shared::error::chain;
use shared::metrics::{Function, Metrics};
use shared::retry::Deadline;
use shared::start::config::WebhookConfig;
use shared::start::secrets::Secrets;
use shared::start::token::WebhookToken;

/// The largest body that is taken as sent, in bytes; behind API Gateway, Lambda's own limit of 6 MB
/// comes first.
const MAX_BODY: usize = 10 * 1024 * 1024;

/// The largest body that is unpacked, in bytes.
const MAX_UNPACKED: u64 = 64 * 1024 * 1024;

/// All of a request: API Gateway waits for 30 s, and Auth0 for less.
const WHOLE_REQUEST: Duration = Duration::from_secs(20);

/// The engine's share of it; after that, what is left is parked.
const WRITING: Duration = Duration::from_secs(8);

/// The queue's share, which writing must leave over.
const PARKING: Duration = Duration::from_secs(5);

/// When a sender that was turned away should come again, in seconds.
const COME_AGAIN: HeaderValue = HeaderValue::from_static("30");

/// The function's parts, built once at cold start.
pub(crate) struct Webhook {
    path: String,
    token: WebhookToken,
    shipper: Shipper,
    retry_queue: Queue,
}

/// Why a request is turned away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rejection {
    NoSuchPath,
    NotPost,
    WrongToken,
    UnknownEncoding,
    TooLarge,
    BrokenEncoding,
    NotJson,
    TokenUnknown,
    NotDurable,
}

impl Rejection {
    /// Status and public text, which say nothing of the inside.
    const fn answer(self) -> (StatusCode, &'static str) {
        match self {
            Self::NoSuchPath => (StatusCode::NOT_FOUND, "there is nothing at this path"),
            Self::NotPost => (StatusCode::METHOD_NOT_ALLOWED, "only POST is served"),
            Self::WrongToken => (StatusCode::UNAUTHORIZED, "the Authorization header is wrong"),
            Self::UnknownEncoding => {
                (StatusCode::UNSUPPORTED_MEDIA_TYPE, "the only Content-Encoding served is gzip")
            }
            Self::TooLarge => (StatusCode::PAYLOAD_TOO_LARGE, "the body is too large"),
            Self::BrokenEncoding => (StatusCode::BAD_REQUEST, "the body is not gzip"),
            Self::NotJson => (StatusCode::BAD_REQUEST, "nothing in the body is JSON"),
            Self::TokenUnknown => {
                (StatusCode::SERVICE_UNAVAILABLE, "the token cannot be checked now")
            }
            Self::NotDurable => {
                (StatusCode::SERVICE_UNAVAILABLE, "the events cannot be stored now")
            }
        }
    }
}

impl Webhook {
    pub(crate) fn new(config: &WebhookConfig, aws: &SdkConfig) -> Result<Self, GeoIpError> {
        Ok(Self {
            path: config.path.clone(),
            token: WebhookToken::new(Secrets::new(aws), config.secret_id.clone()),
            shipper: Shipper::new(&config.pipeline, aws)?,
            retry_queue: Queue::new(aws, config.retry_queue_url.clone()),
        })
    }

    pub(crate) async fn handle(&self, request: Request<Bytes>) -> Response<Body> {
        let received = clock::now();
        let mut metrics = Metrics::default();
        let answer = match self.take(&request, received, &mut metrics).await {
            Ok(accepted) => answer(StatusCode::OK, &accepted),
            Err(rejection) => {
                let (status, text) = rejection.answer();
                tracing::warn!(
                    status = status.as_u16(),
                    reason = text,
                    "a request was turned away"
                );
                metrics.unauthorized += usize::from(rejection == Rejection::WrongToken);
                let mut answer = answer(status, &json!({ "error": text }));
                if status == StatusCode::SERVICE_UNAVAILABLE {
                    answer.headers_mut().insert(RETRY_AFTER, COME_AGAIN);
                }
                if rejection == Rejection::NotPost {
                    answer.headers_mut().insert(ALLOW, HeaderValue::from_static("POST"));
                }
                answer
            }
        };
        metrics.emit(Function::Webhook, clock::now());
        answer
    }

    async fn take(
        &self,
        request: &Request<Bytes>,
        received: DateTime<Utc>,
        metrics: &mut Metrics,
    ) -> Result<Value, Rejection> {
        let deadline = request
            .lambda_context_ref()
            .map_or(Deadline::after(WHOLE_REQUEST), |context| {
                Deadline::from_epoch_millis(context.deadline, received)
            })
            .at_most(WHOLE_REQUEST);
        if request.uri().path() != self.path {
            return Err(Rejection::NoSuchPath);
        }
        if request.method() != Method::POST {
            return Err(Rejection::NotPost);
        }
        // The first request waits for two secrets, so both are asked for at once. A wrong token ends it.
        let connecting = async {
            self.shipper.connect(deadline).await;
            Ok(())
        };
        tokio::try_join!(self.check_token(request), connecting)?;
        let body = unpack(request)?;

        let writing = deadline.minus(PARKING).at_most(WRITING);
        let Shipment { report, unwritten, failure } = self
            .shipper
            .ship(&body, Input::HttpEndpoint, received, writing)
            .await
            .map_err(|NotJsonError| Rejection::NotJson)?;
        metrics.add(&report);
        if let Some(failure) = failure {
            tracing::error!(
                events = unwritten.len(),
                failure = %chain(&failure),
                "events could not be written"
            );
            let origin = Origin { input: Input::HttpEndpoint, received, reason: None };
            if let Err(error) = self.retry_queue.send(&unwritten, origin, deadline).await {
                tracing::error!(
                    events = unwritten.len(),
                    error = %chain(&error),
                    "events could not be parked"
                );
                return Err(Rejection::NotDurable);
            }
            metrics.parked = unwritten.len();
        }
        let took = (clock::now() - received).num_milliseconds();
        tracing::info!(
            bytes = body.len(),
            received = report.received,
            stored = report.stored,
            duplicates = report.duplicates,
            rejected = report.rejected,
            dead_lettered = report.dead_lettered,
            parked = unwritten.len(),
            took_ms = took,
            "a batch is durable"
        );
        Ok(counts(&report, unwritten.len()))
    }

    async fn check_token(&self, request: &Request<Bytes>) -> Result<(), Rejection> {
        let authorization = request.headers().get(AUTHORIZATION).map(HeaderValue::as_bytes);
        match self.token.verify(authorization.unwrap_or_default()).await {
            Ok(true) => Ok(()),
            Ok(false) => Err(Rejection::WrongToken),
            Err(error) => {
                tracing::error!(error = %chain(&error), "the token cannot be checked");
                Err(Rejection::TokenUnknown)
            }
        }
    }
}

/// The body without its Content-Encoding.
fn unpack(request: &Request<Bytes>) -> Result<Bytes, Rejection> {
    let body = request.body();
    if body.len() > MAX_BODY {
        return Err(Rejection::TooLarge);
    }
    let encoding = request.headers().get(CONTENT_ENCODING).map(HeaderValue::as_bytes);
    match encoding.unwrap_or_default().trim_ascii() {
        b"" | b"identity" => Ok(body.clone()),
        encoding if encoding.eq_ignore_ascii_case(b"gzip") => {
            let mut bytes = Vec::new();
            MultiGzDecoder::new(body.as_ref())
                .take(MAX_UNPACKED + 1)
                .read_to_end(&mut bytes)
                .map_err(|_| Rejection::BrokenEncoding)?;
            if bytes.len() as u64 > MAX_UNPACKED {
                return Err(Rejection::TooLarge);
            }
            Ok(bytes.into())
        }
        _ => Err(Rejection::UnknownEncoding),
    }
}

fn counts(report: &Report, parked: usize) -> Value {
    json!({
        "received": report.received,
        "stored": report.stored,
        "duplicates": report.duplicates,
        "rejected": report.rejected,
        "dead_lettered": report.dead_lettered,
        "parked": parked,
    })
}

fn answer(status: StatusCode, body: &Value) -> Response<Body> {
    let mut answer = Response::new(Body::from(body.to_string()));
    *answer.status_mut() = status;
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    answer
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use flate2::Compression;
    use flate2::write::GzEncoder;

    use super::*;

    fn request(body: Vec<u8>, encoding: &'static str) -> Request<Bytes> {
        let mut request = Request::new(body.into());
        request.headers_mut().insert(CONTENT_ENCODING, HeaderValue::from_static(encoding));
        request
    }

    fn packed(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn a_gzip_body_is_unpacked() {
        assert_eq!(unpack(&request(packed(b"[]"), "gzip")).unwrap(), "[]");
        assert_eq!(unpack(&request(b"[]".to_vec(), "identity")).unwrap(), "[]");
        assert_eq!(unpack(&request(b"[]".to_vec(), "gzip")), Err(Rejection::BrokenEncoding));
        assert_eq!(unpack(&request(b"[]".to_vec(), "br")), Err(Rejection::UnknownEncoding));
    }

    #[test]
    fn a_body_is_bounded_packed_and_unpacked() {
        let body = vec![b' '; MAX_BODY + 1];
        assert_eq!(unpack(&request(body, "")), Err(Rejection::TooLarge));
        let bomb = packed(&vec![b' '; usize::try_from(MAX_UNPACKED).unwrap() + 1]);
        assert!(bomb.len() < MAX_BODY);
        assert_eq!(unpack(&request(bomb, "gzip")), Err(Rejection::TooLarge));
    }
}
