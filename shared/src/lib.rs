//! What the functions share: delivery of Auth0's log events to Elasticsearch or OpenSearch.
//!
//! Data flows one way: bytes → event → document (crate `auth0-ecs`) → bulk request → verdict per
//! document → report.

pub mod clock;
pub mod delivery;
pub mod engine;
pub mod error;
pub mod metrics;
pub mod retry;
pub mod start;
