//! The index template and the lifecycle, rendered for each engine from the table of fields.
//!
//! `dynamic: false` keeps what is not in the table in the document but out of the index, so that no event
//! can add a field or be refused for the type of one. Whatever analysts group by is a field of its own,
//! because neither engine can group by part of a flat object everywhere.

#![expect(
    clippy::indexing_slicing,
    reason = "indexing an object of JSON makes the member that is not there yet"
)]

use std::fmt;

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::ecs::fields::{FIELDS, FieldType};
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

/// The name of the index template and of the lifecycle policy.
pub const NAME: &str = "logs-auth0.logs";

/// The data streams that the template applies to: one per namespace.
pub const PATTERN: &str = "logs-auth0.logs-*";

/// `_meta.managed_by` of everything installed: distinguishes our template from others.
pub const OWNER: &str = "auth0-log-streams";

/// Where the rendered template has its [`hash`], and a backing index the hash of the template that it was
/// created from.
pub const HASH: &str = "/mappings/_meta/hash";

/// Fields that a search without a field name covers: texts that people type. No addresses, dates or
/// numbers, because engines refuse a word as a value of these.
const DEFAULT_FIELDS: &[&str] = &[
    "auth0.logs.data.client_name",
    "auth0.logs.data.connection",
    "auth0.logs.data.description",
    "auth0.logs.data.details",
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

/// The body of `PUT _index_template/`[`NAME`]. `constant_keyword` tells whether an Elasticsearch has that
/// type; its minimal distribution does not, and gets `keyword` instead. `failure_store` tells whether the
/// engine has failure stores.
#[must_use]
pub fn render(
    product: Product,
    constant_keyword: bool,
    failure_store: bool,
    lifecycle: Lifecycle,
) -> Value {
    let mut template = json!({
        "settings": settings(product, lifecycle),
        "mappings": {
            "dynamic": false,
            // Numbers and dates in strings stay strings.
            "date_detection": false,
            "numeric_detection": false,
            "properties": properties(product, constant_keyword),
        },
    });
    // An index has what it was created from. Only if that has changed is a new one needed.
    let mut of_index = meta();
    of_index["hash"] = hash(&template).into();
    template["mappings"]["_meta"] = of_index;
    if lifecycle == Lifecycle::DataStream {
        template["lifecycle"] = json!({});
    }
    if failure_store {
        // With one, the engine says 201 to a document that it did not store. What it refuses is kept as an
        // error document, in the data stream itself.
        template["data_stream_options"] = json!({"failure_store": {"enabled": false}});
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
        body["data_stream"] = json!({});
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
    hex(&Sha256::digest(value.to_string()))
}

/// No shards or replicas: those are the operator's cluster defaults. No `index.sort`: both engines keep the
/// segments of a data stream ordered by `@timestamp` and read the newest first, so sorting within segments
/// would make writing slower and reading no faster.
fn settings(product: Product, lifecycle: Lifecycle) -> Value {
    if product == Product::OpenSearchServerless {
        // A collection manages all of this itself.
        return json!({});
    }
    let mut index = json!({
        // Logs are written once and rarely read, and JSON compresses well.
        "codec": "best_compression",
        // Searchable within five seconds. By default, the engines refresh every second, or not at all once
        // nobody has searched for 30 seconds: more small segments, or a slow first search.
        "refresh_interval": "5s",
        "query": {"default_field": DEFAULT_FIELDS},
        // OpenSearch counts nested arrays in unmapped fields, too. The mapper stops at 20 levels below the
        // event, which is a few levels down itself.
        "mapping": {"depth": {"limit": 40}},
    });
    if lifecycle == Lifecycle::Ilm {
        index["lifecycle"] = json!({"name": NAME});
    }
    json!({"index": index})
}

/// The table of fields as nested properties.
fn properties(product: Product, constant_keyword: bool) -> Value {
    let mut tree = Value::Null;
    for field in FIELDS {
        // Indexing makes what is not there yet.
        let names = field.name.split('.');
        let place = names.fold(&mut tree, |object, name| &mut object["properties"][name]);
        *place = mapping(field.kind, product, constant_keyword);
    }
    tree["properties"].take()
}

fn mapping(kind: FieldType, product: Product, constant_keyword: bool) -> Value {
    // A term has at most 32,766 bytes. The document keeps the whole text.
    let keyword = json!({"type": "keyword", "ignore_above": 1024});
    match kind {
        FieldType::Keyword => keyword,
        // The normalizer is built into both engines.
        FieldType::CaseInsensitive => {
            json!({"type": "keyword", "ignore_above": 1024, "normalizer": "lowercase"})
        }
        FieldType::KeywordWithText => {
            json!({"type": "keyword", "ignore_above": 1024, "fields": {"text": {"type": "text"}}})
        }
        FieldType::Text => json!({"type": "text", "fields": {"keyword": keyword}}),
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
    use std::collections::BTreeSet;

    use super::*;

    /// All that setup may install, in any engine.
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
                for (constant, failure_store) in
                    [(true, true), (true, false), (false, true), (false, false)]
                {
                    all.push(render(product, constant, failure_store, lifecycle));
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
        let mut template = render(Product::OpenSearch, true, false, Lifecycle::None);
        let rendered = template.pointer(&format!("/template{HASH}")).cloned();
        let template = template.get_mut("template").unwrap();
        template["mappings"].as_object_mut().unwrap().remove("_meta");
        assert_eq!(rendered.unwrap(), hash(template), "neither version nor hash is hashed");
        let other = render(Product::OpenSearch, true, false, Lifecycle::Ilm);
        assert_ne!(other.pointer(&format!("/template{HASH}")).unwrap(), &hash(template));
    }

    #[test]
    fn default_fields_are_mapped_text() {
        let text: BTreeSet<&str> = FIELDS
            .iter()
            .filter(|field| {
                matches!(
                    field.kind,
                    FieldType::Keyword
                        | FieldType::KeywordWithText
                        | FieldType::Text
                        | FieldType::Flat
                )
            })
            .map(|field| field.name)
            .collect();
        for name in DEFAULT_FIELDS {
            assert!(text.contains(name.trim_end_matches(".text")), "{name}");
        }
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
        let elastic = render(Product::Elasticsearch, true, true, Lifecycle::Ilm);
        let details = "/template/mappings/properties/auth0/properties/logs/properties/data\
                       /properties/details/type";
        assert_eq!(elastic.pointer(details).unwrap(), "flattened");
        assert_eq!(elastic.pointer("/template/settings/index/lifecycle/name").unwrap(), NAME);
        let namespace = "/template/mappings/properties/data_stream/properties/namespace/type";
        assert_eq!(elastic.pointer(namespace).unwrap(), "constant_keyword");

        let failure_store = "/template/data_stream_options/failure_store/enabled";
        assert_eq!(elastic.pointer(failure_store).unwrap(), false);

        let open = render(Product::OpenSearch, true, false, Lifecycle::Ism);
        assert_eq!(open.pointer(details).unwrap(), "flat_object");
        assert_eq!(open.pointer(namespace).unwrap(), "keyword");
        assert!(open.pointer("/template/lifecycle").is_none());
        assert!(open.pointer(failure_store).is_none());
        let method = "/template/mappings/properties/http/properties/request/properties/method";
        assert_eq!(open.pointer(method).unwrap()["normalizer"], "lowercase");
        assert_eq!(elastic.pointer(method), open.pointer(method));

        let built_in = render(Product::ElasticsearchServerless, false, true, Lifecycle::DataStream);
        assert!(built_in.pointer("/template/lifecycle").is_some());
        assert!(!built_in.to_string().contains("constant_keyword"));
        assert!(open.get("data_stream").is_some());
        let collection = render(Product::OpenSearchServerless, false, false, Lifecycle::None);
        assert!(collection.get("data_stream").is_none());
    }
}
