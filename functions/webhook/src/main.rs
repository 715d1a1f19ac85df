//! Receives Auth0's custom webhook log stream: `POST /auth0/logs`.

mod breaker;
mod handler;
mod invocation;

use std::sync::Arc;

use lambda_http::lambda_runtime::{Runtime, layers};
use lambda_http::tower::layer::layer_fn;
use lambda_http::{Error, service_fn, tracing};
use shared::start::config::WebhookConfig;
use shared::start::http;

use crate::handler::Webhook;
use crate::invocation::{detach_body, request, response};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    tracing::init_default_subscriber();
    let config = WebhookConfig::from_env()?;
    let aws = http::aws(&http::client()?).await;
    let webhook = Arc::new(Webhook::new(&config, &aws)?);
    let serve = move |event| {
        let webhook = webhook.clone();
        async move { Ok::<_, Error>(response(webhook.handle(request(event)).await)) }
    };
    Runtime::new(service_fn(serve))
        .layer(layer_fn(detach_body))
        .layer(layers::TracingLayer::new())
        .run()
        .await
}
