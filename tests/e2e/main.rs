//! The promises of `docs/architecture.md`, proved on both engines with the functions as built
//! binaries. `make test` starts the stack that these tests need.
//!
//! Each test has its own data stream, queues, table, secrets and tenant, so all tests can run side by
//! side on one stack.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "helpers of tests: a panic is how a test fails, and it says where"
)]

/// Makes two tests of each of these functions, one per engine.
macro_rules! on_both_engines {
    ($($tests:tt)+) => {
        on_engine!(opensearch, OpenSearch, $($tests)+);
        on_engine!(elasticsearch, Elasticsearch, $($tests)+);
    };
}

macro_rules! on_engine {
    ($module:ident, $kind:ident, $($(#[$attribute:meta])* $test:ident),+ $(,)?) => {
        mod $module {
            $(#[tokio::test]
            $(#[$attribute])*
            async fn $test() {
                super::$test(support::stack::EngineKind::$kind).await;
            })+
        }
    };
}

mod chaos;
mod delivery;
mod detect;
mod eventbridge;
mod mapping;
mod poller;
mod privacy;
mod rollover;
mod secrets;
mod secured;
mod setup;
mod webhook;
mod world;
