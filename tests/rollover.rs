//! Deliveries around a rollover, to a stand-in for the engine: one copy of each event stays, whatever was
//! in flight.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "helpers of tests: a panic is how a test fails, and it says where"
)]

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use auth0_ecs::Input;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::{Router, body};
use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use serde_json::{Value, json};
use shared::clock;
use shared::delivery::frames::read_message;
use shared::delivery::incoming::Incoming;
use shared::delivery::report::Report;
use shared::delivery::ship::Shipper;
use shared::retry::Deadline;
use support::{aws, settings};
use tokio::net::TcpListener;

const FIRST: &str = ".ds-logs-auth0.logs-test-000001";
const SECOND: &str = ".ds-logs-auth0.logs-test-000002";
const THIRD: &str = ".ds-logs-auth0.logs-test-000003";
const SHRUNK: &str = "shrink-x2c4-.ds-logs-auth0.logs-test-000001";

/// The most lookups or deletions that the engine takes at once.
const CHUNK: usize = 1_000;

#[derive(Debug, Default)]
struct World {
    /// Of each backing index: its age in minutes, and the `_id`s in it.
    indices: BTreeMap<String, (i64, Vec<String>)>,
    /// Where each document of the next `_bulk` request goes; the last one is for all others.
    targets: Vec<String>,
    /// Elastic Cloud Serverless has no creation dates.
    is_serverless: bool,
    is_queue_down: bool,
    requests: Vec<String>,
    /// What the queue holds: body and delay in seconds.
    messages: Vec<(String, i64)>,
    /// Minutes that have passed.
    minute: i64,
}

impl World {
    fn insert(&mut self, index: &str, id: &str) -> bool {
        let (_, ids) = self.indices.get_mut(index).unwrap();
        let is_new = !ids.iter().any(|other| other == id);
        if is_new {
            ids.push(id.to_owned());
        }
        is_new
    }

    fn pass(&mut self, minutes: i64) {
        self.minute += minutes;
        for (age, _) in self.indices.values_mut() {
            *age += minutes;
        }
    }

    /// The indices that hold this document.
    fn copies(&self, id: &str) -> Vec<&str> {
        let holding = self.indices.iter().filter(|(_, (_, ids))| ids.iter().any(|i| i == id));
        holding.map(|(name, _)| name.as_str()).collect()
    }

    fn answer(&mut self, request: &str, body: &str) -> (u16, Value) {
        self.requests.push(request.to_owned());
        match request {
            "GET /logs-auth0.logs-test/_settings/index.creation_date" if self.is_serverless => {
                (410, json!({ "error": { "type": "api_not_available_exception" } }))
            }
            "GET /logs-auth0.logs-test/_settings/index.creation_date" => {
                let dated = self.indices.iter().map(|(name, (minutes, _))| {
                    let created = clock::now() - TimeDelta::minutes(*minutes);
                    let created = created.timestamp_millis().to_string();
                    (name.clone(), json!({ "settings": { "index.creation_date": created } }))
                });
                (200, Value::Object(dated.collect()))
            }
            "GET /_data_stream/logs-auth0.logs-test" => {
                let named = self.indices.keys().map(|name| json!({ "index_name": name }));
                (200, json!({ "data_streams": [{ "indices": named.collect::<Vec<_>>() }] }))
            }
            "POST /_mget" => {
                let body: Value = serde_json::from_str(body).unwrap();
                let docs = body["docs"].as_array().unwrap();
                assert!(docs.len() <= CHUNK, "{} lookups at once", docs.len());
                let found = docs.iter().map(|doc| self.find(doc));
                (200, json!({ "docs": found.collect::<Vec<_>>() }))
            }
            "POST /logs-auth0.logs-test/_bulk" => {
                let actions = body.lines().step_by(2);
                let items = actions.map(|action| {
                    let action: Value = serde_json::from_str(action).unwrap();
                    let id = action["create"]["_id"].as_str().unwrap();
                    let index = match self.targets.as_slice() {
                        [index] => index.clone(),
                        _ => self.targets.remove(0),
                    };
                    let status = if self.insert(&index, id) { 201 } else { 409 };
                    let error = json!({ "type": "version_conflict_engine_exception" });
                    match status {
                        201 => json!({ "create": { "_index": index, "_id": id, "status": 201 } }),
                        _ => json!({ "create":
                            { "_index": index, "_id": id, "status": status, "error": error } }),
                    }
                });
                (200, json!({ "items": items.collect::<Vec<_>>() }))
            }
            "POST /_bulk" => {
                assert!(body.lines().count() <= CHUNK, "{} deletions", body.lines().count());
                let items = body.lines().map(|action| {
                    let action: Value = serde_json::from_str(action).unwrap();
                    let delete = &action["delete"];
                    assert_eq!(
                        (&delete["if_seq_no"], &delete["if_primary_term"]),
                        (&7.into(), &1.into())
                    );
                    let (_, ids) =
                        self.indices.get_mut(delete["_index"].as_str().unwrap()).unwrap();
                    let before = ids.len();
                    ids.retain(|id| delete["_id"] != **id);
                    let status = if ids.len() < before { 200 } else { 404 };
                    json!({ "delete": { "status": status } })
                });
                (200, json!({ "items": items.collect::<Vec<_>>() }))
            }
            // SQS
            "POST /" if self.is_queue_down => (400, json!({ "__type": "OverLimit" })),
            "POST /" => {
                let message: Value = serde_json::from_str(body).unwrap();
                let text = message["MessageBody"].as_str().unwrap().to_owned();
                self.messages.push((text, message["DelaySeconds"].as_i64().unwrap_or(0)));
                (200, json!({ "MessageId": "1", "MD5OfMessageBody": "" }))
            }
            other => panic!("unexpected request: {other}"),
        }
    }

    fn find(&self, doc: &Value) -> Value {
        let (index, id) = (doc["_index"].as_str().unwrap(), doc["_id"].as_str().unwrap());
        match self.indices.get(index) {
            None => json!({ "error": { "type": "index_not_found_exception" } }),
            Some((_, ids)) if ids.iter().any(|other| other == id) => {
                json!({ "found": true, "_seq_no": 7, "_primary_term": 1 })
            }
            Some(_) => json!({ "found": false }),
        }
    }
}

/// The engine and the queue, on one port.
struct Running {
    world: Arc<Mutex<World>>,
    url: String,
}

impl Running {
    /// A data stream whose first index is a day old, and that has just been rolled over.
    async fn just_rolled_over() -> Self {
        let mut world = World::default();
        world.indices.insert(FIRST.into(), (1_440, Vec::new()));
        world.indices.insert(SECOND.into(), (1, Vec::new()));
        world.targets = vec![SECOND.into()];
        let world = Arc::new(Mutex::new(world));
        let router = Router::new().fallback(serve).with_state(Arc::clone(&world));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { world, url }
    }

    fn with<T>(&self, act: impl FnOnce(&mut World) -> T) -> T {
        act(&mut self.world.lock().unwrap())
    }

    /// A function that has just been started.
    fn shipper(&self) -> Shipper {
        let [retries, dead_letters] =
            ["retry", "dead"].map(|name| format!("{}/1/{name}", self.url));
        let config = settings::pipeline(&self.url, "test", &retries, &dead_letters);
        let aws = aws::config(self.url.clone());
        Shipper::new(&config, &aws).unwrap()
    }

    /// Lets the delay of the messages pass, and redrive, in a new environment, ship them.
    async fn redrive(&self) {
        let delay = TimeDelta::minutes(14);
        self.with(|world| world.pass(delay.num_minutes()));
        for (message, _) in self.with(|world| std::mem::take(&mut world.messages)) {
            let parked = read_message(&message).unwrap();
            let events: Vec<_> = parked.events().collect();
            let received = parked.received - delay;
            let (_, unwritten) = ship_received(&self.shipper(), &events, received).await;
            assert_eq!(unwritten, 0);
        }
    }
}

async fn serve(State(world): State<Arc<Mutex<World>>>, request: Request) -> (StatusCode, String) {
    let line = format!("{} {}", request.method(), request.uri().path());
    let body = body::to_bytes(request.into_body(), usize::MAX).await.unwrap();
    let body = std::str::from_utf8(&body).unwrap();
    let (status, answer) = world.lock().unwrap().answer(&line, body);
    (StatusCode::from_u16(status).unwrap(), answer.to_string())
}

fn event(id: &str, date: DateTime<Utc>) -> Vec<u8> {
    let date = date.to_rfc3339_opts(SecondsFormat::Millis, true);
    json!({ "log_id": id, "data": { "log_id": id, "type": "s", "date": date } })
        .to_string()
        .into_bytes()
}

fn an_hour_old(id: &str) -> Vec<u8> {
    event(id, clock::now() - TimeDelta::hours(1))
}

/// Ships events that have just been received; returns the counts, and the number of events that the
/// caller has to repeat.
async fn ship(shipper: &Shipper, events: &[&[u8]]) -> (Report, usize) {
    ship_received(shipper, events, clock::now()).await
}

async fn ship_received(
    shipper: &Shipper,
    events: &[&[u8]],
    received: DateTime<Utc>,
) -> (Report, usize) {
    let deadline = Deadline::after(Duration::from_secs(10));
    let input = Input::HttpEndpoint;
    let events = events.iter().map(|raw| Incoming { raw, input, received, source: 0 });
    let shipment = shipper.ship_events(events, deadline).await;
    assert_eq!(shipment.failure.is_some(), !shipment.unwritten.is_empty());
    (shipment.report, shipment.unwritten.len())
}

#[tokio::test]
async fn copy_in_flight_at_the_first_look_is_found_at_the_second() {
    let running = Running::just_rolled_over().await;
    // The first delivery is in flight to the old index. The second one finds nothing there.
    let (report, _) = ship(&running.shipper(), &[&an_hour_old("e")]).await;
    assert_eq!((report.stored, report.duplicates), (1, 0));
    running.with(|world| {
        assert_eq!(world.copies("e"), [SECOND]);
        assert_eq!(world.messages.len(), 1);
        assert_eq!(world.messages[0].1, 14 * 60);
        // Now it is executed.
        assert!(world.insert(FIRST, "e"));
    });
    running.redrive().await;
    running.with(|world| {
        assert_eq!(world.copies("e"), [FIRST]);
        assert_eq!(world.messages.len(), 0, "a third look");
    });
}

#[tokio::test]
async fn copies_in_three_indices_leave_the_earliest() {
    let running = Running::just_rolled_over().await;
    ship(&running.shipper(), &[&an_hour_old("e")]).await;
    running.with(|world| {
        world.insert(FIRST, "e");
        // Another rollover, a minute before the second look.
        world.indices.insert(THIRD.into(), (-13, Vec::new()));
        world.targets = vec![THIRD.into()];
    });
    running.redrive().await;
    running.with(|world| {
        assert_eq!(world.copies("e"), [FIRST]);
        assert_eq!(world.messages.len(), 1, "a request to the second index may be in flight");
    });
    running.redrive().await;
    running.with(|world| {
        assert_eq!((world.copies("e"), world.messages.len()), (vec![FIRST], 0));
    });
}

#[tokio::test]
async fn copy_that_an_abandoned_request_stores_after_its_deletion_is_found_at_the_second_look() {
    let running = Running::just_rolled_over().await;
    running.with(|world| {
        world.indices.get_mut(SECOND).unwrap().0 = 4_000;
        world.insert(FIRST, "e");
    });
    ship(&running.shipper(), &[&event("e", clock::now() - TimeDelta::days(3))]).await;
    running.with(|world| {
        assert_eq!((world.copies("e"), world.messages.len()), (vec![FIRST], 1));
        // An earlier request of the same delivery, which timed out.
        assert!(world.insert(SECOND, "e"));
    });
    running.redrive().await;
    running.with(|world| {
        assert_eq!((world.copies("e"), world.messages.len()), (vec![FIRST], 0));
    });
}

#[tokio::test]
async fn event_is_unwritten_if_the_queue_does_not_take_it_for_the_second_look() {
    let running = Running::just_rolled_over().await;
    let shipper = running.shipper();
    running.with(|world| world.is_queue_down = true);
    let fresh = event("fresh", clock::now() + TimeDelta::minutes(5));
    let (report, unwritten) = ship(&shipper, &[&an_hour_old("e"), &fresh]).await;
    assert_eq!((report.received, report.stored, unwritten), (2, 1, 1));
    running.with(|world| world.is_queue_down = false);
    let (report, unwritten) = ship(&shipper, &[&an_hour_old("e")]).await;
    assert_eq!((report.duplicates, unwritten), (1, 0));
    assert_eq!(running.with(|world| world.messages.len()), 1);
}

#[tokio::test]
async fn other_events_cost_neither_request_nor_message() {
    let running = Running::just_rolled_over().await;
    let shipper = running.shipper();
    let fresh = |id| event(id, clock::now() + TimeDelta::minutes(5));
    ship(&shipper, &[&fresh("a")]).await;
    running.with(|world| world.requests.clear());
    ship(&shipper, &[&fresh("b")]).await;
    running.with(|world| {
        assert_eq!(world.requests, ["POST /logs-auth0.logs-test/_bulk"]);
        // Some days later, an hour late.
        world.indices.get_mut(SECOND).unwrap().0 += 4_000;
    });
    let shipper = running.shipper();
    ship(&shipper, &[&an_hour_old("c")]).await;
    running.with(|world| world.requests.clear());
    ship(&shipper, &[&an_hour_old("d")]).await;
    running.with(|world| {
        assert_eq!(world.requests, ["POST /logs-auth0.logs-test/_bulk"]);
        assert_eq!(world.messages.len(), 0);
    });
}

#[tokio::test]
async fn unknown_second_index_of_one_answer_is_asked_for() {
    let running = Running::just_rolled_over().await;
    let shipper = running.shipper();
    ship(&shipper, &[&an_hour_old("a")]).await;
    running.with(|world| {
        world.insert(FIRST, "c");
        world.indices.insert(THIRD.into(), (0, Vec::new()));
        // The rollover comes while the request is executed.
        world.targets = vec![SECOND.into(), THIRD.into()];
    });
    ship(&shipper, &[&an_hour_old("b"), &an_hour_old("c")]).await;
    running.with(|world| {
        assert_eq!((world.copies("b"), world.copies("c")), (vec![SECOND], vec![FIRST]));
    });
}

#[tokio::test]
async fn copy_in_an_index_that_was_shrunk_is_found() {
    let running = Running::just_rolled_over().await;
    let shipper = running.shipper();
    ship(&shipper, &[&an_hour_old("a")]).await;
    running.with(|world| {
        world.insert(FIRST, "b");
        let (_, ids) = world.indices.remove(FIRST).unwrap();
        // Shrinking makes an index of its own, which is younger than all others.
        world.indices.insert(SHRUNK.into(), (0, ids));
    });
    ship(&shipper, &[&an_hour_old("b")]).await;
    running.with(|world| assert_eq!(world.copies("b"), [SHRUNK]));
    // The next function never knew the index by its old name.
    ship(&running.shipper(), &[&an_hour_old("b")]).await;
    running.with(|world| assert_eq!(world.copies("b"), [SHRUNK]));
}

#[tokio::test]
async fn index_that_is_gone_holds_no_copy() {
    let running = Running::just_rolled_over().await;
    let shipper = running.shipper();
    ship(&shipper, &[&an_hour_old("a")]).await;
    running.with(|world| world.indices.remove(FIRST));
    let (report, unwritten) = ship(&shipper, &[&an_hour_old("b")]).await;
    assert_eq!((report.stored, unwritten), (1, 0));
}

#[tokio::test]
async fn many_events_are_looked_up_in_chunks() {
    let running = Running::just_rolled_over().await;
    let events: Vec<Vec<u8>> = (0..2_500).map(|n| an_hour_old(&n.to_string())).collect();
    running.with(|world| {
        for n in 0..2_500 {
            world.insert(FIRST, &n.to_string());
        }
    });
    let events: Vec<&[u8]> = events.iter().map(Vec::as_slice).collect();
    let (report, unwritten) = ship(&running.shipper(), &events).await;
    assert_eq!((report.duplicates, unwritten), (2_500, 0));
    running.with(|world| assert_eq!(world.indices[SECOND].1.len(), 0));
}

#[tokio::test]
async fn engine_without_creation_dates_is_asked_for_its_data_stream() {
    let running = Running::just_rolled_over().await;
    running.with(|world| {
        world.is_serverless = true;
        world.insert(FIRST, "e");
    });
    // It may have been delivered before the rollover, for all that is known.
    let (report, _) = ship(&running.shipper(), &[&event("e", clock::now())]).await;
    assert_eq!(report.duplicates, 1);
    running.with(|world| {
        assert_eq!(world.copies("e"), [FIRST]);
        assert_eq!(world.messages.len(), 1);
    });
    running.redrive().await;
    running.with(|world| {
        assert_eq!(world.copies("e"), [FIRST]);
        assert_eq!(world.messages.len(), 0, "looks without end");
    });
}

/// A request of an environment that died or gave up, until the engine executes it.
struct Abandoned {
    index: String,
    until: i64,
}

/// Deliveries, rollovers and abandoned requests of one event, in a random order.
async fn shuffle(seed: u64, running: &Running) {
    let mut rng = fastrand::Rng::with_seed(seed);
    let old = event("e", clock::now() - TimeDelta::days(9));
    let mut generation = 2;
    let mut abandoned: Vec<Abandoned> = Vec::new();
    // Body, and the minute at which it was sent.
    let mut queue: Vec<(String, i64)> = Vec::new();
    let mut trace = Vec::new();
    let mut shipper = None;
    let mut is_owed = false;
    for step in 0.. {
        // After eight steps, time passes until nothing is left to do.
        let operation = match step {
            ..8 => rng.u8(..6),
            // The caller of a request that was given up always repeats it.
            8 if is_owed => 0,
            _ => 5,
        };
        trace.push(operation);
        let write_index = running.with(|world| world.targets[0].clone());
        match operation {
            0 => {
                is_owed = false;
                ship(shipper.get_or_insert_with(|| running.shipper()), &[&old]).await;
            }
            1 => {
                let until = running.with(|world| world.minute) + 5;
                abandoned.push(Abandoned { index: write_index, until });
                is_owed = true;
            }
            2 if !abandoned.is_empty() => {
                let late = abandoned.swap_remove(rng.usize(..abandoned.len()));
                running.with(|world| world.insert(&late.index, "e"));
            }
            3 => running.with(|world| {
                generation += 1;
                let name = format!(".ds-logs-auth0.logs-test-{generation:06}");
                world.indices.insert(name.clone(), (0, Vec::new()));
                world.targets = vec![name];
            }),
            // The oldest index is shrunk, when nothing can be on its way to it any more.
            4 if rng.u8(..4) == 0 => running.with(|world| {
                let (name, second) = (world.indices.keys().next().unwrap().clone(), 15);
                let next = world.indices.values().nth(1).is_some_and(|(age, _)| *age > second);
                if next && !name.starts_with("shrink") && name != write_index {
                    let (_, ids) = world.indices.remove(&name).unwrap();
                    world.indices.insert(format!("shrink-x2c4-{name}"), (0, ids));
                }
            }),
            5 => {
                let minute = running.with(|world| {
                    world.pass(1);
                    world.minute
                });
                // It remembers dates, which pass in this test by being moved.
                shipper = None;
                for late in abandoned.extract_if(.., |late| late.until <= minute) {
                    running.with(|world| world.insert(&late.index, "e"));
                }
                for (message, sent) in queue.extract_if(.., |(_, sent)| *sent + 14 <= minute) {
                    let parked = read_message(&message).unwrap();
                    let events: Vec<_> = parked.events().collect();
                    let received = parked.received - TimeDelta::minutes(minute - sent);
                    ship_received(
                        shipper.get_or_insert_with(|| running.shipper()),
                        &events,
                        received,
                    )
                    .await;
                }
            }
            _ => {}
        }
        running.with(|world| {
            let minute = world.minute;
            queue.extend(world.messages.drain(..).map(|(message, _)| (message, minute)));
        });
        if step > 8 && abandoned.is_empty() && queue.is_empty() {
            break;
        }
        assert!(step < 200, "seed {seed} does not end: {trace:?}");
    }
    let copies = running.with(|world| world.copies("e").join(" "));
    let delivered = trace.iter().any(|operation| *operation < 2);
    assert_eq!(copies.split_whitespace().count(), usize::from(delivered), "seed {seed}: {copies}");
}

#[tokio::test]
async fn one_copy_stays_in_whatever_order_things_happen() {
    for seed in 0..30 {
        let running = Running::just_rolled_over().await;
        shuffle(seed, &running).await;
    }
}
