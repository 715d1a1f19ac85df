//! The webhook's instructions for an event, HTTP in and out included.

use serde_json::json;

use crate::Records;
use crate::process::{counted, instructions};
use crate::world::{EVENT, Name, TIMEOUT, Variant, World};

/// Invocations between the two counts whose difference is taken, so that the start, the first sight
/// of each user agent and the first use of each connection drop out.
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
        let payload = world.payload(Name::Webhook, events);
        let answer = function.invoke_bytes(payload, TIMEOUT).await.expect("an answer");
        assert_eq!(answer["statusCode"], 200, "{answer}");
    }
    instructions(&function).await
}
