//! Where the real parts of the local stack are. `make test` starts them and sets these variables.

use std::path::PathBuf;
use std::process::Output;

use tokio::process::Command;

/// One of the two engines, both of which everything has to work with.
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

/// One of the tests' own settings. Without the stack a test fails: a test that passes without running
/// proves nothing.
///
/// # Panics
/// If it is not set.
#[must_use]
pub fn variable(name: &str) -> String {
    #[expect(clippy::disallowed_methods, reason = "the tests' own settings, not the product's")]
    let value = std::env::var(name);
    value.unwrap_or_else(|_| panic!("{name} is not set: run the end-to-end tests with `make test`"))
}

/// A name that no other test uses, in any run: tests share one stack.
#[must_use]
pub fn unique(prefix: &str) -> String {
    format!("{prefix}{:012x}", fastrand::u64(..1 << 48))
}

/// Environment variables of a function. The last one of a name counts.
#[derive(Clone, Debug, Default)]
pub struct Variables(Vec<(String, String)>);

impl Variables {
    /// Adds these, or replaces those of the same name.
    #[must_use]
    pub fn with<V: Into<String>>(
        mut self,
        variables: impl IntoIterator<Item = (&'static str, V)>,
    ) -> Self {
        let variables = variables.into_iter();
        self.0.extend(variables.map(|(name, value)| (name.to_owned(), value.into())));
        self
    }

    /// The names with their values.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }
}

/// Runs `setup install` with these variables and no others.
///
/// # Panics
/// If the binary cannot be started.
pub async fn install(variables: &Variables) -> Output {
    let mut setup = Command::new(binary("setup"));
    setup.arg("install").env_clear().envs(variables.iter());
    setup.output().await.expect("setup can be started")
}
