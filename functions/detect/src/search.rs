//! Bodies of searches, and what their responses say. Plain `_search` with aggregations, which every product
//! and license has.

use auth0_ecs::ALERT_COPIES;
use chrono::{DateTime, Utc};
use serde_json::{Map, Value, json};

use crate::rules::{Correlation, Measure};
use crate::window::{Hit, at};

/// Hits of one page.
pub(crate) const PAGE: usize = 1_000;

/// Groups of one page. Each page goes over all events again.
const GROUPS: usize = 5_000;

/// The most hits that an engine returns at once (`index.max_result_window`).
pub(crate) const MOST_HITS: usize = 10_000;

/// From one time to another, without the latter.
pub(crate) type Range = (DateTime<Utc>, DateTime<Utc>);

/// A group: the fields' names with its values.
pub(crate) type Group = Vec<(String, Value)>;

/// Returns the name of a group in alerts, by which its findings are recognized.
pub(crate) fn group_name(group: &[(String, Value)]) -> String {
    let parts: Vec<_> =
        group.iter().map(|(field, value)| format!("{field}={}", text(value))).collect();
    parts.join(", ")
}

pub(crate) fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// Returns the query for events of `range` that any of `queries` matches. Each has its position as its name.
pub(crate) fn query(
    queries: &[String],
    exceptions: &[Value],
    range: Range,
    group: &[(String, Value)],
) -> Value {
    let named: Vec<_> = queries
        .iter()
        .enumerate()
        .map(|(index, query)| {
            let name = index.to_string();
            json!({"query_string": {"query": query, "analyze_wildcard": true, "_name": name}})
        })
        .collect();
    let mut filter = vec![
        json!({"range": {"@timestamp": {"gte": millis(range.0), "lt": millis(range.1), "format": "epoch_millis"}}}),
        json!({"bool": {"should": named, "minimum_should_match": 1}}),
    ];
    filter.extend(group.iter().map(|(field, value)| json!({"term": {field: {"value": value}}})));
    json!({"bool": {"filter": filter, "must_not": exceptions}})
}

fn millis(time: DateTime<Utc>) -> i64 {
    time.timestamp_millis()
}

/// Returns the search for the next page of events after `last`, in the order of time.
pub(crate) fn events(query: &Value, extra: &[&str], last: Option<&Value>) -> Value {
    let source: Vec<&str> =
        [ALERT_COPIES, &["@timestamp", "event.id", "source.geo.location"], extra].concat();
    let mut body = json!({
        "size": PAGE,
        "track_total_hits": false,
        "query": query,
        "_source": source,
        // An index of an older template may lack a field.
        "sort": [
            {"@timestamp": {"order": "asc"}},
            {"event.id": {"order": "asc", "unmapped_type": "keyword"}},
        ],
    });
    if let (Some(last), Some(body)) = (last, body.as_object_mut()) {
        body.insert("search_after".into(), last.clone());
    }
    body
}

/// Returns the events of a response, and where the next page begins, if there may be one.
pub(crate) fn hits(response: &mut Value) -> (Vec<Hit>, Option<Value>) {
    let Some(Value::Array(found)) = response.pointer_mut("/hits/hits").map(Value::take) else {
        return (vec![], None);
    };
    let last = found.last().and_then(|hit| hit.get("sort")).cloned();
    let next = last.filter(|_| found.len() == PAGE);
    (found.into_iter().filter_map(hit).collect(), next)
}

fn hit(mut hit: Value) -> Option<Hit> {
    let named = hit.get("matched_queries").and_then(Value::as_array);
    let queries =
        named.into_iter().flatten().filter_map(|name| name.as_str()?.parse().ok()).collect();
    let source = hit.get_mut("_source").map(Value::take)?;
    let time = at(&source, "@timestamp")?.as_str()?.parse().ok()?;
    let id = at(&source, "event.id")?.as_str()?.to_owned();
    Some(Hit { time, id, source, queries })
}

/// Returns the search for groups: with `window`, per window of so many seconds, in the order of time.
pub(crate) fn groups(
    query: &Value,
    fields: &[String],
    window: Option<u32>,
    distinct: Option<&str>,
    after: Option<&Value>,
) -> Value {
    let window = window.map(|seconds| {
        json!({"window": {"date_histogram":
            {"field": "@timestamp", "fixed_interval": format!("{seconds}s")}}})
    });
    let terms = fields.iter().map(|field| json!({field: {"terms": {"field": field}}}));
    let sources: Vec<_> = window.into_iter().chain(terms).collect();
    let mut composite = json!({"size": GROUPS, "sources": sources});
    if let (Some(after), Some(composite)) = (after, composite.as_object_mut()) {
        composite.insert("after".into(), after.clone());
    }
    let mut aggregation = json!({"composite": composite});
    if let (Some(field), Some(aggregation)) = (distinct, aggregation.as_object_mut()) {
        let distinct = json!({"distinct": {"cardinality": {"field": field}}});
        aggregation.insert("aggs".into(), distinct);
    }
    json!({"size": 0, "track_total_hits": false, "query": query, "aggs": {"groups": aggregation}})
}

/// A bucket of [`groups`].
#[derive(Debug)]
pub(crate) struct Bucket {
    /// The start of its window.
    pub(crate) window: Option<DateTime<Utc>>,
    pub(crate) group: Group,
    /// Events, or values of the field whose values are counted.
    pub(crate) count: u64,
}

/// Returns the buckets of a response, and where the next page begins, if there may be one.
pub(crate) fn buckets(response: &mut Value) -> (Vec<Bucket>, Option<Value>) {
    let Some(groups) = response.pointer_mut("/aggregations/groups") else { return (vec![], None) };
    let next = groups.get_mut("after_key").map(Value::take);
    let Some(Value::Array(found)) = groups.get_mut("buckets").map(Value::take) else {
        return (vec![], None);
    };
    let buckets = found.into_iter().filter_map(|bucket| {
        let count = bucket.pointer("/distinct/value").or(bucket.get("doc_count"))?.as_u64()?;
        let mut key: Map<String, Value> = bucket.get("key")?.as_object()?.clone();
        let window =
            key.remove("window").and_then(|key| DateTime::from_timestamp_millis(key.as_i64()?));
        Some(Bucket { window, group: key.into_iter().collect(), count })
    });
    (buckets.collect(), next)
}

/// Returns what a bucket of candidates counts: the field, and how much two windows after each other need.
pub(crate) fn candidates(correlation: &Correlation) -> (Option<&str>, u64) {
    match &correlation.measure {
        Measure::Events(count) => (None, *count),
        Measure::Values { field, count } => (Some(field), *count),
        // Of the first query alone.
        Measure::Ordered => (None, 1),
        Measure::Travel { .. } => (Some("source.ip"), 2),
    }
}

/// Returns the search for the number of events, and the first of them.
pub(crate) fn count(query: &Value) -> Value {
    let first = json!({"first": {"min": {"field": "@timestamp"}}});
    json!({"size": 0, "track_total_hits": true, "query": query, "aggs": first})
}

/// Returns what a response to [`count`] says.
pub(crate) fn counted(response: &Value) -> (f64, Option<DateTime<Utc>>) {
    let total = response.pointer("/hits/total/value").and_then(Value::as_f64).unwrap_or(0.0);
    let first = response.pointer("/aggregations/first/value_as_string").and_then(Value::as_str);
    (total, first.and_then(|time| time.parse().ok()))
}

/// Returns the search for alerts of a rule that end at `since` or later, and the ids of those of `ids`.
pub(crate) fn alerts(rule: &str, since: DateTime<Utc>) -> Value {
    json!({
        "size": MOST_HITS,
        "track_total_hits": false,
        "query": {"bool": {"filter": [
            {"term": {"rule.id": {"value": rule}}},
            {"range": {"event.end": {"gte": millis(since), "format": "epoch_millis"}}},
        ]}},
        "_source": ["auth0.alerts.group", "event.start"],
    })
}
