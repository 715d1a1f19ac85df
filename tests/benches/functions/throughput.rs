//! The webhook beside a plain `_bulk` of the same ready-made documents, on a real engine.
//!
//! Rounds take turns, so that what disturbs the machine disturbs all sides. All sides write to data
//! streams of the same template; the plain side is what a sender of finished documents would do: one
//! request for a batch, the whole answer read, neither of them compressed.

use std::time::{Duration, Instant};

use auth0_ecs::geoip::GeoIp;
use auth0_ecs::input::split;
use auth0_ecs::{Input, Mapper, MapperSettings};
use bytes::Bytes;
use chrono::Utc;
use futures_util::future::join_all;
use reqwest::Method;
use serde_json::json;
use support::engine::DataStream;
use support::runtime::Function;
use support::stack;

use crate::process::cpu;
use crate::start::milliseconds;
use crate::world::{Name, TIMEOUT, Variant, World, posted, stream};
use crate::{Records, median};

/// Senders at once, and execution environments.
const SENDERS: usize = 4;

/// Batches that each sender posts in a round: long enough that the engine's merges and collections
/// of garbage fall into every round.
const BATCHES: usize = 25;

/// Events in a batch.
const EVENTS: usize = 100;

/// Rounds; the first ones are not counted: in them, the engine's compiler takes a good part of its time.
const ROUNDS: usize = 100;
const WARM_UP: usize = 20;

/// Posts on one connection.
const SINGLE: usize = 150;

/// One way of writing batches, and where they go.
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

/// CPU time that has been used so far.
#[derive(Clone, Copy, Default)]
struct Used {
    engine: Duration,
    /// This program: the senders, and what stands in for Lambda and the gateway.
    sender: Duration,
    function: Duration,
}

impl Side {
    async fn plain() -> Self {
        let stream = stream(&format!("plain{:012x}", fastrand::u64(..1 << 48))).await;
        Self { name: "plain", stream, way: Way::Plain(reqwest::Client::new()) }
    }

    async fn webhook(world: &World, gzip: bool) -> Self {
        let namespace = format!("webhook{:012x}", fastrand::u64(..1 << 48));
        let stream = stream(&namespace).await;
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

    /// What this side sends for a batch of new events.
    fn request(&self, world: &World, mapper: &Mapper) -> Bytes {
        let lines = world.batch(EVENTS);
        match &self.way {
            Way::Plain(_) => bulk(mapper, &lines).into(),
            Way::Webhook { .. } => posted(&lines, false),
        }
    }

    async fn send(&self, request: Bytes) {
        match &self.way {
            Way::Plain(client) => {
                let url = format!("{}/{}/_bulk", self.stream.engine, self.stream.name);
                let post = client.post(url).header("content-type", "application/x-ndjson");
                // Left to itself, the client asks for the answer compressed.
                let post = post.header("accept-encoding", "identity");
                let answer = post.body(request).send().await.expect("the engine answers");
                let answer = answer.bytes().await.expect("the whole answer");
                assert!(answer.starts_with(b"{\"took\":"), "{answer:?}");
            }
            Way::Webhook { function, .. } => {
                let answer = function.invoke_bytes(request, TIMEOUT).await.expect("an answer");
                assert_eq!(answer["statusCode"], 200, "{answer}");
            }
        }
    }

    fn used(&self, engine: u32) -> Used {
        let function = match &self.way {
            Way::Plain(_) => Duration::ZERO,
            Way::Webhook { pids, .. } => pids.iter().map(|pid| cpu(*pid)).sum(),
        };
        Used { engine: cpu(engine), sender: cpu(std::process::id()), function }
    }

    /// What each sender sends in a round.
    fn requests(&self, world: &World, mapper: &Mapper) -> Vec<Vec<Bytes>> {
        let sender = |_| (0..BATCHES).map(|_| self.request(world, mapper)).collect();
        (0..SENDERS).map(sender).collect()
    }

    /// How long it takes all senders to post their batches, and what CPU time is used for it.
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
    let settings = MapperSettings {
        namespace: "plain",
        tags: &[],
        preserve_original_event: false,
        agent_name: "webhook",
        ephemeral_id: "0123456789abcdef0123456789abcdef",
    };
    let mapper = Mapper::new(&settings, GeoIp::open(None, None).expect("no file, no failure"));
    let engine = stack::variable("BENCH_ENGINE_PID").parse().expect("a process id");
    let sides =
        [Side::plain().await, Side::webhook(world, true).await, Side::webhook(world, false).await];

    let mut times = [const { Vec::new() }; 3];
    let mut used = [Used::default(); 3];
    for round in 0..ROUNDS {
        let turn = |index: usize| (index, sides[index].requests(world, &mapper));
        let mut turns = [0, 1, 2].map(turn);
        // What the engine still has to do for one side falls into the next one's time: at random, so that
        // it is no side's alone.
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

    let sent = ((ROUNDS * SENDERS * BATCHES + SINGLE) * EVENTS) as u64;
    let events = (SENDERS * BATCHES * EVENTS) as f64;
    let counted = (ROUNDS - WARM_UP) as f64 * events;
    for (index, side) in sides.iter().enumerate() {
        assert_eq!(count(&side.stream).await, sent, "{}: all is stored, once", side.name);
        let per_second: Vec<f64> = times[index].iter().map(|seconds| events / seconds).collect();
        // Of one round: what disturbed it disturbed both.
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
            // CPU time for an event.
            "engine_microseconds": per_event(used[index].engine),
            "sender_microseconds": per_event(used[index].sender),
            "function_microseconds": per_event(used[index].function),
        }));
    }
}

async fn count(stream: &DataStream) -> u64 {
    stream.call(Method::POST, &format!("{}/_refresh", stream.name), None).await;
    let answer = stream.call(Method::GET, &format!("{}/_count", stream.name), None).await;
    answer["count"].as_u64().unwrap_or_else(|| panic!("no count: {answer}"))
}

/// The documents of these lines, ready to be posted.
fn bulk(mapper: &Mapper, lines: &[u8]) -> Vec<u8> {
    let mut bulk = Vec::new();
    for piece in split::split(lines) {
        let mut text = Vec::new();
        let document = mapper.document(piece, Input::HttpEndpoint, Utc::now(), &mut text);
        let action = json!({ "create": { "_id": document.id } });
        bulk.extend_from_slice(format!("{action}\n").as_bytes());
        bulk.append(&mut text);
        bulk.push(b'\n');
    }
    bulk
}
