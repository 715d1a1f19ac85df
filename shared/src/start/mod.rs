//! What each function does at its start.

pub mod config;
pub mod http;
pub mod secrets;
pub mod token;
