//! The engine, OpenSearch or Elasticsearch.

pub mod client;
pub(crate) mod connection;
pub mod credentials;
pub mod detect;
