//! What the functions share: delivery of Auth0's log events to Elasticsearch or OpenSearch.
//!
//! ```text
//!  body ──► pieces ──► documents ──► _bulk request ──► verdict per document ──► Report ──► Metrics
//!        └──── crate auth0-ecs ────┘        ▲                 │
//!                                           └── retry ────────┼──► error document ──► dead-letter queue
//!                                                             └──► unwritten: the caller parks or repeats
//! ```
//!
//! All of this for one body:
//!
//! ```no_run
//! use std::time::Duration;
//!
//! use auth0_ecs::Input;
//! use shared::delivery::ship::{Shipper, split_body};
//! use shared::retry::Deadline;
//! use shared::start::config::WebhookConfig;
//! use shared::{clock, error, start};
//!
//! # async fn run() -> Result<(), Box<dyn std::error::Error>> {
//! let config = WebhookConfig::from_env()?;
//! let aws = start::http::aws(&start::http::client()?).await;
//! let shipper = Shipper::new(&config.pipeline, &aws)?;
//!
//! let body = br#"{"log_id":"90020251122120000000000000000000001","data":{"type":"s"}}"#;
//! let deadline = Deadline::after(Duration::from_secs(8));
//! let events = split_body(body, Input::HttpEndpoint, clock::now())?;
//! let admitted = shipper.intake.admit(events, deadline).await?;
//! let shipment = shipper.ship_events(admitted.events(), deadline).await;
//! println!("{} new, {} duplicates", shipment.report.stored, shipment.report.duplicates);
//! if let Some(failure) = &shipment.failure {
//!     eprintln!("{} unwritten: {}", shipment.unwritten.len(), error::chain(failure));
//! }
//! # Ok(())
//! # }
//! ```
//!
//! Modules import only from those to their left: `error`, `clock`, `retry`, `checkpoint`, `start`,
//! `engine`, `delivery`, `metrics`.

pub mod checkpoint;
pub mod clock;
pub mod delivery;
pub mod engine;
pub mod error;
pub mod metrics;
pub mod retry;
pub mod start;
