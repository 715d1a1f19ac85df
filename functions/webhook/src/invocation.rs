//! One invocation: the gateway's event → the request, and the response → what the gateway expects.
//!
//! Does what `lambda_http::run` does, with two differences that save work: only one kind of event is
//! expected (telling the kinds apart parses the whole event again), and the body is taken out of the
//! event before the event is parsed (`docs/decisions.md`).
//!
//! `lambda_runtime` passes a handler the parsed event and its context, and nothing else. So the body is
//! attached to the invocation's own future, and is the right one however invocations are interleaved:
//! `Runtime::run_concurrent` could replace `Runtime::run`.

use std::cell::Cell;

use auth0_ecs::input::gateway::take_body;
use bytes::Bytes;
use lambda_http::aws_lambda_events::apigw::{ApiGatewayV2httpRequest, ApiGatewayV2httpResponse};
use lambda_http::http::{Request, Response};
use lambda_http::lambda_runtime::LambdaInvocation;
use lambda_http::request::LambdaRequest;
use lambda_http::tower::util::ServiceFn;
use lambda_http::{Body, LambdaEvent, RequestExt as _, Service, service_fn};
use serde::{Deserialize, Deserializer};
use tokio::task::futures::TaskLocalFuture;

tokio::task_local! {
    /// The body of the invocation whose future is being polled.
    static BODY: Cell<Option<Bytes>>;
}

/// The gateway's event, or nothing if it cannot be read: gateways have sent escapes that JSON does not have
/// (aws-lambda-rust-runtime#509).
///
/// It can always be deserialized. Otherwise `lambda_runtime` would fail the invocation, and Auth0 would get a
/// 500 for a batch that no repetition helps.
#[derive(Debug)]
pub struct GatewayEvent(Option<ApiGatewayV2httpRequest>);

impl<'de> Deserialize<'de> for GatewayEvent {
    fn deserialize<D: Deserializer<'de>>(json: D) -> Result<Self, D::Error> {
        Ok(Self(ApiGatewayV2httpRequest::deserialize(json).ok()))
    }
}

type WithBody<F> = TaskLocalFuture<Cell<Option<Bytes>>, F>;

/// A layer that takes the body out of each event and keeps it for [`request`].
///
/// `inner` is always ready, as the runtime's own services around a `service_fn` are.
pub fn detach_body<S: Service<LambdaInvocation> + Clone>(
    mut inner: S,
) -> ServiceFn<impl FnMut(LambdaInvocation) -> WithBody<S::Future> + Clone> {
    service_fn(move |mut invocation: LambdaInvocation| {
        let body = take_body(&mut invocation.body);
        BODY.scope(Cell::new(body), inner.call(invocation))
    })
}

/// Returns the request of an event whose body [`detach_body`] took out; `None` if the event cannot be read.
///
/// # Panics
/// Outside that layer.
#[must_use]
pub fn request(event: LambdaEvent<GatewayEvent>) -> Option<Request<Bytes>> {
    let mut body = BODY.with(Cell::take);
    let (GatewayEvent(event), context) = event.into_parts();
    let mut event = event?;
    if event.is_base64_encoded
        && let Some(base64) = body.take()
    {
        event.body = String::from_utf8(base64.into()).ok();
    }
    let request: Request<Body> = LambdaRequest::ApiGatewayV2(event).into();
    Some(request.with_lambda_context(context).map(|rest| body.unwrap_or_else(|| bytes(rest))))
}

/// Returns the body that was left to `lambda_http`, decoded if it was Base64.
fn bytes(body: Body) -> Bytes {
    match body {
        Body::Text(text) => text.into(),
        Body::Binary(bytes) => bytes.into(),
        other => Bytes::copy_from_slice(&other),
    }
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
    use serde_json::{Deserializer, json};
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
    async fn interleaved_invocations_each_get_their_own_body() {
        let handler = service_fn(async |LambdaInvocation { body, context, .. }| {
            // The other invocations are taken up here, before this one reads its body.
            yield_now().await;
            let event = serde_json::from_slice(&body)?;
            let request = request(LambdaEvent::new(event, context)).unwrap();
            yield_now().await;
            Ok::<_, Error>((request.uri().path().to_owned(), request.into_body()))
        });
        // As in concurrent mode: a clone of the service for each worker, which is a task.
        let service = detach_body(handler);
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
        let handler = service_fn(async |LambdaInvocation { body, context, .. }| {
            // As the runtime does it: what follows is not looked at.
            let event = GatewayEvent::deserialize(&mut Deserializer::from_slice(&body))?;
            let request = request(LambdaEvent::new(event, context));
            Ok::<_, Error>(request.map(Request::into_body))
        });
        let mut service = detach_body(handler);
        let good = event("/auth0/logs", "[]", false);
        let with = |bytes: &[u8], of: &str| {
            let at = good.find(of).unwrap();
            [&good.as_bytes()[..at], bytes, &good.as_bytes()[at..]].concat()
        };
        for broken in [
            with(b"\xee", "2.0"),
            with(br"\xEE", "2.0"),
            with(br"\xEE", "[]"),
            b"\xff".to_vec(),
            Vec::new(),
        ] {
            let said = String::from_utf8_lossy(&broken).into_owned();
            assert_eq!(service.call(invocation(broken)).await.unwrap(), None, "{said}");
            let next = service.call(invocation(good.clone())).await.unwrap();
            assert_eq!(next, Some("[]".into()), "{said}");
        }
        // A body that is not UTF-8 is read: its pieces are repaired.
        let body = service.call(invocation(with(b"\xee", "[]"))).await.unwrap();
        assert_eq!(body, Some(b"\xee[]".as_slice().into()));
    }
}
