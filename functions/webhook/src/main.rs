//! Receives Auth0's custom webhook log stream: `POST /auth0/logs`.

mod handler;

use std::cell::Cell;

use auth0_ecs::input::gateway::take_body;
use bytes::Bytes;
use lambda_http::aws_lambda_events::apigw::{ApiGatewayV2httpRequest, ApiGatewayV2httpResponse};
use lambda_http::lambda_runtime::tower::util::MapRequestLayer;
use lambda_http::lambda_runtime::{LambdaInvocation, Runtime, layers};
use lambda_http::request::LambdaRequest;
use lambda_http::{Body, Error, LambdaEvent, Request, RequestExt as _, service_fn, tracing};
use shared::start::config::WebhookConfig;
use shared::start::http;

use crate::handler::Webhook;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    tracing::init_default_subscriber();
    let config = WebhookConfig::from_env()?;
    let aws = http::aws(&http::client()?).await;
    let webhook = Webhook::new(&config, &aws)?;
    // One invocation is served at a time, so there is one body at most.
    let body = &Cell::new(None);
    let set_aside = |mut invocation: LambdaInvocation| {
        body.set(take_body(&mut invocation.body));
        invocation
    };
    let serve = async |event| Ok::<_, Error>(invoke(&webhook, event, body.take()).await);
    Runtime::new(service_fn(serve))
        .layer(MapRequestLayer::new(set_aside))
        .layer(layers::TracingLayer::new())
        .run()
        .await
}

/// What `lambda_http::run` does, but for the one kind of event there is (to tell the kinds apart, that
/// goes over the whole event, body and all, once more), and with a body that was taken out of it before.
async fn invoke(
    webhook: &Webhook,
    mut event: LambdaEvent<ApiGatewayV2httpRequest>,
    mut body: Option<Bytes>,
) -> ApiGatewayV2httpResponse {
    if event.payload.is_base64_encoded
        && let Some(base64) = body.take()
    {
        event.payload.body = String::from_utf8(base64.into()).ok();
    }
    let request: Request = LambdaRequest::ApiGatewayV2(event.payload).into();
    let request = request.with_lambda_context(event.context);
    let request = request.map(|left| body.unwrap_or_else(|| bytes(left)));
    let (head, body) = webhook.handle(request).await.into_parts();
    let mut response = ApiGatewayV2httpResponse::default();
    response.status_code = head.status.as_u16().into();
    response.headers = head.headers;
    response.body = Some(body);
    response
}

/// What `lambda_http` made of a body that was left to it: decoded, where it was Base64.
fn bytes(body: Body) -> Bytes {
    match body {
        Body::Text(text) => text.into(),
        Body::Binary(bytes) => bytes.into(),
        other => Bytes::copy_from_slice(&other),
    }
}
