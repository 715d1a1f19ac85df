//! Writes parked events from the retry queue.

// The future of an invocation nests deeper than the compiler follows by default.
#![recursion_limit = "256"]

use lambda_runtime::{Error, run, service_fn, tracing};
use redrive::handler::handle;
use shared::delivery::ship::Shipper;
use shared::start::config::PipelineConfig;
use shared::start::http;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    tracing::init_default_subscriber();
    let config = PipelineConfig::from_env()?;
    let aws = http::aws(&http::client()?).await;
    let shipper = Shipper::new(&config, &aws)?;
    run(service_fn(async |event| Ok::<_, Error>(handle(&shipper, &config.stack, event).await)))
        .await
}
