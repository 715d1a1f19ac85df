//! Writes parked events from the retry queue.

mod handler;

use lambda_runtime::{Error, run, service_fn, tracing};
use shared::delivery::ship::Shipper;
use shared::start::config::RedriveConfig;
use shared::start::http;

use crate::handler::Redrive;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    tracing::init_default_subscriber();
    let config = RedriveConfig::from_env()?;
    let aws = http::aws(&http::client()?).await;
    let redrive = Redrive { shipper: Shipper::new(&config.pipeline, &aws)? };
    run(service_fn(async |event| Ok::<_, Error>(redrive.handle(event).await))).await
}
