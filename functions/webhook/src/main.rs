//! Receives Auth0's custom webhook log stream: `POST /auth0/logs`.

mod handler;

use auth0_ecs::config::WebhookConfig;
use lambda_http::{Error, run, service_fn, tracing};

use crate::handler::Webhook;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    tracing::init_default_subscriber();
    let config = WebhookConfig::from_env()?;
    let aws = aws_config::load_defaults(aws_config::BehaviorVersion::latest()).await;
    let webhook = Webhook::new(&config, &aws)?;
    run(service_fn(async |request| Ok::<_, Error>(webhook.handle(request).await))).await
}
