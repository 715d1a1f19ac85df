//! The webhook compared with a plain `_bulk` of the same, ready-made documents on a real engine.
//!
//! The sides take turns, so a disturbance of the machine affects all of them. All sides write to data
//! streams with the same template. The plain side does what a sender of finished documents would do:
//! one request per batch, the whole response read, neither of them compressed.

use std::time::{Duration, Instant};

use auth0_ecs::input::split;
use auth0_ecs::{Input, Mapper, Piece};
use bytes::Bytes;
use chrono::Utc;
use futures_util::future::join_all;
use serde_json::json;
use support::engine::{DataStream, push_create};
use support::invariants::mapper_for;
use support::runtime::Function;
use support::stack::{self, EngineKind};

use crate::process::cpu;
use crate::start::milliseconds;
use crate::world::{Name, Variant, World, post, posted};
use crate::{Records, median};

/// Concurrent senders, and execution environments.
const SENDERS: usize = 4;

/// Batches that each sender posts in a round: enough for merges and garbage collections of the engine
/// to occur in every round.
const BATCHES: usize = 25;

/// Events in a batch.
const EVENTS: usize = 100;

/// Rounds. The first ones are not counted: the engine still compiles much of its code.
const ROUNDS: usize = 100;
const WARM_UP: usize = 20;

/// Posts on a single connection.
const SINGLE: usize = 150;

/// One way of writing batches, and the data stream they go to.
struct Side {
    name: &'static str,
    stream: DataStream,
    way: Way,
}

enum Way {
    /// A plain `_bulk`.
    Plain(reqwest::Client),
    /// The webhook, and its processes.
    Webhook { function: Function, pids: Vec<u32> },
}

/// CPU time used so far.
#[derive(Clone, Copy, Default)]
struct Used {
    engine: Duration,
    /// This program: the senders and the stand-ins for Lambda and the gateway.
    sender: Duration,
    function: Duration,
}

impl Side {
    async fn plain() -> Self {
        let stream = DataStream::create(EngineKind::OpenSearch, &stack::unique("plain")).await;
        Self { name: "plain", stream, way: Way::Plain(reqwest::Client::new()) }
    }

    async fn webhook(world: &World, gzip: bool) -> Self {
        let namespace = stack::unique("webhook");
        let stream = DataStream::create(EngineKind::OpenSearch, &namespace).await;
        let variant = Variant { gzip, ..Variant::DEFAULT };
        let changes = [("DATA_STREAM_NAMESPACE", namespace.as_str())];
        let function = world.function_with(Name::Webhook, variant, SENDERS, &changes);
        let mut pids = Vec::new();
        for _ in 0..SENDERS {
            pids.push(function.start_ahead().await.0);
        }
        let name = if gzip { "gzip" } else { "no gzip" };
        Self { name, stream, way: Way::Webhook { function, pids } }
    }

    /// A batch of new events as this side sends it.
    fn request(&self, world: &World, mapper: &Mapper) -> Bytes {
        let lines = world.batch(EVENTS);
        match &self.way {
            Way::Plain(_) => bulk(mapper, &lines).into(),
            Way::Webhook { .. } => posted(&lines),
        }
    }

    async fn send(&self, request: Bytes) {
        match &self.way {
            Way::Plain(client) => {
                let url = format!("{}/{}/_bulk", self.stream.engine.url, self.stream.name);
                let post = client.post(url).header("content-type", "application/x-ndjson");
                // By default, the client asks for a compressed response.
                let post = post.header("accept-encoding", "identity");
                let answer = post.body(request).send().await.expect("the engine answers");
                let answer = answer.bytes().await.expect("the whole response");
                assert!(answer.starts_with(b"{\"took\":"), "{answer:?}");
            }
            Way::Webhook { function, .. } => post(function, request).await,
        }
    }

    fn used(&self, engine: u32) -> Used {
        let function = match &self.way {
            Way::Plain(_) => Duration::ZERO,
            Way::Webhook { pids, .. } => pids.iter().map(|pid| cpu(*pid)).sum(),
        };
        Used { engine: cpu(engine), sender: cpu(std::process::id()), function }
    }

    /// The requests of each sender in a round.
    fn requests(&self, world: &World, mapper: &Mapper) -> Vec<Vec<Bytes>> {
        let sender = |_| (0..BATCHES).map(|_| self.request(world, mapper)).collect();
        (0..SENDERS).map(sender).collect()
    }

    /// The time in which all senders post their batches, and the CPU time used for it.
    async fn round(&self, requests: Vec<Vec<Bytes>>, engine: u32) -> (Duration, Used) {
        let before = self.used(engine);
        let start = Instant::now();
        join_all(requests.into_iter().map(async |requests| {
            for request in requests {
                self.send(request).await;
            }
        }))
        .await;
        let took = start.elapsed();
        let after = self.used(engine);
        let used = Used {
            engine: after.engine - before.engine,
            sender: after.sender - before.sender,
            function: after.function - before.function,
        };
        (took, used)
    }
}

pub(crate) async fn measure(world: &World, records: &Records) {
    let mapper = mapper_for("plain");
    let engine = stack::variable("BENCH_ENGINE_PID").parse().expect("a process id");
    let sides =
        [Side::plain().await, Side::webhook(world, true).await, Side::webhook(world, false).await];

    let mut times = [const { Vec::new() }; 3];
    let mut used = [Used::default(); 3];
    for round in 0..ROUNDS {
        let turn = |index: usize| (index, sides[index].requests(world, &mapper));
        let mut turns = [0, 1, 2].map(turn);
        // The engine's remaining work for one side falls into the next side's time, so the order is
        // random.
        fastrand::shuffle(&mut turns);
        for (index, requests) in turns {
            let (took, own) = sides[index].round(requests, engine).await;
            if round >= WARM_UP {
                times[index].push(took.as_secs_f64());
                used[index].engine += own.engine;
                used[index].sender += own.sender;
                used[index].function += own.function;
            }
        }
    }
    let mut single = [const { Vec::new() }; 3];
    for post in 0..SINGLE {
        for step in 0..3 {
            let index = (post + step) % 3;
            let request = sides[index].request(world, &mapper);
            let start = Instant::now();
            sides[index].send(request).await;
            single[index].push(start.elapsed());
        }
    }

    let sent = (ROUNDS * SENDERS * BATCHES + SINGLE) * EVENTS;
    let events = (SENDERS * BATCHES * EVENTS) as f64;
    let counted = (ROUNDS - WARM_UP) as f64 * events;
    for (index, side) in sides.iter().enumerate() {
        assert_eq!(side.stream.count().await, sent, "{}: each event once", side.name);
        let per_second: Vec<f64> = times[index].iter().map(|seconds| events / seconds).collect();
        // Within one round: a disturbance affected both sides.
        let mut ratios: Vec<f64> =
            times[index].iter().zip(&times[0]).map(|(own, plain)| plain / own).collect();
        ratios.sort_by(f64::total_cmp);
        let per_event = |used: Duration| used.as_secs_f64() * 1e6 / counted;
        records.add(&json!({
            "kind": "throughput",
            "side": side.name,
            "senders": SENDERS,
            "events_in_batch": EVENTS,
            "rounds": ROUNDS - WARM_UP,
            "events_per_second": median(&per_second).round(),
            "ratio": median(&ratios),
            "ratio_whole": times[0].iter().sum::<f64>() / times[index].iter().sum::<f64>(),
            "ratio_quarter": ratios[ratios.len() / 4],
            "ratio_three_quarters": ratios[ratios.len() * 3 / 4],
            "post_milliseconds": milliseconds(median(&single[index])),
            "posts": SINGLE,
            // CPU time per event.
            "engine_microseconds": per_event(used[index].engine),
            "sender_microseconds": per_event(used[index].sender),
            "function_microseconds": per_event(used[index].function),
        }));
    }
}

/// The `_bulk` body with the documents of these lines.
fn bulk(mapper: &Mapper, lines: &[u8]) -> Vec<u8> {
    let mut bulk = Vec::new();
    for raw in split::split(lines) {
        let mut text = Vec::new();
        let piece = Piece { raw, input: Input::HttpEndpoint, received: Utc::now() };
        let document = mapper.document(piece, &mut text);
        push_create(&mut bulk, &document.id, &text);
    }
    bulk
}
