//! Receives Auth0's custom webhook log stream: `POST /auth0/logs`.

// The future of an invocation nests deeper than the compiler follows by default.
#![recursion_limit = "256"]

use std::sync::Arc;

use lambda_http::lambda_runtime::{Runtime, layers};
use lambda_http::tower::layer::layer_fn;
use lambda_http::{Error, LambdaEvent, service_fn, tracing};
use serde::de::IgnoredAny;
use shared::start::config::WebhookConfig;
use shared::start::http;
use webhook::handler::Webhook;
use webhook::invocation::{read_event, request, response};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    tracing::init_default_subscriber();
    let config = WebhookConfig::from_env()?;
    let aws = http::aws(&http::client()?).await;
    let webhook = Arc::new(Webhook::new(&config, &aws)?);
    webhook.prepare().await;
    let serve = move |_: LambdaEvent<IgnoredAny>| {
        let webhook = webhook.clone();
        // Each layer moves the future that it wraps, and this one is many kilobytes long.
        Box::pin(async move { Ok::<_, Error>(response(webhook.handle(request()).await)) })
    };
    Runtime::new(service_fn(serve))
        .layer(layer_fn(read_event))
        .layer(layers::TracingLayer::new())
        .run()
        .await
}
