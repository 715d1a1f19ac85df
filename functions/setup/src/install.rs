//! Settings → an engine that is ready for the data stream.
//!
//! Each step is idempotent: the template is overwritten, and an existing lifecycle policy is left
//! unchanged, because the operator sets the retention in it.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use auth0_ecs::index_template::{self, DetailsIndexing, Features, Lifecycle, Product, codec};
use serde_json::Value;
use shared::delivery::rollover::generation;
use shared::engine::client::{
    Engine, EngineClientError, EngineError, EngineResponse, Method, Payload,
};
use shared::engine::credentials::Credentials;
use shared::engine::detect::{DetectError, Detected, Version, detect};
use shared::retry::Deadline;
use shared::start::config::{ConfigError, SearchConfig, SetupConfig, SignIn};
use shared::start::http::{self, TlsError};
use shared::start::secrets::{SecretError, Secrets};

/// The first version with `flat_object`.
const MIN_OPENSEARCH: Version = Version { major: 2, minor: 7 };

/// The oldest version tested. All that the template uses exists since 8.0.
const MIN_ELASTICSEARCH: Version = Version { major: 8, minor: 8 };

/// The first version whose templates take a data stream lifecycle.
const FIRST_DATA_STREAM_LIFECYCLE: Version = Version { major: 8, minor: 11 };

/// The first versions of each major that have failure stores outside of Elastic's own builds.
const FIRST_FAILURE_STORES: [Version; 2] =
    [Version { major: 8, minor: 19 }, Version { major: 9, minor: 1 }];

/// Upper bound for one request, so that one that hangs leaves time for a retry.
const REQUEST_TIME: Duration = Duration::from_secs(20);

/// The pauses between attempts: a deployment should not fail because a node is restarting.
const PAUSES: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(4)];

/// What was installed. `Display` tells a person.
#[derive(Debug)]
pub(crate) struct Installed {
    engine: Detected,
    details: DetailsIndexing,
    has: Features,
    lifecycle: Lifecycle,
    /// The policy existed before and was left unchanged.
    policy_kept: bool,
    /// What became of the data stream, if its write index was created from another template.
    stream: Option<Stream>,
}

/// A data stream whose write index was created from another template.
#[derive(Debug)]
enum Stream {
    /// It got a new write index.
    RolledOver { stream: String },
    /// It did not: the user may not do that.
    TakesEffectLater { stream: String, missing: String },
}

/// Why the installation failed, and what the operator can do.
#[derive(Debug, thiserror::Error)]
pub(crate) enum InstallError {
    #[error(transparent)]
    Settings(#[from] ConfigError),
    #[error(transparent)]
    Tls(#[from] TlsError),
    #[error(transparent)]
    Secret(#[from] SecretError),
    #[error(transparent)]
    Unusable(#[from] EngineClientError),
    #[error("the credentials are wrong (check SEARCH_SECRET_ID and the secret's content)")]
    Unauthorized(#[source] EngineError),
    #[error("the engine is unavailable (check SEARCH_ENDPOINT and the function's network)")]
    Unavailable(#[source] EngineError),
    #[error("the engine is overloaded or starting")]
    Busy(#[source] DetectError),
    #[error("the engine cannot be identified (check SEARCH_ENDPOINT)")]
    NotAnEngine(#[source] DetectError),
    #[error("{product} {found} is too old: {min} or later is required")]
    TooOld { product: Product, found: Version, min: Version },
    #[error(
        "the engine's user may not {}: it lacks the privilege {privilege}; the engine says: {reason}",
        step.verb()
    )]
    Forbidden { step: Step, privilege: &'static str, reason: String },
    #[error("the engine refused to {}: {reason}", step.verb())]
    Refused { step: Step, reason: String },
    #[error(
        "another index template overrides {} for {stream}: give it a priority below 500 or another \
         pattern (GET _index_template lists them)",
        index_template::NAME
    )]
    Shadowed { stream: String },
    #[error(
        "{stream} is an index, not a data stream: it was created before the index template; \
         move its documents to another index (POST _reindex), delete it, and install again"
    )]
    NotADataStream { stream: String },
}

/// One request to the engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    Detect,
    ReadPolicy,
    WritePolicy,
    WriteTemplate,
    Simulate,
    ReadWriteIndex,
    ReadDataStream,
    RollOver,
}

impl Step {
    const fn verb(self) -> &'static str {
        match self {
            Self::Detect => "read the engine's version",
            Self::ReadPolicy => "read the lifecycle policy",
            Self::WritePolicy => "write the lifecycle policy",
            Self::WriteTemplate => "write the index template",
            Self::Simulate => "check which index template applies",
            Self::ReadWriteIndex => "read the mapping of the data stream's write index",
            Self::ReadDataStream => "read the data stream's index template",
            Self::RollOver => "roll the data stream over",
        }
    }

    /// Returns the privilege that the step needs; `docs/engines.md` lists them all.
    const fn privilege(self, product: Option<Product>) -> &'static str {
        match (self, product) {
            (Self::Detect, _) => "monitor (Elasticsearch) or cluster:monitor/main (OpenSearch)",
            (_, Some(Product::OpenSearchServerless)) => {
                "aoss:CreateCollectionItems and aoss:UpdateCollectionItems of a data access policy"
            }
            (Self::ReadPolicy | Self::WritePolicy, Some(product)) if product.is_elasticsearch() => {
                "manage_ilm"
            }
            (Self::WriteTemplate | Self::Simulate, Some(product)) if product.is_elasticsearch() => {
                "manage_index_templates"
            }
            (Self::ReadWriteIndex | Self::ReadDataStream, Some(product))
                if product.is_elasticsearch() =>
            {
                "view_index_metadata"
            }
            (Self::RollOver, Some(product)) if product.is_elasticsearch() => "manage",
            (Self::ReadPolicy, _) => "cluster:admin/opendistro/ism/policy/get",
            (Self::WritePolicy, _) => "cluster:admin/opendistro/ism/policy/write",
            (Self::WriteTemplate, _) => "indices:admin/index_template/put",
            (Self::Simulate, _) => "indices:admin/index_template/simulate_index",
            (Self::ReadWriteIndex, _) => "indices:admin/mappings/get",
            (Self::ReadDataStream, _) => "indices:admin/data_stream/get",
            (Self::RollOver, _) => "indices:admin/rollover",
        }
    }
}

impl fmt::Display for Installed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = index_template::NAME;
        write!(f, "{}", self.engine.product)?;
        if let Some(version) = self.engine.version {
            write!(f, " {version}")?;
        }
        write!(f, ": index template {name} is installed")?;
        write!(f, ", details: {}, codec: {}", self.details, codec(self.engine.product, self.has))?;
        if !self.has.constant_keyword {
            write!(f, " (without constant_keyword, which this engine lacks)")?;
        }
        let policy_state =
            if self.policy_kept { "already exists and is unchanged" } else { "is installed" };
        match self.lifecycle {
            Lifecycle::Ism => write!(f, "; ISM policy {name} {policy_state}")?,
            Lifecycle::Ilm => write!(f, "; ILM policy {name} {policy_state}")?,
            Lifecycle::DataStream => write!(f, "; data stream lifecycle: on, in the template")?,
            Lifecycle::None => write!(f, "; lifecycle: none, this engine has no such feature")?,
        }
        match &self.stream {
            None => Ok(()),
            Some(Stream::RolledOver { stream }) => {
                write!(f, "; {stream} is rolled over, because its write index had another template")
            }
            Some(Stream::TakesEffectLater { stream, missing }) => write!(
                f,
                "; {stream} gets this template with its next backing index ({missing}): \
                 POST {stream}/_rollover creates one now"
            ),
        }
    }
}

/// Reads the environment and installs.
pub(crate) async fn install(deadline: Deadline) -> Result<Installed, InstallError> {
    let config = SetupConfig::from_env()?;
    let credentials = credentials(&config.search).await?;
    let engine = Engine::new(&config.search, credentials)?;
    Installation { engine, product: None, deadline }.run(&config.namespace, config.details).await
}

/// Loads the AWS configuration only if needed: without a region, the SDK looks for one on the network.
async fn credentials(search: &SearchConfig) -> Result<Credentials, InstallError> {
    if search.sign_in == SignIn::None {
        return Ok(Credentials::None);
    }
    let aws = http::aws(&http::client()?).await;
    Ok(Credentials::load(&search.sign_in, &Secrets::new(&aws), &aws).await?)
}

/// The engine during the installation.
struct Installation {
    engine: Engine,
    /// Known after [`Self::detect`].
    product: Option<Product>,
    deadline: Deadline,
}

impl Installation {
    async fn run(
        mut self,
        namespace: &str,
        details: Option<DetailsIndexing>,
    ) -> Result<Installed, InstallError> {
        let engine = self.detect().await?;
        let details = details.unwrap_or_else(|| DetailsIndexing::of(engine.product));
        let (lifecycle, policy_kept) = self.install_policy(engine).await?;
        let (has, hash) = self.install_template(engine, details, lifecycle).await?;
        let stream = match engine.product {
            Product::OpenSearchServerless => None,
            _ => self.apply(format!("logs-auth0.logs-{namespace}"), &hash).await?,
        };
        Ok(Installed { engine, details, has, lifecycle, policy_kept, stream })
    }

    async fn detect(&mut self) -> Result<Detected, InstallError> {
        let mut pauses = PAUSES.iter();
        let detected = loop {
            match (detect(&self.engine, self.deadline.at_most(REQUEST_TIME)).await, pauses.next()) {
                (
                    Err(
                        DetectError::Engine(EngineError::Unavailable { .. })
                        | DetectError::Busy { .. },
                    ),
                    Some(pause),
                ) => tokio::time::sleep(*pause).await,
                (detected, _) => break detected,
            }
        };
        let detected = detected.map_err(|error| match error {
            DetectError::Engine(error) => error.into(),
            DetectError::Forbidden(reason) => self.forbidden(Step::Detect, reason),
            DetectError::Busy { .. } => InstallError::Busy(error),
            DetectError::NotAnEngine { .. } => InstallError::NotAnEngine(error),
        })?;
        let Detected { product, version } = detected;
        self.product = Some(product);
        let min = if product.is_elasticsearch() { MIN_ELASTICSEARCH } else { MIN_OPENSEARCH };
        match version {
            Some(found) if found < min => Err(InstallError::TooOld { product, found, min }),
            _ => Ok(detected),
        }
    }

    /// Returns the engine's kind of lifecycle, and whether the policy existed before.
    async fn install_policy(&self, engine: Detected) -> Result<(Lifecycle, bool), InstallError> {
        let (path, policy, lifecycle, otherwise) = match engine.product {
            Product::OpenSearch => (
                "_plugins/_ism/policies",
                index_template::ism_policy(),
                Lifecycle::Ism,
                Lifecycle::None,
            ),
            Product::Elasticsearch => {
                let is_old =
                    engine.version.is_some_and(|version| version < FIRST_DATA_STREAM_LIFECYCLE);
                let otherwise = if is_old { Lifecycle::None } else { Lifecycle::DataStream };
                ("_ilm/policy", index_template::ilm_policy(), Lifecycle::Ilm, otherwise)
            }
            Product::ElasticsearchServerless => return Ok((Lifecycle::DataStream, false)),
            Product::OpenSearchServerless => return Ok((Lifecycle::None, false)),
        };
        let path = format!("{path}/{}", index_template::NAME);
        let found = self.call(Step::ReadPolicy, Method::Get, &path, Payload::None).await?;
        match found.status {
            200 => Ok((lifecycle, true)),
            404 => {
                self.write(Step::WritePolicy, &path, &policy).await?;
                Ok((lifecycle, false))
            }
            // Builds without the feature lack a handler for this path.
            400 | 405 | 410 => Ok((otherwise, false)),
            _ => Err(refused(Step::ReadPolicy, &found)),
        }
    }

    /// Returns what the engine has, and the hash of what was installed. It refuses what it lacks.
    async fn install_template(
        &self,
        engine: Detected,
        details: DetailsIndexing,
        lifecycle: Lifecycle,
    ) -> Result<(Features, Value), InstallError> {
        let path = format!("_index_template/{}", index_template::NAME);
        let failure_store = has_failure_store(engine);
        let mut has = Features { constant_keyword: true, failure_store, zstd: true };
        loop {
            let body = index_template::render(engine.product, details, has, lifecycle);
            match self.write(Step::WriteTemplate, &path, &body).await {
                Ok(()) => {
                    let template = body.get("template");
                    let hash = template.and_then(|template| template.pointer(index_template::HASH));
                    return Ok((has, hash.cloned().unwrap_or_default()));
                }
                Err(InstallError::Refused { reason, .. })
                    if has.constant_keyword && reason.contains("constant_keyword") =>
                {
                    has.constant_keyword = false;
                }
                Err(InstallError::Refused { reason, .. })
                    if has.zstd && reason.contains("index.codec") =>
                {
                    has.zstd = false;
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Applies the template to the data stream, if there is one: a new write index, if the present one was
    /// created from another template.
    async fn apply(&self, stream: String, hash: &Value) -> Result<Option<Stream>, InstallError> {
        let mut pauses = PAUSES.iter();
        let mut tried = false;
        loop {
            // Read before every attempt: a response may be lost after the engine has rolled over.
            let found = self.write_index_hash(&stream).await?;
            if !tried {
                self.check(&stream, found.is_some()).await?;
            }
            if found.is_none_or(|found| found == *hash) {
                return Ok(tried.then_some(Stream::RolledOver { stream }));
            }
            tried = true;
            let path = format!("{stream}/_rollover");
            match (
                self.attempt(Step::RollOver, Method::Post, &path, Payload::None).await,
                pauses.next(),
            ) {
                (Ok(response), _) if response.is_success() => {
                    return Ok(Some(Stream::RolledOver { stream }));
                }
                (Err(InstallError::Forbidden { privilege, .. }), _) => {
                    let missing = format!("the engine's user lacks the privilege {privilege}");
                    return Ok(Some(Stream::TakesEffectLater { stream, missing }));
                }
                (Ok(response), Some(pause)) if response.is_busy() => {
                    tokio::time::sleep(*pause).await;
                }
                (Err(InstallError::Unavailable(_)), Some(pause)) => {
                    tokio::time::sleep(*pause).await;
                }
                (Ok(response), _) => return Err(refused(Step::RollOver, &response)),
                (Err(error), _) => return Err(error),
            }
        }
    }

    /// Checks that our template applies to the data stream: engines refuse a second template of the same
    /// priority, but one of a higher priority overrides ours silently.
    async fn check(&self, stream: &str, exists: bool) -> Result<(), InstallError> {
        if !exists {
            return self.simulate(stream).await;
        }
        // OpenSearch (3.8) cannot simulate an index with the name of a data stream: HTTP 500.
        let path = format!("_data_stream/{stream}");
        let found = self.call(Step::ReadDataStream, Method::Get, &path, Payload::None).await?;
        match found.status {
            200 => {
                let found: Value = serde_json::from_slice(&found.body).unwrap_or_default();
                let Some(found) = found.pointer("/data_streams/0") else {
                    return Err(InstallError::NotADataStream { stream: stream.to_owned() });
                };
                if found.get("template").and_then(Value::as_str) != Some(index_template::NAME) {
                    return Err(InstallError::Shadowed { stream: stream.to_owned() });
                }
            }
            404 => return Err(InstallError::NotADataStream { stream: stream.to_owned() }),
            // Elasticsearch's minimal distribution lacks a handler for this path, but can simulate.
            400 | 405 => self.simulate(stream).await?,
            _ => return Err(refused(Step::ReadDataStream, &found)),
        }
        Ok(())
    }

    /// Returns the hash of the template that the write index was created from, or null if it was not one of
    /// ours; `None` if the stream does not exist.
    async fn write_index_hash(&self, stream: &str) -> Result<Option<Value>, InstallError> {
        // Every backing index maps `@timestamp`, so one without `_meta` is listed too.
        const FILTER: &str = "filter_path=*.mappings._meta,*.mappings.properties.@timestamp.type";
        let path = format!("{stream}/_mapping?{FILTER}");
        let found = self.call(Step::ReadWriteIndex, Method::Get, &path, Payload::None).await?;
        match found.status {
            404 => Ok(None),
            200 => {
                let indices: BTreeMap<String, Value> =
                    serde_json::from_slice(&found.body).unwrap_or_default();
                let last = indices.iter().max_by_key(|(name, _)| generation(name));
                let hash = last.and_then(|(_, index)| index.pointer(index_template::HASH));
                Ok(Some(hash.cloned().unwrap_or_default()))
            }
            _ => Err(refused(Step::ReadWriteIndex, &found)),
        }
    }

    /// Checks that a new data stream of this name would get our template.
    async fn simulate(&self, stream: &str) -> Result<(), InstallError> {
        let path = format!("_index_template/_simulate_index/{stream}");
        let response = self.call(Step::Simulate, Method::Post, &path, Payload::None).await?;
        if !response.is_success() {
            return Err(refused(Step::Simulate, &response));
        }
        let simulated: Value = serde_json::from_slice(&response.body).unwrap_or_default();
        match simulated.pointer("/template/mappings/_meta/managed_by").and_then(Value::as_str) {
            Some(index_template::OWNER) => Ok(()),
            _ => Err(InstallError::Shadowed { stream: stream.to_owned() }),
        }
    }

    async fn write(&self, step: Step, path: &str, body: &Value) -> Result<(), InstallError> {
        let body = Payload::Json(body.to_string().into());
        let response = self.call(step, Method::Put, path, body).await?;
        match response.is_success() {
            true => Ok(()),
            false => Err(refused(step, &response)),
        }
    }

    /// Sends one request, and retries while the engine is unavailable or overloaded. A 403 is an error.
    async fn call(
        &self,
        step: Step,
        method: Method,
        path: &str,
        payload: Payload,
    ) -> Result<EngineResponse, InstallError> {
        let mut pauses = PAUSES.iter();
        loop {
            let response = self.attempt(step, method, path, payload.clone()).await;
            let is_transient = match &response {
                Ok(response) => response.is_busy(),
                Err(error) => matches!(error, InstallError::Unavailable(_)),
            };
            match pauses.next() {
                Some(pause) if is_transient => tokio::time::sleep(*pause).await,
                _ => return response,
            }
        }
    }

    /// Sends one request once. A 403 is an error.
    async fn attempt(
        &self,
        step: Step,
        method: Method,
        path: &str,
        payload: Payload,
    ) -> Result<EngineResponse, InstallError> {
        let deadline = self.deadline.at_most(REQUEST_TIME);
        let response = self.engine.send(method, path, payload, deadline).await?;
        match response.status {
            403 => Err(self.forbidden(step, response.reason())),
            _ => Ok(response),
        }
    }

    fn forbidden(&self, step: Step, reason: String) -> InstallError {
        InstallError::Forbidden { step, privilege: step.privilege(self.product), reason }
    }
}

/// Returns whether the engine has failure stores, and so an option to turn them off.
fn has_failure_store(Detected { product, version }: Detected) -> bool {
    match product {
        Product::OpenSearch | Product::OpenSearchServerless => false,
        Product::ElasticsearchServerless => true,
        Product::Elasticsearch => version.is_some_and(|version| {
            let first = FIRST_FAILURE_STORES.iter().find(|first| first.major == version.major);
            first.map_or(version.major > 9, |first| version >= *first)
        }),
    }
}

fn refused(step: Step, response: &EngineResponse) -> InstallError {
    InstallError::Refused { step, reason: response.reason() }
}

impl From<EngineError> for InstallError {
    fn from(error: EngineError) -> Self {
        match error {
            EngineError::Unauthorized { .. } => Self::Unauthorized(error),
            EngineError::Unavailable { .. } => Self::Unavailable(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failure_store_exists_since_8_19_and_9_1() {
        let has = |product, major, minor| {
            has_failure_store(Detected { product, version: Some(Version { major, minor }) })
        };
        let elastic = Product::Elasticsearch;
        assert!([(8, 19), (9, 1), (9, 2), (10, 0)].iter().all(|v| has(elastic, v.0, v.1)));
        assert!(![(8, 18), (9, 0), (8, 8)].iter().any(|v| has(elastic, v.0, v.1)));
        assert!(!has(Product::OpenSearch, 3, 7));
        let serverless = Product::ElasticsearchServerless;
        assert!(has_failure_store(Detected { product: serverless, version: None }));
    }
}
