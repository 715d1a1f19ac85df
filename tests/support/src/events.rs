//! Auth0 log events, generated from a seed: the same seed yields the same events.
//!
//! An event has two forms. A log stream posts `{"log_id": …, "data": {…}}`; the Management API returns
//! the bare `data` object with `_id`, `isMobile`, `location_info` and `$event_schema` added and the
//! user agent condensed.

use std::ops::Range;

use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use fastrand::Rng;
use serde_json::{Value, json};

/// User agents: in a log stream, condensed by the Management API, and whether it is a mobile one.
const AGENTS: [(&str, &str, bool); 4] = [
    (
        "Mozilla/5.0 (X11; Ubuntu; Linux x86_64; rv:93.0) Gecko/20100101 Firefox/93.0",
        "Firefox 93.0.0 / Ubuntu 0.0.0",
        false,
    ),
    (
        "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) \
         Chrome/124.0.0.0 Safari/537.36",
        "Chrome 124.0.0 / Windows 10.0.0",
        false,
    ),
    (
        "Mozilla/5.0 (iPhone; CPU iPhone OS 17_4_1 like Mac OS X) AppleWebKit/605.1.15 (KHTML, \
         like Gecko) Version/17.4.1 Mobile/15E148 Safari/604.1",
        "Mobile Safari 17.4.1 / iOS 17.4.1",
        true,
    ),
    ("python-requests/2.31.0", "Python Requests 2.31.0 / Other 0.0.0", false),
];

/// Generates events, each later than the one before.
#[derive(Debug)]
pub struct Events {
    rng: Rng,
    clock: DateTime<Utc>,
    step: Range<i64>,
    made: u64,
}

impl Events {
    /// Events from `start` on.
    #[must_use]
    pub fn new(seed: u64, start: DateTime<Utc>) -> Self {
        Self { rng: Rng::with_seed(seed), clock: start, step: 20..900, made: 0 }
    }

    /// The same with this many milliseconds from one event to the next.
    #[must_use]
    pub fn every(self, step: Range<i64>) -> Self {
        Self { step, ..self }
    }

    /// The next `count` events, in the log stream's form and in the order of their log ids.
    pub fn take(&mut self, count: usize) -> Vec<Value> {
        (0..count).map(|_| self.next_event()).collect()
    }

    fn next_event(&mut self) -> Value {
        self.clock += TimeDelta::milliseconds(self.rng.i64(self.step.clone()));
        self.made += 1;
        let log_id = log_id_at(self.clock, self.made, &mut self.rng);
        let date = self.clock.to_rfc3339_opts(SecondsFormat::Millis, true);
        let (user_agent, _, mobile) = AGENTS[self.rng.usize(..AGENTS.len())];
        let user = self.rng.u32(1..200);
        let mut data = json!({
            "date": date,
            "log_id": log_id,
            "hostname": "stand-in.eu.auth0.com",
            "tenant_name": "stand-in",
            "environment_name": "prod-eu-1",
            "ip": format!("81.2.69.{}", self.rng.u8(1..255)),
            "client_id": "aI61p8I8aFjmYRliLWgvM9ev97kCCNDB",
            "client_name": "Shop",
            "connection": "Username-Password-Authentication",
            "connection_id": "",
            "user_agent": user_agent,
            "is_mobile": mobile,
            "user_id": format!("auth0|6231bf{user:06x}"),
            "user_name": format!("user{user}@example.com"),
        });
        let started = self.clock.timestamp_millis();
        let specific = match self.rng.u8(..6) {
            0 => json!({
                "type": "s",
                "description": "Successful login",
                "details": {
                    "initiatedAt": started - 2_100,
                    "completedAt": started,
                    "elapsedTime": 2_100,
                    "session_id": format!("session-{user}"),
                    "stats": { "loginsCount": self.rng.u32(1..500) },
                },
            }),
            1 => json!({
                "type": "fp",
                "description": "Wrong email or password.",
                "details": { "error": { "message": "Wrong email or password.", "type": "invalid" } },
            }),
            2 => json!({
                "type": "seacft",
                "description": "Authorization code for access token",
                "scope": "openid profile",
                "details": { "code": "*************0xr", "grantType": "authorization_code" },
            }),
            3 => json!({
                "type": "sapi",
                "description": "Update a client",
                "details": {
                    "request": { "method": "patch", "path": "/api/v2/clients/abc", "body": {} },
                    "response": { "statusCode": 200, "body": { "name": "Shop" } },
                },
            }),
            // `error` is an object in most types and a string here.
            4 => json!({
                "type": "fn",
                "description": "Failed to send a notification",
                "details": { "error": "550 mailbox unavailable" },
            }),
            // `response` is an object in most types and a string here.
            _ => json!({
                "type": "api_limit",
                "description": "Rate limit exceeded",
                "details": { "response": "Too Many Requests" },
            }),
        };
        merge(&mut data, specific);
        json!({ "log_id": log_id, "data": data })
    }
}

/// The log ids of these events.
///
/// # Panics
/// If an event has none.
#[must_use]
pub fn log_ids(events: &[Value]) -> Vec<String> {
    let log_id = |event: &Value| event["log_id"].as_str().expect("a log id").to_owned();
    events.iter().map(log_id).collect()
}

/// The form in which `GET /api/v2/logs` returns an event that the stream posts as `event`. Anything
/// but an event in the stream's form stays as it is.
#[must_use]
pub fn pulled(event: &Value) -> Value {
    let Some(data) = event.get("data").filter(|data| data.is_object()) else {
        return event.clone();
    };
    let mut pulled = data.clone();
    let raw = data["user_agent"].as_str().unwrap_or_default();
    if let Some((_, condensed, _)) = AGENTS.iter().find(|(agent, ..)| *agent == raw) {
        pulled["user_agent"] = json!(condensed);
    }
    let mobile = pulled.as_object_mut().and_then(|fields| fields.remove("is_mobile"));
    merge(
        &mut pulled,
        json!({
            "_id": event["log_id"],
            "isMobile": mobile,
            "location_info": {
                "country_code": "GB",
                "country_code3": "GBR",
                "country_name": "United Kingdom",
                "city_name": "London",
                "latitude": 51.5142,
                "longitude": -0.0931,
                "time_zone": "Europe/London",
                "continent_code": "EU",
            },
            "$event_schema": { "version": "1.0.0" },
        }),
    );
    pulled
}

/// The events as JSON lines.
#[must_use]
pub fn json_lines(events: &[Value]) -> String {
    events.iter().map(|event| format!("{event}\n")).collect()
}

/// `900`, the time of storing to the second, then 39 digits of no documented meaning. Here they start
/// with a counter, so that ids ascend.
fn log_id_at(stored: DateTime<Utc>, counter: u64, rng: &mut Rng) -> String {
    let noise: String = (0..30).map(|_| rng.digit(10)).collect();
    format!("900{}{counter:09}{noise}", stored.format("%Y%m%d%H%M%S"))
}

fn merge(into: &mut Value, from: Value) {
    let (Value::Object(into), Value::Object(from)) = (into, from) else { return };
    into.extend(from);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn log_ids_have_auth0s_length_and_ascend() {
        let events = Events::new(7, Utc::now()).take(500);
        let ids = log_ids(&events);
        assert!(ids.iter().all(|id| id.len() == 56 && id.starts_with("900")), "{:?}", ids[0]);
        assert!(ids.is_sorted());
    }

    #[test]
    fn seed_determines_events() {
        let start = Utc::now();
        assert_eq!(Events::new(1, start).take(20), Events::new(1, start).take(20));
        assert_ne!(Events::new(1, start).take(20), Events::new(2, start).take(20));
    }

    #[test]
    fn pulled_event_is_bare_data_with_additions() {
        let event = Events::new(3, Utc::now()).take(1).remove(0);
        let pulled = pulled(&event);
        assert_eq!(pulled["_id"], event["log_id"]);
        assert_eq!(pulled["log_id"], event["log_id"]);
        assert_eq!(pulled["date"], event["data"]["date"]);
        assert!(pulled["isMobile"].is_boolean() && pulled.get("is_mobile").is_none());
        assert!(pulled["user_agent"].as_str().unwrap().contains(" / "), "condensed");
    }
}
