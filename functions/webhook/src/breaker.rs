//! Outages are remembered: while the engine takes nothing, requests do not wait for it.
//!
//! Waiting for an engine that is down costs each request several seconds, and with them an execution
//! environment. So after a failed batch, the events go to the retry queue at once. Every 30 s one batch is
//! tried as a probe, and the first batch of which the engine takes anything ends the outage.
//!
//! One breaker serves all invocations of a process, concurrent ones included.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// Time between two probes.
const PROBE_INTERVAL: Duration = Duration::from_secs(30);

/// Whether the engine takes events, as far as this process knows.
#[derive(Debug, Default)]
pub(crate) struct Breaker {
    /// The start of the outage and the time of the next probe; `None` while the engine is up.
    outage: Mutex<Option<Outage>>,
}

#[derive(Clone, Copy, Debug)]
struct Outage {
    since: Instant,
    next_probe: Instant,
}

impl Breaker {
    /// Returns whether a batch is to be tried at the engine: each while it is up, and one per interval, the
    /// probe, while it is down. A probe whose invocation dies needs no cleaning up.
    pub(crate) fn lets_through(&self, now: Instant) -> bool {
        match self.outage().as_mut() {
            None => true,
            Some(outage) if now >= outage.next_probe => {
                outage.next_probe = now + PROBE_INTERVAL;
                true
            }
            Some(_) => false,
        }
    }

    /// Notes that the engine took nothing of a batch.
    pub(crate) fn failed(&self, now: Instant) {
        let next_probe = now + PROBE_INTERVAL;
        let mut outage = self.outage();
        match outage.as_mut() {
            // Batches that were under way when the outage was noticed do not put off the next probe.
            Some(outage) => outage.next_probe = outage.next_probe.min(next_probe),
            None => {
                let seconds = PROBE_INTERVAL.as_secs();
                tracing::warn!(seconds, "the engine takes no events, parking them without a try");
                *outage = Some(Outage { since: now, next_probe });
            }
        }
    }

    /// Notes that the engine took something of a batch.
    pub(crate) fn succeeded(&self, now: Instant) {
        if let Some(outage) = self.outage().take() {
            let seconds = (now - outage.since).as_secs();
            tracing::info!(seconds, "the engine takes events again");
        }
    }

    /// Makes the next batch the probe: parking is no better than the engine while the queue fails, too.
    pub(crate) fn probe_next(&self, now: Instant) {
        if let Some(outage) = self.outage().as_mut() {
            outage.next_probe = now;
        }
    }

    fn outage(&self) -> MutexGuard<'_, Option<Outage>> {
        self.outage.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn failure_holds_batches_back_and_one_probe_goes_through_per_interval() {
        let (breaker, start) = (Breaker::default(), Instant::now());
        assert!(breaker.lets_through(start) && breaker.lets_through(start));
        breaker.failed(start);
        assert!(!breaker.lets_through(start + SECOND));
        let probe = start + PROBE_INTERVAL;
        assert!(breaker.lets_through(probe));
        assert!(!breaker.lets_through(probe + SECOND), "one probe, not two");
        breaker.failed(probe + 5 * SECOND);
        assert!(!breaker.lets_through(probe + PROBE_INTERVAL - SECOND));
        assert!(breaker.lets_through(probe + PROBE_INTERVAL));
    }

    #[test]
    fn success_of_any_batch_ends_the_outage() {
        let (breaker, start) = (Breaker::default(), Instant::now());
        breaker.failed(start);
        breaker.succeeded(start + SECOND);
        assert!(breaker.lets_through(start + SECOND));
    }

    #[test]
    fn batch_under_way_does_not_put_off_the_next_probe() {
        let (breaker, start) = (Breaker::default(), Instant::now());
        breaker.failed(start);
        breaker.failed(start + 8 * SECOND);
        assert!(breaker.lets_through(start + PROBE_INTERVAL));
    }

    #[test]
    fn failing_queue_makes_the_next_batch_the_probe() {
        let (breaker, start) = (Breaker::default(), Instant::now());
        breaker.probe_next(start);
        assert!(breaker.lets_through(start) && breaker.lets_through(start));
        breaker.failed(start);
        breaker.probe_next(start + SECOND);
        assert!(breaker.lets_through(start + SECOND));
        assert!(!breaker.lets_through(start + SECOND));
    }
}
