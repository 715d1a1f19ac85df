//! What the tests share: events and hostile bytes and, with the feature `stand-ins`, the parts of the
//! world that a laptop does not have: an Auth0 tenant, the Lambda runtime API, failing networks. Also
//! shortcuts to the real parts: the engines, DynamoDB Local, and moto's SQS and Secrets Manager.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "support for tests: a panic is how a test fails, and it says where"
)]

#[cfg(feature = "stand-ins")]
pub mod aws;
#[cfg(feature = "stand-ins")]
pub mod balancer;
pub mod batch;
pub mod draw;
#[cfg(feature = "stand-ins")]
pub mod engine;
pub mod events;
pub mod hostile;
pub mod invariants;
pub mod mmdb;
#[cfg(feature = "stand-ins")]
pub mod model;
#[cfg(feature = "stand-ins")]
pub mod parked;
#[cfg(feature = "stand-ins")]
pub mod payload;
#[cfg(feature = "stand-ins")]
pub mod proxy;
#[cfg(feature = "stand-ins")]
pub mod runtime;
#[cfg(feature = "stand-ins")]
pub mod server;
#[cfg(feature = "stand-ins")]
pub mod settings;
#[cfg(feature = "stand-ins")]
pub mod stack;
#[cfg(feature = "stand-ins")]
pub mod tenant;
#[cfg(feature = "stand-ins")]
mod wire;
#[cfg(feature = "stand-ins")]
pub mod world;
