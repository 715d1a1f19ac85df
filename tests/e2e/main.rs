//! The promises of `docs/architecture.md`, proved on both engines with the functions as built
//! binaries. `make test` starts the stack that these tests need.
//!
//! Each test has a data stream, queues, a table, secrets and a tenant of its own, so that all can run
//! side by side on one stack.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "helpers of tests: a panic is how a test fails, and it says where"
)]

/// Runs each of these functions as two tests, one for each engine.
macro_rules! on_both_engines {
    ($($test:ident),+ $(,)?) => {
        mod opensearch {
            $(#[tokio::test]
            async fn $test() {
                super::$test(support::stack::EngineKind::OpenSearch).await;
            })+
        }

        mod elasticsearch {
            $(#[tokio::test]
            async fn $test() {
                super::$test(support::stack::EngineKind::Elasticsearch).await;
            })+
        }
    };
}

mod delivery;
mod mapping;
mod poller;
mod rollover;
mod secrets;
mod secured;
mod setup;
mod webhook;
mod world;
