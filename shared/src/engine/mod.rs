//! The engine, OpenSearch or Elasticsearch.

pub mod client;
pub mod connection;
pub mod credentials;
pub mod detect;
pub mod transport;
