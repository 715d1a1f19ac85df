//! Reads Auth0's logs by checkpoint: [`handler::handle`] serves one invocation with a [`run::Poller`].
//!
//! A library, so that tests can run the poller in their own process; `main` only wires it.

mod auth0;
mod auth0_error;
mod backfill;
pub mod handler;
mod link;
mod log_id;
pub mod outcome;
mod pace;
mod page;
pub mod run;
