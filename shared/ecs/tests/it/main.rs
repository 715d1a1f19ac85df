//! Bytes to documents: accepted documents of sample events, and invariants of all others.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "test helpers: a panic fails the test and says where"
)]

mod forms;
mod geoip_files;
mod golden;
mod property;
