//! Load the checkpoint → read a page → ship it → save the checkpoint, until there is no page or
//! little time is left. This order is the promise: the checkpoint never passes an event that is not
//! stored, so a crash repeats a page and never skips one.
//!
//! While a page is shipped, the next one is read. That breaks nothing: its place was known from the
//! page itself, and it is shipped only after the checkpoint has been saved.

use std::time::Duration;

use auth0_ecs::Input;
use chrono::{DateTime, Utc};
use lambda_runtime::LambdaEvent;
use serde_json::Value;
use shared::clock;
use shared::delivery::report::Report;
use shared::delivery::ship::Shipper;
use shared::delivery::shipment::Shipment;
use shared::error::chain;
use shared::metrics::{Function, Metrics};
use shared::retry::{Backoff, Deadline};
use tokio::time::{Instant, sleep};
use tokio::try_join;

use crate::auth0::{self, Auth0, Auth0Error};
use crate::backfill::{self, Progress, parse_order};
use crate::checkpoint::{Checkpoints, Saved};
use crate::log_id::{log_id_at, oldest};
use crate::outcome::{Answer, Halt, PollError, Stopped};
use crate::pace::{Pace, until_reset};
use crate::page::Page;

/// What is left of the time after everything, for the answer.
const ANSWERING: Duration = Duration::from_millis(200);

/// Everything that outlives an invocation.
#[derive(Debug)]
pub(crate) struct Poller {
    pub(crate) auth0: Auth0,
    pub(crate) checkpoints: Checkpoints,
    pub(crate) shipper: Shipper,
    /// How far back the first run reads.
    pub(crate) initial_interval: Duration,
}

impl Poller {
    /// One invocation: a tick of the schedule, whatever it says, or a backfill order.
    pub(crate) async fn handle(&self, event: LambdaEvent<Value>) -> Result<Answer, PollError> {
        let begun = Instant::now();
        let deadline = Deadline::from_epoch_millis(event.context.deadline, clock::now());
        let mut run = Run::new(self, deadline.minus(ANSWERING));
        let ended = run.go(&event.payload).await;
        let result = run.finish(ended);
        let milliseconds = begun.elapsed().as_millis();
        match &result {
            Ok(answer) => tracing::info!(
                stopped = ?answer.stopped,
                pages = answer.pages,
                received = answer.received,
                stored = answer.stored,
                duplicates = answer.duplicates,
                rejected = answer.rejected,
                dead_lettered = answer.dead_lettered,
                milliseconds,
                "polled"
            ),
            Err(error) => {
                tracing::error!(
                    error_type = error.error_type(),
                    error = %chain(&error),
                    milliseconds,
                    "poll failed"
                );
            }
        }
        result
    }
}

/// One invocation under way.
struct Run<'a> {
    poller: &'a Poller,
    deadline: Deadline,
    pace: Pace,
    metrics: Metrics,
    place: Place,
}

/// What moves on when a page is stored.
enum Place {
    /// The checkpoint, as it is in the table.
    Live(Option<String>),
    Backfill {
        window_end: DateTime<Utc>,
        progress: Progress,
    },
}

/// A page that was read.
struct Read {
    answer: auth0::Answer,
    took: Duration,
}

/// A page that was shipped.
struct Written {
    report: Report,
    took: Duration,
}

/// A page that was shipped in part, or whose checkpoint was not saved.
struct Unwritten {
    report: Report,
    halt: Halt,
}

impl<'a> Run<'a> {
    fn new(poller: &'a Poller, deadline: Deadline) -> Self {
        Self {
            poller,
            deadline,
            pace: Pace::guess(deadline.remaining()),
            metrics: Metrics { poll_pages: Some(0), ..Metrics::default() },
            place: Place::Live(None),
        }
    }

    /// Ends with `Ok` where there is nothing more to read.
    async fn go(&mut self, payload: &Value) -> Result<(), Halt> {
        if let Some(order) = payload.get("backfill") {
            let (from, window_end) = parse_order(order)?;
            let progress = Progress { next_from: from.clone(), done: false };
            self.place = Place::Backfill { window_end, progress };
            let page = self.read(&from, Duration::ZERO).await?;
            return self.follow(from, page).await;
        }
        let checkpoint = self.poller.checkpoints.load(self.deadline).await?;
        self.place = Place::Live(checkpoint.clone());
        let (from, page) = self.first_page(checkpoint).await?;
        self.follow(from, page).await
    }

    /// The page at the checkpoint (at the initial interval where there is none), or, where Auth0
    /// refuses that, at the oldest there is; with its `from`.
    async fn first_page(&mut self, checkpoint: Option<String>) -> Result<(String, Read), Halt> {
        let now = clock::now();
        let is_checkpoint = checkpoint.is_some();
        let start = checkpoint.unwrap_or_else(|| log_id_at(now - self.poller.initial_interval));
        let mut refusal = match self.read(&start, Duration::ZERO).await {
            Err(Halt::Failed(PollError::Auth0(error @ Auth0Error::CheckpointRefused(_)))) => error,
            page => return Ok((start, page?)),
        };
        if is_checkpoint {
            self.metrics.checkpoint_expired = true;
            tracing::error!(
                checkpoint = start,
                error = %chain(&refusal),
                "the checkpoint has expired, events may be lost: going on with the oldest there is"
            );
        }
        for from in oldest(now) {
            match self.read(&from, Duration::ZERO).await {
                Err(Halt::Failed(PollError::Auth0(error @ Auth0Error::CheckpointRefused(_)))) => {
                    refusal = error;
                }
                page => return Ok((from, page?)),
            }
        }
        Err(refusal.into())
    }

    /// Ships this page and all that follow it.
    async fn follow(&mut self, mut from: String, mut read: Read) -> Result<(), Halt> {
        loop {
            let page = self.count_read(read);
            if page.is_empty() || self.is_past_window(&page) {
                return self.arrive(&from).await;
            }
            if self.deadline.remaining() < self.pace.write {
                // The page before took the time that this one was read for.
                return Err(Halt::OutOfTime);
            }
            let next = match page.last_id() {
                Some(next) if next != from => next.to_owned(),
                // There is no way on. What the page holds is shipped all the same: it may be new.
                stuck => {
                    let shipped = self.ship(&page).await;
                    self.count_written(shipped)?;
                    return match stuck {
                        Some(_) => self.arrive(&from).await,
                        None => Err(PollError::NoLogId.into()),
                    };
                }
            };
            let reading = async { Ok(self.read(&next, self.pace.write).await) };
            let following = match try_join!(self.write(&page, &next), reading) {
                Ok((written, following)) => {
                    self.count_written(Ok(written))?;
                    following
                }
                Err(unwritten) => return self.count_written(Err(unwritten)),
            };
            self.advance(next.clone());
            from = next;
            read = match following {
                // A page was stored meanwhile. If Auth0 stays so, the next run achieves nothing, and
                // that is an error.
                Err(Halt::Failed(PollError::Auth0(
                    error @ (Auth0Error::Unavailable(_) | Auth0Error::Malformed(_)),
                ))) => {
                    tracing::warn!(error = %chain(&error), "leaving the rest to the next run");
                    return Err(Halt::OutOfTime);
                }
                following => following?,
            };
        }
    }

    /// The page behind `from`, as soon as Auth0 gives it. `busy` is how long the page before may
    /// still take.
    async fn read(&self, from: &str, busy: Duration) -> Result<Read, Halt> {
        if self.deadline.remaining() < busy + self.pace.read + self.pace.write {
            return Err(Halt::OutOfTime);
        }
        let until = self.deadline.minus(self.pace.write);
        let mut backoff = Backoff::default();
        loop {
            let begun = Instant::now();
            let error = match self.poller.auth0.page(from, until.at_most(self.pace.attempt)).await {
                Ok(answer) => return Ok(Read { answer, took: begun.elapsed() }),
                Err(error) => error,
            };
            let wait = match &error {
                Auth0Error::RateLimited { reset } => until_reset(*reset, clock::now()),
                Auth0Error::Unavailable(_) | Auth0Error::Malformed(_) => Duration::ZERO,
                Auth0Error::Unauthorized(_)
                | Auth0Error::Forbidden(_)
                | Auth0Error::Secret(_)
                | Auth0Error::CheckpointRefused(_) => return Err(error.into()),
            };
            // A wait that leaves no time for the page is not begun.
            if !backoff.pause(until.minus(wait + self.pace.read)).await {
                return Err(match error {
                    Auth0Error::RateLimited { .. } => Halt::RateLimited,
                    error => error.into(),
                });
            }
            tracing::warn!(
                error = %chain(&error),
                milliseconds = wait.as_millis(),
                "Auth0 is asked again"
            );
            sleep(wait).await;
        }
    }

    /// Ships a page, then moves on to `next`.
    async fn write(&self, page: &Page, next: &str) -> Result<Written, Unwritten> {
        let begun = Instant::now();
        let Written { report, .. } = self.ship(page).await?;
        match self.save(next).await {
            Ok(()) => Ok(Written { report, took: begun.elapsed() }),
            Err(halt) => Err(Unwritten { report, halt }),
        }
    }

    /// Makes a page's events durable, all of them or it is an error.
    async fn ship(&self, page: &Page) -> Result<Written, Unwritten> {
        let begun = Instant::now();
        let window_end = match &self.place {
            Place::Live(_) => None,
            Place::Backfill { window_end, .. } => Some(*window_end),
        };
        let shipper = &self.poller.shipper;
        let deadline = self.deadline.minus(self.pace.save);
        let events = page.events(window_end);
        let shipment =
            shipper.ship_pieces(events, Input::ManagementApi, clock::now(), deadline).await;
        let Shipment { report, failure, .. } = shipment;
        match failure {
            None => Ok(Written { report, took: begun.elapsed() }),
            Some(error) => Err(Unwritten { report, halt: PollError::Engine(error).into() }),
        }
    }

    /// Moves the checkpoint; a backfill has none.
    async fn save(&self, next: &str) -> Result<(), Halt> {
        let Place::Live(checkpoint) = &self.place else { return Ok(()) };
        let checkpoints = &self.poller.checkpoints;
        match checkpoints.save(checkpoint.as_deref(), next, clock::now(), self.deadline).await? {
            Saved::Done => Ok(()),
            Saved::Lost(found) => Err(Halt::AnotherPoller(found)),
        }
    }

    /// There is no more. A start that was made up is kept, so that the next run does not make up a
    /// later one.
    async fn arrive(&mut self, from: &str) -> Result<(), Halt> {
        match &self.place {
            Place::Live(Some(checkpoint)) if checkpoint == from => {}
            Place::Live(_) => self.save(from).await?,
            Place::Backfill { .. } => {}
        }
        self.advance(from.to_owned());
        if let Place::Backfill { progress, .. } = &mut self.place {
            progress.done = true;
        }
        Ok(())
    }

    /// A page is done with.
    fn advance(&mut self, from: String) {
        self.metrics.poll_pages = self.metrics.poll_pages.map(|pages| pages + 1);
        match &mut self.place {
            Place::Live(checkpoint) => *checkpoint = Some(from),
            Place::Backfill { progress, .. } => progress.next_from = from,
        }
    }

    fn is_past_window(&self, page: &Page) -> bool {
        match &self.place {
            Place::Live(_) => false,
            Place::Backfill { window_end, .. } => page.is_past(*window_end),
        }
    }

    fn count_read(&mut self, read: Read) -> Page {
        self.metrics.rate_limit_remaining = read.answer.rate_limit_remaining;
        self.pace.read = self.pace.read.max(read.took);
        read.answer.page
    }

    fn count_written(&mut self, written: Result<Written, Unwritten>) -> Result<(), Halt> {
        match written {
            Ok(Written { report, took }) => {
                self.metrics.add(&report);
                self.pace.write = self.pace.write.max(took);
                Ok(())
            }
            Err(Unwritten { report, halt }) => {
                self.metrics.add(&report);
                Err(halt)
            }
        }
    }

    /// Writes the metrics, failed or not, and makes the answer.
    fn finish(mut self, ended: Result<(), Halt>) -> Result<Answer, PollError> {
        let stopped = match ended {
            Ok(()) => Ok(Stopped::CaughtUp),
            Err(Halt::OutOfTime) => Ok(Stopped::OutOfTime),
            Err(Halt::RateLimited) => Ok(Stopped::RateLimited),
            Err(Halt::AnotherPoller(found)) => {
                self.place = Place::Live(found);
                Ok(Stopped::AnotherPoller)
            }
            Err(Halt::Failed(error)) => Err(error),
        };
        let metrics = &mut self.metrics;
        metrics.unauthorized = stopped.as_ref().is_err_and(PollError::is_unauthorized).into();
        match self.place {
            Place::Live(_) => metrics.emit(Function::Poller, clock::now()),
            Place::Backfill { .. } => {
                backfill::metrics(metrics).emit(Function::Poller, clock::now())
            }
        }
        let (checkpoint, backfill) = match self.place {
            Place::Live(checkpoint) => (checkpoint, None),
            Place::Backfill { progress, .. } => (None, Some(progress)),
        };
        Ok(Answer {
            stopped: stopped?,
            pages: metrics.poll_pages.unwrap_or(0),
            received: metrics.received,
            stored: metrics.indexed,
            duplicates: metrics.duplicates,
            rejected: metrics.rejected,
            dead_lettered: metrics.dead_lettered,
            unknown_types: metrics.unknown_types,
            checkpoint,
            backfill,
        })
    }
}
