//! The index template and the lifecycle, rendered for each engine from the table of fields.
//!
//! `dynamic: false` keeps what is not in the table in the document but out of the index, so that no event
//! can add a field or be refused for the type of one. Whatever analysts group by is a field of its own,
//! because neither engine can group by part of a flat object everywhere. [`DetailsIndexing`] is the one
//! choice: the document is the same with each.

#![expect(clippy::indexing_slicing, reason = "a member of an object made here; serde_json adds it")]

use std::fmt;
use std::num::NonZeroU32;

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::ecs::details_fields::DETAILS_FIELDS;
use crate::ecs::fields::{DATA, FIELDS, FieldType, alert_fields};
use crate::input::mask::hex;

/// The product that an engine is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Product {
    /// OpenSearch, self-managed or an Amazon `OpenSearch` Service domain.
    OpenSearch,
    /// A collection of Amazon OpenSearch Serverless.
    OpenSearchServerless,
    /// Elasticsearch, self-managed or Elastic Cloud Hosted.
    Elasticsearch,
    /// A project of Elastic Cloud Serverless.
    ElasticsearchServerless,
}

impl Product {
    /// Whether it has Elasticsearch's API rather than OpenSearch's.
    #[must_use]
    pub const fn is_elasticsearch(self) -> bool {
        matches!(self, Self::Elasticsearch | Self::ElasticsearchServerless)
    }
}

impl fmt::Display for Product {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::OpenSearch => "OpenSearch",
            Self::OpenSearchServerless => "OpenSearch Serverless",
            Self::Elasticsearch => "Elasticsearch",
            Self::ElasticsearchServerless => "Elasticsearch Serverless",
        })
    }
}

/// How the members of an event's data that differ from type to type are indexed: `details`, `auth0_client`,
/// `body` and `query`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DetailsIndexing {
    /// Each as one flat field, as in Elastic's integration.
    Flat,
    /// The leaves that Auth0's schemas name as fields, and all others in `auth0.logs.details_other`.
    Fields,
    /// Not at all: they are in the document only.
    None,
}

impl DetailsIndexing {
    /// All of them, by name.
    pub const ALL: [(&str, Self); 3] =
        [("flat", Self::Flat), ("fields", Self::Fields), ("none", Self::None)];

    /// Returns the setting for an engine where the operator chose none.
    #[must_use]
    pub const fn of(product: Product) -> Self {
        match product.is_elasticsearch() {
            // Its flat type takes half of the disk that OpenSearch's takes.
            true => Self::Flat,
            false => Self::Fields,
        }
    }
}

impl fmt::Display for DetailsIndexing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, _) = Self::ALL.iter().find(|(_, details)| details == self).ok_or(fmt::Error)?;
        f.write_str(name)
    }
}

/// The flat field of what is no field of its own below `auth0.logs.data`, by the same path.
const DETAILS_OTHER: &str = "auth0.logs.details_other";

/// The name of the index template and the lifecycle policy of releases up to 0.1, which all namespaces
/// shared. The template of Elastic's Auth0 integration has the same name.
pub const FORMER_NAME: &str = "logs-auth0.logs";

/// The component template with the operator's own settings, if there is one. Fleet uses the same name.
pub const CUSTOM: &str = "logs-auth0.logs@custom";

/// Above the built-in templates for `logs-*-*` (100) and those of Elastic's packages (200, and 250 for a
/// namespace of its own; see Fleet's `template.ts`), and below that of releases up to 0.1 (500), so that
/// one that is rolled back to takes precedence again.
pub const PRIORITY: u32 = 499;

/// Returns the name of the data stream of a namespace.
#[must_use]
pub fn data_stream(namespace: &str) -> String {
    format!("logs-auth0.logs-{namespace}")
}

/// Returns the name of the data stream of a namespace's alerts.
#[must_use]
pub fn alerts_stream(namespace: &str) -> String {
    format!("logs-auth0.alerts-{namespace}")
}

/// Returns the name of the index template of a namespace's alerts. No namespace has a hyphen.
#[must_use]
pub fn alerts_name(namespace: &str) -> String {
    format!("{OWNER}-alerts-{namespace}")
}

/// Returns the name of a namespace's index template and lifecycle policy. Each namespace has its own, so
/// that two stacks with one cluster do not change each other's fields or retention.
#[must_use]
pub fn name(namespace: &str) -> String {
    format!("{OWNER}-{namespace}")
}

/// `_meta.managed_by` of everything installed: distinguishes our template from others.
pub const OWNER: &str = "auth0-log-streams";

/// Where the rendered template has its [`hash`], and a backing index the hash of the template that it was
/// created from.
pub const HASH: &str = "/mappings/_meta/hash";

/// Fields that a search without a field name covers, besides those in details: texts that people type. No
/// addresses, dates or numbers, because engines refuse a word as a value of these.
const DEFAULT_FIELDS: &[&str] = &[
    "auth0.logs.data.client_name",
    "auth0.logs.data.connection",
    "auth0.logs.data.description",
    "auth0.logs.data.type",
    "auth0.logs.data.type_id",
    "error.message",
    "event.action",
    "event.id",
    "organization.name",
    "user.email",
    "user.id",
    "user.name",
    "user.target.email",
    "user.target.id",
    "user.target.name",
    "user_agent.original.text",
];

/// The same for alerts.
const ALERT_DEFAULT_FIELDS: &[&str] = &["message", "related.user", "rule.name"];

/// The feature that rolls the data stream over and deletes old indices.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Lifecycle {
    /// OpenSearch's Index State Management. The policy selects its data streams by pattern.
    Ism,
    /// Elasticsearch's index lifecycle management. The template names the policy.
    Ilm {
        /// The policy's name.
        policy: String,
    },
    /// Elasticsearch's data stream lifecycle, which is part of the template.
    DataStream,
    /// None: the engine has no such feature.
    None,
}

/// How many days a backing index is kept after its rollover; `None` if it is never deleted.
pub type Retention = Option<NonZeroU32>;

/// Returns the field of ours that `name` is, or is part of: an engine's `auth0.logs.data.details._value` is
/// `auth0.logs.data.details`. The result never holds a word of an event, as a name in one might.
#[must_use]
pub fn known_field(name: &str) -> Option<&'static str> {
    let start_of = |field: &'static str, name: &str| {
        let start = field.get(..name.len()).filter(|start| *start == name)?;
        matches!(field.as_bytes().get(name.len()), None | Some(b'.')).then_some(start)
    };
    let mut name = name;
    loop {
        let found = FIELDS.iter().find_map(|field| start_of(field.name, name));
        match (found, name.rsplit_once('.')) {
            (None, Some((outer, _))) => name = outer,
            (found, _) => return found.filter(|field| !field.is_empty()),
        }
    }
}

/// The index template of a namespace.
#[derive(Clone, Debug)]
pub struct IndexTemplate<'a> {
    /// The last part of the data stream's name.
    pub namespace: &'a str,
    /// Where it is installed.
    pub product: Product,
    /// How `details` and its like are indexed.
    pub details: DetailsIndexing,
    /// Whether an Elasticsearch has that type; its minimal distribution does not, and gets `keyword`
    /// instead.
    pub constant_keyword: bool,
    /// Whether the engine has failure stores.
    pub failure_store: bool,
    /// Whether an OpenSearch has that codec, of the plugin custom-codecs (2.9).
    pub zstd: bool,
    /// Whether Elasticsearch's `logsdb` is on.
    pub logsdb: bool,
    /// The feature that rolls the data stream over.
    pub lifecycle: Lifecycle,
    /// For [`Lifecycle::DataStream`]; policies have it of their own.
    pub retention: Retention,
}

impl IndexTemplate<'_> {
    /// Returns the codec of the stored documents, unless the engine chooses it.
    #[must_use]
    pub const fn codec(&self) -> Option<&'static str> {
        match self.product {
            Product::OpenSearchServerless => None,
            Product::OpenSearch if self.zstd => Some("zstd"),
            _ => Some("best_compression"),
        }
    }

    /// Returns the body of `PUT _index_template/`[`name`].
    #[must_use]
    pub fn render(&self) -> Value {
        let stream = data_stream(self.namespace);
        self.render_stream(&stream, event_mappings(self), &default_fields(self.details))
    }

    /// Returns the body of `PUT _index_template/`[`alerts_name`].
    #[must_use]
    pub fn render_alerts(&self) -> Value {
        let mappings = alert_fields().map(|(name, kind)| (name.to_owned(), mapping(kind, self)));
        let default_fields = ALERT_DEFAULT_FIELDS.iter().copied().map(str::to_owned);
        self.render_stream(
            &alerts_stream(self.namespace),
            mappings.collect(),
            &default_fields.collect::<Vec<_>>(),
        )
    }

    fn render_stream(
        &self,
        stream: &str,
        mappings: Vec<(String, Value)>,
        default_fields: &[String],
    ) -> Value {
        let mut template = json!({
            "settings": settings(self, default_fields),
            "mappings": {
                "dynamic": false,
                // Numbers and dates in strings stay strings.
                "date_detection": false,
                "numeric_detection": false,
                "properties": properties(mappings),
            },
        });
        // An index has what it was created from. Only if that has changed is a new one needed.
        let mut of_index = meta();
        of_index["hash"] = hash(&template).into();
        template["mappings"]["_meta"] = of_index;
        if self.lifecycle == Lifecycle::DataStream {
            template["lifecycle"] = data_stream_lifecycle(self.retention);
        }
        if self.failure_store {
            // With one, the engine says 201 to a document that it did not store. What it refuses is kept
            // as an error document, in the data stream itself.
            template["data_stream_options"] = json!({"failure_store": {"enabled": false}});
        }
        let mut body = json!({
            "index_patterns": [stream],
            "priority": PRIORITY,
            "template": template,
            "_meta": meta(),
        });
        // OpenSearch Serverless has neither data streams nor anything that an operator could set.
        if self.product != Product::OpenSearchServerless {
            body["data_stream"] = json!({});
            body["composed_of"] = json!([CUSTOM]);
        }
        if self.product.is_elasticsearch() {
            // OpenSearch (3.8) does not know this.
            body["ignore_missing_component_templates"] = json!([CUSTOM]);
        }
        body
    }
}

/// Returns the body of `PUT _data_stream/`[`data_stream`]`/_lifecycle`.
#[must_use]
pub fn data_stream_lifecycle(retention: Retention) -> Value {
    retention.map_or_else(|| json!({}), |days| json!({"data_retention": format!("{days}d")}))
}

/// Returns the template of an earlier release with a priority below [`PRIORITY`], or `None` if it is not
/// ours, or lower already. Deleting it instead would leave other namespaces without one, and OpenSearch
/// before 3.4 refuses to delete a template that matches any data stream.
#[must_use]
pub fn retired(found: &Value) -> Option<Value> {
    let is_ours = found.pointer("/_meta/managed_by").is_some_and(|owner| owner == OWNER);
    let priority = found.get("priority").and_then(Value::as_u64).unwrap_or(0);
    if !is_ours || priority < u64::from(PRIORITY) {
        return None;
    }
    // What an engine adds, such as creation dates, it does not take.
    let kept = ["index_patterns", "template", "_meta"];
    let kept =
        kept.into_iter().filter_map(|name| Some((name.to_owned(), found.get(name)?.clone())));
    let mut body = Value::Object(kept.collect());
    body["priority"] = (PRIORITY - 1).into();
    body["data_stream"] = json!({});
    Some(body)
}

/// A backing index is rolled over after this many days, or as many as it is kept if those are fewer.
const ROLLOVER_DAYS: u32 = 30;

/// The description of the ISM policy that releases up to 0.1 installed.
const FORMER_ISM: &str = "Auth0 logs: a new backing index at 50 GB or 30 days; nothing is deleted.";

/// An engine's kind of lifecycle policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PolicyKind {
    /// `PUT _plugins/_ism/policies/`[`name`].
    Ism,
    /// `PUT _ilm/policy/`[`name`].
    Ilm,
}

/// Returns the body of the policy that becomes the engine's version `revision` of it. It says so, so that
/// [`policy_state`] notices when somebody changes it.
#[must_use]
pub fn policy(kind: PolicyKind, namespace: &str, retention: Retention, revision: u64) -> Value {
    let days = retention.map_or(ROLLOVER_DAYS, |days| days.get().min(ROLLOVER_DAYS));
    let age = format!("{days}d");
    let kept = retention.map(|days| format!("{days}d"));
    let mut policy = match kind {
        PolicyKind::Ism => {
            let rollover = json!({"min_primary_shard_size": "50gb", "min_index_age": age});
            let mut states = vec![
                json!({"name": "hot", "actions": [{"rollover": rollover}], "transitions": []}),
            ];
            if let Some(kept) = kept {
                let when = json!({"min_rollover_age": kept});
                states[0]["transitions"] = json!([{"state_name": "delete", "conditions": when}]);
                states.push(
                    json!({"name": "delete", "actions": [{"delete": {}}], "transitions": []}),
                );
            }
            json!({
                "default_state": "hot",
                "states": states,
                // Above the policy of releases up to 0.1 (500): ISM refuses a second one of the same.
                "ism_template": [{
                    "index_patterns": [data_stream(namespace), alerts_stream(namespace)],
                    "priority": 501,
                }],
            })
        }
        PolicyKind::Ilm => {
            let rollover = json!({"max_primary_shard_size": "50gb", "max_age": age});
            let mut phases = json!({"hot": {"min_age": "0ms", "actions": {"rollover": rollover}}});
            if let Some(kept) = kept {
                phases["delete"] = json!({"min_age": kept, "actions": {"delete": {}}});
            }
            json!({"phases": phases})
        }
    };
    let mark = mark(&policy, revision);
    match kind {
        PolicyKind::Ism => policy["description"] = format!("Auth0 logs; {mark}").into(),
        PolicyKind::Ilm => {
            let mut meta = meta();
            meta["mark"] = mark.into();
            policy["_meta"] = meta;
        }
    }
    json!({"policy": policy})
}

/// Says whose a policy is, what it does, and which version of it the engine should have.
fn mark(policy: &Value, revision: u64) -> String {
    format!("{OWNER} {} revision {revision}", hash(policy))
}

/// What a policy in the engine is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PolicyState {
    /// As wanted.
    Current,
    /// Ours and unchanged, but not as wanted; in this version.
    Outdated(u64),
    /// Changed, or made by somebody else.
    Foreign,
}

/// Compares a policy in the engine, as `GET` returns it under its name, with the wanted one.
#[must_use]
pub fn policy_state(
    kind: PolicyKind,
    found: &Value,
    namespace: &str,
    retention: Retention,
) -> PolicyState {
    let (version, mark) = match kind {
        PolicyKind::Ism => ("/_version", "/policy/description"),
        PolicyKind::Ilm => ("/version", "/policy/_meta/mark"),
    };
    let Some(version) = found.pointer(version).and_then(Value::as_u64) else {
        return PolicyState::Foreign;
    };
    let wanted = policy(kind, namespace, retention, version);
    let text = |value: &Value| value.pointer(mark).and_then(Value::as_str).map(str::to_owned);
    match text(found) {
        found if found.is_some() && found == text(&wanted) => PolicyState::Current,
        Some(found) if found.ends_with(&format!(" revision {version}")) => {
            PolicyState::Outdated(version)
        }
        // Those of releases up to 0.1 do not say their version.
        Some(found) if found == FORMER_ISM && version == 1 => PolicyState::Outdated(version),
        None if version == 1
            && found.pointer("/policy/_meta/managed_by").is_some_and(|owner| owner == OWNER) =>
        {
            PolicyState::Outdated(version)
        }
        _ => PolicyState::Foreign,
    }
}

/// `_meta` of the template and the policy; part of that of the mappings.
fn meta() -> Value {
    json!({"managed_by": OWNER, "version": env!("CARGO_PKG_VERSION")})
}

/// Returns the first half of the SHA-256 of a value, in hexadecimal digits. Members are in order.
#[must_use]
pub fn hash(value: &Value) -> String {
    hex(&Sha256::digest(value.to_string()))
}

/// No shards or replicas: those are the operator's, in [`CUSTOM`] or the cluster's defaults. No `index.sort`: both engines keep the
/// segments of a data stream ordered by `@timestamp` and read the newest first, so sorting within segments
/// would make writing slower and reading no faster.
fn settings(of: &IndexTemplate<'_>, default_fields: &[String]) -> Value {
    if of.product == Product::OpenSearchServerless {
        // A collection manages all of this itself.
        return json!({});
    }
    let mut index = json!({
        // Logs are written once and rarely read, and JSON compresses well. Elasticsearch's best_compression is
        // zstd, OpenSearch's is deflate.
        "codec": of.codec(),
        // Searchable within five seconds. By default, the engines refresh every second, or not at all once
        // nobody has searched for 30 seconds: more small segments, or a slow first search.
        "refresh_interval": "5s",
        "query": {"default_field": default_fields},
    });
    if of.product == Product::OpenSearch {
        // It counts nested arrays in unmapped fields, too. The mapper stops at 20 levels below the event,
        // which is a few levels down itself.
        index["mapping"] = json!({"depth": {"limit": 40}});
    }
    if of.logsdb {
        // A fifth less on disk: sorted by time, values compress better. Documents stay as they are: Elastic's
        // synthetic `_source` would change them.
        index["mode"] = json!("logsdb");
        index["mapping"] = json!({"source": {"mode": "stored"}});
    }
    if let Lifecycle::Ilm { policy } = &of.lifecycle {
        index["lifecycle"] = json!({"name": policy});
    }
    json!({"index": index})
}

/// Fields that a search without a field name covers.
fn default_fields(details: DetailsIndexing) -> Vec<String> {
    let in_details = match details {
        DetailsIndexing::Flat => vec![format!("{DATA}details")],
        DetailsIndexing::Fields => details_fields()
            .filter_map(|(name, kind)| match kind {
                FieldType::Keyword | FieldType::Id => Some(name),
                FieldType::KeywordWithText => Some(name + ".text"),
                _ => None,
            })
            .chain([DETAILS_OTHER.to_owned()])
            .collect(),
        DetailsIndexing::None => Vec::new(),
    };
    DEFAULT_FIELDS.iter().map(|name| (*name).to_owned()).chain(in_details).collect()
}

/// The fields of [`DetailsIndexing::Fields`].
fn details_fields() -> impl Iterator<Item = (String, FieldType)> {
    DETAILS_FIELDS
        .iter()
        .flat_map(|(kind, paths)| paths.iter().map(move |path| (format!("{DATA}{path}"), *kind)))
}

/// The mappings of an event's fields.
fn event_mappings(of: &IndexTemplate<'_>) -> Vec<(String, Value)> {
    let is_flat = of.details == DetailsIndexing::Flat;
    let mut mappings: Vec<_> = FIELDS
        .iter()
        .map(|field| {
            let mapping = match field.kind {
                FieldType::Flat if !is_flat => json!({"type": "object", "properties": {}}),
                kind => mapping(kind, of),
            };
            (field.name.to_owned(), mapping)
        })
        .collect();
    if of.details == DetailsIndexing::Fields {
        let other = (DETAILS_OTHER.to_owned(), FieldType::Flat);
        let details = [other].into_iter().chain(details_fields());
        mappings.extend(details.map(|(name, kind)| (name, mapping(kind, of))));
    }
    mappings
}

/// Fields and their mappings as nested properties.
fn properties(mappings: Vec<(String, Value)>) -> Value {
    let mut tree = Value::Null;
    for (name, mapping) in mappings {
        // Indexing makes what is not there yet.
        let names = name.split('.');
        let place = names.fold(&mut tree, |object, name| &mut object["properties"][name]);
        *place = mapping;
    }
    tree["properties"].take()
}

fn mapping(kind: FieldType, of: &IndexTemplate<'_>) -> Value {
    let is_elasticsearch = of.product.is_elasticsearch();
    // A term has at most 32,766 bytes. The document keeps the whole text.
    let keyword = json!({"type": "keyword", "ignore_above": 1024});
    // Nobody ranks events by the length of a text.
    let mut text = json!({"type": "text", "norms": false});
    match kind {
        FieldType::Keyword => keyword,
        // Found like a keyword, and as long as in a flat field. Doc values would take a fifth of the disk.
        FieldType::Id => json!({"type": "keyword", "ignore_above": 8191, "doc_values": false}),
        // The normalizer is built into both engines.
        FieldType::CaseInsensitive => {
            json!({"type": "keyword", "ignore_above": 1024, "normalizer": "lowercase"})
        }
        FieldType::KeywordWithText => {
            json!({"type": "keyword", "ignore_above": 1024, "fields": {"text": text}})
        }
        FieldType::Text => {
            text["fields"] = json!({"keyword": keyword});
            text
        }
        // Not for OpenSearch: grouping by such a field, 3.8 returns the index name as the value, and it
        // requires the namespace in the template, which all data streams share.
        FieldType::Constant(_) if !of.constant_keyword || !is_elasticsearch => keyword,
        FieldType::Constant(Some(value)) => json!({"type": "constant_keyword", "value": value}),
        // The first document of a data stream sets the value.
        FieldType::Constant(None) => json!({"type": "constant_keyword"}),
        FieldType::Timestamp => json!({"type": "date"}),
        FieldType::Date => json!({"type": "date", "ignore_malformed": true}),
        FieldType::Ip => json!({"type": "ip", "ignore_malformed": true}),
        FieldType::GeoPoint => json!({"type": "geo_point", "ignore_malformed": true}),
        FieldType::Long => json!({"type": "long", "ignore_malformed": true}),
        FieldType::Boolean => json!({"type": "boolean"}),
        // 8,191 characters are at most 32,764 bytes. Without these limits, deeper or longer values are
        // refused. OpenSearch's type has no such limits.
        FieldType::Flat if is_elasticsearch => {
            json!({"type": "flattened", "depth_limit": 40, "ignore_above": 8191})
        }
        FieldType::Flat => json!({"type": "flat_object"}),
        FieldType::Unsearched => json!({"type": "keyword", "index": false, "doc_values": false}),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// All that setup may install, in any engine, but for combinations of features.
    fn everything() -> Value {
        let products = [
            Product::OpenSearch,
            Product::OpenSearchServerless,
            Product::Elasticsearch,
            Product::ElasticsearchServerless,
        ];
        let retention = NonZeroU32::new(7);
        let mut all = Vec::new();
        for retention in [None, retention, NonZeroU32::new(90)] {
            let policies = [PolicyKind::Ism, PolicyKind::Ilm]
                .map(|kind| policy(kind, "default", retention, 1));
            all.extend(policies);
            all.push(data_stream_lifecycle(retention));
        }
        for product in products {
            for lifecycle in [Lifecycle::Ism, ilm(), Lifecycle::DataStream, Lifecycle::None] {
                for has in [true, false] {
                    for (_, details) in DetailsIndexing::ALL {
                        let template = IndexTemplate {
                            details,
                            constant_keyword: has,
                            failure_store: has,
                            zstd: has,
                            logsdb: has && product == Product::Elasticsearch,
                            retention,
                            ..of(product, lifecycle.clone())
                        };
                        all.extend([template.render(), template.render_alerts()]);
                    }
                }
            }
        }
        all.into()
    }

    fn ilm() -> Lifecycle {
        Lifecycle::Ilm { policy: name("default") }
    }

    fn of(product: Product, lifecycle: Lifecycle) -> IndexTemplate<'static> {
        IndexTemplate {
            namespace: "default",
            product,
            details: DetailsIndexing::Flat,
            constant_keyword: true,
            failure_store: false,
            zstd: false,
            logsdb: false,
            lifecycle,
            retention: None,
        }
    }

    /// CloudFormation installs the template again only if a property of the custom resource changes.
    #[test]
    #[expect(clippy::disallowed_methods, reason = "a switch of the test, not configuration")]
    fn template_yaml_names_the_content() {
        const PATH: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../template.yaml");
        const PROPERTY: &str = "\n      ContentHash: ";
        let found = std::fs::read_to_string(PATH).unwrap();
        let (before, after) = found.split_once(PROPERTY).expect("the property");
        let (_, rest) = after.split_once('\n').expect("the end of the line");
        let wanted = format!("{before}{PROPERTY}\"{}\"\n{rest}", hash(&everything()));
        if std::env::var("UPDATE_DOCS").is_ok() {
            std::fs::write(PATH, &wanted).unwrap();
            return;
        }
        let how = "UPDATE_DOCS=1 cargo test -p auth0-ecs template_yaml writes it";
        assert!(found == wanted, "the index template has changed, but ContentHash has not: {how}");
    }

    #[test]
    fn hash_of_the_mappings_is_the_same_for_the_next_release() {
        let mut template = of(Product::OpenSearch, Lifecycle::None).render();
        let rendered = template.pointer(&format!("/template{HASH}")).cloned();
        let template = template.get_mut("template").unwrap();
        template["mappings"].as_object_mut().unwrap().remove("_meta");
        assert_eq!(rendered.unwrap(), hash(template), "neither version nor hash is hashed");
        let other = of(Product::OpenSearch, ilm()).render();
        assert_ne!(other.pointer(&format!("/template{HASH}")).unwrap(), &hash(template));
    }

    /// The mapping of a field.
    fn mapped<'t>(template: &'t Value, name: &str) -> &'t Value {
        let path = name.replace('.', "/properties/");
        template.pointer(&format!("/template/mappings/properties/{path}")).unwrap_or(&Value::Null)
    }

    #[test]
    fn default_fields_are_mapped_text() {
        for (_, details) in DetailsIndexing::ALL {
            let template =
                IndexTemplate { details, ..of(Product::OpenSearch, Lifecycle::None) }.render();
            for name in default_fields(details) {
                let kind = &mapped(&template, name.trim_end_matches(".text"))["type"];
                let is_text = ["keyword", "text", "flat_object"].iter().any(|text| kind == text);
                assert!(is_text, "{details}: {name} is {kind}");
            }
        }
    }

    #[test]
    fn details_are_one_field_or_many_or_none() {
        let details = "auth0.logs.data.details";
        let code = "auth0.logs.data.details.riskAssessment.confidence";
        let [flat, fields, none] = DetailsIndexing::ALL.map(|(_, details)| {
            IndexTemplate { details, ..of(Product::Elasticsearch, ilm()) }.render()
        });
        assert_eq!(mapped(&flat, details)["type"], "flattened");
        assert!(mapped(&flat, DETAILS_OTHER).is_null());
        assert_eq!(mapped(&fields, code)["type"], "keyword");
        assert_eq!(mapped(&fields, DETAILS_OTHER)["type"], "flattened");
        assert_eq!(mapped(&none, details), &json!({"type": "object", "properties": {}}));
        assert!(mapped(&none, DETAILS_OTHER).is_null());
    }

    #[test]
    fn known_field_holds_nothing_that_is_not_ours() {
        let details = Some("auth0.logs.data.details");
        assert_eq!(known_field("source.ip"), Some("source.ip"));
        assert_eq!(known_field("auth0.logs.data.details._valueAndPath"), details);
        assert_eq!(known_field("auth0.logs.data.details.secret.name"), details);
        assert_eq!(known_field("auth0.logs.data.secret"), Some("auth0.logs.data"));
        for name in ["", ".", "secret", "secret.ip", "source.ipsecret.x.", "anna@example.com"] {
            assert!(matches!(known_field(name), None | Some("source")), "{name}");
        }
    }

    #[test]
    fn alerts_have_a_template_of_their_own_and_the_lifecycle_of_the_logs() {
        let alerts = of(Product::Elasticsearch, ilm()).render_alerts();
        assert_eq!(alerts["index_patterns"], json!(["logs-auth0.alerts-default"]));
        let rule = "/template/mappings/properties/rule/properties/id/type";
        assert_eq!(alerts.pointer(rule).unwrap(), "keyword");
        let ilm = alerts.pointer("/template/settings/index/lifecycle/name").unwrap();
        assert_eq!(ilm, "auth0-log-streams-default");
        let ism = policy(PolicyKind::Ism, "default", None, 1);
        let patterns = ism.pointer("/policy/ism_template/0/index_patterns").unwrap();
        assert_eq!(*patterns, json!(["logs-auth0.logs-default", "logs-auth0.alerts-default"]));
    }

    #[test]
    fn template_uses_the_types_of_each_engine() {
        let elastic =
            IndexTemplate { failure_store: true, ..of(Product::Elasticsearch, ilm()) }.render();
        let details = "/template/mappings/properties/auth0/properties/logs/properties/data\
                       /properties/details/type";
        assert_eq!(elastic.pointer(details).unwrap(), "flattened");
        let policy = elastic.pointer("/template/settings/index/lifecycle/name").unwrap();
        assert_eq!(policy, "auth0-log-streams-default");
        let namespace = "/template/mappings/properties/data_stream/properties/namespace/type";
        assert_eq!(elastic.pointer(namespace).unwrap(), "constant_keyword");

        let failure_store = "/template/data_stream_options/failure_store/enabled";
        assert_eq!(elastic.pointer(failure_store).unwrap(), false);

        let open = of(Product::OpenSearch, Lifecycle::Ism).render();
        assert_eq!(open.pointer(details).unwrap(), "flat_object");
        assert_eq!(open.pointer(namespace).unwrap(), "keyword");
        assert!(open.pointer("/template/lifecycle").is_none());
        assert!(open.pointer(failure_store).is_none());
        assert!(open.get("ignore_missing_component_templates").is_none());
        let method = "/template/mappings/properties/http/properties/request/properties/method";
        assert_eq!(open.pointer(method).unwrap()["normalizer"], "lowercase");
        assert_eq!(elastic.pointer(method), open.pointer(method));

        let built_in = IndexTemplate {
            constant_keyword: false,
            retention: NonZeroU32::new(7),
            ..of(Product::ElasticsearchServerless, Lifecycle::DataStream)
        };
        let built_in = built_in.render();
        assert_eq!(built_in.pointer("/template/lifecycle/data_retention").unwrap(), "7d");
        assert!(!built_in.to_string().contains("constant_keyword"));
        assert!(open.get("data_stream").is_some());
        let codec = "/template/settings/index/codec";
        let zstd = IndexTemplate { zstd: true, ..of(Product::OpenSearch, Lifecycle::Ism) };
        assert_eq!(zstd.render().pointer(codec).unwrap(), "zstd");
        assert_eq!(open.pointer(codec).unwrap(), "best_compression");
        assert_eq!(elastic.pointer(codec).unwrap(), "best_compression");
        assert_eq!(elastic.pointer("/template/settings/index/mode"), None);
        let logsdb = IndexTemplate { logsdb: true, ..of(Product::Elasticsearch, ilm()) }.render();
        let settings = logsdb.pointer("/template/settings/index").unwrap();
        assert_eq!(settings["mode"], "logsdb");
        assert_eq!(settings["mapping"]["source"]["mode"], "stored");
        let collection = of(Product::OpenSearchServerless, Lifecycle::None).render();
        assert!(collection.get("data_stream").is_none());
        assert!(collection.get("composed_of").is_none());
    }

    /// From `docs/reference/elasticsearch/index-settings/serverless.md` of Elasticsearch.
    #[test]
    fn serverless_template_has_only_settings_that_serverless_knows() {
        let template = of(Product::ElasticsearchServerless, Lifecycle::DataStream).render();
        let settings = template.pointer("/template/settings/index").unwrap().as_object().unwrap();
        for (name, value) in settings {
            match name.as_str() {
                "codec" | "refresh_interval" => {}
                "query" => assert!(value.as_object().unwrap().keys().all(|k| k == "default_field")),
                _ => panic!("{name} is not available there"),
            }
        }
    }

    #[test]
    fn policy_deletes_after_the_retention_and_is_never_rolled_over_later() {
        let policy = |kind, days| policy(kind, "default", NonZeroU32::new(days), 1);
        let ilm = policy(PolicyKind::Ilm, 7);
        assert_eq!(ilm.pointer("/policy/phases/hot/actions/rollover/max_age").unwrap(), "7d");
        assert_eq!(ilm.pointer("/policy/phases/delete/min_age").unwrap(), "7d");
        let ism = policy(PolicyKind::Ism, 90);
        let rollover = "/policy/states/0/actions/0/rollover/min_index_age";
        assert_eq!(ism.pointer(rollover).unwrap(), "30d");
        let after = "/policy/states/0/transitions/0/conditions/min_rollover_age";
        assert_eq!(ism.pointer(after).unwrap(), "90d");
        assert!(ism.pointer("/policy/states/1/actions/0/delete").is_some());
        for kind in [PolicyKind::Ism, PolicyKind::Ilm] {
            assert!(!policy(kind, 0).to_string().contains("delete"));
        }
    }

    #[test]
    fn changed_policy_is_foreign() {
        let days = NonZeroU32::new(7);
        for (kind, version) in [(PolicyKind::Ism, "_version"), (PolicyKind::Ilm, "version")] {
            let mut found = policy(kind, "default", days, 2);
            let state = |found: &Value, days| policy_state(kind, found, "default", days);
            found[version] = json!(2);
            assert_eq!(state(&found, days), PolicyState::Current);
            assert_eq!(state(&found, None), PolicyState::Outdated(2));
            found[version] = json!(3);
            assert_eq!(state(&found, days), PolicyState::Foreign);
            assert_eq!(state(&json!({ version: 1, "policy": {} }), days), PolicyState::Foreign);
        }
        let former = json!({"version": 1, "policy": {"_meta": {"managed_by": OWNER}}});
        let state = policy_state(PolicyKind::Ilm, &former, "default", None);
        assert_eq!(state, PolicyState::Outdated(1));
        let former = json!({"_version": 1, "policy": {"description": FORMER_ISM}});
        let state = policy_state(PolicyKind::Ism, &former, "default", None);
        assert_eq!(state, PolicyState::Outdated(1));
        let former = json!({"_version": 2, "policy": {"description": FORMER_ISM}});
        let state = policy_state(PolicyKind::Ism, &former, "default", None);
        assert_eq!(state, PolicyState::Foreign);
    }

    #[test]
    fn only_our_former_template_is_retired() {
        let found = |owner: &str, priority: u64| {
            json!({"index_patterns": ["logs-auth0.logs-*"], "priority": priority,
                "created_date_millis": 1, "_meta": {"managed_by": owner}})
        };
        let retired_one = retired(&found(OWNER, 500)).unwrap();
        assert_eq!(retired_one["priority"], 498);
        assert!(retired_one.get("created_date_millis").is_none());
        assert!(retired(&retired_one).is_none());
        assert!(retired(&found("elastic", 500)).is_none());
    }
}
