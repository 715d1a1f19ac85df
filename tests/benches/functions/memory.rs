//! Memory: after the start, in use, and at its peak for the largest bodies.

use bytes::Bytes;
use serde_json::json;
use support::payload::gzip;

use crate::Records;
use crate::process::{Memory, memory};
use crate::world::{Name, TIMEOUT, Variant, World, posted};

/// Batches before memory is measured.
const BATCHES: usize = 50;

const MIB: usize = 1024 * 1024;

pub(crate) async fn measure(world: &World, records: &Records) {
    for name in Name::ALL {
        for geoip in [false, true] {
            let variant = Variant { geoip, ..Variant::DEFAULT };
            let work = || world.payload(name, 100);
            observe(world, records, (name, variant), "batches of 100", BATCHES, work).await;
        }
    }
    let event = world.batch(100).len().div_ceil(100);
    let large = || world.batch(10 * MIB / event);
    let default = (Name::Webhook, Variant::DEFAULT);
    observe(world, records, default, "a body of 10 MiB", 1, || posted(&large())).await;
    let packed = || posted(&gzip(&large()));
    observe(world, records, default, "a body of 10 MiB, sent as gzip", 1, packed).await;
    // As much as fits compressed into Lambda's 6 MB.
    let packed = || posted(&gzip(&world.batch(60 * MIB / event)));
    observe(world, records, default, "a body of 60 MiB, sent as gzip", 1, packed).await;
    let default = (Name::Poller, Variant::DEFAULT);
    let pages = || world.payload(Name::Poller, 2_000);
    observe(world, records, default, "20 pages of 100", 1, pages).await;
    let default = (Name::Redrive, Variant::DEFAULT);
    let messages = || world.messages(10, 500);
    observe(world, records, default, "10 messages of 1 MB each", 1, messages).await;
}

/// Measures a new process after its start and after `times` invocations.
async fn observe(
    world: &World,
    records: &Records,
    (name, variant): (Name, Variant),
    load: &str,
    times: usize,
    payload: impl Fn() -> Bytes,
) {
    let function = world.function(name, variant, 1);
    let (pid, _) = function.start_ahead().await;
    let start = memory(pid);
    let mut bytes = 0;
    for _ in 0..times {
        let payload = payload();
        bytes = payload.len();
        function.invoke_bytes(payload, TIMEOUT).await.expect("a response");
    }
    let fields = |memory: Memory| {
        json!({
            "resident": memory.resident,
            "anonymous": memory.anonymous,
            "files": memory.files,
            "peak": memory.peak,
        })
    };
    records.add(&json!({
        "kind": "memory",
        "function": name.text(),
        "geoip": variant.geoip,
        "load": load,
        "payload_bytes": bytes,
        // In kB.
        "start": fields(start),
        "after": fields(memory(pid)),
    }));
}
