//! Takes Auth0's events from the queue that `EventBridge` delivers to.

mod handler;

use lambda_runtime::{Error, run, service_fn, tracing};
use shared::delivery::ship::Shipper;
use shared::start::config::PipelineConfig;
use shared::start::http;

use crate::handler::Ingest;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    tracing::init_default_subscriber();
    let config = PipelineConfig::from_env()?;
    let aws = http::aws(&http::client()?).await;
    let ingest = Ingest { shipper: Shipper::new(&config, &aws)? };
    run(service_fn(async |event| Ok::<_, Error>(ingest.handle(event).await))).await
}
