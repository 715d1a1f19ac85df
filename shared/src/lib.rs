//! Auth0 log events as ECS documents in Elasticsearch or OpenSearch.
//!
//! Data flows one way: bytes → event → document → bulk request → verdict per document → report.

pub mod config;
mod deadline;
mod engine;
pub mod geoip;
pub mod metrics;
pub mod secrets;
mod ship;
pub mod template;
pub mod user_agent;

pub use deadline::Deadline;
pub use engine::{
    Answer, Credentials, DetectError, Detected, Engine, EngineError, Method, Payload, Product,
    Unusable, Version,
};
pub use ship::{Input, NotJson, Report, ShipFailure, Shipment, Shipper};
