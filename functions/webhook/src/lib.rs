//! Receives Auth0's custom webhook log stream: [`handler::Webhook`] answers the requests.
//!
//! A library, so that tests can run the function in their own process; `main` only wires it.

mod breaker;
pub mod handler;
pub mod invocation;
