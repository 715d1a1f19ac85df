//! The webhook beside a plain `_bulk` of the same ready-made documents, on a real engine.
//!
//! Rounds take turns, so that what disturbs the machine disturbs all sides. All sides write to data
//! streams of the same template; the plain side is what a sender of finished documents would do: one
//! request for a batch, not compressed, the whole answer read.

use std::time::{Duration, Instant};

use auth0_ecs::geoip::GeoIp;
use auth0_ecs::{Input, Mapper, MapperSettings, body};
use bytes::Bytes;
use chrono::Utc;
use e2e::engine::DataStream;
use e2e::runtime::Function;
use futures_util::future::join_all;
use reqwest::Method;
use serde_json::json;

use crate::process::cpu;
use crate::start::milliseconds;
use crate::world::{Name, TIMEOUT, Variant, World, posted, stream};
use crate::{Records, median};

/// Senders at once, and execution environments.
const SENDERS: usize = 4;

/// Batches that each sender posts in a round: long enough that the engine's merges and collections
/// of garbage fall into every round.
const BATCHES: usize = 40;

/// Events in a batch.
const EVENTS: usize = 100;

/// Rounds; the first ones are for the engine to warm up and are not counted.
const ROUNDS: usize = 20;
const WARM_UP: usize = 4;

/// Posts on one connection.
const SINGLE: usize = 150;

/// One way of writing batches.
enum Side {
    /// A plain `_bulk` into this stream.
    Plain { client: reqwest::Client, stream: DataStream },
    /// The webhook, and its processes.
    Webhook { function: Function, pids: Vec<u32> },
}

impl Side {
    /// What this side sends for a batch of new events.
    fn request(&self, world: &World, mapper: &Mapper) -> Bytes {
        let lines = world.batch(EVENTS);
        match self {
            Self::Plain { .. } => bulk(mapper, &lines).into(),
            Self::Webhook { .. } => posted(&lines, false),
        }
    }

    async fn send(&self, request: Bytes) {
        match self {
            Self::Plain { client, stream } => {
                let url = format!("{}/{}/_bulk", stream.engine, stream.name);
                let post = client.post(url).header("content-type", "application/x-ndjson");
                let answer = post.body(request).send().await.expect("the engine answers");
                let answer = answer.bytes().await.expect("the whole answer");
                assert!(answer.starts_with(b"{\"took\":"), "{answer:?}");
            }
            Self::Webhook { function, .. } => {
                let answer = function.invoke_bytes(request, TIMEOUT).await.expect("an answer");
                assert_eq!(answer["statusCode"], 200, "{answer}");
            }
        }
    }

    /// The CPU time of the function's processes so far.
    fn cpu(&self) -> Duration {
        match self {
            Self::Plain { .. } => Duration::ZERO,
            Self::Webhook { pids, .. } => pids.iter().map(|pid| cpu(*pid)).sum(),
        }
    }

    /// How long it takes all senders to post their batches.
    async fn round(&self, world: &World, mapper: &Mapper) -> Duration {
        let requests: Vec<Vec<Bytes>> = (0..SENDERS)
            .map(|_| (0..BATCHES).map(|_| self.request(world, mapper)).collect())
            .collect();
        let start = Instant::now();
        join_all(requests.into_iter().map(async |requests| {
            for request in requests {
                self.send(request).await;
            }
        }))
        .await;
        start.elapsed()
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
    let plain = stream(&format!("plain{:012x}", fastrand::u64(..1 << 48))).await;
    let before = count(&world.stream).await;
    let sides = [
        Side::Plain { client: reqwest::Client::new(), stream: plain },
        webhook(world, true).await,
        webhook(world, false).await,
    ];

    let mut times = [const { Vec::new() }; 3];
    let mut used = [Duration::ZERO; 3];
    for round in 0..ROUNDS {
        let mut order = [0, 1, 2];
        order.rotate_left(round % 3);
        for index in order {
            let before = sides[index].cpu();
            let took = sides[index].round(world, &mapper).await;
            if round >= WARM_UP {
                times[index].push(took.as_secs_f64());
                used[index] += sides[index].cpu() - before;
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

    let Side::Plain { stream: plain, .. } = &sides[0] else { unreachable!("the first is plain") };
    let sent = ((ROUNDS * SENDERS * BATCHES + SINGLE) * EVENTS) as u64;
    assert_eq!(count(plain).await, sent, "the plain side stored all");
    assert_eq!(count(&world.stream).await - before, 2 * sent, "the webhook stored all");

    let events = (SENDERS * BATCHES * EVENTS) as f64;
    for (index, name) in ["plain", "gzip", "no gzip"].into_iter().enumerate() {
        let per_second: Vec<f64> = times[index].iter().map(|seconds| events / seconds).collect();
        // Of one round: what disturbed it disturbed both.
        let mut ratios: Vec<f64> =
            times[index].iter().zip(&times[0]).map(|(own, plain)| plain / own).collect();
        ratios.sort_by(f64::total_cmp);
        let cpu = used[index].as_secs_f64() / (events * (ROUNDS - WARM_UP) as f64);
        records.add(&json!({
            "kind": "throughput",
            "side": name,
            "senders": SENDERS,
            "events_in_batch": EVENTS,
            "rounds": ROUNDS - WARM_UP,
            "events_per_second": median(&per_second).round(),
            "ratio": median(&ratios),
            "ratio_quarter": ratios[ratios.len() / 4],
            "ratio_three_quarters": ratios[ratios.len() * 3 / 4],
            // Of all the functions' processes.
            "cpu_microseconds_per_event": cpu * 1e6,
            "post_milliseconds": milliseconds(median(&single[index])),
            "posts": SINGLE,
        }));
    }
}

async fn webhook(world: &World, gzip: bool) -> Side {
    let function = world.function(Name::Webhook, Variant { gzip, ..Variant::DEFAULT }, SENDERS);
    let mut pids = Vec::new();
    for _ in 0..SENDERS {
        pids.push(function.start_ahead().await.0);
    }
    Side::Webhook { function, pids }
}

async fn count(stream: &DataStream) -> u64 {
    stream.call(Method::POST, &format!("{}/_refresh", stream.name), None).await;
    let answer = stream.call(Method::GET, &format!("{}/_count", stream.name), None).await;
    answer["count"].as_u64().unwrap_or_else(|| panic!("no count: {answer}"))
}

/// The documents of these lines, ready to be posted.
fn bulk(mapper: &Mapper, lines: &[u8]) -> Vec<u8> {
    let mut bulk = Vec::new();
    for piece in body::split(lines) {
        let mut text = Vec::new();
        let document = mapper.document(piece, Input::HttpEndpoint, Utc::now(), &mut text);
        let action = json!({ "create": { "_id": document.id } });
        bulk.extend_from_slice(format!("{action}\n").as_bytes());
        bulk.append(&mut text);
        bulk.push(b'\n');
    }
    bulk
}
