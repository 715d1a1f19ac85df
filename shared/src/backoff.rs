//! Waiting between two attempts: twice as long each time, with jitter, never past the deadline.

use std::time::Duration;

use crate::Deadline;

/// The pauses of one piece of work that is tried again.
#[derive(Debug)]
pub struct Backoff {
    next: Duration,
}

const FIRST: Duration = Duration::from_millis(100);
const LONGEST: Duration = Duration::from_secs(5);

impl Default for Backoff {
    fn default() -> Self {
        Self { next: FIRST }
    }
}

impl Backoff {
    /// Waits, unless the deadline would be reached meanwhile: then it gives false at once.
    pub async fn pause(&mut self, deadline: Deadline) -> bool {
        // Between half and all of it: senders that failed together do not come back together.
        let pause = self.next.mul_f64(0.5 + fastrand::f64() / 2.0);
        self.next = (self.next * 2).min(LONGEST);
        if pause >= deadline.remaining() {
            return false;
        }
        tokio::time::sleep(pause).await;
        true
    }
}
