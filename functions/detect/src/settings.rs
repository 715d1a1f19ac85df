//! The operator's settings: which rules run, what they except, and their tuning.
//!
//! A part that is broken is left out and reported; the other parts and all rules go on.

use std::net::IpAddr;

use ipnet::IpNet;
use serde::Deserialize;
use serde_json::{Value, json};
use shared::start::config::parse_interval;

use crate::rules::{Level, Measure, Rule};

/// Of `exceptions`: events for which all members hold are not looked at.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Exception {
    /// The rules' names; none means all.
    #[serde(default)]
    rules: Vec<String>,
    /// Ids, names or e-mail addresses.
    #[serde(default)]
    users: Vec<String>,
    /// Addresses or networks.
    #[serde(default)]
    addresses: Vec<String>,
    /// Ids of applications.
    #[serde(default)]
    clients: Vec<String>,
}

/// Of `tuning`, by the rule's name.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Tuning {
    count: Option<u64>,
    timespan: Option<String>,
    realert: Option<String>,
    level: Option<Level>,
}

/// The whole document, whose parts are read one by one.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    #[serde(default)]
    exceptions: Vec<Value>,
    #[serde(default)]
    tuning: serde_json::Map<String, Value>,
}

/// Applies `exclude` (names, separated by commas) and `settings` (JSON) to the rules. Returns what cannot be
/// used, for the operator.
pub(crate) fn apply(
    rules: &mut Vec<Rule>,
    exclude: Option<&str>,
    settings: Option<&str>,
) -> Vec<String> {
    let mut problems = Vec::new();
    let document = match serde_json::from_str(settings.unwrap_or("{}")) {
        Ok(document) => document,
        Err(error) => {
            problems.push(format!("DetectionsSettings: {error}"));
            Document::default()
        }
    };
    for (index, value) in document.exceptions.into_iter().enumerate() {
        if let Err(wrong) = except(rules, value) {
            problems.push(format!("DetectionsSettings: exceptions[{index}]: {wrong}"));
        }
    }
    for (name, value) in document.tuning {
        if let Err(wrong) = tune(rules, &name, value) {
            problems.push(format!("DetectionsSettings: tuning of {name:?}: {wrong}"));
        }
    }
    for name in exclude.unwrap_or_default().split(',').map(str::trim).filter(|n| !n.is_empty()) {
        if let Err(wrong) = find(rules, name) {
            problems.push(format!("DetectionsExclude: {wrong}"));
        }
        rules.retain(|rule| rule.name != name);
    }
    problems
}

fn find<'a>(rules: &'a mut [Rule], name: &str) -> Result<&'a mut Rule, String> {
    let found = rules.iter_mut().find(|rule| rule.name == name);
    found.ok_or_else(|| format!("there is no rule {name:?}"))
}

fn except(rules: &mut [Rule], value: Value) -> Result<(), String> {
    let exception: Exception = serde_json::from_value(value).map_err(|error| error.to_string())?;
    let Exception { rules: names, users, addresses, clients } = exception;
    let is_address =
        |text: &&String| text.parse::<IpAddr>().is_ok() || text.parse::<IpNet>().is_ok();
    if let Some(wrong) = addresses.iter().find(|text| !is_address(text)) {
        return Err(format!("{wrong:?} is neither an address nor a network"));
    }
    let any_of = |fields: &[&str], values: &[String]| {
        let should: Vec<_> =
            fields.iter().map(|field| json!({"terms": {*field: values}})).collect();
        (!values.is_empty()).then(|| json!({"bool": {"should": should}}))
    };
    let clauses: Vec<Value> = [
        any_of(&["user.id", "user.name", "user.email"], &users),
        any_of(&["source.ip"], &addresses),
        any_of(&["auth0.logs.data.client_id"], &clients),
    ]
    .into_iter()
    .flatten()
    .collect();
    if clauses.is_empty() {
        return Err(
            "it needs users, addresses or clients; DetectionsExclude switches a rule off".into()
        );
    }
    for name in &names {
        find(rules, name)?;
    }
    for rule in rules.iter_mut().filter(|rule| names.is_empty() || names.contains(&rule.name)) {
        rule.exceptions.push(json!({"bool": {"filter": clauses}}));
    }
    Ok(())
}

fn tune(rules: &mut [Rule], name: &str, value: Value) -> Result<(), String> {
    let Tuning { count, timespan, realert, level } =
        serde_json::from_value(value).map_err(|error| error.to_string())?;
    let seconds = |text: Option<String>| {
        let parsed = text.map(|text| parse_interval(&text)).transpose()?;
        // A year at most, so it fits.
        Ok::<_, String>(parsed.and_then(|duration| u32::try_from(duration.as_secs()).ok()))
    };
    let (timespan, realert) = (seconds(timespan)?, seconds(realert)?);
    if count == Some(0) || timespan == Some(0) {
        return Err("count and timespan have to be above 0".into());
    }
    let rule = find(rules, name)?;
    match &mut rule.correlation {
        None if count.is_some() || timespan.is_some() || realert.is_some() => {
            return Err("each event is a finding of this rule: only level can be set".into());
        }
        None => {}
        Some(correlation) => {
            match (&mut correlation.measure, count) {
                (_, None) => {}
                (Measure::Events(wanted) | Measure::Values { count: wanted, .. }, Some(count)) => {
                    *wanted = count;
                }
                _ => return Err("this rule has no count".into()),
            }
            correlation.seconds = timespan.unwrap_or(correlation.seconds);
            correlation.realert = realert.or(correlation.realert);
        }
    }
    rule.level = level.unwrap_or(rule.level);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules;

    fn applied(exclude: &str, settings: &str) -> (Vec<Rule>, Vec<String>) {
        let mut rules = rules::all().unwrap();
        let problems = apply(&mut rules, Some(exclude), Some(settings));
        (rules, problems)
    }

    fn rule<'a>(rules: &'a [Rule], name: &str) -> &'a Rule {
        rules.iter().find(|rule| rule.name == name).unwrap()
    }

    #[test]
    fn exception_applies_to_the_rules_that_it_names_or_to_all() {
        let (rules, problems) = applied(
            "",
            r#"{"exceptions": [{"rules": ["password-spraying"], "addresses": ["203.0.113.0/24"]},
                               {"users": ["auth0|robot"], "clients": ["abc"]}]}"#,
        );
        assert_eq!(problems, [""; 0]);
        assert_eq!(rule(&rules, "password-spraying").exceptions.len(), 2);
        let [only] = &rule(&rules, "log-stream-off").exceptions[..] else { panic!() };
        let client = json!({"terms": {"auth0.logs.data.client_id": ["abc"]}});
        assert_eq!(only["bool"]["filter"][1]["bool"]["should"][0], client);
    }

    #[test]
    fn tuning_changes_one_rule() {
        let tuning = r#"{"count": 30, "timespan": "2h", "realert": "1d", "level": "low"}"#;
        let (rules, problems) =
            applied("", &format!(r#"{{"tuning": {{"password-spraying": {tuning}}}}}"#));
        assert_eq!(problems, [""; 0]);
        let tuned = rule(&rules, "password-spraying");
        let correlation = tuned.correlation.as_ref().unwrap();
        assert!(matches!(correlation.measure, Measure::Values { count: 30, .. }));
        assert_eq!((correlation.seconds, correlation.realert), (7_200, Some(86_400)));
        assert_eq!(tuned.level, Level::Low);
    }

    #[test]
    fn excluded_rule_is_gone() {
        let all = rules::all().unwrap().len();
        let (rules, problems) = applied(" log-stream-off, ", "{}");
        assert_eq!((rules.len(), problems.len()), (all - 1, 0));
        assert!(rules.iter().all(|rule| rule.name != "log-stream-off"));
    }

    #[test]
    fn broken_part_is_named_and_the_others_apply() {
        let (rules, problems) = applied(
            "log-stream-of",
            r#"{"exceptions": [{"addresses": ["203.0.113.7/33"]}, {"usr": ["a"]}, {"rules": ["x"], "users": ["a"]},
                               {"rules": ["log-stream-off"]}, {"users": ["a"]}],
                "tuning": {"log-stream-off": {"count": 3}, "nope": {}, "mfa-fatigue": {"timespan": "1w"}}}"#,
        );
        let wanted = [
            r#"DetectionsSettings: exceptions[0]: "203.0.113.7/33" is neither an address nor a network"#,
            "DetectionsSettings: exceptions[1]: unknown field `usr`, expected one of `rules`, `users`, `addresses`, `clients`",
            r#"DetectionsSettings: exceptions[2]: there is no rule "x""#,
            "DetectionsSettings: exceptions[3]: it needs users, addresses or clients; DetectionsExclude switches a rule off",
            r#"DetectionsSettings: tuning of "log-stream-off": each event is a finding of this rule: only level can be set"#,
            r#"DetectionsSettings: tuning of "mfa-fatigue": is "1w", but has to be a number followed by s, m, h or d"#,
            r#"DetectionsSettings: tuning of "nope": there is no rule "nope""#,
            r#"DetectionsExclude: there is no rule "log-stream-of""#,
        ];
        assert_eq!(problems, wanted);
        assert!(rules.iter().all(|rule| rule.exceptions.len() == 1));
        let (rules, problems) = applied("", "{");
        assert_eq!(problems.len(), 1);
        assert_eq!(rules.len(), rules::all().unwrap().len());
    }
}
