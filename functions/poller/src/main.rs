//! Reads Auth0's logs from the checkpoint on, at each tick of a schedule.

use lambda_runtime::{Error, service_fn, tracing};
use poller::handler;
use poller::run::Poller;
use shared::start::config::PollerConfig;
use shared::start::http;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    tracing::init_default_subscriber();
    let config = PollerConfig::from_env()?;
    let client = http::client()?;
    let aws = http::aws(&client).await;
    let poller = Poller::new(config, client, &aws)?;
    lambda_runtime::run(service_fn(|event| handler::handle(&poller, event))).await
}
