//! One run of all rules: find, write the alert, publish it, move the rule's place. This order, and the
//! list of pending alerts in the checkpoint, are the guarantee: nothing found is lost, and only a crash
//! between publishing and saving makes an alert be published twice.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::{Value, json};
use shared::checkpoint::{CheckpointError, Checkpoints, SaveResult};
use shared::engine::client::EngineError;
use shared::engine::connection::ConnectionError;
use shared::error::chain;
use shared::retry::Deadline;
use tokio::time::Instant;

use crate::alert::{Alert, Finding};
use crate::detector::Detector;
use crate::place::{Place, State};
use crate::publish::PublishError;
use crate::reader::{ReadError, Reader};
use crate::rules::{Check, Correlation, Layout, Measure, Rule};
use crate::search::{self, Bucket, Group, Range, Said, group_name};
use crate::window::{Bursts, Hit};

/// Time reserved for the last save.
const SAVE_TIME: Duration = Duration::from_secs(3);

/// Time reserved for the last search of a rule that stops, and for its alerts.
const FINISH_TIME: Duration = Duration::from_secs(2);

/// Pages of events that are read of one group. More are said to be left out.
const MOST_PAGES: usize = 10;

/// A search for candidates ends at a window's border once it has so many, and goes on from there. That bounds
/// the memory, and what a run repeats that did not get further.
const MOST_CANDIDATES: usize = 500;

/// Alerts that are written at once.
const BATCH: usize = 100;

/// Groups by name, with the times to look at.
type Candidates = BTreeMap<String, (Group, Vec<Range>)>;

/// Why a run ends before all rules have run.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RunError {
    #[error(transparent)]
    Connection(#[from] ConnectionError),
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// Starting over would look at a day again, and hide that somebody damaged it.
    #[error("the checkpoint is not in our format")]
    Damaged(#[source] serde_json::Error),
    #[error("another run has moved the checkpoint")]
    AnotherRun,
    #[error(transparent)]
    Engine(ReadError),
}

/// Why a rule did not come to its end.
#[derive(Debug, thiserror::Error)]
enum RuleError {
    #[error(transparent)]
    Run(#[from] RunError),
    #[error(transparent)]
    Read(ReadError),
    #[error(transparent)]
    Publish(#[from] PublishError),
    #[error("it was not compiled for {0:?}")]
    Layout(Layout),
}

impl From<ReadError> for RuleError {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Engine(EngineError::Unauthorized { .. }) => {
                Self::Run(RunError::Engine(error))
            }
            error => Self::Read(error),
        }
    }
}

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stopped {
    /// All rules have run, or failed for themselves.
    Finished,
    /// The next run goes on.
    OutOfTime,
    /// Another run is at work, or was until it crashed a moment ago.
    AnotherRun,
}

impl Stopped {
    /// Returns the name in responses and records.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Finished => "finished",
            Self::OutOfTime => "out_of_time",
            Self::AnotherRun => "another_run",
        }
    }
}

/// The counts of a run.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    /// Rules that have looked at everything up to now.
    pub(crate) rules: usize,
    /// Rules, or parts of the settings, that failed for themselves.
    pub(crate) failed: usize,
    /// New alerts.
    pub(crate) alerts: usize,
    pub(crate) published: usize,
    /// Groups that have more events than are read.
    pub(crate) truncated: usize,
    /// How far the rule that is furthest behind is behind, in seconds. `None` if that is unknown.
    pub(crate) lag: Option<i64>,
}

/// A run in progress.
pub(crate) struct Run<'a> {
    detector: &'a Detector,
    now: DateTime<Utc>,
    deadline: Deadline,
    /// By when the rule at work lets others work.
    share: Deadline,
    state: State,
    /// The state as it was saved last.
    saved: Option<String>,
    pub(crate) counts: Counts,
}

impl<'a> Run<'a> {
    pub(crate) fn new(detector: &'a Detector, deadline: Deadline, now: DateTime<Utc>) -> Self {
        let counts = Counts { failed: detector.problems.len(), ..Counts::default() };
        let (share, state) = (deadline, State::default());
        Self { detector, now, deadline, share, state, saved: None, counts }
    }

    /// Runs all rules. The counts are right even if that fails.
    pub(crate) async fn detect(&mut self) -> Result<Stopped, RunError> {
        let checkpoint = self.detector.checkpoints.load(self.deadline).await?;
        self.saved = checkpoint.map(|checkpoint| checkpoint.from);
        if let Some(saved) = &self.saved {
            self.state = serde_json::from_str(saved).map_err(RunError::Damaged)?;
        }
        if self.state.lease.is_some_and(|until| until > self.now) {
            return Ok(Stopped::AnotherRun);
        }
        let ids: HashSet<&str> = self.detector.rules.iter().map(|rule| rule.id.as_str()).collect();
        self.state.places.retain(|id, _| ids.contains(id.as_str()));
        for id in ids {
            self.state.places.entry(id.to_owned()).or_insert_with(|| Place::new(self.now));
        }
        let lease = TimeDelta::from_std(self.deadline.remaining()).unwrap_or_default();
        self.state.lease = Some(self.now + lease);
        self.save().await?;
        let end = self.run_rules().await;
        let places = self.state.places.values();
        self.counts.lag = places.map(|place| (self.now - place.until).num_seconds()).max();
        if matches!(end, Err(RunError::AnotherRun)) {
            return end;
        }
        self.state.lease = None;
        self.save().await?;
        end
    }

    async fn run_rules(&mut self) -> Result<Stopped, RunError> {
        let detector = self.detector;
        let engine = detector.connection.engine(self.deadline).await?;
        let reader = Reader::new(engine, &detector.namespace, self.deadline.minus(SAVE_TIME));
        let layout = match reader.layout().await {
            Err(ReadError::Engine(error @ EngineError::Unauthorized { .. })) => {
                detector.connection.reload_credentials().await;
                return Err(RunError::Engine(error.into()));
            }
            layout => layout.map_err(RunError::Engine)?,
        };
        let mut waiting: Vec<(&Rule, DateTime<Utc>)> = Vec::new();
        let now = self.now;
        for rule in &detector.rules {
            let begin = self.place(rule).start(now);
            waiting.push((rule, begin));
        }
        let Some(layout) = layout else {
            // No events yet.
            for (rule, _) in &waiting {
                self.reach(rule, now);
            }
            return Ok(Stopped::Finished);
        };
        // In rounds: each rule has its share of the time that is left, and those that need more go on.
        while !waiting.is_empty() {
            // The rule that is furthest behind goes first.
            waiting.sort_by_key(|(rule, _)| self.place(rule).until);
            let mut unfinished = Vec::new();
            for (done, (rule, begin)) in waiting.iter().enumerate() {
                let left = self.time_left().saturating_sub(FINISH_TIME);
                if left.is_zero() {
                    return Ok(Stopped::OutOfTime);
                }
                let rules = u32::try_from(waiting.len() - done).unwrap_or(u32::MAX);
                self.share = Deadline::after(left / rules);
                if let Some(begin) = self.run_alone(&reader, rule, layout, *begin).await? {
                    unfinished.push((*rule, begin));
                }
            }
            waiting = unfinished;
        }
        Ok(Stopped::Finished)
    }

    /// Runs a rule, whose failure concerns no other. Returns where it has to go on, if it has to.
    async fn run_alone(
        &mut self,
        reader: &Reader,
        rule: &Rule,
        layout: Layout,
        begin: DateTime<Utc>,
    ) -> Result<Option<DateTime<Utc>>, RunError> {
        let started = Instant::now();
        let ran = self.run_rule(reader, rule, layout, (begin, self.now)).await;
        let (name, milliseconds) = (&rule.name, started.elapsed().as_millis());
        match ran {
            Ok(until) => {
                self.reach(rule, until);
                let is_done = until >= self.now;
                if !is_done {
                    tracing::info!(rule = name, milliseconds, %until, "a detection goes on later");
                }
                Ok((!is_done).then_some(until))
            }
            Err(RuleError::Run(error)) => Err(error),
            Err(_) if self.time_left().is_zero() => Ok(Some(begin)),
            Err(error) => {
                if let RuleError::Read(ReadError::Engine(_) | ReadError::Busy(_)) = error {
                    // Was this search too much for the engine, or is the engine away?
                    reader.layout().await.map_err(RunError::Engine)?;
                }
                self.counts.failed += 1;
                let cause = chain(&error);
                tracing::error!(rule = name, error = cause, "a detection failed, the others go on");
                Ok(None)
            }
        }
    }

    /// Returns the time up to which the rule has looked at everything: `range.1`, unless time ran out.
    async fn run_rule(
        &mut self,
        reader: &Reader,
        rule: &Rule,
        layout: Layout,
        range: Range,
    ) -> Result<DateTime<Utc>, RuleError> {
        self.publish_pending(reader, rule).await?;
        let queries = rule.queries(layout).ok_or(RuleError::Layout(layout))?;
        match &rule.correlation {
            None => self.each_event(reader, rule, queries, range).await,
            Some(correlation) => {
                let (mut begin, mut longest) = (range.0, range.1 - range.0);
                while begin < range.1 && !self.is_out_of_time() {
                    begin = match &correlation.check {
                        Check::New { fields, seconds } => {
                            let history = TimeDelta::seconds((*seconds).into());
                            let slice = (begin, range.1.min(begin + longest));
                            let until =
                                self.new_values(reader, rule, queries, slice, fields, history);
                            match until.await? {
                                Some(end) => end,
                                None => {
                                    longest = (longest / 2).max(correlation.span());
                                    begin
                                }
                            }
                        }
                        _ => {
                            let slice = (begin, range.1);
                            self.correlate(reader, rule, queries, correlation, slice).await?
                        }
                    };
                }
                Ok(begin)
            }
        }
    }

    /// Each event is a finding.
    async fn each_event(
        &mut self,
        reader: &Reader,
        rule: &Rule,
        queries: &[String],
        range: Range,
    ) -> Result<DateTime<Utc>, RuleError> {
        let query = search::query(queries, &rule.exceptions, range, &[]);
        let mut last = None;
        loop {
            let mut response = reader.search(&search::events(&query, &[], last.as_ref())).await?;
            let (hits, next) = search::hits(&mut response);
            let (Some(first), Some(end)) = (hits.first(), hits.last()) else { return Ok(range.1) };
            let (first, end) = (first.time, end.time);
            let known = reader.known(&rule.id, first).await?;
            let known: HashSet<String> = known.into_iter().map(|(group, _)| group).collect();
            let findings = hits.into_iter().map(|hit| Finding {
                group: vec![("event.id".to_owned(), json!(hit.id))],
                events: vec![hit],
            });
            let new = findings.filter(|finding| !known.contains(&group_name(&finding.group)));
            self.report(reader, rule, new.collect()).await?;
            match next {
                None => return Ok(range.1),
                Some(_) if self.is_out_of_time() => return Ok(end),
                next => last = next,
            }
        }
    }

    /// Returns the time up to which this slice has looked at everything.
    async fn correlate(
        &mut self,
        reader: &Reader,
        rule: &Rule,
        queries: &[String],
        correlation: &Correlation,
        slice: Range,
    ) -> Result<DateTime<Utc>, RuleError> {
        // Where a window that ends in the slice may begin.
        let range = (slice.0 - correlation.span(), slice.1);
        let (mut candidates, mut until) =
            self.candidates(reader, rule, queries, correlation, range, slice.0).await?;
        let query = search::query(queries, &rule.exceptions, range, &[]);
        drop_repeated_values(reader, &query, correlation, &mut candidates).await?;
        if candidates.is_empty() {
            self.place(rule).group = None;
            return Ok(until);
        }
        let known = reader.known(&rule.id, range.0 - correlation.realert()).await?;
        let mut findings = Vec::new();
        // In the order of time, so that a run that stops has looked at everything before a time.
        let parts = candidates
            .iter()
            .flat_map(|(name, (group, ranges))| ranges.iter().map(move |part| (part, name, group)));
        let mut parts: Vec<_> = parts.collect();
        parts.sort_by_key(|(part, name, _)| (part.0, *name));
        let (looked_at, mut next) = (self.place(rule).group.clone(), None);
        let mut all_bursts: HashMap<&str, Bursts<'_>> = HashMap::new();
        for ((from, to), name, group) in parts {
            if looked_at.as_ref().is_some_and(|(time, group)| (from, name) < (time, group)) {
                continue;
            }
            if self.is_out_of_time() {
                until = until.min((*from).max(slice.0));
                next = Some((*from, name.clone()));
                break;
            }
            let bursts = all_bursts.entry(name).or_insert_with(|| {
                let starts = known.iter().filter(|(group, _)| group == name);
                Bursts::new(
                    &correlation.measure,
                    queries.len(),
                    correlation.span(),
                    correlation.realert(),
                    starts.map(|(_, start)| *start).collect(),
                )
            });
            let mut part = ((*from).max(range.0), (*to).min(range.1));
            // After a finding, continue where it no longer covers its group.
            loop {
                part.0 = bursts.covered_until(part.0).unwrap_or(part.0);
                if part.0 >= part.1 {
                    break;
                }
                let query = search::query(queries, &rule.exceptions, part, group);
                let found = self.next_burst(reader, rule, correlation, &query, bursts);
                let Some(events) = found.await? else { break };
                part.0 = events.first().map_or(part.1, |hit| hit.time);
                findings.push(Finding { group: group.clone(), events });
            }
        }
        if let Check::Spike { factor, seconds } = correlation.check {
            let history = TimeDelta::seconds(seconds.into());
            let mut spikes = Vec::new();
            for finding in findings {
                let count = async |range| {
                    let query = search::query(queries, &rule.exceptions, range, &finding.group);
                    let found = reader.search(&search::count(&query)).await?;
                    Ok::<_, ReadError>(search::counted(&found))
                };
                let Some(start) = finding.events.first().map(|hit| hit.time) else { continue };
                let (events, _) = count((start, start + correlation.span())).await?;
                let (before, first) = count((start - history, start)).await?;
                // With less than half of the history, there is no baseline.
                let Some(time) = first.map(|first| start - first) else { continue };
                let windows = time.as_seconds_f64() / correlation.span().as_seconds_f64();
                if time >= history / 2 && events >= factor * before / windows {
                    spikes.push(finding);
                }
            }
            findings = spikes;
        }
        self.report(reader, rule, findings).await?;
        self.place(rule).group = next;
        Ok(until)
    }

    /// Returns the groups that reach the threshold in two adjacent windows together, with the times to look
    /// at, and the time up to which the list is complete. A window that slides is within two that do not.
    async fn candidates(
        &self,
        reader: &Reader,
        rule: &Rule,
        queries: &[String],
        correlation: &Correlation,
        range: Range,
        begin: DateTime<Utc>,
    ) -> Result<(Candidates, DateTime<Utc>), ReadError> {
        let span = correlation.span();
        let is_ordered = matches!(correlation.measure, Measure::Ordered);
        let asked = queries.get(..if is_ordered { 1 } else { queries.len() }).unwrap_or_default();
        let query = search::query(asked, &rule.exceptions, range, &[]);
        let (said, wanted) = search::candidates(correlation);
        let mut candidates = Candidates::new();
        // Of each group, its last window and the count in it.
        let mut last: HashMap<String, (DateTime<Utc>, u64)> = HashMap::new();
        let mut after = None;
        loop {
            let body = search::groups(
                &query,
                &correlation.group_by,
                Some(correlation.seconds),
                said,
                after.as_ref(),
            );
            let (buckets, next) = search::buckets(&mut reader.search(&body).await?, said);
            let mut newest = range.0;
            for Bucket { window, group, count, .. } in buckets {
                let Some(window) = window else { continue };
                let name = group_name(&group);
                let before = last.get(&name).filter(|(last, _)| *last + span == window);
                if count + before.map_or(0, |(_, count)| *count) >= wanted {
                    let from = if is_ordered { window } else { window - span };
                    let (_, ranges) = candidates.entry(name.clone()).or_insert((group, vec![]));
                    match ranges.last_mut().filter(|(_, to)| *to >= from) {
                        Some((_, to)) => *to = from + span * 2,
                        None => ranges.push((from, from + span * 2)),
                    }
                }
                last.insert(name, (window, count));
                newest = window;
            }
            last.retain(|_, (window, _)| *window + span >= newest);
            let is_enough = candidates.len() >= MOST_CANDIDATES || self.is_out_of_time();
            match next {
                None => return Ok((candidates, range.1)),
                // Only where the next slice begins later than this one.
                Some(_) if is_enough && newest > begin => return Ok((candidates, newest)),
                next => after = next,
            }
        }
    }

    /// Returns the events of the first burst.
    async fn next_burst(
        &mut self,
        reader: &Reader,
        rule: &Rule,
        correlation: &Correlation,
        query: &Value,
        bursts: &mut Bursts<'_>,
    ) -> Result<Option<Vec<Hit>>, ReadError> {
        let field = match &correlation.measure {
            Measure::Values { field, .. } => Some(field.as_str()),
            _ => None,
        };
        let mut last = None;
        for _ in 0..MOST_PAGES {
            let body = search::events(query, field.as_slice(), last.as_ref());
            let (hits, next) = search::hits(&mut reader.search(&body).await?);
            for hit in hits {
                if let Some(events) = bursts.add(hit) {
                    return Ok(Some(events));
                }
            }
            match next {
                None => return Ok(None),
                next => last = next,
            }
        }
        self.counts.truncated += 1;
        let (rule, events_read) = (&rule.name, MOST_PAGES * search::PAGE);
        tracing::warn!(rule, events_read, "a group has more events than are read");
        Ok(None)
    }

    /// A group is a finding if its values of `fields` are new: it has no earlier event, but the group without
    /// these fields has one, possibly in the same slice. Returns the same as [`Self::run_rule`], or `None` if
    /// the slice has more groups than fit on a page and can be shortened.
    async fn new_values(
        &mut self,
        reader: &Reader,
        rule: &Rule,
        queries: &[String],
        slice: Range,
        fields: &[String],
        history: TimeDelta,
    ) -> Result<Option<DateTime<Utc>>, RuleError> {
        let Some(correlation) = &rule.correlation else { return Ok(Some(slice.1)) };
        // The rest of the group, such as the user of a user and a country. It is the first source, so groups
        // that have it in common follow each other.
        let rest = |group: &Group| {
            let rest = group.iter().filter(|(field, _)| !fields.contains(field));
            rest.cloned().collect::<Group>()
        };
        let mut sources = correlation.group_by.clone();
        sources.sort_by_key(|field| fields.contains(field));
        let query = search::query(queries, &rule.exceptions, slice, &[]);
        let before = (slice.0 - history, slice.0);
        let (mut held, mut after) = (Vec::new(), None);
        loop {
            if self.is_out_of_time() {
                return Ok(Some(slice.0));
            }
            let body = search::groups(&query, &sources, None, Said::First, after.as_ref());
            let (page, next) = search::buckets(&mut reader.search(&body).await?, Said::First);
            if next.is_some() && after.is_none() && slice.1 - slice.0 > correlation.span() {
                return Ok(None);
            }
            let mut buckets: Vec<Bucket> = held;
            buckets.extend(page);
            // The next page may begin with groups of the last rest.
            let last = next.as_ref().and(buckets.last()).map(|bucket| rest(&bucket.group));
            let complete = buckets.partition_point(|bucket| Some(rest(&bucket.group)) != last);
            held = buckets.split_off(complete);
            // Of these groups' rests only.
            let rests_here: Vec<Group> = buckets.iter().map(|bucket| rest(&bucket.group)).collect();
            let earlier = search::query(queries, &rule.exceptions, before, &[]);
            let earlier = search::of_groups(earlier, &rests_here);
            let (mut seen, mut rests) = (HashSet::new(), HashSet::new());
            let mut page = None;
            while !buckets.is_empty() {
                let body = search::groups(&earlier, &sources, None, Said::Events, page.as_ref());
                let (found, next) = search::buckets(&mut reader.search(&body).await?, Said::Events);
                for Bucket { group, .. } in found {
                    seen.insert(group_name(&group));
                    rests.insert(group_name(&rest(&group)));
                }
                match next {
                    None => break,
                    next => page = next,
                }
            }
            let mut firsts: HashMap<String, DateTime<Utc>> = HashMap::new();
            for Bucket { group, first, .. } in &buckets {
                if let Some(first) = *first {
                    let earliest = firsts.entry(group_name(&rest(group))).or_insert(first);
                    *earliest = first.min(*earliest);
                }
            }
            buckets.retain(|Bucket { group, first, .. }| {
                let rest = group_name(&rest(group));
                let was_there = rests.contains(&rest) || firsts.get(&rest) < first.as_ref();
                was_there && !seen.contains(&group_name(group))
            });
            if !buckets.is_empty() {
                let known = reader.known(&rule.id, before.0).await?;
                let known: HashSet<String> = known.into_iter().map(|(group, _)| group).collect();
                let mut findings = Vec::new();
                for Bucket { group, .. } in buckets {
                    if known.contains(&group_name(&group)) {
                        continue;
                    }
                    let query = search::query(queries, &rule.exceptions, slice, &group);
                    let mut response = reader.search(&search::events(&query, &[], None)).await?;
                    let events = search::hits(&mut response).0.into_iter().take(1).collect();
                    findings.push(Finding { group, events });
                }
                self.report(reader, rule, findings).await?;
            }
            match next {
                None => return Ok(Some(slice.1)),
                next => after = next,
            }
        }
    }

    /// Writes and publishes alerts.
    async fn report(
        &mut self,
        reader: &Reader,
        rule: &Rule,
        findings: Vec<Finding>,
    ) -> Result<(), RuleError> {
        let namespace = &self.detector.namespace;
        let alerts =
            findings.iter().filter_map(|found| Alert::new(rule, found, namespace, self.now));
        let alerts: Vec<Alert> = alerts.collect();
        for alerts in alerts.chunks(BATCH) {
            let left: HashSet<String> = self.place(rule).pending.iter().cloned().collect();
            let new = alerts.iter().map(|alert| alert.id.clone()).filter(|id| !left.contains(id));
            self.place(rule).pending.extend(new);
            self.save().await?;
            for (alert, is_new) in alerts.iter().zip(reader.create(alerts).await?) {
                self.counts.alerts += usize::from(is_new);
                if is_new || left.contains(&alert.id) {
                    self.publish(rule, alert).await?;
                } else {
                    self.place(rule).pending.retain(|id| *id != alert.id);
                }
            }
            self.save().await?;
        }
        Ok(())
    }

    /// Publishes what an earlier run has written, but perhaps not published.
    async fn publish_pending(&mut self, reader: &Reader, rule: &Rule) -> Result<(), RuleError> {
        let pending = self.place(rule).pending.clone();
        if pending.is_empty() {
            return Ok(());
        }
        for alert in reader.alerts(&pending).await? {
            self.publish(rule, &alert).await?;
        }
        Ok(())
    }

    async fn publish(&mut self, rule: &Rule, alert: &Alert) -> Result<(), PublishError> {
        self.detector.topic.publish(alert, self.deadline.minus(SAVE_TIME)).await?;
        self.place(rule).pending.retain(|id| *id != alert.id);
        self.counts.published += 1;
        let (name, group) = (&rule.name, alert.text("event.id"));
        tracing::warn!(rule = name, alert = group, "alert published");
        Ok(())
    }

    fn place(&mut self, rule: &Rule) -> &mut Place {
        let now = self.now;
        self.state.places.entry(rule.id.clone()).or_insert_with(|| Place::new(now))
    }

    /// Notes that a rule has looked at everything before `time`.
    fn reach(&mut self, rule: &Rule, time: DateTime<Utc>) {
        let now = self.now;
        self.place(rule).reach(time, now);
        self.counts.rules += usize::from(time == now);
    }

    fn time_left(&self) -> Duration {
        self.deadline.minus(SAVE_TIME).remaining()
    }

    /// Returns whether the rule's share of the time is over.
    fn is_out_of_time(&self) -> bool {
        self.share.remaining().is_zero()
    }

    /// Saves the state, unless another run has saved its own.
    async fn save(&mut self) -> Result<(), RunError> {
        let state = serde_json::to_string(&self.state).map_err(RunError::Damaged)?;
        let checkpoints: &Checkpoints = &self.detector.checkpoints;
        let previous = self.saved.as_deref();
        match checkpoints.save(previous, &state, self.now, self.deadline).await? {
            SaveResult::Saved => {
                self.saved = Some(state);
                Ok(())
            }
            SaveResult::Conflict(_) => Err(RunError::AnotherRun),
        }
    }
}

/// Drops the candidates that have too few values in all: one that is in two windows was counted in each.
async fn drop_repeated_values(
    reader: &Reader,
    query: &Value,
    correlation: &Correlation,
    candidates: &mut Candidates,
) -> Result<(), ReadError> {
    let (said, wanted) = search::candidates(correlation);
    if !matches!(said, Said::Values(..)) {
        return Ok(());
    }
    let groups: Vec<Group> = candidates.values().map(|(group, _)| group.clone()).collect();
    let mut enough = HashSet::new();
    for groups in groups.chunks(search::MOST_TERMS) {
        let query = search::of_groups(query.clone(), groups);
        let mut after = None;
        loop {
            let body = search::groups(&query, &correlation.group_by, None, said, after.as_ref());
            let (buckets, next) = search::buckets(&mut reader.search(&body).await?, said);
            let reached = buckets.into_iter().filter(|bucket| bucket.count >= wanted);
            enough.extend(reached.map(|bucket| group_name(&bucket.group)));
            match next {
                None => break,
                next => after = next,
            }
        }
    }
    candidates.retain(|name, _| enough.contains(name));
    Ok(())
}
