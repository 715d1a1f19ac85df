//! Auth0 log events as ECS documents: the pure half of the pipeline, without AWS, HTTP or async.
//!
//! ```text
//! bytes ──────▶ input ──────▶ ecs ──────▶ document
//!               split, event   fields, source, user, …
//!                   └───── json ─────┘
//! ```
//!
//! - [`input`] cuts a body into events and reads them;
//! - `json` is what both read and write with: a lexer, a sanitizing copier, a writer;
//! - `ecs` writes the document; `ecs::fields` is the one table of all fields;
//! - [`index_template`] renders that table for each engine; [`geoip`] and the crate `user-agent` enrich.
//!
//! A module imports only modules that come earlier in the order json, input, geoip, ecs, `index_template`.
//!
//! # Example
//!
//! ```
//! use auth0_ecs::geoip::GeoIp;
//! use auth0_ecs::input::split::split;
//! use auth0_ecs::{Input, Mapper, MapperSettings, Piece};
//!
//! let settings = MapperSettings {
//!     namespace: "default",
//!     tags: &[],
//!     preserve_original_event: false,
//!     agent_name: "webhook",
//!     ephemeral_id: "1",
//! };
//! let mapper = Mapper::new(&settings, GeoIp::open(None, None)?);
//! let body = br#"{"log_id": "9001", "data": {"type": "fp", "user_name": "anna@example.com"}}"#;
//! let received = chrono::DateTime::UNIX_EPOCH;
//! for raw in split(body) {
//!     let mut json = Vec::new();
//!     let piece = Piece { raw, input: Input::HttpEndpoint, received };
//!     let document = mapper.document(piece, &mut json);
//!     assert_eq!(document.id, "9001");
//!     let json = String::from_utf8_lossy(&json);
//!     assert!(json.contains(r#""action":"incorrect-password""#));
//!     assert!(json.contains(r#""user":{"name":"anna@example.com","email":"anna@example.com""#));
//! }
//! # Ok::<(), auth0_ecs::geoip::GeoIpError>(())
//! ```

mod ecs;
pub mod geoip;
pub mod index_template;
pub mod input;
mod json;

pub use ecs::document::{Document, DocumentKind, ECS_VERSION, Mapper, MapperSettings, Piece};
pub use ecs::fields::ALERT_COPIES;
pub use input::origin::Input;
pub use json::{read, write};
