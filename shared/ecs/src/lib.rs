//! Auth0 log events as ECS documents.
//!
//! Data flows one way: bytes → event → document.

mod ecs;
pub mod geoip;
pub mod index_template;
pub mod input;
mod json;

pub use ecs::document::{Document, Kind, Mapper, MapperSettings};
pub use input::Input;
pub use json::write_str;
