//! Load the checkpoint → fetch a page → ship it → save the checkpoint, until no page or too little time
//! is left. This order is the guarantee: the checkpoint never passes an event that is not stored, so a
//! crash repeats a page and never skips one.
//!
//! While a page is shipped, the next one is fetched. It is shipped only after the checkpoint is saved.

use std::time::Duration;

use auth0_ecs::Input;
use aws_config::SdkConfig;
use chrono::{DateTime, Utc};
use reqwest::Client;
use serde_json::Value;
use shared::checkpoint::{Checkpoint, Checkpoints, SaveResult};
use shared::clock;
use shared::delivery::incoming::Incoming;
use shared::delivery::report::Report;
use shared::delivery::ship::Shipper;
use shared::delivery::shipment::Shipment;
use shared::error::{BoxError, chain};
use shared::metrics::{Function, Metrics};
use shared::retry::{Backoff, Deadline};
use shared::start::config::PollerConfig;
use shared::start::secrets::Secrets;
use tokio::time::{Instant, sleep};
use tokio::try_join;

use crate::auth0::{Auth0, LogsResponse, RateLimit};
use crate::auth0_error::Auth0Error;
use crate::backfill::{BackfillProgress, parse_order, without_checkpoint_metrics};
use crate::log_id::{is_certainly_kept, log_id_at, oldest_log_ids};
use crate::outcome::{EarlyStop, PollError, PollOutcome, Stopped};
use crate::pace::{Pace, until_reset};
use crate::page::Page;

/// Requests of Auth0's rate limit that a backfill leaves: a tick usually takes one.
const LEFT_TO_TICKS: u64 = 2;

/// Everything that outlives an invocation.
pub struct Poller {
    stack: String,
    auth0: Auth0,
    checkpoints: Checkpoints,
    shipper: Shipper,
    /// How far back the first run starts.
    initial_interval: Duration,
}

impl Poller {
    /// Opens the GeoIP files. Nothing is requested before the first run.
    ///
    /// # Errors
    /// A configured GeoIP file cannot be used.
    pub fn new(config: PollerConfig, http: Client, aws: &SdkConfig) -> Result<Self, BoxError> {
        let tenant = config.auth0_url.host_str().unwrap_or_default().to_owned();
        Ok(Self {
            stack: config.pipeline.stack.clone(),
            auth0: Auth0::new(http, &config.auth0_url, Secrets::new(aws), config.secret_id)?,
            checkpoints: Checkpoints::new(aws, config.checkpoint_table, tenant),
            shipper: Shipper::new(&config.pipeline, aws)?,
            initial_interval: config.initial_interval,
        })
    }
}

/// An invocation in progress.
pub(crate) struct Run<'a> {
    poller: &'a Poller,
    deadline: Deadline,
    pace: Pace,
    metrics: Metrics,
    position: Position,
}

/// What advances when a page is stored.
enum Position {
    /// The checkpoint as saved.
    Live(Option<String>),
    Backfill {
        window_end: DateTime<Utc>,
        progress: BackfillProgress,
    },
}

struct FetchedPage {
    response: LogsResponse,
    took: Duration,
}

struct StoredPage {
    report: Report,
    took: Duration,
}

/// A page that was shipped only in part, or whose checkpoint was not saved.
struct UnfinishedPage {
    report: Report,
    stop: EarlyStop,
}

impl<'a> Run<'a> {
    pub(crate) fn new(poller: &'a Poller, deadline: Deadline) -> Self {
        Self {
            poller,
            deadline,
            pace: Pace::guess(deadline.remaining()),
            metrics: Metrics { poll_pages: Some(0), ..Metrics::default() },
            position: Position::Live(None),
        }
    }

    /// Serves the payload, and writes the metrics even if that fails.
    pub(crate) async fn poll(mut self, payload: &Value) -> Result<PollOutcome, PollError> {
        let end = self.read_to_end(payload).await;
        self.finish(end)
    }

    /// Returns `Ok` once there is nothing more to read.
    async fn read_to_end(&mut self, payload: &Value) -> Result<(), EarlyStop> {
        let (from, page) = if let Some(order) = payload.get("backfill") {
            let (from, window_end) = parse_order(order)?;
            let progress = BackfillProgress { next_from: from.clone(), done: false };
            self.position = Position::Backfill { window_end, progress };
            let page = self.fetch_page(&from, Duration::ZERO).await?;
            (from, page)
        } else {
            let checkpoint = self.poller.checkpoints.load(self.deadline).await?;
            self.position = Position::Live(checkpoint.as_ref().map(|saved| saved.from.clone()));
            self.fetch_first_page(checkpoint).await?
        };
        self.ship_pages(from, page).await
    }

    /// Returns the page at the checkpoint, or at the initial interval without one. If Auth0 rejects an
    /// expired checkpoint, returns the oldest page. The `String` is the page's `from`.
    async fn fetch_first_page(
        &mut self,
        checkpoint: Option<Checkpoint>,
    ) -> Result<(String, FetchedPage), EarlyStop> {
        let now = clock::now();
        let start = match &checkpoint {
            Some(checkpoint) => checkpoint.from.clone(),
            None => log_id_at(now - self.poller.initial_interval),
        };
        let refusal = match self.fetch_or_refusal(&start).await? {
            Ok(page) => return Ok((start, page)),
            Err(refusal) => refusal,
        };
        let Some(checkpoint) = checkpoint else {
            return self.fetch_oldest_page(refusal, now).await;
        };
        if is_certainly_kept(&checkpoint, now) {
            return Err(refusal.into());
        }
        // A passing fault may reject it, too. Asked twice in one run, because another run may be another
        // process, which knows of no first time.
        tracing::warn!(checkpoint = start, error = %chain(&refusal), "checkpoint rejected, trying it again");
        sleep(self.pace.second_look).await;
        let refusal = match self.fetch_or_refusal(&start).await? {
            Ok(page) => return Ok((start, page)),
            Err(refusal) => refusal,
        };
        self.metrics.checkpoint_expired = true;
        tracing::error!(
            checkpoint = start,
            error = %chain(&refusal),
            "checkpoint expired, events may be lost, resuming at the oldest available"
        );
        self.fetch_oldest_page(refusal, now).await
    }

    /// Returns the oldest page that Auth0 still has, or its last refusal.
    async fn fetch_oldest_page(
        &self,
        mut refusal: Auth0Error,
        now: DateTime<Utc>,
    ) -> Result<(String, FetchedPage), EarlyStop> {
        for from in oldest_log_ids(now) {
            match self.fetch_or_refusal(&from).await? {
                Ok(page) => return Ok((from, page)),
                Err(error) => refusal = error,
            }
        }
        Err(refusal.into())
    }

    /// Returns the page after `from`, or Auth0's refusal of this log id.
    async fn fetch_or_refusal(
        &self,
        from: &str,
    ) -> Result<Result<FetchedPage, Auth0Error>, EarlyStop> {
        match self.fetch_page(from, Duration::ZERO).await {
            Err(EarlyStop::Failed(PollError::Auth0(
                refusal @ Auth0Error::CheckpointRefused(_),
            ))) => Ok(Err(refusal)),
            page => Ok(Ok(page?)),
        }
    }

    /// Ships this page and all that follow.
    async fn ship_pages(
        &mut self,
        mut from: String,
        mut fetched: FetchedPage,
    ) -> Result<(), EarlyStop> {
        loop {
            let LogsResponse { page, next, rate_limit } = self.record_fetch(fetched);
            if page.is_empty() || self.window_end().is_some_and(|end| page.is_past(end)) {
                return self.reach_end(&from).await;
            }
            if self.deadline.remaining() < self.pace.store {
                // The previous page took the time that this one was fetched for.
                return Err(EarlyStop::OutOfTime);
            }
            let Some(next) = page.next_from(next.as_deref(), &from, clock::now()) else {
                // Shipped anyway: it may be new.
                let shipped = self.ship_page(&page).await;
                self.record_page(shipped)?;
                return match page.last_id() {
                    Some(_) if page.is_short() => self.reach_end(&from).await,
                    _ => Err(PollError::NoLogId.into()),
                };
            };
            if page.last_id().is_none() {
                tracing::error!(next, "no event of the page has a log id, continuing without");
            }
            if page.is_short() && matches!(self.position, Position::Live(_)) {
                // Auth0 has no more, and the next tick is near. A backfill makes sure.
                let stored = self.store_page(&page, &next).await;
                self.record_page(stored)?;
                self.advance(next);
                return Ok(());
            }
            let fetching = async {
                Ok(match self.leave_requests_to_ticks(rate_limit).await {
                    Ok(()) => self.fetch_page(&next, self.pace.store).await,
                    Err(stop) => Err(stop),
                })
            };
            let following = match try_join!(self.store_page(&page, &next), fetching) {
                Ok((stored, following)) => {
                    self.record_page(Ok(stored))?;
                    following
                }
                Err(unfinished) => return self.record_page(Err(unfinished)),
            };
            self.advance(next.clone());
            from = next;
            fetched = match following {
                // A page was stored meanwhile, so this run was not useless. If Auth0 does not recover,
                // the next run fails.
                Err(EarlyStop::Failed(PollError::Auth0(error))) if error.is_transient() => {
                    let error = chain(&error);
                    tracing::warn!(error, "Auth0 unavailable, the next run resumes here");
                    return Err(EarlyStop::OutOfTime);
                }
                following => following?,
            };
        }
    }

    /// Waits, in a backfill, once Auth0 allows only the few requests that a tick needs.
    async fn leave_requests_to_ticks(&self, limit: RateLimit) -> Result<(), EarlyStop> {
        let is_scarce = limit.remaining.is_some_and(|left| left <= LEFT_TO_TICKS);
        if matches!(self.position, Position::Live(_)) || !is_scarce {
            return Ok(());
        }
        let wait = until_reset(limit.reset, clock::now());
        if self.deadline.remaining() < wait + self.pace.fetch + self.pace.store {
            return Err(EarlyStop::RateLimited);
        }
        sleep(wait).await;
        Ok(())
    }

    /// Returns the page after `from` as soon as Auth0 has it. `busy` is how long the previous page may
    /// still take.
    async fn fetch_page(&self, from: &str, busy: Duration) -> Result<FetchedPage, EarlyStop> {
        if self.deadline.remaining() < busy + self.pace.fetch + self.pace.store {
            return Err(EarlyStop::OutOfTime);
        }
        let until = self.deadline.minus(self.pace.store);
        let mut backoff = Backoff::default();
        loop {
            let started = Instant::now();
            let error = match self.poller.auth0.logs(from, until.at_most(self.pace.attempt)).await {
                Ok(response) => return Ok(FetchedPage { response, took: started.elapsed() }),
                Err(error) => error,
            };
            let wait = match &error {
                Auth0Error::RateLimited { reset } => until_reset(*reset, clock::now()),
                error if error.is_transient() => Duration::ZERO,
                _ => return Err(error.into()),
            };
            // A wait that leaves no time for the page is useless.
            if !backoff.pause(until.minus(wait + self.pace.fetch)).await {
                return Err(match error {
                    Auth0Error::RateLimited { .. } => EarlyStop::RateLimited,
                    error => error.into(),
                });
            }
            let milliseconds = wait.as_millis();
            tracing::warn!(error = %chain(&error), milliseconds, "retrying the request to Auth0");
            sleep(wait).await;
        }
    }

    /// Ships a page, then saves `next` as the checkpoint.
    async fn store_page(&self, page: &Page, next: &str) -> Result<StoredPage, UnfinishedPage> {
        let started = Instant::now();
        let StoredPage { report, .. } = self.ship_page(page).await?;
        match self.save_checkpoint(next).await {
            Ok(()) => Ok(StoredPage { report, took: started.elapsed() }),
            Err(stop) => Err(UnfinishedPage { report, stop }),
        }
    }

    /// Ships all events of a page that are in the window.
    async fn ship_page(&self, page: &Page) -> Result<StoredPage, UnfinishedPage> {
        let started = Instant::now();
        let deadline = self.deadline.minus(self.pace.save);
        let (input, received) = (Input::ManagementApi, clock::now());
        let events = page.events(self.window_end());
        let events = events.map(|raw| Incoming { raw, input, received, source: 0 });
        let shipper = &self.poller.shipper;
        let admitted = shipper.intake.admit(events, deadline).await;
        let admitted = admitted
            .map_err(|error| UnfinishedPage { report: Report::default(), stop: error.into() })?;
        let Shipment { mut report, failure, .. } =
            shipper.ship_events(admitted.events(), deadline).await;
        report.count_filtered(&admitted);
        match failure {
            None => Ok(StoredPage { report, took: started.elapsed() }),
            Some(error) => Err(UnfinishedPage { report, stop: error.into() }),
        }
    }

    /// Saves the checkpoint. A backfill has none.
    async fn save_checkpoint(&self, next: &str) -> Result<(), EarlyStop> {
        let Position::Live(checkpoint) = &self.position else { return Ok(()) };
        let checkpoints = &self.poller.checkpoints;
        match checkpoints.save(checkpoint.as_deref(), next, clock::now(), self.deadline).await? {
            SaveResult::Saved => Ok(()),
            SaveResult::Conflict(found) => Err(EarlyStop::AnotherPoller(found)),
        }
    }

    /// Ends at `from`, after which there are no events. A made-up start is saved too, or else the next
    /// run would make up a later one.
    async fn reach_end(&mut self, from: &str) -> Result<(), EarlyStop> {
        match &self.position {
            Position::Live(Some(checkpoint)) if checkpoint == from => {}
            _ => self.save_checkpoint(from).await?,
        }
        self.advance(from.to_owned());
        if let Position::Backfill { progress, .. } = &mut self.position {
            progress.done = true;
        }
        Ok(())
    }

    /// Counts a finished page and moves on.
    fn advance(&mut self, from: String) {
        self.metrics.poll_pages = self.metrics.poll_pages.map(|pages| pages + 1);
        match &mut self.position {
            Position::Live(checkpoint) => *checkpoint = Some(from),
            Position::Backfill { progress, .. } => progress.next_from = from,
        }
    }

    fn window_end(&self) -> Option<DateTime<Utc>> {
        match &self.position {
            Position::Live(_) => None,
            Position::Backfill { window_end, .. } => Some(*window_end),
        }
    }

    fn record_fetch(&mut self, FetchedPage { response, took }: FetchedPage) -> LogsResponse {
        self.metrics.rate_limit_remaining = response.rate_limit.remaining;
        self.pace.fetch = self.pace.fetch.max(took);
        response
    }

    fn record_page(&mut self, page: Result<StoredPage, UnfinishedPage>) -> Result<(), EarlyStop> {
        match page {
            Ok(StoredPage { report, took }) => {
                self.metrics.report.add(&report);
                self.pace.store = self.pace.store.max(took);
                Ok(())
            }
            Err(UnfinishedPage { report, stop }) => {
                self.metrics.report.add(&report);
                Err(stop)
            }
        }
    }

    fn finish(mut self, mut end: Result<(), EarlyStop>) -> Result<PollOutcome, PollError> {
        if let Err(EarlyStop::AnotherPoller(checkpoint)) = &mut end {
            self.position = Position::Live(checkpoint.take());
        }
        let stopped = Stopped::from_end(end);
        let metrics = &mut self.metrics;
        metrics.unauthorized = stopped.as_ref().is_err_and(PollError::is_unauthorized).into();
        let pages = metrics.poll_pages.unwrap_or(0);
        let (checkpoint, backfill) = match self.position {
            Position::Live(checkpoint) => (checkpoint, None),
            Position::Backfill { progress, .. } => {
                *metrics = without_checkpoint_metrics(metrics);
                (None, Some(progress))
            }
        };
        metrics.emit(&self.poller.stack, Function::Poller, clock::now());
        Ok(PollOutcome {
            stopped: stopped?,
            pages,
            unknown_types: metrics.report.unknown_types,
            report: self.metrics.report,
            checkpoint,
            backfill,
        })
    }
}
