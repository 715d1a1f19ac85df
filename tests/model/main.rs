//! The promises of `docs/architecture.md` as properties: the real functions in one process, over
//! stand-ins for engine, AWS and Auth0, with the faults, their order and the bodies drawn at random.
//!
//! `make e2e` proves single cases on real engines; this proves that no combination of them breaks a
//! promise. The cases are the same in each run. `MODEL_SEED=<number>` draws others, `MODEL_CASES=<factor>`
//! more of them; a failure prints the seed and the smallest case that fails.

// The futures of the functions nest deeper than the compiler follows by default.
#![recursion_limit = "512"]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::string_slice,
    clippy::needless_pass_by_value,
    clippy::disallowed_methods,
    reason = "helpers of tests: a panic is how a test fails, and it says where"
)]

mod cases;
mod delivery;
mod poller;
mod rollover;
mod world;
