//! A finding → its alert: the document, and the message for people.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use auth0_ecs::index_template::hash;
use auth0_ecs::{ALERT_COPIES, ECS_VERSION};
use chrono::{DateTime, SecondsFormat, Utc};
use serde_json::{Map, Value, json};

use crate::rules::Rule;
use crate::search::{Group, group_name, text};
use crate::window::{Hit, at, texts};

/// Upper bound for the event ids that an alert keeps.
const MOST_EVENTS: usize = 100;

/// Upper bound for the values of a field that an alert keeps.
const MOST_VALUES: usize = 20;

/// Upper bound for the values of a field in a message.
const MOST_SHOWN: usize = 5;

/// A match of a rule: the events of one group.
#[derive(Clone, Debug)]
pub(crate) struct Finding {
    pub(crate) group: Group,
    /// In order of time; at least one.
    pub(crate) events: Vec<Hit>,
}

/// A document of the alerts' data stream.
#[derive(Clone, Debug)]
pub(crate) struct Alert {
    pub(crate) id: String,
    pub(crate) document: Value,
}

impl Alert {
    /// Makes the alert of a finding. `None` if it has no event.
    pub(crate) fn new(
        rule: &Rule,
        finding: &Finding,
        namespace: &str,
        now: DateTime<Utc>,
    ) -> Option<Self> {
        let (first, last) = (finding.events.first()?, finding.events.last()?);
        let group = group_name(&finding.group);
        let start = format(first.time);
        // The same rule, group and window have the same id in each run.
        let id = hash(&json!([rule.id, group, start]));
        let count = finding.events.len();
        let ids: Vec<_> =
            finding.events.iter().take(MOST_EVENTS).map(|hit| hit.id.as_str()).collect();
        let mut document = json!({
            "@timestamp": format(last.time),
            "message": format!("{}: {}", rule.title, if count == 1 { "1 event".into() } else { format!("{count} events") }),
            "event": {
                "id": id,
                "kind": "alert",
                "category": ["intrusion_detection"],
                "type": ["info"],
                "module": "auth0",
                "dataset": "auth0.alerts",
                "severity": rule.level.severity(),
                "start": start,
                "end": format(last.time),
                "created": format(now),
            },
            "rule": {
                "id": rule.id,
                "name": rule.title,
                "description": rule.description,
                "ruleset": "auth0-log-streams",
            },
            "threat": rule.threat,
            "auth0": {"alerts": {
                "count": count,
                "events": ids,
                "group": group,
                "level": rule.level,
                "response": rule.response,
                "window": rule.correlation.as_ref().map(|correlation| correlation.seconds),
            }},
            "tags": [rule.name],
            "data_stream": {"type": "logs", "dataset": "auth0.alerts", "namespace": namespace},
            "ecs": {"version": ECS_VERSION},
        });
        for field in ALERT_COPIES {
            let values: BTreeSet<String> =
                finding.events.iter().flat_map(|hit| texts(&hit.source, field)).collect();
            let mut values: Vec<String> = values.into_iter().take(MOST_VALUES).collect();
            if values.len() > 1 {
                set(&mut document, field, json!(values));
            } else if let Some(value) = values.pop() {
                set(&mut document, field, value.into());
            }
        }
        for (field, value) in &finding.group {
            set(&mut document, field, value.clone());
        }
        // An alert is an event with an id of its own.
        set(&mut document, "event.id", id.as_str().into());
        Some(Self { id, document })
    }

    /// Returns the subject of a message: at most 100 printable ASCII characters, which SNS requires.
    pub(crate) fn subject(&self) -> String {
        let (level, title) = (self.text("auth0.alerts.level"), self.text("rule.name"));
        let subject = format!("[{level}] {title}");
        subject
            .chars()
            .map(|c| if c.is_ascii_graphic() || c == ' ' { c } else { '?' })
            .take(100)
            .collect()
    }

    /// Returns the message for people.
    pub(crate) fn message(&self) -> String {
        let mut message = format!("{}\n\n", self.subject());
        for (label, field) in [
            ("What", "rule.description"),
            ("Events", "auth0.alerts.count"),
            ("From", "event.start"),
            ("To", "event.end"),
            ("Group", "auth0.alerts.group"),
            ("Who", "related.user"),
            ("Addresses", "related.ip"),
            ("Country", "source.geo.country_name"),
            ("Application", "auth0.logs.data.client_name"),
            ("Request", "url.path"),
            ("What to do", "auth0.alerts.response"),
            ("First events", "auth0.alerts.events"),
            ("Alert", "event.id"),
        ] {
            let values = texts(&self.document, field);
            if values.is_empty() {
                continue;
            }
            let more = if values.len() > MOST_SHOWN { ", …" } else { "" };
            let shown = values.get(..MOST_SHOWN).unwrap_or(&values).join(", ");
            // Writing to a string cannot fail.
            _ = writeln!(message, "{label}: {}{more}", shown.trim_end());
        }
        message
    }

    /// Returns the value of a field as text.
    pub(crate) fn text(&self, field: &str) -> String {
        at(&self.document, field).map(text).unwrap_or_default()
    }
}

fn format(time: DateTime<Utc>) -> String {
    time.to_rfc3339_opts(SecondsFormat::Millis, true)
}

/// Sets the member at a path with dots.
fn set(document: &mut Value, field: &str, value: Value) {
    let mut place = document;
    for name in field.split('.') {
        if !place.is_object() {
            *place = Value::Object(Map::new());
        }
        let Some(object) = place.as_object_mut() else { return };
        place = object.entry(name).or_insert(Value::Null);
    }
    *place = value;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules;

    fn alert(users: &[&str]) -> Alert {
        let rule =
            rules::all().unwrap().into_iter().find(|r| r.name == "password-spraying").unwrap();
        let events = users.iter().enumerate().map(|(index, user)| Hit {
            time: DateTime::from_timestamp(1_780_000_000 + index as i64, 0).unwrap(),
            id: format!("e{index}"),
            source: json!({"user": {"name": user}, "related": {"user": [user], "ip": ["203.0.113.7"]}}),
            queries: vec![],
        });
        let group = vec![("source.ip".to_owned(), json!("203.0.113.7"))];
        let finding = Finding { group, events: events.collect() };
        Alert::new(&rule, &finding, "default", DateTime::UNIX_EPOCH).unwrap()
    }

    #[test]
    fn alert_says_what_rule_rang_when_and_by_whom() {
        let alert = alert(&["anna", "ben", "anna"]);
        let of = |field: &str| alert.text(field);
        assert_eq!(of("event.kind"), "alert");
        assert_eq!(of("event.start"), "2026-05-28T20:26:40.000Z");
        assert_eq!(of("@timestamp"), "2026-05-28T20:26:42.000Z");
        assert_eq!(of("source.ip"), "203.0.113.7");
        assert_eq!(of("user.name"), r#"["anna","ben"]"#);
        assert_eq!(of("auth0.alerts.events"), r#"["e0","e1","e2"]"#);
        assert_eq!(of("auth0.alerts.group"), "source.ip=203.0.113.7");
        assert_eq!(of("event.id"), alert.id);
        assert_eq!(of("threat.technique.id"), r#"["T1110.003"]"#);
    }

    #[test]
    fn id_is_that_of_rule_group_and_window() {
        assert_eq!(alert(&["anna"]).id, alert(&["ben", "carla"]).id);
        assert_eq!(alert(&["anna"]).id.len(), 32);
    }

    #[test]
    fn message_is_short_whatever_was_found() {
        let users: Vec<String> =
            (0..5_000).map(|number| format!("user{number}@example.com")).collect();
        let users: Vec<&str> = users.iter().map(String::as_str).collect();
        let alert = alert(&users);
        assert!(alert.document.to_string().len() < 20_000);
        let message = alert.message();
        assert!(message.len() < 4_000, "{message}");
        assert!(message.starts_with("[high] Password spraying"), "{message}");
        assert!(message.contains("\nEvents: 5000\n") && message.contains(", …\n"), "{message}");
        assert!(alert.subject().len() <= 100);
    }
}
