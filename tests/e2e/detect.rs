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
    burst_over_the_ends_of_windows_and_runs_is_one_alert,
    hours_without_a_run_are_made_up_for,
    late_events_ring_and_ring_once,
    alert_is_published_once_whatever_fails,
    concurrent_runs_publish_once,
    refused_alert_stops_no_other_rule_and_rings_later,
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
    _folder: tempfile::TempDir,
}

impl Detections {
    async fn new(kind: EngineKind) -> Self {
        let namespace = unique("detect");
        let logs = DataStream::prepare(kind, &namespace).await;
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
        let folder = tempfile::tempdir().unwrap();
        let (_, asn) = mmdb::write_samples(folder.path());
        Self { logs, alerts, table, topic, variables, asn, _folder: folder }
    }

    fn function(&self, changes: &[(&'static str, &str)]) -> Function {
        let variables = self.variables.clone().with(changes.iter().copied());
        Function::new(stack::binary("detect"), 2, variables)
    }

    /// Runs this rule alone, or all of them.
    fn only(&self, rule: &str) -> Function {
        let others: Vec<String> = rules().into_iter().filter(|name| name != rule).collect();
        self.function(&[("DETECTIONS_EXCLUDE", &others.join(","))])
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

async fn each_detection_finds_its_events_once_and_none_of_their_neighbors(kind: EngineKind) {
    let rules = rules();
    assert!(rules.len() >= 25);
    let checks = rules.iter().map(|rule| check(kind, rule));
    // A few at once: each has a stream of its own, because the misses of one may be hits of another.
    let wrong: Vec<Option<String>> = futures_util::stream::iter(checks).buffered(3).collect().await;
    let wrong: Vec<String> = wrong.into_iter().flatten().collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Returns what is wrong with a rule.
async fn check(kind: EngineKind, rule: &str) -> Option<String> {
    let world = Detections::new(kind).await;
    let cases = fs::read_to_string(folder("tests/analysts/events").join(format!("{rule}.json")));
    let cases: Value = serde_json::from_str(&cases.unwrap()).unwrap();
    let start = Utc::now() - TimeDelta::minutes(270);
    let mut events = Vec::new();
    for side in ["hits", "misses"] {
        for (number, case) in cases[side].as_array().unwrap().iter().enumerate() {
            events.extend(spread(&format!("{side}-{number}"), start, case));
        }
    }
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
    (!problems.is_empty()).then(|| format!("{rule}: {}\n{}", problems.join("; "), detect.logs()))
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
    let others: Vec<String> = rules().into_iter().filter(|name| name != EVENT).collect();
    let changes =
        [("AWS_ENDPOINT_URL_SNS", proxy.url()), ("DETECTIONS_EXCLUDE", &others.join(","))];
    let detect = world.function(&changes);
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
        let others: Vec<String> =
            rules().into_iter().filter(|name| name != "failed-sign-in-spike").collect();
        let detect = world.function(&[
            ("DETECTIONS_SETTINGS", &settings),
            ("DETECTIONS_EXCLUDE", &others.join(",")),
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
