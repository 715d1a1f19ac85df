//! Settings → an engine that is ready for the data stream.
//!
//! Each step is idempotent: our own template is overwritten, and so is our own lifecycle policy. A policy
//! that somebody has changed, and the component template with the operator's settings, are left as they are.

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::time::Duration;

use auth0_ecs::index_template::{
    self, DetailsIndexing, FORMER_NAME, IndexTemplate, Lifecycle, PolicyKind, PolicyState, Product,
    Retention,
};
use serde_json::{Value, json};
use shared::delivery::rollover::generation;
use shared::engine::client::{Engine, EngineError, EngineResponse, Method, Payload};
use shared::engine::credentials::Credentials;
use shared::engine::detect::{DetectError, Detected, Version, detect};
use shared::retry::Deadline;
use shared::start::config::{SearchConfig, SetupConfig, SignIn};
use shared::start::http;
use shared::start::secrets::Secrets;

use crate::install_error::{InstallError, Step};

/// The first version with `flat_object`.
const MIN_OPENSEARCH: Version = Version { major: 2, minor: 7 };

/// The oldest version tested. All that the template uses exists since 8.0.
const MIN_ELASTICSEARCH: Version = Version { major: 8, minor: 8 };

/// The first version whose templates take a data stream lifecycle.
const FIRST_DATA_STREAM_LIFECYCLE: Version = Version { major: 8, minor: 11 };

/// The first version in which `logsdb` is Elastic's own default for logs.
const FIRST_LOGSDB: Version = Version { major: 9, minor: 0 };

/// The first versions of each major that have failure stores outside of Elastic's own builds.
const FIRST_FAILURE_STORES: [Version; 2] =
    [Version { major: 8, minor: 19 }, Version { major: 9, minor: 1 }];

/// Upper bound for one request, so that one that hangs leaves time for a retry.
const REQUEST_TIME: Duration = Duration::from_secs(20);

/// The pauses between attempts: a deployment should not fail because a node is restarting.
const PAUSES: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(4)];

/// Reads the environment and installs, with this number of days as the retention. Returns what was done, for
/// a person.
pub(crate) async fn install(
    retention: Option<&str>,
    deadline: Deadline,
) -> Result<String, InstallError> {
    let retention = match retention {
        None => None,
        Some(days) => {
            let parsed: u32 =
                days.parse().map_err(|_| InstallError::Retention { found: format!("{days:?}") })?;
            NonZeroU32::new(parsed)
        }
    };
    let SetupConfig { search, namespace, details } = SetupConfig::from_env()?;
    let credentials = credentials(&search).await?;
    let engine = Engine::new(&search, credentials)?;
    let stream = index_template::data_stream(&namespace);
    let product = None;
    Installation { engine, product, namespace, stream, details, retention, deadline }.run().await
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
    namespace: String,
    /// The data stream's name.
    stream: String,
    details: Option<DetailsIndexing>,
    retention: Retention,
    deadline: Deadline,
}

impl Installation {
    async fn run(mut self) -> Result<String, InstallError> {
        let engine = self.detect().await?;
        let (lifecycle, policy, update) = self.install_policy(engine).await?;
        let former_retention = match lifecycle {
            Lifecycle::DataStream => self.template_retention().await?,
            _ => None,
        };
        let (template, hash) = self.install_template(engine, lifecycle.clone()).await?;
        let version = engine.version.map_or_else(String::new, |version| format!(" {version}"));
        let mut done = vec![format!("{}{version}: {template}", engine.product), policy];
        if engine.product == Product::OpenSearchServerless {
            self.test_collection().await?;
        } else {
            self.retire_former_template().await?;
            done.extend(self.apply(&hash).await?);
        }
        if lifecycle == Lifecycle::DataStream {
            let alerts = index_template::alerts_stream(&self.namespace);
            let mut kept = None;
            for stream in [&self.stream, &alerts] {
                let found = self.apply_retention(stream, former_retention.as_deref()).await?;
                kept = kept.or(found);
            }
            done.extend(kept);
        }
        // Last, because an installation that fails is not repeated with the former retention.
        if let Some(PolicyUpdate { kind, path, revision }) = update {
            self.write_policy(kind, &path, revision).await?;
        }
        Ok(done.join("; "))
    }

    async fn detect(&mut self) -> Result<Detected, InstallError> {
        let attempt = || detect(&self.engine, self.deadline.at_most(REQUEST_TIME));
        let detected = retried(attempt, |detected| {
            let Err(error) = detected else { return false };
            matches!(
                error,
                DetectError::Engine(EngineError::Unavailable { .. }) | DetectError::Busy { .. }
            )
        });
        let detected = detected.await.map_err(|error| match error {
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

    /// Returns the engine's kind of lifecycle, what was done, and the update still to be written.
    async fn install_policy(
        &self,
        engine: Detected,
    ) -> Result<(Lifecycle, String, Option<PolicyUpdate>), InstallError> {
        let (kind, path, otherwise) = match engine.product {
            Product::OpenSearch => (PolicyKind::Ism, "_plugins/_ism/policies", Lifecycle::None),
            Product::Elasticsearch => {
                let is_old =
                    engine.version.is_some_and(|version| version < FIRST_DATA_STREAM_LIFECYCLE);
                let otherwise = if is_old { Lifecycle::None } else { Lifecycle::DataStream };
                (PolicyKind::Ilm, "_ilm/policy", otherwise)
            }
            Product::ElasticsearchServerless => {
                return Ok(self.without_policy(Lifecycle::DataStream));
            }
            Product::OpenSearchServerless => return Ok(self.without_policy(Lifecycle::None)),
        };
        let own = self.name();
        let mut settled = None;
        for name in [own.as_str(), FORMER_NAME] {
            settled = match self.read_policy(kind, path, name).await? {
                Found::Policy(found) => self.settle_policy(kind, path, name, &found),
                Found::Nothing => None,
                Found::NoSuchFeature => return Ok(self.without_policy(otherwise)),
            }
            .map(|(done, update)| (name, done, update));
            if settled.is_some() {
                break;
            }
        }
        let (name, done, update) = match settled {
            Some(settled) => settled,
            None => {
                self.write_policy(kind, &format!("{path}/{own}"), 1).await?;
                (own.as_str(), "is installed".to_owned(), None)
            }
        };
        let (label, lifecycle) = match kind {
            PolicyKind::Ism => ("ISM", Lifecycle::Ism),
            PolicyKind::Ilm => ("ILM", Lifecycle::Ilm { policy: name.to_owned() }),
        };
        Ok((lifecycle, format!("{label} policy {name} {done}"), update))
    }

    /// Returns the same for an engine without policies.
    fn without_policy(&self, lifecycle: Lifecycle) -> (Lifecycle, String, Option<PolicyUpdate>) {
        let done = match lifecycle {
            Lifecycle::DataStream => "data stream lifecycle: on, in the template".to_owned(),
            _ => self.without_retention("lifecycle: none, this engine has no such feature"),
        };
        (lifecycle, done, None)
    }

    /// Returns a text about a lifecycle that knows no retention of ours.
    fn without_retention(&self, done: &str) -> String {
        let ignored = self.retention.map_or("", |_| ", so RetentionDays does not apply");
        format!("{done}{ignored}")
    }

    async fn read_policy(
        &self,
        kind: PolicyKind,
        path: &str,
        name: &str,
    ) -> Result<Found, InstallError> {
        let path = format!("{path}/{name}");
        let found = self.call(Step::ReadPolicy, Method::Get, &path, Payload::None).await?;
        match found.status {
            200 => {
                let mut found = found.json();
                // Elasticsearch returns it under its name.
                Ok(Found::Policy(match kind {
                    PolicyKind::Ism => found,
                    PolicyKind::Ilm => found.get_mut(name).map(Value::take).unwrap_or_default(),
                }))
            }
            404 => Ok(Found::Nothing),
            // Builds without the feature lack a handler for this path.
            400 | 405 | 410 => Ok(Found::NoSuchFeature),
            _ => Err(refused(Step::ReadPolicy, &found)),
        }
    }

    /// Decides to update a policy of ours, and to keep any other; returns what is done. `None` if it is to be
    /// replaced by one with our name.
    fn settle_policy(
        &self,
        kind: PolicyKind,
        path: &str,
        name: &str,
        found: &Value,
    ) -> Option<(String, Option<PolicyUpdate>)> {
        let state = index_template::policy_state(kind, found, &self.namespace, self.retention);
        Some(match state {
            PolicyState::Foreign => {
                (self.without_retention("is not as we made it, and is left unchanged"), None)
            }
            _ if name == FORMER_NAME => return None,
            PolicyState::Current => ("already exists and is unchanged".to_owned(), None),
            PolicyState::Outdated(version) => {
                // ISM requires these, so that nobody's change in between is lost.
                let number = |name: &str| found.get(name).and_then(Value::as_u64);
                let condition = match (number("_seq_no"), number("_primary_term")) {
                    (Some(seq_no), Some(term)) => {
                        format!("?if_seq_no={seq_no}&if_primary_term={term}")
                    }
                    _ => String::new(),
                };
                let path = format!("{path}/{name}{condition}");
                let update = PolicyUpdate { kind, path, revision: version + 1 };
                ("is updated".to_owned(), Some(update))
            }
        })
    }

    async fn write_policy(
        &self,
        kind: PolicyKind,
        path: &str,
        revision: u64,
    ) -> Result<(), InstallError> {
        let body = index_template::policy(kind, &self.namespace, self.retention, revision);
        self.write(Step::WritePolicy, path, &body).await
    }

    /// Installs the index templates of logs and alerts, without what this engine lacks. Returns what was done,
    /// and the hash in `_meta` of the backing indices' mapping.
    async fn install_template(
        &self,
        engine: Detected,
        lifecycle: Lifecycle,
    ) -> Result<(String, Value), InstallError> {
        if engine.product == Product::OpenSearch {
            self.create_component_template().await?;
        }
        let mut template = IndexTemplate {
            namespace: &self.namespace,
            product: engine.product,
            details: self.details.unwrap_or_else(|| DetailsIndexing::of(engine.product)),
            constant_keyword: true,
            failure_store: has_failure_store(engine),
            zstd: true,
            logsdb: engine.product == Product::Elasticsearch
                && engine.version.is_some_and(|version| version >= FIRST_LOGSDB),
            lifecycle,
            retention: self.retention,
        };
        let name = self.name();
        // Settings that the engine does not have.
        let mut left_out: Vec<String> = Vec::new();
        let hash = loop {
            let body = template.render();
            // Of the whole template, so that it is the same each time.
            let hash = body.get("template").and_then(|t| t.pointer(index_template::HASH)).cloned();
            match self.write_template(&name, body, &left_out).await {
                Ok(()) => break hash.unwrap_or_default(),
                Err(InstallError::Refused { reason, .. })
                    if template.constant_keyword && reason.contains("constant_keyword") =>
                {
                    template.constant_keyword = false;
                }
                Err(InstallError::Refused { reason, .. })
                    if template.zstd && reason.contains("index.codec") =>
                {
                    template.zstd = false;
                }
                Err(InstallError::Refused { step, reason }) => {
                    let unknown = unavailable_settings(&reason);
                    if unknown.is_empty() || unknown.iter().any(|name| left_out.contains(name)) {
                        return Err(InstallError::Refused { step, reason });
                    }
                    left_out.extend(unknown);
                }
                Err(error) => return Err(error),
            }
        };
        let alerts = index_template::alerts_name(&self.namespace);
        self.write_template(&alerts, template.render_alerts(), &left_out).await?;

        let mut done = format!("index template {name} is installed, details: {}", template.details);
        if let Some(codec) = template.codec() {
            done += &format!(", codec: {codec}");
        }
        if template.logsdb {
            done += ", mode: logsdb";
        }
        if !template.constant_keyword {
            done += " (without constant_keyword, which this engine lacks)";
        }
        if !left_out.is_empty() {
            done += &format!(" (without {}, which this engine refuses)", left_out.join(", "));
        }
        Ok((done, hash))
    }

    async fn write_template(
        &self,
        name: &str,
        mut body: Value,
        left_out: &[String],
    ) -> Result<(), InstallError> {
        for setting in left_out {
            leave_out(&mut body, setting);
        }
        self.write(Step::WriteTemplate, &format!("_index_template/{name}"), &body).await
    }

    /// Creates an empty component template for the operator's settings, unless there is one: OpenSearch
    /// refuses a template that is composed of one that does not exist.
    async fn create_component_template(&self) -> Result<(), InstallError> {
        let path = format!("_component_template/{}?create=true", index_template::CUSTOM);
        let body = json!({"template": {}});
        match self.write(Step::WriteComponent, &path, &body).await {
            Err(InstallError::Refused { reason, .. }) if reason.contains("already exists") => {
                Ok(())
            }
            done => done,
        }
    }

    /// Makes the template of an earlier release, which all namespaces shared, give way to ours. Ours is
    /// there already, so that the data stream has one at any moment.
    async fn retire_former_template(&self) -> Result<(), InstallError> {
        let former = self.read_template(FORMER_NAME).await?;
        match former.as_ref().and_then(index_template::retired) {
            Some(body) => self.write_template(FORMER_NAME, body, &[]).await,
            None => Ok(()),
        }
    }

    async fn read_template(&self, name: &str) -> Result<Option<Value>, InstallError> {
        let path = format!("_index_template/{name}");
        let found = self.call(Step::ReadTemplate, Method::Get, &path, Payload::None).await?;
        match found.status {
            200 => Ok(found.json().pointer("/index_templates/0/index_template").cloned()),
            404 => Ok(None),
            _ => Err(refused(Step::ReadTemplate, &found)),
        }
    }

    /// Returns the retention in our template, such as `30d`.
    async fn template_retention(&self) -> Result<Option<String>, InstallError> {
        let found = self.read_template(&self.name()).await?;
        Ok(found.as_ref().and_then(|found| data_retention(found.get("template")?)))
    }

    /// Applies the retention to an existing data stream, because the template sets it for new ones only. A
    /// retention that the former template did not set is somebody else's: it stays, and the result says so.
    async fn apply_retention(
        &self,
        stream: &str,
        former: Option<&str>,
    ) -> Result<Option<String>, InstallError> {
        let path = format!("_data_stream/{stream}");
        let found = self.call(Step::ReadDataStream, Method::Get, &path, Payload::None).await?;
        let found = found.json();
        // Without the stream, or a handler for this path, there is nothing to change.
        let Some(found) = found.pointer("/data_streams/0") else { return Ok(None) };
        let (found, wanted) =
            (data_retention(found), self.retention.map(|days| format!("{days}d")));
        if found == wanted {
            return Ok(None);
        }
        if found.as_deref() == former {
            let body = index_template::data_stream_lifecycle(self.retention);
            match self.write(Step::WriteRetention, &format!("{path}/_lifecycle"), &body).await {
                Err(InstallError::Forbidden { .. }) => {}
                done => return done.map(|()| None),
            }
        }
        let found = found.unwrap_or_else(|| "none".to_owned());
        Ok(Some(format!(
            "{stream} keeps its retention, {found}: PUT _data_stream/{stream}/_lifecycle changes it"
        )))
    }

    /// Checks that the collection takes documents as the writers send them, with one that is refused
    /// whatever its id: `@timestamp` is not a date.
    async fn test_collection(&self) -> Result<(), InstallError> {
        const LINES: &str = concat!(
            r#"{"create":{"_id":"auth0-log-streams"}}"#,
            "\n",
            r#"{"@timestamp":"no date"}"#,
            "\n"
        );
        let payload = Payload::Ndjson { bytes: LINES.into(), gzip: false };
        let path = format!("{}/_bulk", self.stream);
        let answer = self.call(Step::TestCollection, Method::Post, &path, payload).await?;
        let body = answer.json();
        let item = body.pointer("/items/0/create").unwrap_or(&body);
        // Some collections refuse the request, others the item.
        if item.to_string().contains("Document ID is not supported") {
            return Err(InstallError::WrongCollection);
        }
        match item.get("status").and_then(Value::as_u64) {
            Some(201) => Err(InstallError::ForeignMapping { stream: self.stream.clone() }),
            Some(400) if answer.is_success() => Ok(()),
            Some(403) => {
                let reason = item.pointer("/error/reason").and_then(Value::as_str);
                Err(self.forbidden(Step::TestCollection, reason.unwrap_or_default().to_owned()))
            }
            _ => Err(refused(Step::TestCollection, &answer)),
        }
    }

    /// Applies the template to the data stream, if there is one: a new write index, if the present one was
    /// created from another template. Returns what was done.
    async fn apply(&self, hash: &Value) -> Result<Option<String>, InstallError> {
        let stream = &self.stream;
        let rolled_over =
            format!("{stream} is rolled over, because its write index had another template");
        let path = format!("{stream}/_rollover");
        let mut pauses = PAUSES.iter();
        let mut tried = false;
        loop {
            // Read before every attempt: a response may be lost after the engine has rolled over.
            let found = self.write_index_hash().await?;
            if !tried {
                self.check(found.is_some()).await?;
            }
            if found.is_none_or(|found| found == *hash) {
                return Ok(tried.then_some(rolled_over));
            }
            tried = true;
            let response = self.attempt(Step::RollOver, Method::Post, &path, Payload::None).await;
            if is_transient(&response)
                && let Some(pause) = pauses.next()
            {
                tokio::time::sleep(*pause).await;
                continue;
            }
            return match response {
                Ok(response) if response.is_success() => Ok(Some(rolled_over)),
                Ok(response) => Err(refused(Step::RollOver, &response)),
                Err(InstallError::Forbidden { privilege, .. }) => Ok(Some(format!(
                    "{stream} gets this template with its next backing index (the engine's user lacks \
                     the privilege {privilege}): POST {stream}/_rollover creates one now"
                ))),
                Err(error) => Err(error),
            };
        }
    }

    /// Checks that our template applies to the data stream: engines refuse a second template of the same
    /// priority, but one of a higher priority overrides ours silently.
    async fn check(&self, exists: bool) -> Result<(), InstallError> {
        if !exists {
            return self.simulate().await;
        }
        // OpenSearch (3.8) cannot simulate an index with the name of a data stream: HTTP 500.
        let path = format!("_data_stream/{}", self.stream);
        let found = self.call(Step::ReadDataStream, Method::Get, &path, Payload::None).await?;
        match found.status {
            200 => {
                let found = found.json();
                let Some(found) = found.pointer("/data_streams/0") else {
                    return Err(self.not_a_data_stream());
                };
                if found.get("template").and_then(Value::as_str) != Some(self.name().as_str()) {
                    return Err(self.shadowed());
                }
            }
            404 => return Err(self.not_a_data_stream()),
            // Elasticsearch's minimal distribution lacks a handler for this path, but can simulate.
            400 | 405 => self.simulate().await?,
            _ => return Err(refused(Step::ReadDataStream, &found)),
        }
        Ok(())
    }

    /// Returns the hash of the template that the write index was created from, or null if it was not one of
    /// ours; `None` if the stream does not exist.
    async fn write_index_hash(&self) -> Result<Option<Value>, InstallError> {
        // Every backing index maps `@timestamp`, so one without `_meta` is listed too.
        const FILTER: &str = "filter_path=*.mappings._meta,*.mappings.properties.@timestamp.type";
        let path = format!("{}/_mapping?{FILTER}", self.stream);
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
    async fn simulate(&self) -> Result<(), InstallError> {
        let path = format!("_index_template/_simulate_index/{}", self.stream);
        let response = self.call(Step::Simulate, Method::Post, &path, Payload::None).await?;
        if !response.is_success() {
            return Err(refused(Step::Simulate, &response));
        }
        match response.json().pointer("/template/mappings/_meta/managed_by").and_then(Value::as_str)
        {
            Some(index_template::OWNER) => Ok(()),
            _ => Err(self.shadowed()),
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
        let attempt = || self.attempt(step, method, path, payload.clone());
        retried(attempt, is_transient).await
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

    /// Returns the name of the index template, and of a policy of ours.
    fn name(&self) -> String {
        index_template::name(&self.namespace)
    }

    fn shadowed(&self) -> InstallError {
        InstallError::Shadowed { name: self.name(), stream: self.stream.clone() }
    }

    fn not_a_data_stream(&self) -> InstallError {
        InstallError::NotADataStream { stream: self.stream.clone() }
    }

    fn forbidden(&self, step: Step, reason: String) -> InstallError {
        InstallError::Forbidden { step, privilege: step.privilege(self.product), reason }
    }
}

/// A policy of ours that is to be written again.
struct PolicyUpdate {
    kind: PolicyKind,
    path: String,
    revision: u64,
}

/// Result of `GET` on a policy's path.
enum Found {
    Policy(Value),
    Nothing,
    NoSuchFeature,
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

/// Repeats an attempt, with pauses, while that may help.
async fn retried<F: Future>(
    attempt: impl Fn() -> F,
    may_help: impl Fn(&F::Output) -> bool,
) -> F::Output {
    for pause in PAUSES {
        let result = attempt().await;
        if !may_help(&result) {
            return result;
        }
        tokio::time::sleep(pause).await;
    }
    attempt().await
}

/// Returns whether a further attempt may help: the engine is unavailable or overloaded.
const fn is_transient(response: &Result<EngineResponse, InstallError>) -> bool {
    match response {
        Ok(response) => response.is_busy(),
        Err(error) => matches!(error, InstallError::Unavailable(_)),
    }
}

fn refused(step: Step, response: &EngineResponse) -> InstallError {
    InstallError::Refused { step, reason: response.reason() }
}

/// Returns the settings that Elastic Cloud Serverless says it does not have: `Settings [a,b] are not
/// available when running in serverless mode`.
fn unavailable_settings(reason: &str) -> Vec<String> {
    let list = reason
        .split_once("Settings [")
        .and_then(|(_, rest)| rest.split_once("] are not available"));
    list.map_or_else(Vec::new, |(names, _)| names.split(',').map(|n| n.trim().to_owned()).collect())
}

/// Returns the retention of a template or a data stream.
fn data_retention(of: &Value) -> Option<String> {
    of.pointer("/lifecycle/data_retention").and_then(Value::as_str).map(str::to_owned)
}

/// Removes a setting such as `index.mapping.depth.limit` from a template.
fn leave_out(body: &mut Value, setting: &str) {
    let Some((parent, name)) = setting.rsplit_once('.') else { return };
    let path = format!("/template/settings/{}", parent.replace('.', "/"));
    if let Some(Value::Object(members)) = body.pointer_mut(&path) {
        members.remove(name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refused_setting_is_left_out_and_no_other() {
        let reason = "Settings [index.codec,index.mapping.depth.limit] are not available when running \
                      in serverless mode";
        let names = unavailable_settings(reason);
        assert_eq!(names, ["index.codec", "index.mapping.depth.limit"]);
        assert!(unavailable_settings("unknown setting [index.codec]").is_empty());
        let index =
            json!({"codec": "x", "refresh_interval": "5s", "mapping": {"depth": {"limit": 1}}});
        let mut body = json!({"template": {"settings": {"index": index}}});
        for name in names.iter().map(String::as_str).chain(["index.absent.limit", "none"]) {
            leave_out(&mut body, name);
        }
        let left = json!({"refresh_interval": "5s", "mapping": {"depth": {}}});
        assert_eq!(body["template"]["settings"]["index"], left);
    }

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
