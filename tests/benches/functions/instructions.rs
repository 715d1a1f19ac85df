//! The webhook's instructions per event, including HTTP in and out.

use serde_json::json;

use crate::Records;
use crate::process::{counted, instructions};
use crate::world::{EVENT, Name, Variant, World, post};

/// Invocations between two counts. Their difference excludes the start, the first parse of each user
/// agent and the first use of each connection.
const ROUNDS: u64 = 10;

pub(crate) async fn measure(world: &World, records: &Records) {
    for events in [1, 100] {
        for (gzip, geoip) in [(false, false), (false, true), (true, false), (true, true)] {
            let variant = Variant { gzip, geoip };
            let one = count(world, variant, events, 1).await;
            let more = count(world, variant, events, 1 + ROUNDS).await;
            records.add(&json!({
                "kind": "instructions",
                "function": "webhook",
                "events": events,
                "bytes": EVENT,
                "gzip": gzip,
                "geoip": geoip,
                "per_event": (more - one) / (ROUNDS * events as u64),
            }));
        }
    }
}

async fn count(world: &World, variant: Variant, events: usize, rounds: u64) -> u64 {
    let function = counted(world.function(Name::Webhook, variant, 1));
    for _ in 0..rounds {
        post(&function, world.payload(Name::Webhook, events)).await;
    }
    instructions(&function).await
}
