//! Writes parked events from the retry queue.

// The future of an invocation nests deeper than the compiler follows by default.
#![recursion_limit = "256"]

use lambda_runtime::{Error, run, service_fn, tracing};
use redrive::handler::Redrive;
use shared::start::config::RedriveConfig;
use shared::start::http;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    tracing::init_default_subscriber();
    let config = RedriveConfig::from_env()?;
    let aws = http::aws(&http::client()?).await;
    let redrive = Redrive::new(&config, &aws)?;
    run(service_fn(async |event| Ok::<_, Error>(redrive.handle(event).await))).await
}
