//! Bodies of searches, and what their responses say. Plain `_search` with aggregations, which every product
//! and license has.

use std::collections::{BTreeMap, HashSet};

use auth0_ecs::ALERT_COPIES;
use chrono::{DateTime, Utc};
use serde_json::{Map, Value, json};

use crate::rules::{Correlation, Measure};
use crate::window::{Hit, at};

/// Hits of one page.
pub(crate) const PAGE: usize = 1_000;

/// Groups of one page, unless many values are counted in each. Each page goes over all events again.
const GROUPS: u64 = 5_000;

/// Up to so many values are counted exactly at least. An engine reserves about 10 bytes for each, in each group.
const LEAST_PRECISION: u64 = 100;

/// Groups that a query is narrowed to at once. An engine takes 65,536 terms.
pub(crate) const MOST_TERMS: usize = 5_000;

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

/// Narrows a query to events that have a value of one of these groups in each of their fields.
pub(crate) fn of_groups(mut query: Value, groups: &[Group]) -> Value {
    let mut clauses: BTreeMap<&str, HashSet<String>> = BTreeMap::new();
    for (field, value) in groups.iter().flatten() {
        clauses.entry(field).or_default().insert(text(value));
    }
    if let Some(filter) = query.pointer_mut("/bool/filter").and_then(Value::as_array_mut) {
        filter.extend(clauses.iter().map(|(field, values)| json!({"terms": {*field: values}})));
    }
    query
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

/// The result for one group.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Said<'a> {
    /// The number of its events.
    Events,
    /// The number of values of the field, exact up to this many and some more.
    Values(&'a str, u64),
    /// The time of its first event.
    First,
}

impl Said<'_> {
    fn precision(self) -> u64 {
        match self {
            Self::Values(_, count) => LEAST_PRECISION.max(count.saturating_add(count / 4)),
            Self::Events | Self::First => LEAST_PRECISION,
        }
    }

    /// Returns the groups of one page. They share the memory that counting values takes.
    fn page(self) -> u64 {
        (GROUPS * LEAST_PRECISION / self.precision()).max(50)
    }
}

/// Returns the search for groups: with `window`, per window of so many seconds, in the order of time.
pub(crate) fn groups(
    query: &Value,
    fields: &[String],
    window: Option<u32>,
    said: Said<'_>,
    after: Option<&Value>,
) -> Value {
    let window = window.map(|seconds| {
        json!({"window": {"date_histogram":
            {"field": "@timestamp", "fixed_interval": format!("{seconds}s")}}})
    });
    let terms = fields.iter().map(|field| json!({field: {"terms": {"field": field}}}));
    let sources: Vec<_> = window.into_iter().chain(terms).collect();
    let mut composite = json!({"size": said.page(), "sources": sources});
    if let (Some(after), Some(composite)) = (after, composite.as_object_mut()) {
        composite.insert("after".into(), after.clone());
    }
    let mut aggregation = json!({"composite": composite});
    let further = match said {
        Said::Events => None,
        Said::Values(field, _) => Some(json!({"distinct": {"cardinality":
            {"field": field, "precision_threshold": said.precision()}}})),
        Said::First => Some(first()),
    };
    if let (Some(further), Some(aggregation)) = (further, aggregation.as_object_mut()) {
        aggregation.insert("aggs".into(), further);
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
    /// The time of its first event, if asked for.
    pub(crate) first: Option<DateTime<Utc>>,
}

/// Returns the buckets of a response to [`groups`], and where the next page begins, if there may be one.
pub(crate) fn buckets(response: &mut Value, said: Said<'_>) -> (Vec<Bucket>, Option<Value>) {
    let Some(groups) = response.pointer_mut("/aggregations/groups") else { return (vec![], None) };
    let next = groups.get_mut("after_key").map(Value::take);
    let Some(Value::Array(found)) = groups.get_mut("buckets").map(Value::take) else {
        return (vec![], None);
    };
    let next = next.filter(|_| found.len() as u64 >= said.page());
    let buckets = found.into_iter().filter_map(|bucket| {
        let count = bucket.pointer("/distinct/value").or(bucket.get("doc_count"))?.as_u64()?;
        let mut key: Map<String, Value> = bucket.get("key")?.as_object()?.clone();
        let window =
            key.remove("window").and_then(|key| DateTime::from_timestamp_millis(key.as_i64()?));
        let first = first_time(bucket.get("first"));
        Some(Bucket { window, group: key.into_iter().collect(), count, first })
    });
    (buckets.collect(), next)
}

/// Returns what a bucket of candidates counts, and how much two windows after each other need.
pub(crate) fn candidates(correlation: &Correlation) -> (Said<'_>, u64) {
    match &correlation.measure {
        Measure::Events(count) => (Said::Events, *count),
        Measure::Values { field, count } => (Said::Values(field, *count), *count),
        // Of the first query alone.
        Measure::Ordered => (Said::Events, 1),
        Measure::Travel { .. } => (Said::Values("source.ip", 2), 2),
    }
}

fn first() -> Value {
    json!({"first": {"min": {"field": "@timestamp"}}})
}

fn first_time(found: Option<&Value>) -> Option<DateTime<Utc>> {
    found?.get("value_as_string")?.as_str()?.parse().ok()
}

/// Returns the search for the number of events, and the first of them.
pub(crate) fn count(query: &Value) -> Value {
    json!({"size": 0, "track_total_hits": true, "query": query, "aggs": first()})
}

/// Returns what a response to [`count`] says.
pub(crate) fn counted(response: &Value) -> (f64, Option<DateTime<Utc>>) {
    let total = response.pointer("/hits/total/value").and_then(Value::as_f64).unwrap_or(0.0);
    (total, first_time(response.pointer("/aggregations/first")))
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules;

    /// Returns the memory of a counter on both engines (`HyperLogLogPlusPlus.precisionFromThreshold`).
    fn counter_bytes(precision: u64) -> u64 {
        let precision = precision.min(40_000);
        ((precision * 4).div_ceil(3) * 4).next_power_of_two()
    }

    #[test]
    fn page_of_counted_values_takes_little_of_a_small_engine() {
        let rules = rules::all().unwrap();
        let tuned = [10, 1_000, 30_000, u64::MAX].map(|count| ("user.name", count));
        let counted =
            rules.iter().filter_map(|rule| match candidates(rule.correlation.as_ref()?) {
                (Said::Values(field, count), _) => Some((field, count)),
                _ => None,
            });
        for (field, count) in counted.chain(tuned) {
            let body = groups(&Value::Null, &[], None, Said::Values(field, count), None);
            let groups = &body["aggs"]["groups"];
            let precision = &groups["aggs"]["distinct"]["cardinality"]["precision_threshold"];
            let precision = precision.as_u64().unwrap();
            assert!(precision > count || count > 30_000 && precision >= count, "{field}");
            let size = groups["composite"]["size"].as_u64().unwrap();
            assert!(size * counter_bytes(precision) < 16_000_000, "{field}, {count}: {size}");
        }
    }

    #[test]
    fn next_page_is_asked_for_only_after_a_full_one() {
        let response = |count: usize| {
            let bucket = json!({"key": {"user.id": "a"}, "doc_count": 1});
            json!({"aggregations": {"groups":
                {"after_key": {"user.id": "a"}, "buckets": vec![bucket; count]}}})
        };
        let full = usize::try_from(GROUPS).unwrap();
        assert!(buckets(&mut response(full), Said::Events).1.is_some());
        assert!(buckets(&mut response(full - 1), Said::Events).1.is_none());
    }
}
