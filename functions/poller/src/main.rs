//! Reads Auth0's logs from the checkpoint on, at each tick of a schedule.

mod auth0;
mod backfill;
mod checkpoint;
mod handler;
mod log_id;
mod outcome;
mod pace;
mod page;
mod run;

use lambda_runtime::{Error, service_fn, tracing};
use shared::delivery::ship::Shipper;
use shared::start::config::PollerConfig;
use shared::start::http;
use shared::start::secrets::Secrets;

use crate::auth0::Auth0;
use crate::checkpoint::Checkpoints;
use crate::run::Poller;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    tracing::init_default_subscriber();
    let config = PollerConfig::from_env()?;
    let client = http::client()?;
    let sdk = http::aws(&client).await;
    let tenant = config.auth0_url.host_str().unwrap_or_default().to_owned();
    let poller = Poller {
        auth0: Auth0::new(client, &config.auth0_url, Secrets::new(&sdk), config.secret_id)?,
        checkpoints: Checkpoints::new(&sdk, config.checkpoint_table, tenant),
        shipper: Shipper::new(&config.pipeline, &sdk)?,
        initial_interval: config.initial_interval,
    };
    lambda_runtime::run(service_fn(|event| handler::handle(&poller, event))).await
}
