//! Load the checkpoint → read a page → ship it → save the checkpoint, until there is no page or
//! little time is left. This order is the promise: the checkpoint never passes an event that is not
//! stored, so a crash repeats a page and never skips one.
//!
//! While a page is shipped, the next one is read. That breaks nothing: its place was known from the
//! page itself, and it is shipped only after the checkpoint has been saved.

use std::time::Duration;

use auth0_ecs::metrics::{Function, Metrics};
use auth0_ecs::{Backoff, Deadline, Input, Report, ShipFailure, Shipment, Shipper};
use chrono::{DateTime, TimeDelta, Utc};
use lambda_runtime::{Diagnostic, LambdaEvent};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::time::{Instant, sleep};
use tokio::try_join;

use crate::auth0::{self, Auth0, Auth0Error};
use crate::checkpoint::{CheckpointError, Checkpoints, Saved};
use crate::page::{Page, log_id_at};

/// How long Auth0 keeps logs, in days, by plan. It says nowhere which plan a tenant has.
const RETENTIONS: [i64; 5] = [30, 10, 5, 2, 1];

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

/// Why a run ended that did not fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Stopped {
    /// Auth0 has no more.
    CaughtUp,
    /// Another page might not have been finished; the next run goes on.
    OutOfTime,
    /// Auth0 allows no more calls in the time there is; the next run goes on.
    RateLimited,
    /// Another poller has moved the checkpoint, and goes on from there.
    AnotherPoller,
}

/// What an invocation answers.
#[derive(Debug, Serialize)]
pub(crate) struct Answer {
    stopped: Stopped,
    /// Pages that were finished, the empty one at the end included.
    pages: usize,
    received: usize,
    stored: usize,
    duplicates: usize,
    rejected: usize,
    dead_lettered: usize,
    unknown_types: usize,
    /// Where the checkpoint is now.
    #[serde(skip_serializing_if = "Option::is_none")]
    checkpoint: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    backfill: Option<Progress>,
}

/// How far a backfill has come.
#[derive(Debug, Serialize)]
struct Progress {
    /// The `from` of the order that goes on here.
    next_from: String,
    done: bool,
}

/// A past window to read, without touching the live checkpoint. What is stored already counts as
/// a duplicate.
#[derive(Clone, Debug, Deserialize)]
struct Order {
    /// A time (RFC 3339), or `next_from` of the answer before.
    from: String,
    /// A time; events that happened later are not shipped.
    to: String,
}

/// Why an invocation failed. The checkpoint is where the last stored page left it.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PollError {
    #[error(transparent)]
    Auth0(#[from] Auth0Error),
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    #[error("a page was not stored: {0}")]
    Engine(ShipFailure),
    /// Shipped, but there is no way on: at the next run the same page comes again.
    #[error("no event of a page has a log id to go on from")]
    NoLogId,
    #[error("the backfill order cannot be used: {0}")]
    Order(String),
}

impl PollError {
    /// What alarms and the Lambda console tell errors apart by.
    const fn error_type(&self) -> &'static str {
        match self {
            Self::Auth0(Auth0Error::Unauthorized(_)) => "Auth0Unauthorized",
            Self::Auth0(Auth0Error::Forbidden(_)) => "Auth0Forbidden",
            Self::Auth0(Auth0Error::Secret(_)) => "SecretUnusable",
            Self::Auth0(Auth0Error::RateLimited { .. }) => "Auth0RateLimited",
            Self::Auth0(Auth0Error::CheckpointRefused(_)) => "CheckpointRefused",
            Self::Auth0(Auth0Error::Unavailable(_)) => "Auth0Unavailable",
            Self::Auth0(Auth0Error::Malformed(_)) => "Auth0Malformed",
            Self::Checkpoint(_) => "CheckpointUnusable",
            Self::Engine(ShipFailure::Unauthorized(_)) => "EngineUnauthorized",
            Self::Engine(ShipFailure::Unavailable(_)) => "EngineUnavailable",
            Self::NoLogId => "NoLogId",
            Self::Order(_) => "BackfillOrderUnusable",
        }
    }

    /// Whether a sign-in was refused.
    const fn is_unauthorized(&self) -> bool {
        matches!(
            self,
            Self::Auth0(Auth0Error::Unauthorized(_) | Auth0Error::Forbidden(_))
                | Self::Engine(ShipFailure::Unauthorized(_))
        )
    }
}

impl From<PollError> for Diagnostic {
    fn from(error: PollError) -> Self {
        Self { error_type: error.error_type().to_owned(), error_message: error.to_string() }
    }
}

/// Why a run cannot go on.
enum Halt {
    OutOfTime,
    RateLimited,
    /// With the checkpoint as that one left it.
    AnotherPoller(Option<String>),
    Failed(PollError),
}

impl<E: Into<PollError>> From<E> for Halt {
    fn from(error: E) -> Self {
        Self::Failed(error.into())
    }
}

impl Poller {
    /// One invocation: a tick of the schedule, whatever it says, or a backfill order.
    pub(crate) async fn handle(&self, event: LambdaEvent<Value>) -> Result<Answer, PollError> {
        let begun = Instant::now();
        let deadline = Deadline::from_epoch_millis(event.context.deadline, Utc::now());
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
                tracing::error!(error_type = error.error_type(), %error, milliseconds, "poll failed");
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
        let now = Utc::now();
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
                error = %refusal,
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
                    tracing::warn!(%error, "leaving the rest to the next run");
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
                Auth0Error::RateLimited { reset } => until_reset(*reset, Utc::now()),
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
            tracing::warn!(%error, milliseconds = wait.as_millis(), "Auth0 is asked again");
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
            shipper.ship_pieces(events, Input::ManagementApi, Utc::now(), deadline).await;
        let Shipment { report, unwritten, failure } = shipment;
        if unwritten.is_empty() {
            return Ok(Written { report, took: begun.elapsed() });
        }
        let failure = failure.unwrap_or_else(|| ShipFailure::Unavailable("no reason given".into()));
        Err(Unwritten { report, halt: PollError::Engine(failure).into() })
    }

    /// Moves the checkpoint; a backfill has none.
    async fn save(&self, next: &str) -> Result<(), Halt> {
        let Place::Live(checkpoint) = &self.place else { return Ok(()) };
        let checkpoints = &self.poller.checkpoints;
        match checkpoints.save(checkpoint.as_deref(), next, Utc::now(), self.deadline).await? {
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
        metrics.emit(Function::Poller, Utc::now());
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

/// How long the parts of a page may take: the slowest seen, and at first a share of the whole time.
#[derive(Debug, PartialEq, Eq)]
struct Pace {
    /// A page from Auth0.
    read: Duration,
    /// Shipping and saving.
    write: Duration,
    /// Saving alone.
    save: Duration,
    /// The longest that one answer of Auth0 is waited for.
    attempt: Duration,
}

impl Pace {
    fn guess(total: Duration) -> Self {
        Self {
            read: (total / 8).min(Duration::from_secs(2)),
            write: (total / 4).min(Duration::from_secs(4)),
            save: (total / 8).min(Duration::from_secs(2)),
            attempt: (total / 4).min(Duration::from_secs(10)),
        }
    }
}

/// `reset` is in whole seconds; a little later is safer.
fn until_reset(reset: Option<DateTime<Utc>>, now: DateTime<Utc>) -> Duration {
    let wait = reset.and_then(|reset| (reset - now).to_std().ok()).unwrap_or_default();
    wait + Duration::from_millis(fastrand::u64(50..250))
}

/// Where to start when Auth0 refuses a log id: the beginning of time, and, should it refuse that as
/// well, as far back as each plan keeps logs.
fn oldest(now: DateTime<Utc>) -> impl Iterator<Item = String> {
    let kept = RETENTIONS.map(|days| now - TimeDelta::days(days) + TimeDelta::minutes(5));
    [DateTime::UNIX_EPOCH].into_iter().chain(kept).map(log_id_at)
}

/// Where a backfill starts, as a log id, and where its window ends.
fn parse_order(order: &Value) -> Result<(String, DateTime<Utc>), PollError> {
    let Order { from, to } =
        Order::deserialize(order).map_err(|error| PollError::Order(error.to_string()))?;
    let time = |name: &str, text: &str| {
        text.parse::<DateTime<Utc>>().map_err(|error| {
            PollError::Order(format!("{name} is {text:?}, which is no time (RFC 3339): {error}"))
        })
    };
    let to = time("to", &to)?;
    if from.starts_with("900") && from.bytes().all(|b| b.is_ascii_digit()) {
        return Ok((from, to));
    }
    let start = time("from", &from)?;
    if start >= to {
        return Err(PollError::Order("it ends before it begins".to_owned()));
    }
    Ok((log_id_at(start), to))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn time(text: &str) -> DateTime<Utc> {
        text.parse().unwrap()
    }

    #[test]
    fn the_rate_limit_is_waited_for_to_its_end() {
        let now = time("2026-11-22T12:00:00.400Z");
        let wait = until_reset(Some(time("2026-11-22T12:00:03Z")), now);
        assert!((2_650..2_850).contains(&wait.as_millis()), "{wait:?}");
        assert!(until_reset(Some(time("2026-11-22T11:59:00Z")), now).as_millis() < 250);
        assert!(until_reset(None, now).as_millis() < 250);
    }

    #[test]
    fn a_page_fits_into_the_shortest_time() {
        for seconds in [1, 3, 10, 60, 900] {
            let total = Duration::from_secs(seconds);
            let pace = Pace::guess(total);
            assert!(pace.read + pace.write < total / 2);
            assert!(pace.save < pace.write);
        }
    }

    #[test]
    fn the_oldest_is_looked_for_from_the_beginning_on() {
        let starts: Vec<String> = oldest(time("2026-11-22T12:00:00Z")).collect();
        assert_eq!(starts[0], log_id_at(time("1970-01-01T00:00:00Z")));
        assert_eq!(starts[1], log_id_at(time("2026-10-23T12:05:00Z")));
        assert!(starts.is_sorted());
    }

    #[test]
    fn an_order_starts_at_a_time_or_where_the_last_one_ended() {
        let end = time("2026-11-02T00:00:00Z");
        let order = json!({ "from": "2026-11-01T00:00:00Z", "to": "2026-11-02T00:00:00Z" });
        let start = log_id_at(time("2026-11-01T00:00:00Z"));
        assert_eq!(parse_order(&order).unwrap(), (start.clone(), end));
        let order = json!({ "from": start, "to": "2026-11-02T01:00:00+01:00" });
        assert_eq!(parse_order(&order).unwrap(), (start, end));
    }

    #[test]
    fn an_order_that_makes_no_sense_says_why() {
        let wrong = |order: Value| parse_order(&order).unwrap_err().to_string();
        let to = "2026-11-02T00:00:00Z";
        assert!(wrong(json!({ "from": "yesterday", "to": to })).contains("yesterday"));
        assert!(wrong(json!({ "from": to, "to": to })).contains("ends before it begins"));
        assert!(wrong(json!({ "from": to })).contains("missing field `to`"));
        assert!(wrong(json!("all")).contains("expected"));
    }

    #[test]
    fn an_answer_says_why_it_stopped() {
        let answer = Answer {
            stopped: Stopped::CaughtUp,
            pages: 2,
            received: 3,
            stored: 2,
            duplicates: 1,
            rejected: 0,
            dead_lettered: 0,
            unknown_types: 0,
            checkpoint: Some("9001".into()),
            backfill: None,
        };
        assert_eq!(
            serde_json::to_string(&answer).unwrap(),
            r#"{"stopped":"caught_up","pages":2,"received":3,"stored":2,"duplicates":1,"rejected":0,"dead_lettered":0,"unknown_types":0,"checkpoint":"9001"}"#
        );
    }
}
