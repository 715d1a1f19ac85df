//! The detections on both engines: each finds its events and none of their neighbors, once, whatever comes
//! late, twice or not at all, and each alert is published once.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use auth0_ecs::geoip::GeoIp;
use auth0_ecs::{Input, Mapper, MapperSettings, Piece};
use chrono::{DateTime, DurationRound as _, SecondsFormat, TimeDelta, Utc};
use futures_util::StreamExt as _;
use reqwest::Method;
use serde_json::{Value, json};
use support::aws::{self, CheckpointTable, Topic};
use support::engine::{DataStream, push_create};
use support::events::Events;
use support::mmdb;
use support::payload::tick;
use support::proxy::{Fault, Proxy};
use support::runtime::{Function, InvokeError, eventually};
use support::stack::{self, EngineKind, Variables, unique};

use crate::world::TIMEOUT;

on_both_engines![
    each_detection_finds_its_events_once_and_none_of_their_neighbors,
    detection_of_each_kind_rings_once_across_runs_outages_and_delays,
    burst_over_the_ends_of_windows_and_runs_is_one_alert,
    hours_without_a_run_are_made_up_for,
    late_events_ring_and_ring_once,
    alert_is_published_once_whatever_fails,
    concurrent_runs_publish_once,
    refused_alert_stops_no_other_rule_and_rings_later,
    refused_search_stops_no_other_rule,
    slow_rule_takes_no_other_rules_time_and_goes_on,
    first_sight_within_a_missed_range_rings,
    settings_except_tune_and_exclude,
    spike_is_compared_with_the_time_before,
    #[ignore = "a measurement: make e2e ARGS='detect:: -- --ignored --nocapture'"]
    cost_of_all_rules_over_a_day,
];

/// The rules that the tests below are about.
const BURST: &str = "mfa-fatigue";
const EVENT: &str = "log-stream-off";

/// One namespace with events, alerts, table and topic.
struct Detections {
    logs: DataStream,
    alerts: DataStream,
    table: CheckpointTable,
    topic: Topic,
    variables: Variables,
    asn: PathBuf,
    _folder: temp_dir::TempDir,
}

impl Detections {
    async fn new(kind: EngineKind) -> Self {
        Self::with_details(kind, "auto").await
    }

    async fn with_details(kind: EngineKind, details: &str) -> Self {
        let namespace = unique("detect");
        let logs = DataStream::prepare_with(kind, &namespace, details).await;
        let name = format!("logs-auth0.alerts-{namespace}");
        let alerts = DataStream { engine: logs.engine.clone(), name };
        let (table, topic) =
            (CheckpointTable::create(&namespace).await, Topic::create(&namespace).await);
        let variables = aws::variables().with([
            ("SEARCH_ENDPOINT", logs.engine.url.clone()),
            ("DATA_STREAM_NAMESPACE", namespace),
            ("CHECKPOINT_TABLE", table.name.clone()),
            ("ALERT_TOPIC_ARN", topic.arn.clone()),
        ]);
        let folder = temp_dir::TempDir::new().unwrap();
        let (_, asn) = mmdb::write_samples(folder.path());
        Self { logs, alerts, table, topic, variables, asn, _folder: folder }
    }

    fn function(&self, changes: &[(&'static str, &str)]) -> Function {
        let variables = self.variables.clone().with(changes.iter().copied());
        Function::new(stack::binary("detect"), 2, variables)
    }

    /// Runs this rule alone.
    fn only(&self, rule: &str) -> Function {
        self.function(&[("DETECTIONS_EXCLUDE", &all_but(&[rule]))])
    }

    /// Maps the events as the functions do, and indexes them.
    async fn index(&self, events: &[Value]) {
        let settings = MapperSettings {
            namespace: "default",
            tags: &[],
            preserve_original_event: false,
            agent_name: "tests",
            ephemeral_id: "tests",
        };
        let mapper = Mapper::new(&settings, GeoIp::open(None, Some(&self.asn)).unwrap());
        let mut bulk = Vec::new();
        for event in events {
            let (raw, mut document) = (event.to_string(), Vec::new());
            let piece =
                Piece { raw: raw.as_bytes(), input: Input::HttpEndpoint, received: Utc::now() };
            let id = mapper.document(piece, &mut document).id;
            push_create(&mut bulk, &id, &document);
        }
        if events.is_empty() {
            return;
        }
        let url = format!("{}/{}/_bulk?refresh=true", self.logs.engine.url, self.logs.name);
        let request =
            reqwest::Client::new().post(url).header("content-type", "application/x-ndjson");
        let answer: Value = request.body(bulk).send().await.unwrap().json().await.unwrap();
        assert_eq!(answer["errors"], false, "{answer}");
    }

    /// The alerts, each with its document.
    async fn found(&self) -> Vec<Value> {
        let hits = self.alerts.documents().await;
        hits.into_iter().map(|hit| hit["_source"].clone()).collect()
    }

    /// Changes the state as saved.
    async fn change_state(&self, change: impl FnOnce(&mut Value)) {
        let saved = self.table.checkpoint().await.expect("a run has saved it");
        let mut state: Value = serde_json::from_str(&saved).unwrap();
        change(&mut state);
        let id = format!("detections of {}", self.logs.name);
        self.table.set(&id, &state.to_string()).await;
    }

    /// Moves all rules to this time.
    async fn set_place(&self, time: DateTime<Utc>) {
        self.change_state(|state| {
            for place in state["places"].as_object_mut().unwrap().values_mut() {
                place["until"] = json!(time);
            }
        })
        .await;
    }
}

/// One run, which has to succeed.
async fn run(detect: &Function) -> Value {
    let ran = detect.invoke(tick(), TIMEOUT).await;
    let ran = ran.unwrap_or_else(|error| panic!("{error}\n{}", detect.last_logs()));
    assert_eq!(ran["stopped"], "finished", "{ran}\n{}", detect.last_logs());
    ran
}

fn folder(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path)
}

/// The names of all rules.
fn rules() -> Vec<String> {
    let files = fs::read_dir(folder("docs/analysts/detections/rules")).unwrap();
    let name = |file: fs::DirEntry| file.path().file_stem().unwrap().to_str().unwrap().to_owned();
    let mut names: Vec<String> = files.map(|file| name(file.unwrap())).collect();
    names.sort();
    names
}

/// The names of the other rules, as a setting.
fn all_but(wanted: &[&str]) -> String {
    let others: Vec<String> =
        rules().into_iter().filter(|name| !wanted.contains(&name.as_str())).collect();
    others.join(",")
}

fn event(id: &str, time: DateTime<Utc>, data: &Value) -> Value {
    let date = time.to_rfc3339_opts(SecondsFormat::Millis, true);
    let mut event =
        json!({"date": date, "log_id": id, "tenant_name": "shop-example", "ip": "192.0.2.1"});
    event.as_object_mut().unwrap().extend(data.as_object().unwrap().clone());
    json!({"log_id": id, "data": event})
}

/// So many events of a burst that [`BURST`] finds, half a minute apart.
fn burst(name: &str, start: DateTime<Utc>, count: i32) -> Vec<Value> {
    let data = json!({"type": "gd_send_pn", "user_id": format!("auth0|{name}")});
    let at = |number: i32| start + TimeDelta::seconds(30) * number;
    (0..count).map(|number| event(&format!("{name}-{number}"), at(number), &data)).collect()
}

fn stream_off(id: &str, time: DateTime<Utc>) -> Value {
    let request = json!({"method": "delete", "path": "/api/v2/log-streams/lst_1"});
    event(id, time, &json!({"type": "sapi", "details": {"request": request}}))
}

/// The events of a case, as `tests/analysts/world.py` makes them: `repeat` times, `{n}` replaced, 10 s or
/// `minutes` apart, `at` minutes later.
fn spread(name: &str, start: DateTime<Utc>, case: &Value) -> Vec<Value> {
    let mut data = case.clone();
    let mut take =
        |name| data.as_object_mut().unwrap().remove(name).and_then(|value| value.as_i64());
    let (repeat, at) = (take("repeat").unwrap_or(1), take("at").unwrap_or(0));
    let step = take("minutes").map_or(TimeDelta::seconds(10), TimeDelta::minutes);
    let text = data.to_string();
    let numbers = i32::try_from(repeat).unwrap();
    let event = |number: i32| {
        let data = serde_json::from_str(&text.replace("{n}", &number.to_string())).unwrap();
        event(&format!("{name}-{number}"), start + TimeDelta::minutes(at) + step * number, &data)
    };
    (0..numbers).map(event).collect()
}

/// A rule as compiled.
fn compiled(rule: &str) -> Value {
    let rules = fs::read_to_string(folder("functions/detect/src/rules.json")).unwrap();
    let rules: Vec<Value> = serde_json::from_str(&rules).unwrap();
    rules.into_iter().find(|one| one["name"] == rule).unwrap()
}

/// The id of a rule, under which its place is saved.
fn id_of(rule: &str) -> String {
    compiled(rule)["id"].as_str().unwrap().to_owned()
}

/// What a rule has to find, and what not.
fn cases(rule: &str) -> Value {
    let cases = fs::read_to_string(folder("tests/analysts/events").join(format!("{rule}.json")));
    serde_json::from_str(&cases.unwrap()).unwrap()
}

/// The events of all cases. Their ids begin with `hits` or `misses`.
fn events_of(cases: &Value, start: DateTime<Utc>) -> Vec<Value> {
    let mut events = Vec::new();
    for side in ["hits", "misses"] {
        for (number, case) in cases[side].as_array().unwrap().iter().enumerate() {
            events.extend(spread(&format!("{side}-{number}"), start, case));
        }
    }
    events
}

async fn each_detection_finds_its_events_once_and_none_of_their_neighbors(kind: EngineKind) {
    let rules = rules();
    assert!(rules.len() >= 25);
    // Rules that look at details, with both ways of indexing them.
    let layouts: Vec<(&str, &str)> = rules
        .iter()
        .flat_map(|rule| {
            let has_details = compiled(rule)["queries"].to_string().contains("details");
            let layouts = if has_details { &["flat", "fields"][..] } else { &["auto"] };
            layouts.iter().map(|details| (rule.as_str(), *details))
        })
        .collect();
    let checks = layouts.iter().map(|(rule, details)| check(kind, details, rule));
    // A few at once: each has a stream of its own, because the misses of one may be hits of another.
    let wrong: Vec<Option<String>> = futures_util::stream::iter(checks).buffered(3).collect().await;
    let wrong: Vec<String> = wrong.into_iter().flatten().collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Returns what is wrong with a rule.
async fn check(kind: EngineKind, details: &str, rule: &str) -> Option<String> {
    let world = Detections::with_details(kind, details).await;
    let cases = cases(rule);
    let events = events_of(&cases, Utc::now() - TimeDelta::minutes(270));
    world.index(&events).await;
    let detect = world.only(rule);
    let ran = run(&detect).await;
    let alerts = world.found().await;
    let texts = |alert: &Value, path: &str| match alert.pointer(path) {
        Some(Value::Array(values)) => values.clone(),
        value => value.cloned().into_iter().collect(),
    };
    let mut problems = Vec::new();
    for alert in &alerts {
        let ids = texts(alert, "/auth0/alerts/events");
        let is_hit = |id: &Value| id.as_str().unwrap().starts_with("hits-");
        if ids.is_empty() || !ids.iter().all(is_hit) {
            problems.push(format!("found {ids:?}"));
        }
        if alert["event"]["kind"] != "alert" || alert["threat"]["technique"]["id"].is_null() {
            problems.push(format!("incomplete: {alert}"));
        }
    }
    match cases["groups"].as_array() {
        Some(groups) => {
            for group in groups {
                let is_in = |alert: &&Value| {
                    group.as_object().unwrap().iter().all(|(field, value)| {
                        texts(alert, &format!("/{}", field.replace('.', "/"))).contains(value)
                    })
                };
                if alerts.iter().filter(is_in).count() != 1 {
                    problems.push(format!("not once: {group}"));
                }
            }
            if alerts.len() != groups.len() {
                problems.push(format!("{} alerts", alerts.len()));
            }
        }
        None => {
            let found: BTreeSet<String> = alerts
                .iter()
                .flat_map(|alert| texts(alert, "/auth0/alerts/events"))
                .map(|id| id.to_string())
                .collect();
            let hits = events
                .iter()
                .filter(|event| event["log_id"].as_str().unwrap().starts_with("hits-"));
            let hits: BTreeSet<String> = hits.map(|event| event["log_id"].to_string()).collect();
            if found != hits || alerts.len() != hits.len() {
                problems.push(format!("{} alerts: {found:?} instead of {hits:?}", alerts.len()));
            }
        }
    }
    let again = run(&detect).await;
    let published = world.topic.published().await;
    if again["alerts"] != 0 || published.len() != alerts.len() || ran["published"] != alerts.len() {
        problems.push(format!("{} published, {ran}, then {again}", published.len()));
    }
    (!problems.is_empty())
        .then(|| format!("{rule}, {details}: {}\n{}", problems.join("; "), detect.logs()))
}

async fn detection_of_each_kind_rings_once_across_runs_outages_and_delays(kind: EngineKind) {
    let kinds = [
        "log-stream-off",
        "password-spraying",
        "mfa-approved-after-rejection",
        "new-country",
        "failed-sign-in-spike",
        "impossible-speed",
    ];
    let checks = kinds.map(|rule| check_in_parts(kind, rule));
    futures_util::stream::iter(checks).buffered(3).collect::<Vec<()>>().await;
}

/// The rule's events come in two parts with a run between them, during an outage, and late.
async fn check_in_parts(kind: EngineKind, rule: &str) {
    let cases = cases(rule);
    let hour = TimeDelta::hours(1);
    // The events go on after the end of a window.
    let start = (Utc::now() - TimeDelta::minutes(270)).duration_trunc(hour).unwrap();
    let start = start - TimeDelta::seconds(45);
    let mut events = events_of(&cases, start);
    let date = |event: &Value| event["data"]["date"].as_str().unwrap().to_owned();
    events.sort_by_key(date);
    let hits: Vec<String> = events
        .iter()
        .filter(|event| event["log_id"].as_str().unwrap().starts_with("hits-"))
        .map(date)
        .collect();
    let wanted = cases["groups"].as_array().map_or(hits.len(), Vec::len);
    let middle = &hits[hits.len() / 2];
    let (first, second): (Vec<Value>, Vec<Value>) =
        events.iter().cloned().partition(|event| date(event) < *middle);
    let this_hour = Utc::now().duration_trunc(hour).unwrap();
    for (what, first, second, place) in [
        ("two parts", &first[..], &second[..], middle.parse().unwrap()),
        ("an outage", &[], &events[..], start - hour),
        ("a delay", &[], &events[..], this_hour - TimeDelta::seconds(1)),
    ] {
        let world = Detections::new(kind).await;
        let detect = world.only(rule);
        world.index(first).await;
        run(&detect).await;
        world.set_place(place).await;
        world.index(second).await;
        run(&detect).await;
        // Makes the alerts visible.
        let found = world.found().await.len();
        let again = run(&detect).await;
        let published = world.topic.published().await.len();
        assert_eq!(
            (found, published, &again["alerts"]),
            (wanted, wanted, &json!(0)),
            "{rule}, {what}\n{}",
            detect.logs()
        );
    }
}

async fn burst_over_the_ends_of_windows_and_runs_is_one_alert(kind: EngineKind) {
    let world = Detections::new(kind).await;
    let detect = world.only(BURST);
    // Around the end of a window of ten minutes, as the engine cuts time.
    let border =
        (Utc::now() - TimeDelta::minutes(40)).duration_trunc(TimeDelta::minutes(10)).unwrap();
    let events = burst("bob", border - TimeDelta::seconds(90), 12);
    world.index(&events[..3]).await;
    assert_eq!(run(&detect).await["alerts"], 0);
    world.index(&events[3..7]).await;
    assert_eq!(run(&detect).await["alerts"], 1);
    world.alerts.documents().await;
    world.index(&events[7..]).await;
    assert_eq!(run(&detect).await["alerts"], 0);
    let [alert] = &world.found().await[..] else { panic!("not one alert") };
    assert_eq!(alert["auth0"]["alerts"]["count"], 6);
    assert_eq!(alert["user"]["id"], "auth0|bob");
    assert_eq!(world.topic.published().await, std::slice::from_ref(alert));
    // Five and five with a pause are none.
    let events =
        [burst("eve", border - TimeDelta::minutes(12), 5), burst("eve2", border, 5)].concat();
    world.index(&events).await;
    assert_eq!(run(&detect).await["alerts"], 0);
}

async fn hours_without_a_run_are_made_up_for(kind: EngineKind) {
    let world = Detections::new(kind).await;
    let detect = world.only(BURST);
    world.index(&burst("first", Utc::now() - TimeDelta::minutes(10), 6)).await;
    assert_eq!(run(&detect).await["alerts"], 1);
    // The last run was 30 hours ago; the burst began before it and went on after it.
    let last = Utc::now() - TimeDelta::hours(30);
    world.set_place(last).await;
    world.index(&burst("missed", last - TimeDelta::seconds(100), 7)).await;
    let ran = run(&detect).await;
    assert_eq!((&ran["alerts"], &ran["lag"]), (&json!(1), &json!(0)), "{ran}");
    // Events of that time come from the retry queue, and are looked for once an hour.
    world.index(&burst("parked", last + TimeDelta::hours(2), 6)).await;
    let hour = Utc::now().duration_trunc(TimeDelta::hours(1)).unwrap();
    world.set_place(hour - TimeDelta::seconds(1)).await;
    assert_eq!(run(&detect).await["alerts"], 1);
    assert_eq!(run(&detect).await["alerts"], 0);
    assert_eq!(world.topic.published().await.len(), 3);
}

async fn late_events_ring_and_ring_once(kind: EngineKind) {
    let world = Detections::new(kind).await;
    let detect = world.only(BURST);
    assert_eq!(run(&detect).await["alerts"], 0, "no event yet, and no stream");
    let start = Utc::now() - TimeDelta::minutes(50);
    world.index(&burst("late", start, 6)).await;
    assert_eq!(run(&detect).await["alerts"], 1);
    world.alerts.documents().await;
    // Events of the same burst that come later still, before and after the others.
    world
        .index(
            &burst("late", start - TimeDelta::seconds(95), 3)
                .iter()
                .map(renamed)
                .collect::<Vec<_>>(),
        )
        .await;
    world
        .index(
            &burst("late", start + TimeDelta::seconds(45), 6)
                .iter()
                .map(renamed_again)
                .collect::<Vec<_>>(),
        )
        .await;
    assert_eq!(run(&detect).await["alerts"], 0);
    assert_eq!(world.topic.published().await.len(), 1);
}

fn renamed(event: &Value) -> Value {
    with_id(event, "before")
}

fn renamed_again(event: &Value) -> Value {
    with_id(event, "after")
}

fn with_id(event: &Value, prefix: &str) -> Value {
    let mut event = event.clone();
    let id = format!("{prefix}-{}", event["log_id"].as_str().unwrap());
    event["data"]["log_id"] = json!(id);
    event["log_id"] = json!(id);
    event
}

async fn alert_is_published_once_whatever_fails(kind: EngineKind) {
    let world = Detections::new(kind).await;
    let proxy = Proxy::start(&stack::moto_url()).await;
    let detect = world.function(&[
        ("AWS_ENDPOINT_URL_SNS", proxy.url()),
        ("DETECTIONS_EXCLUDE", &all_but(&[EVENT])),
    ]);
    let soon = Duration::from_secs(6);

    // SNS takes nothing: the alert is there, and the rule has failed.
    world.index(&[stream_off("one", Utc::now() - TimeDelta::minutes(9))]).await;
    proxy.fail(Fault::Status(403)).await;
    let ran = run(&detect).await;
    assert_eq!(
        (&ran["alerts"], &ran["published"], &ran["failed"]),
        (&json!(1), &json!(0), &json!(1))
    );
    assert!(detect.logs().contains("a detection failed, the others go on"));
    proxy.heal().await;
    world.found().await;
    assert_eq!(run(&detect).await["published"], 1);
    assert_eq!(run(&detect).await["published"], 0);
    assert_eq!(world.topic.published().await.len(), 1);

    // The process is killed between the two writes.
    world.index(&[stream_off("two", Utc::now() - TimeDelta::minutes(8))]).await;
    proxy.fail(Fault::Hang).await;
    let failed = proxy.failed();
    let killed_there = async {
        eventually("the alert is about to be published", || async { proxy.failed() > failed })
            .await;
        detect.kill();
    };
    let (ran, ()) = tokio::join!(detect.invoke(tick(), soon), killed_there);
    assert_eq!(ran, Err(InvokeError::Died));
    proxy.heal().await;
    assert_eq!(world.found().await.len(), 2, "both are written");
    let ran = detect.invoke(tick(), soon).await.unwrap();
    assert_eq!(ran["stopped"], "another_run", "the killed one may still be at work: {ran}");
    tokio::time::sleep(soon).await;
    assert_eq!(run(&detect).await["published"], 1);
    assert_eq!(run(&detect).await["published"], 0);
    assert_eq!(world.topic.published().await.len(), 1);
    assert_eq!(world.found().await.len(), 2);
}

async fn concurrent_runs_publish_once(kind: EngineKind) {
    let world = Detections::new(kind).await;
    let detect = world.only(EVENT);
    let events: Vec<Value> = (0..30)
        .map(|n| stream_off(&format!("event-{n}"), Utc::now() - TimeDelta::minutes(9)))
        .collect();
    world.index(&events).await;
    let (one, other) = tokio::join!(detect.invoke(tick(), TIMEOUT), detect.invoke(tick(), TIMEOUT));
    let stopped = [&one.unwrap()["stopped"], &other.unwrap()["stopped"]]
        .map(|stopped| stopped.as_str().unwrap().to_owned());
    assert!(stopped.iter().any(|stopped| stopped == "finished"), "{stopped:?}");
    assert_eq!(world.topic.published().await.len(), 30);
    assert_eq!(world.found().await.len(), 30);
}

async fn refused_alert_stops_no_other_rule_and_rings_later(kind: EngineKind) {
    let world = Detections::new(kind).await;
    let detect = world.function(&[]);
    world.index(&burst("first", Utc::now() - TimeDelta::minutes(10), 6)).await;
    assert_eq!(run(&detect).await["alerts"], 1);
    // Makes it visible, so that only the other rule has something to write.
    assert_eq!(world.found().await.len(), 1);
    let block = async |is_on: bool| {
        let path = format!("{}/_settings", world.alerts.name);
        let body = json!({"index.blocks.write": is_on});
        world.alerts.engine.call(Method::PUT, &path, Some(body)).await;
    };
    block(true).await;
    world.index(&[stream_off("off", Utc::now() - TimeDelta::minutes(9))]).await;
    let ran = run(&detect).await;
    let rules = rules().len();
    assert_eq!(
        (&ran["failed"], &ran["rules"]),
        (&json!(1), &json!(rules - 1)),
        "{}",
        detect.logs()
    );
    block(false).await;
    let ran = run(&detect).await;
    assert_eq!(
        (&ran["failed"], &ran["alerts"], &ran["rules"]),
        (&json!(0), &json!(1), &json!(rules))
    );
    assert_eq!(world.topic.published().await.len(), 2);
}

async fn refused_search_stops_no_other_rule(kind: EngineKind) {
    let world = Detections::new(kind).await;
    let proxy = Proxy::start(&world.logs.engine.url).await;
    let detect = world.function(&[("SEARCH_ENDPOINT", proxy.url())]);
    let rules = rules().len();
    let time = Utc::now() - TimeDelta::minutes(10);
    world.index(&burst("bob", time, 6)).await;
    for (number, status) in [400, 429, 500, 503].into_iter().enumerate() {
        world.index(&[stream_off(&status.to_string(), time)]).await;
        // The type that only this rule looks for.
        let of_burst = |text: &str| text.contains("_search") && text.contains("gd_send_pn");
        proxy.fail_only(Fault::Status(status), of_burst).await;
        let ran = run(&detect).await;
        assert_eq!(
            (&ran["failed"], &ran["rules"], &ran["alerts"]),
            (&json!(1), &json!(rules - 1), &json!(1)),
            "{status}: {ran}\n{}",
            detect.logs()
        );
        assert_eq!(world.found().await.len(), number + 1);
        assert!(ran["lag"].as_i64() > Some(3_600), "its place is kept: {ran}");
    }
    assert!(detect.logs().contains("the proxy says so"), "{}", detect.logs());
    proxy.fail(Fault::Status(503)).await;
    let Err(InvokeError::Reported(error)) = detect.invoke(tick(), TIMEOUT).await else { panic!() };
    assert_eq!(error["errorType"], "EngineUnavailable", "{error}");
    proxy.heal().await;
    let ran = run(&detect).await;
    assert_eq!((&ran["alerts"], &ran["lag"]), (&json!(1), &json!(0)), "{ran}");
}

async fn slow_rule_takes_no_other_rules_time_and_goes_on(kind: EngineKind) {
    const USERS: usize = 80;
    let world = Detections::new(kind).await;
    let proxy = Proxy::start(&world.logs.engine.url).await;
    let detect = world.function(&[
        ("SEARCH_ENDPOINT", proxy.url()),
        ("DETECTIONS_EXCLUDE", &all_but(&[BURST, EVENT])),
    ]);
    // Creates the alerts' stream, which can take an engine seconds.
    world.index(&[stream_off("first", Utc::now() - TimeDelta::minutes(9))]).await;
    assert_eq!(run(&detect).await["alerts"], 1);
    world.found().await;
    let now = Utc::now();
    // The slow rule is behind, so it goes first, and looks back.
    world.set_place(now - TimeDelta::minutes(40)).await;
    world.change_state(|state| state["places"][id_of(EVENT)]["until"] = json!(now)).await;
    let bursts =
        (0..USERS).flat_map(|user| burst(&format!("u{user}"), now - TimeDelta::minutes(20), 6));
    world.index(&bursts.collect::<Vec<_>>()).await;
    world.index(&[stream_off("off", now - TimeDelta::minutes(9))]).await;
    proxy.fail(Fault::Slow(Duration::from_millis(150))).await;
    let place = async || {
        let state: Value = serde_json::from_str(&world.table.checkpoint().await.unwrap()).unwrap();
        state["places"][id_of(BURST)]["until"].as_str().unwrap().parse::<DateTime<Utc>>().unwrap()
    };
    let (mut before, mut runs) = (place().await, 0);
    loop {
        let ran = detect.invoke(tick(), Duration::from_secs(12)).await.unwrap();
        runs += 1;
        let after = place().await;
        assert!(after >= before, "from {before} to {after}");
        before = after;
        if ran["stopped"] == "finished" {
            break;
        }
        assert_eq!(ran["rules"], 1, "the other one ran: {ran}\n{}", detect.logs());
        assert!(runs < 40, "{ran}\n{}", detect.logs());
    }
    assert!(runs > 1, "the rule was not slow");
    let logs = detect.logs();
    assert!(logs.contains("a detection goes on later"), "{logs}");
    assert_eq!(world.found().await.len(), USERS + 2);
    assert_eq!(world.topic.published().await.len(), USERS + 2);
}

/// The history of a user, and the new value, are both in a time without a run; with more users than a page has.
async fn first_sight_within_a_missed_range_rings(kind: EngineKind) {
    let world = Detections::new(kind).await;
    let detect = world.only("new-country");
    run(&detect).await;
    let start = Utc::now() - TimeDelta::hours(10);
    world.set_place(start).await;
    let sign_in = |id: &str, user: &str, hours: i64, country: &str| {
        let place = json!({"country_code": country, "country_name": country});
        let data = json!({"type": "s", "user_id": user, "location_info": place});
        event(id, start + TimeDelta::hours(hours), &data)
    };
    let mut events = vec![
        sign_in("1", "auth0|traveler", 2, "SE"),
        sign_in("2", "auth0|traveler", 6, "CN"),
        sign_in("3", "auth0|traveler", 7, "SE"),
        sign_in("4", "auth0|newcomer", 6, "CN"),
        // One more between the first and the last of a page.
        sign_in("5", "auth0|5x", 2, "SE"),
        sign_in("6", "auth0|5x", 2, "CN"),
    ];
    events[5]["data"]["date"] = json!(start + TimeDelta::minutes(130));
    events.extend((0..5_100).map(|n| {
        let id = format!("user-{n}");
        sign_in(&id, &format!("auth0|{n}"), 1 + n % 9, "SE")
    }));
    world.index(&events).await;
    assert_eq!(run(&detect).await["alerts"], 2, "{}", detect.logs());
    let found = world.found().await;
    let id = |alert: &Value| alert["auth0"]["alerts"]["events"][0].as_str().unwrap().to_owned();
    let mut ids: Vec<String> = found.iter().map(id).collect();
    ids.sort_unstable();
    assert_eq!(ids, ["2", "6"]);
    assert_eq!(run(&detect).await["alerts"], 0);
}

async fn settings_except_tune_and_exclude(kind: EngineKind) {
    let world = Detections::new(kind).await;
    let start = Utc::now() - TimeDelta::minutes(20);
    world.index(&burst("robot", start, 8)).await;
    world.index(&burst("human", start, 8)).await;
    world.index(&burst("careful", start, 4)).await;
    world.index(&[stream_off("off", start)]).await;
    let settings = json!({
        "exceptions": [{"users": ["auth0|robot"]}, {"addresses": ["10.0.0.0/8", "2001:db8::1"]}, {"addresses": ["nonsense"]}],
        "tuning": {(BURST): {"count": 4, "level": "low"}},
    });
    let detect = world
        .function(&[("DETECTIONS_SETTINGS", &settings.to_string()), ("DETECTIONS_EXCLUDE", EVENT)]);
    let ran = run(&detect).await;
    assert_eq!(ran["failed"], 1, "the setting that is broken: {ran}");
    assert!(
        detect.logs().contains("exceptions[2]: \\\"nonsense\\\" is neither"),
        "{}",
        detect.logs()
    );
    let found = world.found().await;
    let mut users: Vec<&str> = found.iter().map(|a| a["user"]["id"].as_str().unwrap()).collect();
    users.sort_unstable();
    assert_eq!(users, ["auth0|careful", "auth0|human"]);
    assert!(found.iter().all(|alert| alert["event"]["severity"] == 21));
}

async fn spike_is_compared_with_the_time_before(kind: EngineKind) {
    let settings = json!({"tuning": {"failed-sign-in-spike": {"count": 10}}}).to_string();
    // An average of two an hour makes ten a spike; one of three does not.
    for (usual, alerts) in [(300, 1), (600, 0)] {
        let world = Detections::new(kind).await;
        let detect = world.function(&[
            ("DETECTIONS_SETTINGS", &settings),
            ("DETECTIONS_EXCLUDE", &all_but(&["failed-sign-in-spike"])),
        ]);
        let data = json!({"type": "fp", "user_name": "anna@example.com"});
        let now = Utc::now();
        let mut events: Vec<Value> = (0..usual)
            .map(|n| {
                event(
                    &format!("usual-{n}"),
                    now - TimeDelta::days(1) - TimeDelta::hours(150) * n / usual,
                    &data,
                )
            })
            .collect();
        let burst =
            (0..11).map(|n| event(&format!("burst-{n}"), now - TimeDelta::minutes(30 - n), &data));
        events.extend(burst);
        world.index(&events).await;
        assert_eq!(run(&detect).await["alerts"], alerts, "{usual}");
    }
}

/// Prints how long all rules take over a day of 100,000 events of 20,000 users, and the engine's CPU time.
async fn cost_of_all_rules_over_a_day(kind: EngineKind) {
    const EVENTS: usize = 100_000;
    let world = Detections::new(kind).await;
    let day = TimeDelta::hours(24);
    let mut source = Events::new(1, Utc::now() - day).every(0..1_727);
    let mut rng = fastrand::Rng::with_seed(1);
    for _ in 0..EVENTS / 5_000 {
        let mut events = source.take(5_000);
        for event in &mut events {
            let user = rng.u32(..20_000);
            event["data"]["user_id"] = json!(format!("auth0|{user}"));
            event["data"]["user_name"] = json!(format!("user{user}@example.com"));
            event["data"]["ip"] = json!(format!("10.{}.{}.1", user / 256, user % 256));
        }
        world.index(&events).await;
    }
    let cpu = async || {
        let stats = world.logs.engine.call(Method::GET, "_nodes/stats/process", None).await;
        let nodes = stats["nodes"].as_object().unwrap().values();
        nodes.map(|node| node["process"]["cpu"]["total_in_millis"].as_i64().unwrap()).sum::<i64>()
    };
    let detect = world.function(&[]);
    for what in ["the last day, first run", "the last day", "the last day", "the last hour"] {
        if what == "the last day" {
            let hour = Utc::now().duration_trunc(TimeDelta::hours(1)).unwrap();
            world.set_place(hour - TimeDelta::seconds(1)).await;
        }
        let (before, started) = (cpu().await, std::time::Instant::now());
        let ran = detect.invoke(tick(), Duration::from_secs(240)).await.unwrap();
        let (took, used) = (started.elapsed().as_millis(), cpu().await - before);
        eprintln!("{kind:?}, {what}: {took} ms, engine CPU {used} ms, {ran}");
        assert_eq!(ran["stopped"], "finished");
    }
}
