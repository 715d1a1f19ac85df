//! Auth0 log events as ECS documents in Elasticsearch or OpenSearch.
//!
//! Data flows one way: bytes → event → document → bulk request → verdict per document → report.

mod backoff;
pub mod body;
mod bulk;
mod cache;
mod changes;
pub mod codes;
pub mod config;
mod copier;
mod deadline;
mod document;
mod engine;
pub mod envelope;
mod event;
pub mod geoip;
pub mod http;
mod json;
pub mod metrics;
pub mod queue;
mod repair;
mod rollover;
mod scan;
pub mod secrets;
mod ship;
pub mod template;
pub mod user_agent;

pub use backoff::Backoff;
pub use bulk::Batch;
pub use deadline::Deadline;
pub use document::{Document, Kind, Mapper, MapperSettings};
pub use engine::{
    Answer, Credentials, DetectError, Detected, Engine, EngineError, Method, Payload, Product,
    Unusable, Version,
};
pub use rollover::generation;
pub use ship::{Input, NotJson, Report, ShipFailure, Shipment, Shipper, StartError};
