//! JSON text, read and written without a tree in between.

pub(crate) mod change;
pub(crate) mod lex;
pub mod read;
pub(crate) mod repair;
pub(crate) mod sanitize;
pub(crate) mod scan;
pub(crate) mod schema;
pub mod write;
