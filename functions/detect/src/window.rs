//! Windows that slide over the events of one group. A burst is one finding, wherever windows or runs begin.

use std::collections::{BTreeMap, VecDeque};

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::Value;

use crate::rules::Measure;

/// Nearer places are not compared: a database of addresses is often wrong by so much.
const NEAR_KM: f64 = 500.0;

/// The earth's mean radius (IUGG).
const EARTH_KM: f64 = 6_371.0;

/// An event, as a search returns it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Hit {
    pub(crate) time: DateTime<Utc>,
    /// `event.id`.
    pub(crate) id: String,
    /// The members of the document that are needed here.
    pub(crate) source: Value,
    /// The positions of the rule's queries that it matches.
    pub(crate) queries: Vec<usize>,
}

/// Finds bursts in the events of one group.
#[derive(Debug)]
pub(crate) struct Bursts<'a> {
    measure: &'a Measure,
    /// The number of the rule's queries.
    queries: usize,
    span: TimeDelta,
    realert: TimeDelta,
    /// The starts of earlier findings of this group.
    starts: Vec<DateTime<Utc>>,
    open: VecDeque<Hit>,
    /// How often each value is in `open`.
    values: BTreeMap<String, usize>,
    /// For [`Measure::Ordered`]: the latest chain of events that ends with each query.
    chains: Vec<Vec<Hit>>,
}

impl<'a> Bursts<'a> {
    /// `starts` are those of findings that are known already.
    pub(crate) fn new(
        measure: &'a Measure,
        queries: usize,
        span: TimeDelta,
        realert: TimeDelta,
        starts: Vec<DateTime<Utc>>,
    ) -> Self {
        let (open, values) = (VecDeque::new(), BTreeMap::new());
        Self {
            measure,
            queries,
            span,
            realert,
            starts,
            open,
            values,
            chains: vec![vec![]; queries],
        }
    }

    /// Adds the next event in the order of time. Returns a finding's events once there is one.
    ///
    /// Events just before a finding, and those until [`Self::realert`] is over, belong to it. So neither
    /// late events nor another start of the search make a second one of it.
    pub(crate) fn add(&mut self, hit: Hit) -> Option<Vec<Hit>> {
        if self.covered_until(hit.time).is_some() {
            return None;
        }
        while self.open.front().is_some_and(|first| hit.time - first.time > self.span) {
            self.drop_first();
        }
        let found = match self.measure {
            Measure::Events(count) => {
                self.open.push_back(hit);
                (self.open.len() as u64 >= *count).then(|| self.open.drain(..).collect())
            }
            Measure::Values { field, count } => {
                for value in texts(&hit.source, field) {
                    *self.values.entry(value).or_default() += 1;
                }
                self.open.push_back(hit);
                (self.values.len() as u64 >= *count).then(|| {
                    self.values.clear();
                    self.open.drain(..).collect()
                })
            }
            Measure::Ordered => self.extend_chains(&hit),
            Measure::Travel { kmh } => {
                let last = self.open.back().filter(|last| is_travel(last, &hit, *kmh));
                let found = last.map(|last| vec![last.clone(), hit.clone()]);
                self.open = VecDeque::from([hit]);
                found
            }
        }?;
        self.starts.extend(found.first().map(|first: &Hit| first.time));
        Some(found)
    }

    /// Returns until when an earlier finding covers what happens at `time`.
    pub(crate) fn covered_until(&self, time: DateTime<Utc>) -> Option<DateTime<Utc>> {
        let covers =
            |start: &&DateTime<Utc>| time > **start - self.span && time < **start + self.realert;
        self.starts.iter().filter(covers).max().map(|start| *start + self.realert)
    }

    fn drop_first(&mut self) {
        let Some(first) = self.open.pop_front() else { return };
        if let Measure::Values { field, .. } = self.measure {
            for value in texts(&first.source, field) {
                if let Some(count) = self.values.get_mut(&value) {
                    *count -= 1;
                }
            }
            self.values.retain(|_, count| *count > 0);
        }
    }

    fn extend_chains(&mut self, hit: &Hit) -> Option<Vec<Hit>> {
        for query in (0..self.queries).rev().filter(|query| hit.queries.contains(query)) {
            let mut chain = match query.checked_sub(1) {
                None => vec![],
                Some(before) => self.chains.get(before).cloned().unwrap_or_default(),
            };
            let is_in_time = chain.first().is_some_and(|first| hit.time - first.time <= self.span);
            if query == 0 || is_in_time {
                chain.push(hit.clone());
                if let Some(place) = self.chains.get_mut(query) {
                    *place = chain;
                }
            }
        }
        let last = self.chains.last().filter(|chain| !chain.is_empty()).cloned();
        if last.is_some() {
            self.chains.iter_mut().for_each(Vec::clear);
        }
        last
    }
}

/// Returns the value or the values of a field, as text.
pub(crate) fn texts(source: &Value, field: &str) -> Vec<String> {
    let text = |value: &Value| match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(_) | Value::Bool(_) => Some(value.to_string()),
        _ => None,
    };
    match at(source, field) {
        Some(Value::Array(values)) => values.iter().filter_map(text).collect(),
        value => value.and_then(text).into_iter().collect(),
    }
}

/// Returns the member at a path with dots.
pub(crate) fn at<'a>(source: &'a Value, field: &str) -> Option<&'a Value> {
    field.split('.').try_fold(source, |value, name| value.get(name))
}

/// Returns whether nobody travels from one event's place to the other's in the time between.
fn is_travel(from: &Hit, to: &Hit, kmh: f64) -> bool {
    let place = |hit: &Hit| {
        let point = at(&hit.source, "source.geo.location")?;
        Some((point.get("lat")?.as_f64()?.to_radians(), point.get("lon")?.as_f64()?.to_radians()))
    };
    let (Some(from_place), Some(to_place)) = (place(from), place(to)) else { return false };
    let (latitudes, longitudes) = (to_place.0 - from_place.0, to_place.1 - from_place.1);
    // The haversine formula.
    let half = (latitudes / 2.0).sin().powi(2)
        + from_place.0.cos() * to_place.0.cos() * (longitudes / 2.0).sin().powi(2);
    let distance = 2.0 * EARTH_KM * half.sqrt().asin();
    let hours = (to.time - from.time).as_seconds_f64() / 3_600.0;
    distance > NEAR_KM && distance > kmh * hours
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn time(second: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(1_780_000_000 + second, 0).unwrap()
    }

    fn hit(second: i64, source: Value) -> Hit {
        Hit { time: time(second), id: second.to_string(), source, queries: vec![] }
    }

    fn user(second: i64, name: &str) -> Hit {
        hit(second, json!({"user": {"name": name}}))
    }

    /// Runs a rule with a window of a minute, and returns the ids of each finding's events.
    fn found(
        measure: &Measure,
        starts: &[i64],
        hits: impl IntoIterator<Item = Hit>,
    ) -> Vec<String> {
        let starts = starts.iter().copied().map(time).collect();
        let mut bursts =
            Bursts::new(measure, 2, TimeDelta::minutes(1), TimeDelta::minutes(10), starts);
        let found = hits.into_iter().filter_map(|hit| bursts.add(hit));
        found.map(|hits| hits.iter().map(|h| h.id.as_str()).collect::<Vec<_>>().join(" ")).collect()
    }

    fn events(seconds: &[i64]) -> Vec<Hit> {
        seconds.iter().map(|second| hit(*second, json!({}))).collect()
    }

    #[test]
    fn window_slides_over_any_boundary() {
        let three = Measure::Events(3);
        for offset in 0..120 {
            let burst = events(&[offset, offset + 30, offset + 60]);
            assert_eq!(found(&three, &[], burst).len(), 1, "{offset}");
            assert_eq!(found(&three, &[], events(&[offset, offset + 30, offset + 61])).len(), 0);
        }
    }

    #[test]
    fn burst_is_one_finding_until_the_realert_time() {
        let every_ten: Vec<i64> = (0..100).map(|number| number * 10).collect();
        let found = found(&Measure::Events(3), &[], events(&every_ten));
        assert_eq!(found, ["0 10 20", "600 610 620"]);
    }

    #[test]
    fn known_finding_covers_its_burst_wherever_the_search_begins() {
        let three = Measure::Events(3);
        let burst = [100, 110, 120, 130, 140];
        assert_eq!(found(&three, &[], events(&burst)), ["100 110 120"]);
        for begin in 0..burst.len() {
            assert_eq!(found(&three, &[100], events(&burst[begin..])), [""; 0], "{begin}");
        }
        // Late events, that are before all others.
        assert_eq!(found(&three, &[100], events(&[60, 70, 80, 100, 110])), [""; 0]);
        assert_eq!(found(&three, &[100], events(&[10, 20, 30, 100, 110])), ["10 20 30"]);
    }

    #[test]
    fn values_are_counted_once_each_and_leave_with_the_window() {
        let three = Measure::Values { field: "user.name".into(), count: 3 };
        let same = (0..50).map(|second| user(second, "a"));
        assert_eq!(found(&three, &[], same), [""; 0]);
        let spread = [user(0, "a"), user(10, "b"), user(61, "c"), user(62, "a")];
        assert_eq!(found(&three, &[], spread), ["10 61 62"]);
        let list = hit(5, json!({"user": {"name": ["b", "c"]}}));
        assert_eq!(found(&three, &[], [user(0, "a"), list]), ["0 5"]);
    }

    #[test]
    fn order_of_queries_counts() {
        let of = |second, query| Hit { queries: vec![query], ..hit(second, json!({})) };
        let ordered = |hits: [Hit; 3]| found(&Measure::Ordered, &[], hits);
        assert_eq!(ordered([of(0, 0), of(10, 0), of(70, 1)]), ["10 70"]);
        assert_eq!(ordered([of(0, 1), of(10, 0), of(71, 1)]), [""; 0]);
    }

    #[test]
    fn travel_compares_neighbors_in_time() {
        let at = |second, lat: f64, lon: f64| {
            hit(second, json!({"source": {"geo": {"location": {"lat": lat, "lon": lon}}}}))
        };
        let travel = Measure::Travel { kmh: 1_000.0 };
        let (london, linkoping, leeds) = ((51.51, -0.09), (58.42, 15.62), (53.8, -1.55));
        let pair =
            |to: (f64, f64)| found(&travel, &[], [at(0, london.0, london.1), at(60, to.0, to.1)]);
        assert_eq!(pair(linkoping), ["0 60"]);
        assert_eq!(pair(leeds), [""; 0]);
        assert_eq!(found(&travel, &[], [at(0, 51.5, 0.0), hit(30, json!({}))]), [""; 0]);
    }
}
