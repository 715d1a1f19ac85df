//! The index template and the lifecycle, rendered for each engine from the table of fields.
//!
//! `dynamic: false` keeps what is not in the table in the document but out of the index, so that no event
//! can add a field or be refused for the type of one. Whatever analysts group by is a field of its own,
//! because neither engine can group by part of a flat object everywhere. [`DetailsIndexing`] is the one
//! choice: the document is the same with each.

use std::fmt;

use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};

use crate::ecs::details_fields::DETAILS_FIELDS;
use crate::ecs::fields::{DATA, FIELDS, FieldType};

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
    /// The leaves that Auth0's schemas name as fields, and all others in [`DETAILS_OTHER`].
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

/// The name of the index template and of the lifecycle policy.
pub const NAME: &str = "logs-auth0.logs";

/// The data streams that the template applies to: one per namespace.
pub const PATTERN: &str = "logs-auth0.logs-*";

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

/// What not every engine has, and refuses in a template if it does not.
#[derive(Clone, Copy, Debug)]
pub struct Features {
    /// Elasticsearch's type. Its minimal distribution lacks it, and gets `keyword` instead.
    pub constant_keyword: bool,
    /// Failure stores, and so an option to turn them off.
    pub failure_store: bool,
    /// OpenSearch's codec, of the plugin custom-codecs (2.9).
    pub zstd: bool,
}

/// What rolls the data stream over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lifecycle {
    /// OpenSearch's Index State Management. The policy selects its data streams by pattern.
    Ism,
    /// Elasticsearch's index lifecycle management. The template names the policy.
    Ilm,
    /// Elasticsearch's data stream lifecycle, which is part of the template.
    DataStream,
    /// None: the engine has no such feature.
    None,
}

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

/// The body of `PUT _index_template/`[`NAME`].
#[must_use]
pub fn render(
    product: Product,
    details: DetailsIndexing,
    has: Features,
    lifecycle: Lifecycle,
) -> Value {
    let mut template = json!({
        "settings": settings(product, details, has, lifecycle),
        "mappings": {
            "dynamic": false,
            // Numbers and dates in strings stay strings.
            "date_detection": false,
            "numeric_detection": false,
            "properties": properties(product, details, has.constant_keyword),
        },
    });
    // An index has what it was created from. Only if that has changed is a new one needed.
    let mut of_index = meta();
    set(&mut of_index, "hash", hash(&template).into());
    if let Some(mappings) = template.get_mut("mappings") {
        set(mappings, "_meta", of_index);
    }
    if lifecycle == Lifecycle::DataStream {
        set(&mut template, "lifecycle", json!({}));
    }
    if has.failure_store {
        // With one, the engine says 201 to a document that it did not store. What it refuses is kept as an
        // error document, in the data stream itself.
        set(&mut template, "data_stream_options", json!({"failure_store": {"enabled": false}}));
    }
    let mut body = json!({
        "index_patterns": [PATTERN],
        // Above the built-in templates for `logs-*-*` (100) and those of Elastic's packages (200).
        "priority": 500,
        "template": template,
        "_meta": meta(),
    });
    // OpenSearch Serverless has no data streams.
    if product != Product::OpenSearchServerless {
        set(&mut body, "data_stream", json!({}));
    }
    body
}

/// The body of `PUT _plugins/_ism/policies/`[`NAME`]. It never deletes: retention is the operator's decision.
#[must_use]
pub fn ism_policy() -> Value {
    json!({"policy": {
        "description": "Auth0 logs: a new backing index at 50 GB or 30 days; nothing is deleted.",
        "default_state": "hot",
        "states": [{
            "name": "hot",
            "actions": [{"rollover": {"min_primary_shard_size": "50gb", "min_index_age": "30d"}}],
            "transitions": [],
        }],
        "ism_template": [{"index_patterns": [PATTERN], "priority": 500}],
    }})
}

/// The body of `PUT _ilm/policy/`[`NAME`]; the same rules as [`ism_policy`].
#[must_use]
pub fn ilm_policy() -> Value {
    json!({"policy": {
        "_meta": meta(),
        "phases": {"hot": {"min_age": "0ms", "actions": {
            "rollover": {"max_primary_shard_size": "50gb", "max_age": "30d"},
        }}},
    }})
}

/// `_meta` of the template and the policy; part of that of the mappings.
fn meta() -> Value {
    json!({"managed_by": OWNER, "version": env!("CARGO_PKG_VERSION")})
}

/// Returns the first half of the SHA-256 of a value, in hexadecimal digits. Members are in order.
#[must_use]
pub fn hash(value: &Value) -> String {
    Sha256::digest(value.to_string()).iter().take(16).map(|byte| format!("{byte:02x}")).collect()
}

/// No shards or replicas: those are the operator's cluster defaults. No `index.sort`: both engines keep the
/// segments of a data stream ordered by `@timestamp` and read the newest first, so sorting within segments
/// would make writing slower and reading no faster.
fn settings(
    product: Product,
    details: DetailsIndexing,
    has: Features,
    lifecycle: Lifecycle,
) -> Value {
    if product == Product::OpenSearchServerless {
        // A collection manages all of this itself.
        return json!({});
    }
    let mut index = json!({
        // Logs are written once and rarely read, and JSON compresses well. Elasticsearch's best_compression is
        // zstd, OpenSearch's is deflate.
        "codec": codec(product, has),
        // Searchable within five seconds. By default, the engines refresh every second, or not at all once
        // nobody has searched for 30 seconds: more small segments, or a slow first search.
        "refresh_interval": "5s",
        "query": {"default_field": default_fields(details)},
        // OpenSearch counts nested arrays in unmapped fields, too. The mapper stops at 20 levels below the
        // event, which is a few levels down itself.
        "mapping": {"depth": {"limit": 40}},
    });
    if lifecycle == Lifecycle::Ilm {
        set(&mut index, "lifecycle", json!({"name": NAME}));
    }
    json!({"index": index})
}

/// The codec of the stored documents.
#[must_use]
pub const fn codec(product: Product, has: Features) -> &'static str {
    match has.zstd && !product.is_elasticsearch() {
        true => "zstd",
        false => "best_compression",
    }
}

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

/// The tables of fields as nested properties.
fn properties(product: Product, details: DetailsIndexing, constant_keyword: bool) -> Value {
    let mut tree = Map::new();
    let mapping = |kind| mapping(kind, product, constant_keyword);
    for field in FIELDS {
        let mapping = match (field.kind, details) {
            (FieldType::Flat, DetailsIndexing::Fields | DetailsIndexing::None) => {
                json!({"type": "object", "properties": {}})
            }
            (kind, _) => mapping(kind),
        };
        insert(&mut tree, field.name, mapping);
    }
    if details == DetailsIndexing::Fields {
        insert(&mut tree, DETAILS_OTHER, mapping(FieldType::Flat));
        for (name, kind) in details_fields() {
            insert(&mut tree, &name, mapping(kind));
        }
    }
    Value::Object(tree)
}

fn insert(tree: &mut Map<String, Value>, path: &str, mapping: Value) {
    let Some((first, rest)) = path.split_once('.') else {
        tree.insert(path.to_owned(), mapping);
        return;
    };
    let object = tree.entry(first).or_insert_with(|| json!({"properties": {}}));
    if let Some(Value::Object(inner)) = object.get_mut("properties") {
        insert(inner, rest, mapping);
    }
}

fn set(object: &mut Value, name: &str, value: Value) {
    if let Value::Object(members) = object {
        members.insert(name.to_owned(), value);
    }
}

fn mapping(kind: FieldType, product: Product, constant_keyword: bool) -> Value {
    // A term has at most 32,766 bytes. The document keeps the whole text.
    let keyword = json!({"type": "keyword", "ignore_above": 1024});
    // Nobody ranks events by the length of a text.
    let mut text = json!({"type": "text", "norms": false});
    match kind {
        FieldType::Keyword => keyword,
        // Found like a keyword. Doc values would take a fifth of the disk.
        FieldType::Id => json!({"type": "keyword", "ignore_above": 1024, "doc_values": false}),
        // The normalizer is built into both engines.
        FieldType::CaseInsensitive => {
            json!({"type": "keyword", "ignore_above": 1024, "normalizer": "lowercase"})
        }
        FieldType::KeywordWithText => {
            json!({"type": "keyword", "ignore_above": 1024, "fields": {"text": text}})
        }
        FieldType::Text => {
            set(&mut text, "fields", json!({"keyword": keyword}));
            text
        }
        // Not for OpenSearch: grouping by such a field, 3.8 returns the index name as the value, and it
        // requires the namespace in the template, which all data streams share.
        FieldType::Constant(_) if !constant_keyword || !product.is_elasticsearch() => keyword,
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
        FieldType::Flat if product.is_elasticsearch() => {
            json!({"type": "flattened", "depth_limit": 40, "ignore_above": 8191})
        }
        FieldType::Flat => json!({"type": "flat_object"}),
        FieldType::Unsearched => json!({"type": "keyword", "index": false, "doc_values": false}),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOTHING: Features =
        Features { constant_keyword: false, failure_store: false, zstd: false };
    const EVERYTHING: Features =
        Features { constant_keyword: true, failure_store: true, zstd: true };

    /// All that setup may install, in any engine, but for combinations of features.
    fn everything() -> Value {
        let products = [
            Product::OpenSearch,
            Product::OpenSearchServerless,
            Product::Elasticsearch,
            Product::ElasticsearchServerless,
        ];
        let lifecycles = [Lifecycle::Ism, Lifecycle::Ilm, Lifecycle::DataStream, Lifecycle::None];
        let mut all = vec![ism_policy(), ilm_policy()];
        for product in products {
            for lifecycle in lifecycles {
                for has in [NOTHING, EVERYTHING] {
                    all.extend(
                        DetailsIndexing::ALL
                            .map(|(_, details)| render(product, details, has, lifecycle)),
                    );
                }
            }
        }
        all.into()
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
        let open =
            |lifecycle| render(Product::OpenSearch, DetailsIndexing::Fields, NOTHING, lifecycle);
        let mut template = open(Lifecycle::None);
        let rendered = template.pointer(&format!("/template{HASH}")).cloned();
        let template = template.get_mut("template").unwrap();
        template["mappings"].as_object_mut().unwrap().remove("_meta");
        assert_eq!(rendered.unwrap(), hash(template), "neither version nor hash is hashed");
        let other = open(Lifecycle::Ilm);
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
            let template = render(Product::OpenSearch, details, NOTHING, Lifecycle::None);
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
        let [flat, fields, none] = DetailsIndexing::ALL
            .map(|(_, details)| render(Product::Elasticsearch, details, NOTHING, Lifecycle::None));
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
    fn template_uses_the_types_of_each_engine() {
        let flat = DetailsIndexing::Flat;
        let elastic = render(Product::Elasticsearch, flat, EVERYTHING, Lifecycle::Ilm);
        let details = "/template/mappings/properties/auth0/properties/logs/properties/data\
                       /properties/details/type";
        assert_eq!(elastic.pointer(details).unwrap(), "flattened");
        assert_eq!(elastic.pointer("/template/settings/index/lifecycle/name").unwrap(), NAME);
        let namespace = "/template/mappings/properties/data_stream/properties/namespace/type";
        assert_eq!(elastic.pointer(namespace).unwrap(), "constant_keyword");

        let failure_store = "/template/data_stream_options/failure_store/enabled";
        assert_eq!(elastic.pointer(failure_store).unwrap(), false);

        let open = render(Product::OpenSearch, flat, NOTHING, Lifecycle::Ism);
        assert_eq!(open.pointer(details).unwrap(), "flat_object");
        assert_eq!(open.pointer(namespace).unwrap(), "keyword");
        assert!(open.pointer("/template/lifecycle").is_none());
        assert!(open.pointer(failure_store).is_none());
        let method = "/template/mappings/properties/http/properties/request/properties/method";
        assert_eq!(open.pointer(method).unwrap()["normalizer"], "lowercase");
        assert_eq!(elastic.pointer(method), open.pointer(method));

        let product = Product::ElasticsearchServerless;
        let built_in = render(product, flat, NOTHING, Lifecycle::DataStream);
        assert!(built_in.pointer("/template/lifecycle").is_some());
        assert!(!built_in.to_string().contains("constant_keyword"));
        assert!(open.get("data_stream").is_some());

        let codec = "/template/settings/index/codec";
        let with_zstd = render(Product::OpenSearch, flat, EVERYTHING, Lifecycle::Ism);
        assert_eq!(with_zstd.pointer(codec).unwrap(), "zstd");
        assert_eq!(open.pointer(codec).unwrap(), "best_compression");
        assert_eq!(elastic.pointer(codec).unwrap(), "best_compression");
        let collection = render(Product::OpenSearchServerless, flat, NOTHING, Lifecycle::None);
        assert!(collection.get("data_stream").is_none());
    }
}
