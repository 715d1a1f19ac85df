//! POSTs through an outage of the engine: how long Auth0 waits, and how long after the outage events are
//! written again without the queue.

use std::time::{Duration, Instant};

use serde_json::json;
use support::proxy::Fault;

use crate::start::milliseconds;
use crate::world::{Name, Variant, World, posted};
use crate::{Records, median};

/// The length of the outage.
const OUTAGE: Duration = Duration::from_secs(60);

/// Time from one POST to the next, unless the response takes longer.
const PAUSE: Duration = Duration::from_secs(1);

/// POSTs before the outage, which open connections and fetch secrets.
const WARM_UP: usize = 5;

/// A remembered outage is to cost no more.
const GOAL: Duration = Duration::from_millis(500);

/// The timeout of the webhook in `template.yaml`.
const TIMEOUT: Duration = Duration::from_secs(25);

/// Events per POST.
const EVENTS: usize = 10;

pub(crate) async fn measure(world: &World, records: &Records) {
    for (what, fault) in [
        ("refuses connections", Fault::Refuse),
        ("does not answer", Fault::Hang),
        ("answers 503", Fault::Status(503)),
    ] {
        let proxy = world.proxy();
        let changes = [("SEARCH_ENDPOINT", proxy.url())];
        let webhook = world.function_with(Name::Webhook, Variant::DEFAULT, 1, &changes);
        // Returns the time that the POST took, and whether its events were parked.
        let post = async || {
            let body = posted(&world.batch(EVENTS));
            let start = Instant::now();
            let answer = webhook.invoke_bytes(body, TIMEOUT).await.expect("a response");
            let took = start.elapsed();
            assert_eq!(answer["statusCode"], 200, "{answer}");
            let counts = answer["body"].as_str().expect("counts");
            tokio::time::sleep(PAUSE.saturating_sub(took)).await;
            (took, !counts.contains("\"parked\":0"))
        };
        for _ in 0..WARM_UP {
            post().await;
        }
        proxy.fail(fault).await;
        let start = Instant::now();
        let mut took = Vec::new();
        while start.elapsed() < OUTAGE {
            took.push(post().await.0);
        }
        proxy.heal().await;
        let healed = Instant::now();
        while post().await.1 {}
        records.add(&json!({
            "kind": "outage",
            "fault": what,
            "posts": took.len(),
            "first_milliseconds": milliseconds(took[0]),
            "median_milliseconds": milliseconds(median(&took)),
            "longest_milliseconds": milliseconds(*took.iter().max().expect("a POST")),
            // Those that make the sender wait.
            "slow": took.iter().filter(|took| **took > GOAL).count(),
            "seconds": took.iter().sum::<Duration>().as_secs_f64(),
            "back_after_seconds": healed.elapsed().as_secs_f64(),
        }));
    }
}
