//! The detections, as `docs/analysts/compile.py` compiles them from the Sigma rules.

use std::collections::BTreeMap;

use chrono::TimeDelta;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// All rules. `make detections` writes the file; no Python is needed to build with it.
const COMPILED: &str = include_str!("rules.json");

/// The shortest time after a finding in which the same group does not ring again.
const SHORTEST_REALERT: TimeDelta = TimeDelta::hours(1);

/// A rule, or a correlation over rules.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Rule {
    /// The name of its file.
    pub(crate) name: String,
    pub(crate) id: String,
    pub(crate) title: String,
    pub(crate) level: Level,
    pub(crate) description: String,
    /// The recommended response to a finding.
    pub(crate) response: String,
    pub(crate) threat: Value,
    /// In Lucene syntax, for each layout; one for each rule that a correlation refers to.
    queries: BTreeMap<Layout, Vec<String>>,
    /// `None` if each event is a finding.
    pub(crate) correlation: Option<Correlation>,
    /// The operator's exceptions, as clauses of `must_not`.
    #[serde(skip)]
    pub(crate) exceptions: Vec<Value>,
}

/// The grouping, window and threshold of a correlation.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Correlation {
    /// Fields whose values make a group.
    pub(crate) group_by: Vec<String>,
    /// The length of the window.
    pub(crate) seconds: u32,
    /// The threshold that makes a window a finding.
    pub(crate) measure: Measure,
    /// Further conditions on a finding.
    #[serde(default)]
    pub(crate) check: Check,
    /// Instead of the default, in seconds.
    #[serde(default)]
    pub(crate) realert: Option<u32>,
}

/// A correlation's threshold.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Measure {
    /// So many events.
    Events(u64),
    /// So many values of the field.
    Values { field: String, count: u64 },
    /// An event of each query, in this order.
    Ordered,
    /// Two events after each other, from places that nobody travels between at this speed.
    Travel { kmh: f64 },
}

/// The comparison with the past that a finding has to pass as well.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Check {
    /// Nothing.
    #[default]
    None,
    /// The group's values of `fields` never came with its other values in the time before, in which these
    /// did come.
    New { fields: Vec<String>, seconds: u32 },
    /// The group has `factor` times as many events as on average in the time before.
    Spike { factor: f64, seconds: u32 },
}

/// How an engine has indexed an event's details, which decides how they are searched.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Layout {
    /// `flat_object` of OpenSearch.
    #[serde(rename = "opensearch-flat")]
    OpenSearchFlat,
    /// Fields, the rest in a `flat_object`.
    #[serde(rename = "opensearch-fields")]
    OpenSearchFields,
    /// `flattened` of Elasticsearch.
    #[serde(rename = "elasticsearch-flat")]
    ElasticsearchFlat,
    /// Fields, the rest `flattened`.
    #[serde(rename = "elasticsearch-fields")]
    ElasticsearchFields,
}

/// Sigma's levels.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Level {
    Informational,
    Low,
    Medium,
    High,
    Critical,
}

impl Level {
    /// Returns `event.severity`: the risk scores that Elastic's rules have for these levels.
    pub(crate) const fn severity(self) -> u8 {
        match self {
            Self::Informational => 1,
            Self::Low => 21,
            Self::Medium => 47,
            Self::High => 73,
            Self::Critical => 99,
        }
    }
}

impl Rule {
    /// Returns the queries for this layout. `None` if the file was compiled without it.
    pub(crate) fn queries(&self, layout: Layout) -> Option<&[String]> {
        self.queries.get(&layout).map(Vec::as_slice)
    }
}

impl Correlation {
    pub(crate) fn span(&self) -> TimeDelta {
        TimeDelta::seconds(self.seconds.into())
    }

    /// Returns how long a finding speaks for its group.
    pub(crate) fn realert(&self) -> TimeDelta {
        let default = match self.check {
            Check::New { seconds, .. } => TimeDelta::seconds(seconds.into()),
            _ => self.span().max(SHORTEST_REALERT),
        };
        let realert = self.realert.map_or(default, |seconds| TimeDelta::seconds(seconds.into()));
        realert.max(self.span())
    }
}

/// Returns all rules.
///
/// # Errors
/// The compiled file is not what this release expects.
pub(crate) fn all() -> Result<Vec<Rule>, serde_json::Error> {
    serde_json::from_str(COMPILED)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn compiled_rules_are_complete() {
        let rules = all().unwrap();
        assert!(rules.len() >= 25, "{}", rules.len());
        let names: BTreeSet<_> = rules.iter().map(|rule| &rule.name).collect();
        let ids: BTreeSet<_> = rules.iter().map(|rule| &rule.id).collect();
        assert_eq!((names.len(), ids.len()), (rules.len(), rules.len()));
        for rule in &rules {
            assert!(!rule.response.is_empty(), "{} has no response", rule.name);
            assert!(rule.threat["technique"]["id"][0].is_string(), "{}", rule.name);
            for layout in [Layout::OpenSearchFlat, Layout::ElasticsearchFlat] {
                assert!(!rule.queries(layout).unwrap().is_empty(), "{}", rule.name);
            }
        }
    }

    #[test]
    fn realert_is_an_hour_the_timespan_or_the_history() {
        let correlation = |seconds, check| Correlation {
            group_by: vec![],
            seconds,
            measure: Measure::Events(1),
            check,
            realert: None,
        };
        assert_eq!(correlation(600, Check::None).realert(), TimeDelta::hours(1));
        assert_eq!(correlation(7_200, Check::None).realert(), TimeDelta::hours(2));
        let new = Check::New { fields: vec![], seconds: 86_400 };
        assert_eq!(correlation(600, new).realert(), TimeDelta::days(1));
        let tuned = Correlation { realert: Some(60), ..correlation(600, Check::None) };
        assert_eq!(tuned.realert(), TimeDelta::minutes(10), "at least the timespan");
    }
}
