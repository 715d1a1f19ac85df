//! The duration of one invocation by batch size: the measured part of the cost table.

use std::time::{Duration, Instant};

use serde_json::json;
use support::runtime::Function;

use crate::process::cpu;
use crate::start::milliseconds;
use crate::world::{Name, Variant, World, post};
use crate::{Records, median};

/// Events per batch, and batches.
const SIZES: [(usize, u32); 4] = [(1, 1_000), (10, 400), (100, 100), (1_000, 20)];

pub(crate) async fn measure(world: &World, records: &Records) {
    for (events, batches) in SIZES {
        let function = world.function(Name::Webhook, Variant::DEFAULT, 1);
        let (pid, _) = function.start_ahead().await;
        // The first batches fetch secrets, open connections and fill caches.
        for _ in 0..3 {
            invoke(world, &function, events).await;
        }
        let (logged, before) = (function.logs().len(), cpu(pid));
        let mut took = Vec::new();
        for _ in 0..batches {
            took.push(invoke(world, &function, events).await);
        }
        let used = cpu(pid) - before;
        let logged = function.logs().len() - logged;
        records.add(&json!({
            "kind": "pace",
            "function": "webhook",
            "events": events,
            "batches": batches,
            "body_bytes": world.batch(events).len(),
            "cpu_milliseconds": milliseconds(used / batches),
            "milliseconds": milliseconds(median(&took)),
            "log_bytes": logged / batches as usize,
        }));
    }
}

async fn invoke(world: &World, function: &Function, events: usize) -> Duration {
    let payload = world.payload(Name::Webhook, events);
    let start = Instant::now();
    post(function, payload).await;
    start.elapsed()
}
