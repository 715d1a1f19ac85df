//! A single thread on which backoffs, timeouts and delays cost no time.
//!
//! Tokio's own paused clock jumps to the next timer whenever no task is ready, even while a response is
//! under way through a socket: each request would time out. Here, the clock is moved by a task that
//! first gives every other task and every socket of this thread many turns.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use chrono::TimeDelta;
use shared::clock;
use tokio::runtime::Builder;
use tokio::task::yield_now;

/// Turns without a request before the clock moves. A request and its response need about ten: loopback
/// sockets deliver at once.
const QUIET_TURNS: u32 = 64;

/// The first step of the clock: shorter than the functions' shortest pause.
const FIRST_STEP: Duration = Duration::from_millis(10);

/// The longest step. Timers this close to each other may end at the same time.
const LONGEST_STEP: Duration = Duration::from_millis(500);

/// Lets `time` pass: timers end, and the wall clock of the functions shows it.
///
/// # Panics
/// Outside a [`Runtime`], or if it is more than the age of the universe.
pub async fn pass(time: Duration) {
    clock::advance(TimeDelta::from_std(time).expect("a time within a test"));
    tokio::time::advance(time).await;
}

/// Counts what the stand-ins do, so that the clock stands still while they do something.
#[derive(Clone, Debug, Default)]
pub struct Pulse(Arc<AtomicU64>);

impl Pulse {
    /// A request has arrived, or a response leaves.
    pub(super) fn beat(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

/// The thread's runtime.
#[derive(Debug)]
pub struct Runtime {
    tokio: tokio::runtime::Runtime,
    /// For the stand-ins that run on it.
    pub pulse: Pulse,
}

impl Runtime {
    /// A runtime whose clock stands still until [`Self::block_on`].
    ///
    /// # Panics
    /// If the system gives no epoll instance.
    #[must_use]
    pub fn new() -> Self {
        let mut builder = Builder::new_current_thread();
        // Sockets are asked at each turn.
        let tokio = builder.enable_all().start_paused(true).event_interval(1).build().unwrap();
        let pulse = Pulse::default();
        tokio.spawn(move_clock(pulse.clone()));
        Self { tokio, pulse }
    }

    /// Runs `scenario` to its end.
    pub fn block_on<F: Future>(&self, scenario: F) -> F::Output {
        self.tokio.block_on(scenario)
    }
}

impl Default for Runtime {
    fn default() -> Self {
        Self::new()
    }
}

async fn move_clock(pulse: Pulse) {
    let (mut seen, mut quiet, mut step) = (0, 0, FIRST_STEP);
    loop {
        yield_now().await;
        let beats = pulse.0.load(Ordering::Relaxed);
        if beats != seen {
            (seen, quiet, step) = (beats, 0, FIRST_STEP);
            continue;
        }
        quiet += 1;
        if quiet == QUIET_TURNS {
            pass(step).await;
            quiet = 0;
            step = (step * 2).min(LONGEST_STEP);
        }
    }
}

#[cfg(test)]
mod tests {
    use axum::Router;
    use axum::routing::get;
    use tokio::time::{Instant, sleep, timeout};

    use super::*;
    use crate::server::Server;

    #[test]
    fn sleeping_costs_no_time_and_a_request_no_timeout() {
        let begun = std::time::Instant::now();
        Runtime::new().block_on(async {
            let server = Server::start(Router::new().route("/", get(|| async { "hello" }))).await;
            let start = Instant::now();
            for _ in 0..20 {
                sleep(Duration::from_secs(60)).await;
                let text = async { reqwest::get(server.url()).await?.text().await };
                assert_eq!(timeout(Duration::from_secs(1), text).await.unwrap().unwrap(), "hello");
            }
            assert!(start.elapsed() >= Duration::from_secs(20 * 60));
        });
        assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
    }
}
