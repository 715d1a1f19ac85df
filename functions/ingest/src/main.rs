//! Takes Auth0's events from the queue that `EventBridge` delivers to.

// The future of an invocation nests deeper than the compiler follows by default.
#![recursion_limit = "256"]

use ingest::handler::Ingest;
use lambda_runtime::{Error, run, service_fn, tracing};
use shared::start::config::IngestConfig;
use shared::start::http;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    tracing::init_default_subscriber();
    let config = IngestConfig::from_env()?;
    let aws = http::aws(&http::client()?).await;
    let ingest = Ingest::new(&config, &aws)?;
    run(service_fn(async |event| Ok::<_, Error>(ingest.handle(event).await))).await
}
