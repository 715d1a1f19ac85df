//! What each function needs at start: settings, secrets, HTTP client.

pub mod config;
pub mod http;
pub mod secrets;
pub mod sources;
pub mod token;
