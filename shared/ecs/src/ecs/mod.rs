//! Event → ECS document.

mod copies;
mod details;
pub(crate) mod details_fields;
pub(crate) mod document;
mod error_document;
pub(crate) mod fields;
mod id;
mod login;
mod management;
mod person;
mod source;
#[cfg(test)]
mod tests;
mod user;
