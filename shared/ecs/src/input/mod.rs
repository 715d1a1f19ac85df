//! Bytes → events.

pub(crate) mod contact;
pub(crate) mod date;
pub(crate) mod event;
pub mod filter;
pub mod gateway;
pub(crate) mod log_id;
pub mod mask;
pub(crate) mod members;
pub mod origin;
pub mod split;
pub mod types;
