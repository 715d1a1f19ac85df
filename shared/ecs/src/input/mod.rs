//! Bytes → events.

pub(crate) mod date;
pub(crate) mod event;
pub mod gateway;
pub(crate) mod members;
pub mod origin;
pub mod split;
pub mod types;
