//! The rate that this machine sustains: posts at fixed times, whether or not earlier ones are answered,
//! at a rate that rises until responses fall behind.

use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::future::join_all;
use serde_json::json;
use support::engine::DataStream;
use support::stack::{self, EngineKind};

use crate::Records;
use crate::start::milliseconds;
use crate::world::{Name, TIMEOUT, Variant, World, posted};

/// Events per second, tried in this order.
const RATES: [usize; 9] = [250, 500, 1_000, 2_000, 4_000, 6_000, 8_000, 10_000, 12_000];

/// Events per post.
const BATCHES: [usize; 3] = [1, 10, 100];

/// How long posts are sent at each rate, in seconds.
const SECONDS: usize = 20;

/// Execution environments.
const ENVIRONMENTS: usize = 16;

/// A rate is sustained if the last response arrives this soon after the last post.
const BEHIND: Duration = Duration::from_secs(1);

pub(crate) async fn measure(world: &World, records: &Records) {
    for events in BATCHES {
        let namespace = stack::unique("load");
        let stream = DataStream::create(EngineKind::OpenSearch, &namespace).await;
        let changes = [("DATA_STREAM_NAMESPACE", namespace.as_str())];
        let variant = Variant { gzip: false, ..Variant::DEFAULT };
        let webhook = world.function_with(Name::Webhook, variant, ENVIRONMENTS, &changes);
        for _ in 0..ENVIRONMENTS {
            webhook.start_ahead().await;
        }
        let mut sent = 0;
        for rate in RATES {
            let posts = rate * SECONDS / events;
            let payloads: Vec<Bytes> = (0..posts).map(|_| posted(&world.batch(events))).collect();
            let pause = Duration::from_secs_f64(SECONDS as f64 / posts as f64);
            let start = Instant::now();
            let answers = join_all(payloads.into_iter().zip(0..).map(async |(payload, number)| {
                let due = pause * number;
                tokio::time::sleep_until((start + due).into()).await;
                let answer = webhook.invoke_bytes(payload, TIMEOUT).await.expect("a response");
                assert_eq!(answer["statusCode"], 200, "{answer}");
                let counts = answer["body"].as_str().expect("counts");
                // Waiting for a free environment counts: Auth0 would wait, too.
                (start.elapsed().saturating_sub(due), counts.contains("\"parked\":0"))
            }));
            let (mut took, written): (Vec<_>, Vec<_>) = answers.await.into_iter().unzip();
            let in_all = start.elapsed();
            took.sort();
            let written = written.into_iter().all(|written| written);
            sent += posts * events;
            if written {
                assert_eq!(stream.count().await, sent, "each event once");
            }
            let sustained = written && in_all < Duration::from_secs(SECONDS as u64) + BEHIND;
            records.add(&json!({
                "kind": "load",
                "events": events,
                "rate": rate,
                "posts": posts,
                "p50_milliseconds": milliseconds(took[posts / 2]),
                "p99_milliseconds": milliseconds(took[posts * 99 / 100]),
                "longest_milliseconds": milliseconds(took[posts - 1]),
                "reached": (posts * events) as f64 / in_all.as_secs_f64(),
                "sustained": sustained,
            }));
            if !sustained {
                break;
            }
        }
    }
}
