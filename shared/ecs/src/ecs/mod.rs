//! Event → ECS document.

mod details;
pub(crate) mod document;
mod source;
#[cfg(test)]
mod tests;
mod user;
