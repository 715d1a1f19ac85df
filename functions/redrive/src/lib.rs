//! Writes parked events from the retry queue: [`handler::handle`] serves an invocation.
//!
//! A library, so that tests can run the function in their own process; `main` only wires it.

pub mod handler;
