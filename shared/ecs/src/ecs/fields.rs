//! The table of fields: each field of the document, its type, and where its value comes from.
//!
//! Everything that has to know fields is made of it: the index template, `docs/fields.md`, the members of
//! `auth0.logs.data`, the names that events must not take there, and all plain copies. A new field is one
//! row and a sample event.

use std::collections::BTreeMap;

use crate::input::members::{Members, Shape};
use crate::json::schema::{Leaf, Schema};

/// A field.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Field {
    /// Its full name, with dots.
    pub(crate) name: &'static str,
    pub(crate) kind: FieldType,
    pub(crate) source: Source,
    /// For `docs/fields.md`, may be empty.
    #[cfg_attr(not(test), expect(dead_code, reason = "for docs/fields.md, which a test writes"))]
    pub(crate) note: &'static str,
}

/// The type of a field, whatever an engine calls it.
#[derive(Clone, Copy, Debug)]
pub(crate) enum FieldType {
    /// Exact text.
    Keyword,
    /// Exact text that nobody groups or sorts by.
    Id,
    /// Text that is found and grouped in either case, and shown as received.
    CaseInsensitive,
    /// Exact text, whose words can be searched in `.text`.
    KeywordWithText,
    /// Words, with the exact text in `.keyword`.
    Text,
    /// One value in all documents; `None` if each data stream has its own.
    Constant(Option<&'static str>),
    /// The date that a data stream requires: both engines refuse a bad one.
    Timestamp,
    Date,
    Ip,
    GeoPoint,
    Long,
    Boolean,
    /// An object with any content. Its leaves are searched as exact text.
    Flat,
    /// Stored and shown, never searched.
    Unsearched,
}

impl FieldType {
    /// The values that a field of this type takes.
    pub(crate) const fn leaf(self) -> Leaf {
        match self {
            Self::Boolean => Leaf::Boolean,
            Self::Long => Leaf::Long,
            Self::Date => Leaf::Date,
            Self::Ip => Leaf::Ip,
            _ => Leaf::Text,
        }
    }
}

/// Where the value of a field comes from.
#[derive(Clone, Copy, Debug)]
#[cfg_attr(
    not(test),
    expect(dead_code, reason = "the texts are for docs/fields.md, which a test writes")
)]
pub(crate) enum Source {
    /// The member of the event's data of the same name, which stays below `auth0.logs.data`.
    Member,
    /// A copy of the first scalar at one of these paths in the event's data.
    First(&'static [&'static str]),
    /// Computed by the mapper, as described.
    Computed(&'static str),
    /// Not written: the value is in this field instead. Mapped because Elastic's integration maps it.
    Moved(&'static str),
    /// Not written. Mapped because Elastic's integration maps it, so that saved searches keep working.
    Parity,
}

const fn field(name: &'static str, kind: FieldType, source: Source) -> Field {
    noted(name, kind, source, "")
}

const fn noted(name: &'static str, kind: FieldType, source: Source, note: &'static str) -> Field {
    Field { name, kind, source, note }
}

/// All fields, by name.
#[rustfmt::skip]
pub(crate) const FIELDS: &[Field] = {
    use FieldType::{Boolean, CaseInsensitive, Constant, Date, Flat, GeoPoint, Id, Ip, Keyword, KeywordWithText, Long, Text, Timestamp, Unsearched};
    use Source::{Computed, First, Member, Moved, Parity};
    &[
    field("@timestamp", Timestamp, Computed("`date`; the time of receipt if that is missing or not a date")),
    field("agent.ephemeral_id", Id, Computed("random, one per process of the function")),
    field("agent.id", Keyword, Parity),
    field("agent.name", Keyword, Computed("the function that wrote the document: webhook, ingest, poller or redrive")),
    field("agent.type", Keyword, Computed("`auth0-log-streams`")),
    field("agent.version", Keyword, Computed("this project's version")),
    noted("auth0.logs.channel", Keyword, Computed("`details.request.channel` of a request to the Management API"), "`https://manage.auth0.com/` is the dashboard, `api` is an application"),
    field("auth0.logs.data.$event_schema.version", Keyword, Parity),
    noted("auth0.logs.data.agent_id", Keyword, Member, "the acting agent"),
    noted("auth0.logs.data.audience", Keyword, Member, "the API that a token is for"),
    noted("auth0.logs.data.auth0_client", Flat, Member, "the SDK, with `name`, `version` and `env`"),
    noted("auth0.logs.data.body", Flat, Member, "type `fv` only"),
    field("auth0.logs.data.classification", Keyword, Computed("Auth0's log stream filter, such as `Login - Failure`, from the table of event types")),
    noted("auth0.logs.data.client_id", Keyword, Member, "the application"),
    noted("auth0.logs.data.client_ip", Keyword, Member, "see `client.ip`"),
    noted("auth0.logs.data.client_name", Keyword, Member, "the application"),
    field("auth0.logs.data.connection", Keyword, Member),
    field("auth0.logs.data.connection_id", Keyword, Member),
    field("auth0.logs.data.date", Date, Computed("`date`, in UTC")),
    field("auth0.logs.data.description", Text, Member),
    noted("auth0.logs.data.details", Flat, Member, "differs from type to type"),
    noted("auth0.logs.data.email", Keyword, Member, "type `fv` only"),
    noted("auth0.logs.data.environment_name", Keyword, Member, "the tenant's environment"),
    noted("auth0.logs.data.external_agent_id", Keyword, Member, "the customer's own id of the agent"),
    noted("auth0.logs.data.hostname", Keyword, Member, "the host of the request, such as a custom domain"),
    noted("auth0.logs.data.identity_user_id", Id, Member, "the user's id at the identity provider"),
    field("auth0.logs.data.ip", Ip, Moved("source.ip")),
    noted("auth0.logs.data.is_mobile", Boolean, Member, "`isMobile` in pulled events"),
    noted("auth0.logs.data.location_info.city_name", Keyword, Member, "see `source.geo`"),
    field("auth0.logs.data.location_info.continent_code", Keyword, Member),
    field("auth0.logs.data.location_info.country_code", Keyword, Member),
    field("auth0.logs.data.location_info.country_code3", Keyword, Member),
    field("auth0.logs.data.location_info.country_name", Keyword, Member),
    field("auth0.logs.data.location_info.latitude", Id, Member),
    field("auth0.logs.data.location_info.longitude", Id, Member),
    field("auth0.logs.data.location_info.time_zone", Keyword, Member),
    field("auth0.logs.data.log_id", Keyword, Computed("moved to `event.id`; written only if it cannot be the document's id")),
    field("auth0.logs.data.login.completedAt", Date, Computed("`details.completedAt`")),
    field("auth0.logs.data.login.elapsedTime", Long, Computed("`details.elapsedTime`, in milliseconds")),
    field("auth0.logs.data.login.initiatedAt", Date, Computed("`details.initiatedAt`")),
    field("auth0.logs.data.login.stats.loginsCount", Long, Computed("`details.stats.loginsCount` of type `s`")),
    noted("auth0.logs.data.mtls_thumbprint_sha256", Id, Member, "digest of the client certificate"),
    noted("auth0.logs.data.organization_id", Keyword, Member, "see `organization.id`"),
    noted("auth0.logs.data.organization_name", Keyword, Member, "see `organization.name`"),
    noted("auth0.logs.data.query", Flat, Member, "type `fv` only"),
    field("auth0.logs.data.references.correlation_id", Id, Member),
    noted("auth0.logs.data.references.trace_id", Keyword, Member, "see `trace.id`"),
    noted("auth0.logs.data.scope", Keyword, Member, "text or list"),
    noted("auth0.logs.data.security_context.ja3", Keyword, Member, "see `tls.client.ja3`"),
    noted("auth0.logs.data.security_context.ja4", Keyword, Member, "see `auth0.logs.ja4`"),
    field("auth0.logs.data.session_connection", Keyword, Member),
    noted("auth0.logs.data.strategy", Keyword, Member, "the kind of connection, such as `auth0`"),
    field("auth0.logs.data.strategy_type", Keyword, Member),
    field("auth0.logs.data.tenant_name", Keyword, Member),
    noted("auth0.logs.data.title", Keyword, Member, "type `fv` only"),
    noted("auth0.logs.data.tracking_id", Id, Member, "type `w` only"),
    noted("auth0.logs.data.transaction_linking_id", Keyword, Member, "see `auth0.logs.transaction_id`"),
    field("auth0.logs.data.type", Keyword, Computed("the name of the event type, such as `Failed login`; the code if it is unknown")),
    field("auth0.logs.data.type_id", Keyword, Computed("`type`: the code of the event type, such as `f`")),
    field("auth0.logs.data.user_agent", Text, Moved("user_agent.original")),
    field("auth0.logs.data.user_id", Keyword, Computed("moved to `user.id`; written only if it is masked, because asterisks are nobody's id")),
    field("auth0.logs.data.user_name", Keyword, Computed("moved to `user.name`; written only if it is masked, because asterisks are nobody's name")),
    field("auth0.logs.device_id", Keyword, First(&["details.device_id"])),
    noted("auth0.logs.family_id", Keyword, First(&["details.familyId"]), "all refresh tokens of one login"),
    field("auth0.logs.grant_type", Keyword, First(&["details.grantType", "details.grant_type", "details.body.grant_type"])),
    noted("auth0.logs.ja4", Keyword, First(&["security_context.ja4"]), "ECS has no field for it"),
    field("auth0.logs.log_id", Keyword, Parity),
    field("auth0.logs.session_id", Keyword, First(&["details.session_id", "details.refresh_token.session_id"])),
    field("auth0.logs.transaction_id", Keyword, First(&["transaction_linking_id", "details.transaction_id", "details.transaction_linking_id", "details.transaction.id"])),
    field("client.ip", Ip, Computed("`client_ip`: the direct peer, where `ip` is the end user")),
    field("data_stream.dataset", Constant(Some("auth0.logs")), Computed("`auth0.logs`")),
    field("data_stream.namespace", Constant(None), Computed("`DATA_STREAM_NAMESPACE`")),
    field("data_stream.type", Constant(Some("logs")), Computed("`logs`")),
    field("ecs.version", Keyword, Computed("`8.11.0`")),
    field("elastic_agent.id", Keyword, Parity),
    field("elastic_agent.snapshot", Boolean, Parity),
    field("elastic_agent.version", Keyword, Parity),
    field("error.message", Text, Computed("what the mapper changed, or why there is no ordinary document")),
    field("error.type", Keyword, First(&["details.error.type"])),
    field("event.action", Keyword, Computed("from the table of event types; `unknown-<code>` if the code is not in it")),
    field("event.agent_id_status", Keyword, Parity),
    field("event.category", Keyword, Computed("from the table of event types")),
    field("event.dataset", Constant(Some("auth0.logs")), Computed("`auth0.logs`")),
    field("event.id", Keyword, Computed("`log_id`, which is also the document's `_id`, except of an error document")),
    field("event.ingested", Date, Computed("the time of receipt")),
    field("event.kind", Keyword, Computed("`event`; `pipeline_error` if there is no ordinary document")),
    field("event.module", Constant(Some("auth0")), Computed("`auth0`: known to the index where it is a constant, not in the document")),
    field("event.original", Unsearched, Computed("the event as received; only on request, or if the document differs from it")),
    field("event.outcome", Keyword, Computed("from the table of event types")),
    field("event.type", Keyword, Computed("from the table of event types")),
    field("http.request.method", CaseInsensitive, First(&["details.request.method"])),
    field("http.response.status_code", Long, First(&["details.response.statusCode"])),
    field("input.type", Keyword, Computed("`http_endpoint`, `auth0_management_api` or `aws_eventbridge`")),
    field("log.level", Keyword, Computed("`error` if there is a `details.error`, else `info`")),
    field("network.type", Keyword, Computed("from `ip`: `ipv4` or `ipv6`")),
    field("organization.id", Keyword, Computed("`organization_id`; without one, from the path of a request to the Management API")),
    field("organization.name", Keyword, First(&["organization_name"])),
    field("related.ip", Ip, Computed("all addresses of the event")),
    field("related.user", Keyword, Computed("all names, addresses and ids of `user` and `user.target`, and the local part of an e-mail address")),
    field("source.address", Keyword, Computed("`ip`, if that is not just an IP address")),
    field("source.as.number", Long, Computed("from `ip`, by the ASN file")),
    field("source.as.organization.name", Keyword, Computed("from `ip`, by the ASN file")),
    field("source.geo.city_name", Keyword, Computed("from `ip`, by the City file; without one, from `location_info`")),
    field("source.geo.continent_name", Keyword, Computed("the same")),
    field("source.geo.country_iso_code", Keyword, Computed("the same")),
    field("source.geo.country_name", Keyword, Computed("the same")),
    field("source.geo.location", GeoPoint, Computed("the same")),
    field("source.geo.postal_code", Keyword, Computed("from `ip`, by the City file")),
    field("source.geo.region_iso_code", Keyword, Computed("from `ip`, by the City file")),
    field("source.geo.region_name", Keyword, Computed("from `ip`, by the City file")),
    field("source.geo.timezone", Keyword, Computed("from `ip`, by the City file; without one, from `location_info`")),
    field("source.ip", Ip, Computed("`ip`: the end user's address, the first of a list")),
    field("source.port", Long, Computed("the port in `ip`, if there is one")),
    field("tags", Keyword, Computed("`forwarded`, `auth0-logstream` and your own; `mapping_adjusted` if the mapper changed something; `crawler` by the user agent; `original_cut` and `dead_letter` on error documents")),
    field("tls.client.ja3", Keyword, First(&["security_context.ja3"])),
    field("trace.id", Keyword, First(&["references.trace_id"])),
    field("url.path", Keyword, First(&["details.request.path"])),
    field("user.domain", Keyword, Computed("the domain of `user.email`")),
    field("user.email", Keyword, Computed("`user_name`, if it is an e-mail address; else as `user.id`")),
    noted("user.id", Keyword, Computed("`user_id`; in events of the Management API, what the event lacks is taken from `details.request.auth.user`"), "who acted"),
    field("user.name", Keyword, Computed("`user_name`; else as `user.id`")),
    field("user.target.email", Keyword, Computed("that user's address, if the response or the request names it")),
    noted("user.target.id", Keyword, Computed("the user in the path or body of a request to the Management API, several if it names several"), "whom it was done to"),
    field("user.target.name", Keyword, Computed("that user's name, if the response or the request names it")),
    field("user_agent.device.name", Keyword, Computed("from `user_agent`")),
    field("user_agent.name", Keyword, Computed("from `user_agent`: the browser or client")),
    field("user_agent.original", KeywordWithText, Computed("`user_agent`")),
    field("user_agent.os.full", Keyword, Computed("from `user_agent`")),
    field("user_agent.os.name", Keyword, Computed("from `user_agent`")),
    field("user_agent.os.version", Keyword, Computed("from `user_agent`")),
    field("user_agent.version", Keyword, Computed("from `user_agent`")),
    ]
};

/// The fields that an alert takes from its events, as `functions/detect` writes it.
pub const ALERT_COPIES: &[&str] = &[
    "auth0.logs.data.client_id",
    "auth0.logs.data.client_name",
    "auth0.logs.data.connection",
    "auth0.logs.data.type_id",
    "auth0.logs.family_id",
    "auth0.logs.ja4",
    "event.action",
    "organization.id",
    "related.ip",
    "related.user",
    "source.as.number",
    "source.as.organization.name",
    "source.geo.country_iso_code",
    "source.geo.country_name",
    "source.ip",
    "url.path",
    "user.email",
    "user.id",
    "user.name",
    "user.target.email",
    "user.target.id",
    "user.target.name",
];

/// The other fields of an alert, by name.
#[rustfmt::skip]
const ALERT_FIELDS: &[(&str, FieldType)] = {
    use FieldType::{Constant, Date, GeoPoint, Keyword, Long, Text, Timestamp, Unsearched};
    &[
    ("@timestamp", Timestamp),
    ("auth0.alerts.count", Long),
    ("auth0.alerts.events", Keyword),
    ("auth0.alerts.group", Keyword),
    ("auth0.alerts.level", Keyword),
    ("auth0.alerts.response", Unsearched),
    ("auth0.alerts.window", Long),
    ("data_stream.dataset", Constant(Some("auth0.alerts"))),
    ("data_stream.namespace", Constant(None)),
    ("data_stream.type", Constant(Some("logs"))),
    ("ecs.version", Keyword),
    ("event.category", Keyword),
    ("event.created", Date),
    ("event.dataset", Constant(Some("auth0.alerts"))),
    ("event.end", Date),
    ("event.id", Keyword),
    ("event.kind", Keyword),
    ("event.module", Constant(Some("auth0"))),
    ("event.severity", Long),
    ("event.start", Date),
    ("event.type", Keyword),
    ("message", Text),
    ("rule.description", Unsearched),
    ("rule.id", Keyword),
    ("rule.name", Keyword),
    ("rule.ruleset", Keyword),
    ("source.geo.location", GeoPoint),
    ("tags", Keyword),
    ("threat.framework", Keyword),
    ("threat.tactic.id", Keyword),
    ("threat.tactic.name", Keyword),
    ("threat.technique.id", Keyword),
    ("threat.technique.name", Keyword),
    ]
};

/// All fields of an alert. Those of its events have the same types there.
pub(crate) fn alert_fields() -> impl Iterator<Item = (&'static str, FieldType)> {
    let copies = FIELDS.iter().filter(|field| ALERT_COPIES.contains(&field.name));
    ALERT_FIELDS.iter().copied().chain(copies.map(|field| (field.name, field.kind)))
}

/// The prefix of the members of an event's data.
pub(crate) const DATA: &str = "auth0.logs.data.";

/// The members of an event's data that are fields, and the names that are reserved there.
pub(crate) fn members(schemas: impl Iterator<Item = (&'static str, Schema)>) -> Members {
    let mut stays = BTreeMap::new();
    let mut reserved = Vec::new();
    for field in FIELDS {
        let Some(path) = field.name.strip_prefix(DATA) else { continue };
        let (name, is_leaf) = match path.split_once('.') {
            Some((name, _)) => (name, false),
            None => (path, true),
        };
        match (field.source, field.kind) {
            (Source::Member, _) if !is_leaf => stays.insert(name, Shape::Record),
            (Source::Member, FieldType::Boolean) => stays.insert(name, Shape::Boolean),
            (Source::Member, FieldType::Flat) => stays.insert(name, Shape::Flat),
            (Source::Member, _) => stays.insert(name, Shape::Text),
            _ => {
                reserved.push(name);
                None
            }
        };
    }
    Members::new(stays.into_iter(), reserved.into_iter(), schemas)
}

#[cfg(test)]
mod tests {
    use std::fmt::{self, Write as _};
    use std::path::Path;

    use super::*;
    use crate::ecs::details_fields;

    const INTRO: &str = "\
# Fields

Every field of the index template, with its type and the source of its value. Names in the last column are
those of Auth0's event, including `details`. What an event holds beyond these fields stays in the document,
below `auth0.logs.data`: it is shown, but not searchable (`dynamic: false`).

The first table is with `DetailsIndexing=flat`, in which `details`, `auth0_client`, `body` and `query` are one field each.
With `none` these four are not indexed; with `fields`, the second table replaces them. The document is the same.

Types are the same in Elasticsearch and OpenSearch unless both are named. OpenSearch has a
`constant_keyword`, too, but (3.8) groups documents by the name of the index instead of the value of the
field; Elasticsearch's minimal distribution has none. Both get `keyword` instead. A `keyword` finds texts of
up to 1,024 characters; longer texts are in the document, but not in the index.

Generated from `shared/ecs/src/ecs/fields.rs` and `details_fields.rs`: `UPDATE_DOCS=1 cargo test -p auth0-ecs fields_doc`.

";

    const ALERTS: &str = "
## Alerts

The fields of `logs-auth0.alerts-<namespace>`, which `functions/detect` writes ([detections](analysts/detections/README.md)). `event.start` to
`event.end` is the time of the events that made the rule ring, `@timestamp` is that of the last one, and `event.created` when it was noticed.
`auth0.alerts.events` has their `event.id`s (100 at most), `auth0.alerts.count` their number, `auth0.alerts.window` the rule's timespan in seconds.
Fields of users, sources and applications have the values of those events.

| field | type |
| --- | --- |
";

    const DETAILS_INTRO: &str = "
## Details as fields

With `DetailsIndexing=fields`, these paths below `auth0.logs.data` are fields. They are all that Auth0's log schemas name, and what
the search guide, our detections and Auth0's use. Everything else in `details`, `auth0_client`, `body` and `query` is found by its path below
`auth0.logs.details_other` (flattened; flat_object on OpenSearch) instead of `auth0.logs.data`: `auth0.logs.details_other.details.request.body.name`.
So is a text where a number or a date belongs.

An object where a field is, no address where one belongs, or a text or a list of texts where an object is, stands next to it, in `<name>_text`. `error`, `response`,
`response.body` and some others, which are objects in some types of events and texts or lists in others, always do so (`details.error_text`);
any other such event is tagged `mapping_adjusted`. This holds for the document, so for `flat` and `none`, too.

";

    const PIPELINE: &str = "\
# Use between auth0-ecs.yml and the engine's pipeline if details are indexed as fields (DetailsIndexing=fields, the
# default on OpenSearch). What is not in the list is in one flat field.
# Generated: UPDATE_DOCS=1 cargo test -p auth0-ecs sigma_pipeline
name: Auth0 log events with details as fields (auth0-log-streams)
priority: 25
transformations:
  - id: details_are_fields
    type: set_state
    key: details
    val: fields

  - id: whole_members
    type: field_name_mapping
    mapping:
      auth0.logs.data.details: auth0.logs.details_other.details
      auth0.logs.data.auth0_client: auth0.logs.details_other.auth0_client
      auth0.logs.data.body: auth0.logs.details_other.body
      auth0.logs.data.query: auth0.logs.details_other.query

  - id: others
    type: field_name_prefix_mapping
    mapping:
      auth0.logs.data.details.: auth0.logs.details_other.details.
      auth0.logs.data.auth0_client.: auth0.logs.details_other.auth0_client.
      auth0.logs.data.body.: auth0.logs.details_other.body.
      auth0.logs.data.query.: auth0.logs.details_other.query.
    field_name_conditions:
      - type: exclude_fields
        fields:
";

    impl fmt::Display for FieldType {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str(match self {
                Self::Keyword => "keyword",
                Self::Id => "keyword, not grouped or sorted by",
                Self::CaseInsensitive => "keyword, in lowercase in the index",
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
            })
        }
    }

    impl fmt::Display for Source {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            match self {
                Self::Member => f.write_str("as received"),
                Self::First(paths) => {
                    let paths: Vec<_> = paths.iter().map(|path| format!("`{path}`")).collect();
                    match paths.split_last() {
                        Some((last, rest)) if !rest.is_empty() => {
                            write!(f, "the first of {} and {last}", rest.join(", "))
                        }
                        _ => f.write_str(&paths.join("")),
                    }
                }
                Self::Computed(text) => f.write_str(text),
                Self::Moved(field) => write!(f, "not written: moved to `{field}`"),
                Self::Parity => f.write_str(
                    "not written; mapped so that saved searches of Elastic's integration keep working",
                ),
            }
        }
    }

    #[test]
    fn fields_doc_is_up_to_date() {
        let mut wanted = INTRO.to_owned() + "| field | type | source |\n| --- | --- | --- |\n";
        for Field { name, kind, source, note } in FIELDS {
            let note = if note.is_empty() { String::new() } else { format!(": {note}") };
            writeln!(wanted, "| `{name}` | {kind} | {source}{note} |").unwrap();
        }
        wanted.push_str(DETAILS_INTRO);
        wanted.push_str("| type | paths |\n| --- | --- |\n");
        for (kind, paths) in details_fields::DETAILS_FIELDS {
            let paths: Vec<_> = paths.iter().map(|path| format!("`{path}`")).collect();
            writeln!(wanted, "| {kind} | {} |", paths.join(", ")).unwrap();
        }
        wanted.push_str(ALERTS);
        let alert_fields: BTreeMap<_, _> = alert_fields().collect();
        assert_eq!(alert_fields.len(), ALERT_FIELDS.len() + ALERT_COPIES.len());
        for (name, kind) in alert_fields {
            writeln!(wanted, "| `{name}` | {kind} |").unwrap();
        }
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/fields.md");
        assert_is_up_to_date(&path, &wanted);
    }

    fn assert_is_up_to_date(path: &Path, wanted: &str) {
        #[expect(clippy::disallowed_methods, reason = "not a setting of the product")]
        if std::env::var("UPDATE_DOCS").is_ok() {
            std::fs::write(path, wanted).unwrap();
        }
        let found = std::fs::read_to_string(path).unwrap_or_default();
        assert_eq!(found, wanted, "UPDATE_DOCS=1 cargo test -p auth0-ecs fields:: writes it");
    }

    #[test]
    fn fields_are_sorted_and_none_is_inside_another() {
        let names: Vec<&str> = FIELDS.iter().map(|field| field.name).collect();
        assert!(names.is_sorted_by(|a, b| a < b), "{names:#?}");
        for pair in names.windows(2) {
            assert!(!pair[1].starts_with(&format!("{}.", pair[0])), "{pair:?}");
        }
    }

    /// What the reader writes for a member has to fit what the member is mapped as.
    #[test]
    fn members_have_types_that_the_reader_knows() {
        for field in FIELDS.iter().filter(|field| matches!(field.source, Source::Member)) {
            let path = field.name.strip_prefix(DATA).expect("members are below auth0.logs.data");
            let fits = match path.split('.').count() {
                1 => matches!(
                    field.kind,
                    FieldType::Keyword
                        | FieldType::Id
                        | FieldType::KeywordWithText
                        | FieldType::Text
                        | FieldType::Boolean
                        | FieldType::Flat
                ),
                // A record's members are copied as they are.
                2 => matches!(field.kind, FieldType::Keyword | FieldType::Id),
                _ => false,
            };
            assert!(fits, "{} is mapped as {:?}", field.name, field.kind);
        }
    }

    #[test]
    fn sigma_pipeline_names_the_fields_of_details() {
        let mut wanted = PIPELINE.to_owned();
        let mut paths: Vec<_> =
            details_fields::DETAILS_FIELDS.iter().flat_map(|(_, paths)| *paths).collect();
        paths.sort_unstable();
        for path in paths {
            writeln!(wanted, "          - {DATA}{path}").unwrap();
        }
        let path = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("../../docs/analysts/detections/auth0-ecs-fields.yml");
        assert_is_up_to_date(&path, &wanted);
    }

    #[test]
    fn copy_of_details_is_made_of_a_field() {
        let fields: Vec<_> =
            details_fields::DETAILS_FIELDS.iter().flat_map(|(_, paths)| *paths).collect();
        for field in FIELDS {
            let Source::First(paths) = field.source else { continue };
            for path in paths.iter().filter(|path| path.starts_with("details.")) {
                assert!(fields.contains(&path), "{path}");
            }
        }
    }

    #[test]
    fn every_name_below_data_is_reserved() {
        let members = members(details_fields::schemas());
        for path in FIELDS.iter().filter_map(|field| field.name.strip_prefix(DATA)) {
            assert!(members.is_reserved(path.split('.').next().unwrap()), "{path}");
        }
    }
}
