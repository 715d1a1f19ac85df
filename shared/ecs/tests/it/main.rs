//! What the crate gives for bytes that come in: accepted documents, and what holds for all others.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "helpers of tests: a panic is how a test fails, and it says where"
)]

mod geoip_files;
mod golden;
mod property;
