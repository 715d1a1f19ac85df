//! Runs the detections over the events of the last minutes, at each tick of a schedule.

// The future of an invocation nests deeper than the compiler follows by default.
#![recursion_limit = "256"]

mod alert;
mod detector;
mod handler;
mod place;
mod publish;
mod reader;
mod rules;
mod run;
mod search;
mod settings;
mod window;

use lambda_runtime::{Error, service_fn, tracing};
use shared::start::config::DetectConfig;
use shared::start::http;

use crate::detector::Detector;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    tracing::init_default_subscriber();
    let config = DetectConfig::from_env()?;
    let aws = http::aws(&http::client()?).await;
    let detector = Detector::new(config, &aws)?;
    lambda_runtime::run(service_fn(|event| handler::handle(&detector, event))).await
}
