//! The index template and the lifecycle: one table of fields, rendered for each engine.
//!
//! `dynamic: false` keeps what is not in the table out of the index and in the document, so that no
//! event can add a field or be refused for the type of one. What analysts group by is a field of its
//! own, because neither engine's flat objects can do that everywhere.
//!
//! `docs/fields.md` is written from the same table: `UPDATE_DOCS=1 cargo test -p auth0-ecs fields_doc`.

use std::fmt;

use serde_json::{Map, Value, json};

/// What the engine is.
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
    /// Whether it speaks Elasticsearch's dialect.
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

/// The data streams that the template is for: one for each namespace.
pub const PATTERN: &str = "logs-auth0.logs-*";

/// `_meta.managed_by` of all that is installed: tells our template from another one.
pub const OWNER: &str = "auth0-log-streams";

/// A field of the template.
#[derive(Clone, Copy, Debug)]
struct Field {
    /// Its whole name, with dots.
    name: &'static str,
    kind: Kind,
    /// Where its value comes from.
    #[cfg_attr(not(test), expect(dead_code, reason = "for docs/fields.md, which a test writes"))]
    source: &'static str,
}

/// What a field is, whatever an engine calls it.
#[derive(Clone, Copy, Debug)]
enum Kind {
    /// Exact text.
    Keyword,
    /// Exact text, the words of which can be searched in `.text`.
    KeywordWithText,
    /// Words, and the exact text in `.keyword`.
    Text,
    /// The one value that all documents have; `None` where it is not the same in all data streams.
    Constant(Option<&'static str>),
    /// The date that a data stream cannot do without: a bad one is refused by both engines.
    Timestamp,
    Date,
    Ip,
    GeoPoint,
    Long,
    Boolean,
    /// An object with any content: its leaves are searched as exact text.
    Flat,
    /// Kept and shown, never searched.
    Unsearched,
}

const fn field(name: &'static str, kind: Kind, source: &'static str) -> Field {
    Field { name, kind, source }
}

/// What is in the source column for fields that Elastic's integration has and this project has not.
const PARITY: &str = "not written; mapped so that saved searches for the integration keep working";

/// Every field, by name.
#[rustfmt::skip]
const FIELDS: &[Field] = {
    use Kind::{Boolean, Constant, Date, Flat, GeoPoint, Ip, Keyword, KeywordWithText, Long, Text, Timestamp, Unsearched};
    &[
    field("@timestamp", Timestamp, "`date`; the time of receipt where that is missing or no date"),
    field("agent.ephemeral_id", Keyword, "random, one for each process of the function"),
    field("agent.id", Keyword, PARITY),
    field("agent.name", Keyword, "the function that wrote the document: webhook, poller or redrive"),
    field("agent.type", Keyword, "`auth0-log-streams`"),
    field("agent.version", Keyword, "this project's version"),
    field("auth0.logs.data.$event_schema.version", Keyword, "not written: it says nothing about the event"),
    field("auth0.logs.data.agent_id", Keyword, "as received: the acting agent"),
    field("auth0.logs.data.audience", Keyword, "as received: the API that a token is for"),
    field("auth0.logs.data.auth0_client", Flat, "as received: the SDK, with `name`, `version` and `env`"),
    field("auth0.logs.data.body", Flat, "as received (type `fv` only)"),
    field("auth0.logs.data.classification", Keyword, "from the table of log types: Auth0's filter category"),
    field("auth0.logs.data.client_id", Keyword, "as received: the application"),
    field("auth0.logs.data.client_ip", Keyword, "as received; see `client.ip`"),
    field("auth0.logs.data.client_name", Keyword, "as received: the application"),
    field("auth0.logs.data.connection", Keyword, "as received"),
    field("auth0.logs.data.connection_id", Keyword, "as received"),
    field("auth0.logs.data.date", Date, "as received, in UTC"),
    field("auth0.logs.data.description", Text, "as received"),
    field("auth0.logs.data.details", Flat, "as received; differs from type to type"),
    field("auth0.logs.data.email", Keyword, "as received (type `fv` only)"),
    field("auth0.logs.data.environment_name", Keyword, "as received: the tenant's environment"),
    field("auth0.logs.data.external_agent_id", Keyword, "as received: the customer's own id of the agent"),
    field("auth0.logs.data.hostname", Keyword, "as received: the host that was asked, such as a custom domain"),
    field("auth0.logs.data.identity_user_id", Keyword, "as received: the user's id at the identity provider"),
    field("auth0.logs.data.ip", Ip, "not written: moved to `source.ip`"),
    field("auth0.logs.data.is_mobile", Boolean, "`is_mobile` or `isMobile`"),
    field("auth0.logs.data.location_info.city_name", Keyword, "as received; see `source.geo`"),
    field("auth0.logs.data.location_info.continent_code", Keyword, "as received"),
    field("auth0.logs.data.location_info.country_code", Keyword, "as received"),
    field("auth0.logs.data.location_info.country_code3", Keyword, "as received"),
    field("auth0.logs.data.location_info.country_name", Keyword, "as received"),
    field("auth0.logs.data.location_info.latitude", Keyword, "as received"),
    field("auth0.logs.data.location_info.longitude", Keyword, "as received"),
    field("auth0.logs.data.location_info.time_zone", Keyword, "as received"),
    field("auth0.logs.data.log_id", Keyword, "moved to `event.id`; written where it cannot be a document's id"),
    field("auth0.logs.data.login.completedAt", Date, "`details.completedAt` of type `s`"),
    field("auth0.logs.data.login.elapsedTime", Long, "`details.elapsedTime` of type `s`, in milliseconds"),
    field("auth0.logs.data.login.initiatedAt", Date, "`details.initiatedAt` of type `s`"),
    field("auth0.logs.data.login.stats.loginsCount", Long, "`details.stats.loginsCount` of type `s`"),
    field("auth0.logs.data.mtls_thumbprint_sha256", Keyword, "as received: the client certificate's digest"),
    field("auth0.logs.data.organization_id", Keyword, "as received; see `organization.id`"),
    field("auth0.logs.data.organization_name", Keyword, "as received; see `organization.name`"),
    field("auth0.logs.data.query", Flat, "as received (type `fv` only)"),
    field("auth0.logs.data.references.correlation_id", Keyword, "as received"),
    field("auth0.logs.data.references.trace_id", Keyword, "as received; see `trace.id`"),
    field("auth0.logs.data.scope", Keyword, "as received: a text or a list"),
    field("auth0.logs.data.security_context.ja3", Keyword, "as received; see `tls.client.ja3`"),
    field("auth0.logs.data.security_context.ja4", Keyword, "as received; see `auth0.logs.ja4`"),
    field("auth0.logs.data.session_connection", Keyword, "as received"),
    field("auth0.logs.data.strategy", Keyword, "as received: the kind of the connection, such as `auth0`"),
    field("auth0.logs.data.strategy_type", Keyword, "as received"),
    field("auth0.logs.data.tenant_name", Keyword, "as received"),
    field("auth0.logs.data.title", Keyword, "as received (type `fv` only)"),
    field("auth0.logs.data.tracking_id", Keyword, "as received (type `w` only)"),
    field("auth0.logs.data.transaction_linking_id", Keyword, "as received; see `auth0.logs.transaction_id`"),
    field("auth0.logs.data.type", Keyword, "the name of the type, such as `Failed login`; the code where it is unknown"),
    field("auth0.logs.data.type_id", Keyword, "`type`: the code, such as `f`"),
    field("auth0.logs.data.user_agent", Text, "not written: moved to `user_agent.original`"),
    field("auth0.logs.data.user_id", Keyword, "not written: moved to `user.id`"),
    field("auth0.logs.data.user_name", Keyword, "not written: moved to `user.name`"),
    field("auth0.logs.device_id", Keyword, "`details.device_id`"),
    field("auth0.logs.family_id", Keyword, "`details.familyId`: all refresh tokens of one sign-in"),
    field("auth0.logs.grant_type", Keyword, "`details.grantType`, `details.grant_type` or `details.body.grant_type`"),
    field("auth0.logs.ja4", Keyword, "`security_context.ja4`, for which ECS has no field"),
    field("auth0.logs.log_id", Keyword, PARITY),
    field("auth0.logs.session_id", Keyword, "`details.session_id` or `details.refresh_token.session_id`"),
    field("auth0.logs.transaction_id", Keyword, "`transaction_linking_id`, or `transaction_id`, `transaction_linking_id` or `transaction.id` of `details`"),
    field("client.ip", Ip, "`client_ip`: the direct peer, where `ip` is the end user"),
    field("data_stream.dataset", Constant(Some("auth0.logs")), "`auth0.logs`"),
    field("data_stream.namespace", Constant(None), "`DATA_STREAM_NAMESPACE`"),
    field("data_stream.type", Constant(Some("logs")), "`logs`"),
    field("ecs.version", Keyword, "`8.11.0`"),
    field("elastic_agent.id", Keyword, PARITY),
    field("elastic_agent.snapshot", Boolean, PARITY),
    field("elastic_agent.version", Keyword, PARITY),
    field("error.message", Text, "what the mapper changed, or why there is no ordinary document"),
    field("error.type", Keyword, "`details.error.type`"),
    field("event.action", Keyword, "from the table of log types; `unknown-<code>` where it lacks the code"),
    field("event.agent_id_status", Keyword, PARITY),
    field("event.category", Keyword, "from the table of log types"),
    field("event.dataset", Constant(Some("auth0.logs")), "`auth0.logs`"),
    field("event.id", Keyword, "`log_id`, which is the document's `_id` too"),
    field("event.ingested", Date, "the time of receipt"),
    field("event.kind", Keyword, "`event`; `pipeline_error` where there is no ordinary document"),
    field("event.module", Constant(Some("auth0")), "`auth0`: known to the index where it is a constant, and not in the document"),
    field("event.original", Unsearched, "the event as received; only if asked for, or if the document differs from it"),
    field("event.outcome", Keyword, "from the table of log types"),
    field("event.type", Keyword, "from the table of log types"),
    field("http.request.method", Keyword, "`details.request.method`"),
    field("http.response.status_code", Long, "`details.response.statusCode`"),
    field("input.type", Keyword, "`http_endpoint` or `auth0_management_api`"),
    field("log.level", Keyword, "`error` where there is a `details.error`, else `info`"),
    field("network.type", Keyword, "from `ip`: `ipv4` or `ipv6`"),
    field("organization.id", Keyword, "`organization_id`"),
    field("organization.name", Keyword, "`organization_name`"),
    field("related.ip", Ip, "all addresses of the event"),
    field("related.user", Keyword, "all names and ids of the event's user"),
    field("source.address", Keyword, "`ip` where it is no address"),
    field("source.as.number", Long, "from `ip`, by the ASN file"),
    field("source.as.organization.name", Keyword, "from `ip`, by the ASN file"),
    field("source.geo.city_name", Keyword, "from `ip`, by the City file; without one, from `location_info`"),
    field("source.geo.continent_name", Keyword, "the same"),
    field("source.geo.country_iso_code", Keyword, "the same"),
    field("source.geo.country_name", Keyword, "the same"),
    field("source.geo.location", GeoPoint, "the same"),
    field("source.geo.postal_code", Keyword, "from `ip`, by the City file"),
    field("source.geo.region_iso_code", Keyword, "from `ip`, by the City file"),
    field("source.geo.region_name", Keyword, "from `ip`, by the City file"),
    field("source.geo.timezone", Keyword, "from `ip`, by the City file; without one, from `location_info`"),
    field("source.ip", Ip, "`ip`: the end user's address"),
    field("tags", Keyword, "`forwarded`, `auth0-logstream`, the operator's own; `mapping_adjusted` where the mapper changed something, `crawler` by the user agent"),
    field("tls.client.ja3", Keyword, "`security_context.ja3`"),
    field("trace.id", Keyword, "`references.trace_id`"),
    field("url.path", Keyword, "`details.request.path`"),
    field("user.domain", Keyword, "the domain of `user_name`, where that is an e-mail address"),
    field("user.email", Keyword, "`user_name`, where it is an e-mail address"),
    field("user.id", Keyword, "`user_id`"),
    field("user.name", Keyword, "`user_name`"),
    field("user_agent.device.name", Keyword, "from `user_agent`"),
    field("user_agent.name", Keyword, "from `user_agent`: the browser or client"),
    field("user_agent.original", KeywordWithText, "`user_agent`"),
    field("user_agent.os.full", Keyword, "from `user_agent`"),
    field("user_agent.os.name", Keyword, "from `user_agent`"),
    field("user_agent.os.version", Keyword, "from `user_agent`"),
    field("user_agent.version", Keyword, "from `user_agent`"),
    ]
};

/// The fields that a search without a field's name looks into: texts that people type. Addresses,
/// dates and numbers are not among them, because engines refuse a word as a value of these.
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
    "user_agent.original.text",
];

/// What moves old documents out of the write index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lifecycle {
    /// OpenSearch's Index State Management; the policy finds its data streams by pattern.
    Ism,
    /// Elasticsearch's index lifecycle management; the template names the policy.
    Ilm,
    /// Elasticsearch's data stream lifecycle; it is part of the template.
    DataStream,
    /// The engine has nothing of the kind.
    None,
}

/// The body of `PUT _index_template/`[`NAME`]. `constant_keyword` says whether an Elasticsearch has
/// that type, which its minimal distribution lacks; `keyword` stands in for it.
#[must_use]
pub fn render(product: Product, constant_keyword: bool, lifecycle: Lifecycle) -> Value {
    let mut template = json!({
        "settings": settings(product, lifecycle),
        "mappings": {
            "dynamic": false,
            // Numbers and dates in texts are texts: nothing is guessed.
            "date_detection": false,
            "numeric_detection": false,
            "_meta": meta(),
            "properties": properties(product, constant_keyword),
        },
    });
    if lifecycle == Lifecycle::DataStream {
        set(&mut template, "lifecycle", json!({}));
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

/// The body of `PUT _plugins/_ism/policies/`[`NAME`]. It never deletes: how long logs are kept is
/// for the operator to say.
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

/// `_meta` of the template, of its mappings, and so of the backing indices that are made by it.
#[must_use]
pub fn meta() -> Value {
    json!({"managed_by": OWNER, "version": env!("CARGO_PKG_VERSION")})
}

/// No shards or replicas: the cluster's defaults are the operator's. No `index.sort`: both engines
/// keep a data stream's segments in the order of `@timestamp` and read the newest first already, so
/// that sorting each segment would cost at writing and gain nothing at reading.
fn settings(product: Product, lifecycle: Lifecycle) -> Value {
    if product == Product::OpenSearchServerless {
        // It manages all of this itself.
        return json!({});
    }
    let mut index = json!({
        // Logs are written once and read seldom, and JSON compresses well.
        "codec": "best_compression",
        // Searchable within five seconds. The default is one second, and then not at all for an index
        // that nobody has searched for half a minute: more small segments, or a slow first search.
        "refresh_interval": "5s",
        "query": {"default_field": DEFAULT_FIELDS},
        // OpenSearch counts nested arrays in unmapped fields too. The mapper stops at 20 levels below
        // the event, which itself is a few levels down.
        "mapping": {"depth": {"limit": 40}},
    });
    if lifecycle == Lifecycle::Ilm {
        set(&mut index, "lifecycle", json!({"name": NAME}));
    }
    json!({"index": index})
}

/// The table as a tree.
fn properties(product: Product, constant_keyword: bool) -> Value {
    let mut tree = Map::new();
    for field in FIELDS {
        let mapping = field.kind.mapping(product, constant_keyword);
        let parts: Vec<&str> = field.name.split('.').collect();
        insert(&mut tree, &parts, mapping);
    }
    Value::Object(tree)
}

fn insert(tree: &mut Map<String, Value>, path: &[&str], mapping: Value) {
    let Some((first, rest)) = path.split_first() else { return };
    if rest.is_empty() {
        tree.insert((*first).to_owned(), mapping);
        return;
    }
    let object = tree.entry(*first).or_insert_with(|| json!({"properties": {}}));
    if let Some(Value::Object(inner)) = object.get_mut("properties") {
        insert(inner, rest, mapping);
    }
}

fn set(object: &mut Value, name: &str, value: Value) {
    if let Value::Object(members) = object {
        members.insert(name.to_owned(), value);
    }
}

impl Kind {
    fn mapping(self, product: Product, constant_keyword: bool) -> Value {
        // A term may have 32,766 bytes at most; the whole text stays in the document.
        let keyword = json!({"type": "keyword", "ignore_above": 1024});
        match self {
            Self::Keyword => keyword,
            Self::KeywordWithText => {
                json!({"type": "keyword", "ignore_above": 1024, "fields": {"text": {"type": "text"}}})
            }
            Self::Text => json!({"type": "text", "fields": {"keyword": keyword}}),
            // Not for OpenSearch: grouped by such a field, 3.8 gives the index's name as the value, and
            // it wants the namespace in the template, which is one for all data streams.
            Self::Constant(_) if !constant_keyword || !product.is_elasticsearch() => keyword,
            Self::Constant(Some(value)) => json!({"type": "constant_keyword", "value": value}),
            // The value is that of a data stream's first document.
            Self::Constant(None) => json!({"type": "constant_keyword"}),
            Self::Timestamp => json!({"type": "date"}),
            Self::Date => json!({"type": "date", "ignore_malformed": true}),
            Self::Ip => json!({"type": "ip", "ignore_malformed": true}),
            Self::GeoPoint => json!({"type": "geo_point", "ignore_malformed": true}),
            Self::Long => json!({"type": "long", "ignore_malformed": true}),
            Self::Boolean => json!({"type": "boolean"}),
            // 8,191 characters are 32,766 bytes at most; deeper or longer values are refused without
            // these limits, and OpenSearch's type knows no such limits.
            Self::Flat if product.is_elasticsearch() => {
                json!({"type": "flattened", "depth_limit": 40, "ignore_above": 8191})
            }
            Self::Flat => json!({"type": "flat_object"}),
            Self::Unsearched => json!({"type": "keyword", "index": false, "doc_values": false}),
        }
    }

    /// The type's name for `docs/fields.md`.
    #[cfg(test)]
    const fn name(self) -> &'static str {
        match self {
            Self::Keyword => "keyword",
            Self::KeywordWithText => "keyword, with `.text`",
            Self::Text => "text, with `.keyword`",
            Self::Constant(_) => "constant_keyword; keyword on OpenSearch",
            Self::Timestamp | Self::Date => "date",
            Self::Ip => "ip",
            Self::GeoPoint => "geo_point",
            Self::Long => "long",
            Self::Boolean => "boolean",
            Self::Flat => "flattened; flat_object on OpenSearch",
            Self::Unsearched => "keyword, not indexed",
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::fmt::Write as _;
    use std::path::Path;

    use super::*;

    const INTRO: &str = "\
# Fields

Every field of the index template, with its type and where its value comes from. Names in the last
column are those of Auth0's event, `details` included, unless they have a prefix. What an event holds
beyond these fields stays in the document, below `auth0.logs.data`, and is shown but not searched
(`dynamic: false`).

Types are Elasticsearch's and OpenSearch's alike unless both are named. OpenSearch has a
`constant_keyword` too, but (3.8) groups documents by the index's name instead of the field's value;
Elasticsearch's minimal distribution has none. `keyword` stands in for it in both. A `keyword` finds texts of up to 1,024 characters; longer
ones are in the document all the same.

Written from `shared/ecs/src/index_template.rs`: `UPDATE_DOCS=1 cargo test -p auth0-ecs fields_doc`.

";

    #[test]
    fn fields_doc_is_up_to_date() {
        let mut wanted = INTRO.to_owned() + "| field | type | where from |\n| --- | --- | --- |\n";
        for Field { name, kind, source } in FIELDS {
            writeln!(wanted, "| `{name}` | {} | {source} |", kind.name()).unwrap();
        }
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/fields.md");
        #[expect(clippy::disallowed_methods, reason = "no setting of the product")]
        if std::env::var("UPDATE_DOCS").is_ok() {
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(&path, &wanted).unwrap();
        }
        let found = std::fs::read_to_string(&path).unwrap_or_default();
        assert_eq!(found, wanted, "UPDATE_DOCS=1 cargo test -p auth0-ecs fields_doc writes it");
    }

    #[test]
    fn names_are_sorted_and_no_field_is_inside_another() {
        let names: Vec<&str> = FIELDS.iter().map(|field| field.name).collect();
        assert!(names.is_sorted_by(|a, b| a < b), "{names:#?}");
        for pair in names.windows(2) {
            assert!(!pair[1].starts_with(&format!("{}.", pair[0])), "{pair:?}");
        }
    }

    /// What the mapper writes under a name has to be what the name is mapped as.
    #[test]
    fn members_have_fields_of_their_shape() {
        use crate::input::event::{MEMBERS, Shape, TAKEN_NAMES};
        const DATA: &str = "auth0.logs.data.";
        let field = |name: &str| {
            FIELDS.iter().find(|field| field.name.strip_prefix(DATA) == Some(name)).map(|f| f.kind)
        };
        for (member, shape) in MEMBERS {
            let kind = field(member);
            let fits = match shape {
                Shape::Text => {
                    matches!(kind, Some(Kind::Keyword | Kind::KeywordWithText | Kind::Text))
                }
                Shape::Boolean => matches!(kind, Some(Kind::Boolean)),
                Shape::Flat => matches!(kind, Some(Kind::Flat)),
                Shape::Record => {
                    let prefix = format!("{DATA}{member}.");
                    let inner: Vec<&Field> =
                        FIELDS.iter().filter(|field| field.name.starts_with(&prefix)).collect();
                    !inner.is_empty()
                        && inner.iter().all(|field| {
                            matches!(field.kind, Kind::Keyword)
                                && !field.name.trim_start_matches(&prefix).contains('.')
                        })
                }
            };
            assert!(fits, "{member} is written as {shape:?} and mapped as {kind:?}");
        }
        // Whatever else has a field is kept free of the event's own members.
        for name in FIELDS.iter().filter_map(|field| field.name.strip_prefix(DATA)) {
            let first = name.split('.').next().unwrap();
            let is_member = MEMBERS.iter().any(|(member, _)| *member == first);
            assert!(is_member || TAKEN_NAMES.contains(&first), "{name}");
        }
    }

    #[test]
    fn a_search_without_a_field_looks_only_into_mapped_text() {
        let text: BTreeSet<&str> = FIELDS
            .iter()
            .filter(|field| {
                matches!(
                    field.kind,
                    Kind::Keyword | Kind::KeywordWithText | Kind::Text | Kind::Flat
                )
            })
            .map(|field| field.name)
            .collect();
        for name in DEFAULT_FIELDS {
            assert!(text.contains(name.trim_end_matches(".text")), "{name}");
        }
    }

    #[test]
    fn each_engine_gets_its_own_words() {
        let elastic = render(Product::Elasticsearch, true, Lifecycle::Ilm);
        let details = "/template/mappings/properties/auth0/properties/logs/properties/data\
                       /properties/details/type";
        assert_eq!(elastic.pointer(details).unwrap(), "flattened");
        assert_eq!(elastic.pointer("/template/settings/index/lifecycle/name").unwrap(), NAME);
        let namespace = "/template/mappings/properties/data_stream/properties/namespace/type";
        assert_eq!(elastic.pointer(namespace).unwrap(), "constant_keyword");

        let open = render(Product::OpenSearch, true, Lifecycle::Ism);
        assert_eq!(open.pointer(details).unwrap(), "flat_object");
        assert_eq!(open.pointer(namespace).unwrap(), "keyword");
        assert!(open.pointer("/template/lifecycle").is_none());

        let built_in = render(Product::ElasticsearchServerless, false, Lifecycle::DataStream);
        assert!(built_in.pointer("/template/lifecycle").is_some());
        assert!(!built_in.to_string().contains("constant_keyword"));
        assert!(open.get("data_stream").is_some());
        let collection = render(Product::OpenSearchServerless, false, Lifecycle::None);
        assert!(collection.get("data_stream").is_none());
    }
}
