//! Receives Auth0's custom webhook log stream: `POST /auth0/logs`.

mod handler;

use auth0_ecs::config::WebhookConfig;
use auth0_ecs::http;
use lambda_http::aws_lambda_events::apigw::{ApiGatewayV2httpRequest, ApiGatewayV2httpResponse};
use lambda_http::lambda_runtime::run;
use lambda_http::request::LambdaRequest;
use lambda_http::{Error, LambdaEvent, Request, RequestExt as _, service_fn, tracing};

use crate::handler::Webhook;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    tracing::init_default_subscriber();
    let config = WebhookConfig::from_env()?;
    let aws = http::aws(&http::client()?).await;
    let webhook = Webhook::new(&config, &aws)?;
    run(service_fn(async |event| Ok::<_, Error>(invoke(&webhook, event).await))).await
}

/// What `lambda_http::run` does, but for the one kind of event there is: to tell the kinds apart, that
/// goes over the whole event, body and all, once more.
async fn invoke(
    webhook: &Webhook,
    event: LambdaEvent<ApiGatewayV2httpRequest>,
) -> ApiGatewayV2httpResponse {
    let request: Request = LambdaRequest::ApiGatewayV2(event.payload).into();
    let request = request.with_lambda_context(event.context);
    let (head, body) = webhook.handle(request).await.into_parts();
    let mut response = ApiGatewayV2httpResponse::default();
    response.status_code = head.status.as_u16().into();
    response.headers = head.headers;
    response.body = Some(body);
    response
}
