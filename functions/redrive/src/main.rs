//! Writes parked events from the retry queue.

mod handler;

use auth0_ecs::config::RedriveConfig;
use auth0_ecs::http;
use lambda_runtime::{Error, run, service_fn, tracing};

use crate::handler::Redrive;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    tracing::init_default_subscriber();
    let config = RedriveConfig::from_env()?;
    let aws = http::aws(&http::client()?).await;
    let redrive = Redrive::new(&config, &aws)?;
    run(service_fn(async |event| Ok::<_, Error>(redrive.handle(event).await))).await
}
