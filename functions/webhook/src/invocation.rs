//! One invocation: the gateway's event → the request, and the response → what the gateway expects.
//!
//! Does the work of `lambda_http::run`, but expects a single kind of event, parses only the parts that the
//! webhook uses, and unescapes the body in place. A batch of one event costs a fifth less that way
//! (`docs/decisions.md`).
//!
//! `lambda_runtime` passes a handler what it parsed itself, and nothing else. So the request is attached to the
//! invocation's own future, and is the right one however invocations are interleaved:
//! `Runtime::run_concurrent` could replace `Runtime::run`.

use std::cell::Cell;
use std::mem;

use auth0_ecs::input::gateway;
use auth0_ecs::read::decode;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use lambda_http::aws_lambda_events::apigw::ApiGatewayV2httpResponse;
use lambda_http::http::Response;
use lambda_http::lambda_runtime::LambdaInvocation;
use lambda_http::tower::util::ServiceFn;
use lambda_http::{Body, Service, service_fn};
use secrecy::SecretString;
use tokio::task::futures::TaskLocalFuture;

tokio::task_local! {
    /// The request of the invocation whose future is being polled.
    static REQUEST: Cell<Option<Request>>;
}

/// The parts of a request that the webhook uses, in the gateway's payload format 2.0 ("Working with AWS Lambda
/// proxy integrations for HTTP APIs").
#[derive(Debug, Default)]
pub struct Request {
    /// The path as sent.
    pub path: String,
    /// The method in capitals.
    pub method: String,
    /// The address of whoever called the gateway.
    pub source_ip: Option<String>,
    /// The token.
    pub authorization: Option<SecretString>,
    /// `gzip`, if something between Auth0 and the gateway compresses.
    pub content_encoding: String,
    /// The body as sent.
    pub body: Bytes,
    /// Lambda's deadline, in milliseconds since the Unix epoch; 0 outside Lambda.
    pub deadline: u64,
}

impl Request {
    /// Reads an event; `None` if it cannot be read: gateways have sent escapes that JSON does not have
    /// (aws-lambda-rust-runtime#509).
    fn read(event: Bytes) -> Option<Self> {
        let mut request = Self::default();
        let mut is_base64 = false;
        // The gateway writes the names of headers in lower case.
        let body = gateway::read(event, |path, value| match path {
            ["rawPath"] => request.path = text(value),
            ["headers", "authorization"] => request.authorization = Some(text(value).into()),
            ["headers", "content-encoding"] => request.content_encoding = text(value),
            ["requestContext", "http", "method"] => request.method = text(value),
            ["requestContext", "http", "sourceIp"] => request.source_ip = Some(text(value)),
            ["isBase64Encoded"] => is_base64 = value == "true",
            _ => {}
        })?;
        request.body = if is_base64 { BASE64_STANDARD.decode(body).ok()?.into() } else { body };
        Some(request)
    }
}

/// Returns the text of a JSON string, and an empty one for any other value.
fn text(json: &str) -> String {
    if json.starts_with('"') { decode(json).into_owned() } else { String::new() }
}

type WithRequest<F> = TaskLocalFuture<Cell<Option<Request>>, F>;

/// A layer that reads each event and keeps it for [`request`]; `null` is passed on, so that the runtime never
/// fails an invocation. Auth0 would get a 500, for a batch that no repetition helps.
///
/// `inner` is always ready, as the runtime's own services around a `service_fn` are.
pub fn read_event<S: Service<LambdaInvocation> + Clone>(
    mut inner: S,
) -> ServiceFn<impl FnMut(LambdaInvocation) -> WithRequest<S::Future> + Clone> {
    service_fn(move |mut invocation: LambdaInvocation| {
        let event = mem::replace(&mut invocation.body, Bytes::from_static(b"null"));
        let mut request = Request::read(event);
        if let Some(request) = &mut request {
            request.deadline = invocation.context.deadline;
        }
        REQUEST.scope(Cell::new(request), inner.call(invocation))
    })
}

/// Returns the invocation's request, once; `None` if the event cannot be read.
///
/// # Panics
/// Outside of [`read_event`].
#[must_use]
pub fn request() -> Option<Request> {
    REQUEST.with(Cell::take)
}

/// Returns the response as the gateway expects it.
#[must_use]
pub fn response(response: Response<Body>) -> ApiGatewayV2httpResponse {
    let (head, body) = response.into_parts();
    let mut response = ApiGatewayV2httpResponse::default();
    response.status_code = head.status.as_u16().into();
    response.headers = head.headers;
    response.body = Some(body);
    response
}

#[cfg(test)]
mod tests {
    use lambda_http::{Context, Error};
    use serde_json::json;
    use tokio::task::{spawn, yield_now};

    use super::*;

    fn invocation(event: impl Into<Bytes>) -> LambdaInvocation {
        LambdaInvocation {
            parts: Response::new(()).into_parts().0,
            body: event.into(),
            context: Context::default(),
        }
    }

    fn event(path: &str, body: &str, is_base64: bool) -> String {
        json!({
            "version": "2.0",
            "rawPath": path,
            "headers": {},
            "requestContext": { "http": { "method": "POST", "path": path } },
            "body": body,
            "isBase64Encoded": is_base64,
        })
        .to_string()
    }

    #[tokio::test]
    async fn interleaved_invocations_each_get_their_own_request() {
        let handler = service_fn(async |_| {
            // The other invocations are taken up here, before this one asks for its request.
            yield_now().await;
            let request = request().unwrap();
            yield_now().await;
            Ok::<_, Error>((request.path, request.body))
        });
        // As in concurrent mode: a clone of the service for each worker, which is a task.
        let service = read_event(handler);
        let served = [("/a", "[\"a\"]", false), ("/b", "", false), ("/c", "W10=", true)].map(
            |(path, body, is_base64)| {
                spawn(service.clone().call(invocation(event(path, body, is_base64))))
            },
        );
        let [a, b, c] = served;
        assert_eq!(a.await.unwrap().unwrap(), ("/a".to_owned(), "[\"a\"]".into()));
        assert_eq!(b.await.unwrap().unwrap(), ("/b".to_owned(), "".into()));
        assert_eq!(c.await.unwrap().unwrap(), ("/c".to_owned(), "[]".into()));
    }

    #[tokio::test]
    async fn event_that_cannot_be_read_is_no_request_and_harms_no_other() {
        let handler = service_fn(async |_| Ok::<_, Error>(request().map(|request| request.body)));
        let mut service = read_event(handler);
        let good = event("/auth0/logs", "[]", false);
        let with = |bytes: &[u8], of: &str| {
            let at = good.find(of).unwrap();
            [&good.as_bytes()[..at], bytes, &good.as_bytes()[at..]].concat()
        };
        for broken in [with(br"\xEE", "2.0"), with(br"\xEE", "[]"), b"\xff".to_vec(), Vec::new()] {
            let said = String::from_utf8_lossy(&broken).into_owned();
            assert_eq!(service.call(invocation(broken)).await.unwrap(), None, "{said}");
            let next = service.call(invocation(good.clone())).await.unwrap();
            assert_eq!(next, Some("[]".into()), "{said}");
        }
        // A body that is not UTF-8 is read: its pieces are repaired. What the webhook does not look at does not matter.
        for (place, body) in [("[]", b"\xee[]".as_slice()), ("2.0", b"[]"), ("/auth0", b"[]")] {
            let read = service.call(invocation(with(b"\xee", place))).await.unwrap();
            assert_eq!(read, Some(body.into()));
        }
    }
}
