//! What the end-to-end tests stand on: stand-ins for the parts of the world that cannot be had on a
//! laptop (an Auth0 tenant, the Lambda runtime API, failing networks), and short ways to the parts
//! that are real there (the engines, DynamoDB Local, moto's SQS and Secrets Manager).

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "support for tests: a panic is how a test fails, and it says where"
)]

pub mod aws;
pub mod engine;
pub mod events;
pub mod mmdb;
pub mod proxy;
pub mod runtime;
pub mod stack;
pub mod tenant;
