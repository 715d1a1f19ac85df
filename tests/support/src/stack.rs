//! Where the real parts of the local stack are. `make test` starts them and sets these variables.

use std::path::PathBuf;

/// One of the two engines that everything has to work with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EngineKind {
    /// `E2E_OPENSEARCH_URL`.
    OpenSearch,
    /// `E2E_ELASTICSEARCH_URL`.
    Elasticsearch,
}

impl EngineKind {
    /// The engine's base URL.
    #[must_use]
    pub fn url(self) -> String {
        variable(match self {
            Self::OpenSearch => "E2E_OPENSEARCH_URL",
            Self::Elasticsearch => "E2E_ELASTICSEARCH_URL",
        })
    }
}

/// `E2E_DYNAMODB_URL`: DynamoDB Local.
#[must_use]
pub fn dynamodb_url() -> String {
    variable("E2E_DYNAMODB_URL")
}

/// `E2E_MOTO_URL`: SQS and Secrets Manager.
#[must_use]
pub fn moto_url() -> String {
    variable("E2E_MOTO_URL")
}

/// A built function in `E2E_BIN_DIR`.
#[must_use]
pub fn binary(name: &str) -> PathBuf {
    PathBuf::from(variable("E2E_BIN_DIR")).join(name)
}

/// One of the tests' own settings. Without the stack a test fails: one that passes without having run
/// proves nothing.
///
/// # Panics
/// Where it is not set.
#[must_use]
pub fn variable(name: &str) -> String {
    #[expect(clippy::disallowed_methods, reason = "the tests' own settings, not the product's")]
    let value = std::env::var(name);
    value.unwrap_or_else(|_| panic!("{name} is not set: run the end-to-end tests by `make test`"))
}
