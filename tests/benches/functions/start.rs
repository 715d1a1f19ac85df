//! From the start of a process to its first request for work, its first response and its second.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::process::{counted, instructions, system_calls, traced};
use crate::world::{Name, TIMEOUT, Variant, World};
use crate::{Records, median};

/// Counts of which the median is taken: the order of concurrent tasks varies.
const COUNTS: usize = 3;

/// Starts that are timed.
const STARTS: usize = 15;

pub(crate) async fn measure(world: &World, records: &Records) {
    for name in Name::ALL {
        for geoip in [false, true] {
            let variant = Variant { geoip, ..Variant::DEFAULT };
            let mut counts = Vec::new();
            for answers in 0..=2 {
                let mut runs = Vec::new();
                for _ in 0..COUNTS {
                    runs.push(count(world, name, variant, answers).await);
                }
                counts.push(median(&runs));
            }
            let times = times(world, name, variant).await;
            let calls = calls(world, name, variant).await;
            let connections: Vec<_> =
                calls.iter().filter(|call| call.starts_with("connect(")).collect();
            records.add(&json!({
                "kind": "start",
                "function": name.text(),
                "geoip": geoip,
                // To the first request for work, the first response, the second response.
                "instructions": counts,
                "milliseconds": times,
                "system_calls": calls.len(),
                // One of them, to the runtime API, is unavoidable.
                "connections": connections.len(),
                "starts": STARTS,
            }));
        }
    }
}

/// Instructions up to this many responses, each to one event.
async fn count(world: &World, name: Name, variant: Variant, answers: usize) -> u64 {
    let function = counted(world.function(name, variant, 1));
    function.start_ahead().await;
    for _ in 0..answers {
        let payload = world.payload(name, 1);
        function.invoke_bytes(payload, TIMEOUT).await.expect("a response");
    }
    instructions(&function).await
}

/// The medians of all starts, in milliseconds.
async fn times(world: &World, name: Name, variant: Variant) -> [f64; 3] {
    let mut all = [Vec::new(), Vec::new(), Vec::new()];
    for _ in 0..STARTS {
        let payloads = [world.payload(name, 1), world.payload(name, 1)];
        let function = world.function(name, variant, 1);
        let start = Instant::now();
        let (_, ready) = function.start_ahead().await;
        let mut points = vec![ready];
        for payload in payloads {
            function.invoke_bytes(payload, TIMEOUT).await.expect("a response");
            points.push(start.elapsed());
        }
        for (times, point) in all.iter_mut().zip(points) {
            times.push(point);
        }
    }
    all.map(|times| milliseconds(median(&times)))
}

async fn calls(world: &World, name: Name, variant: Variant) -> Vec<String> {
    let folder = temp_dir::TempDir::new().expect("a folder");
    let file = folder.path().join("calls");
    let function = traced(world.function(name, variant, 1), &file);
    function.start_ahead().await;
    system_calls(&function, &file).await
}

pub(crate) fn milliseconds(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1e6).round() / 1e3
}
