//! Webhook and redrive: where each event is in the end, whatever fails on the way.

use std::time::Duration;

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use serde_json::{Value, json};
use support::events::Events;
use support::model::engine::{FIREWALLED, Fault, REFUSED, REFUSED_ODDLY, REFUSED_TWICE, Refusal};
use support::model::runtime::{Runtime, pass};
use tokio::time::Instant;

use crate::cases::{Broken, Steps, check, steps};
use crate::world::{Fate, World, events, log_id};

/// What the engine makes of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Good,
    Refused,
    RefusedTwice,
    Odd,
    /// Not even JSON.
    Torn,
}

impl Kind {
    /// The event's text.
    fn text(self, source: &mut Events) -> String {
        let mut event = source.take(1).remove(0);
        let mut mark = |mark: &str| event["data"]["description"] = json!(mark);
        match self {
            Self::Good | Self::Torn => {}
            Self::Refused => mark(REFUSED),
            Self::RefusedTwice => mark(REFUSED_TWICE),
            Self::Odd => mark(REFUSED_ODDLY),
        }
        // The log id comes first, so that it outlasts whatever cuts a broken event.
        let text = format!(r#"{{"log_id":{},"data":{}}}"#, event["log_id"], event["data"]);
        if self == Self::Torn { text[..text.len() - 2].to_owned() } else { text }
    }

    /// Where it is in the end.
    const fn fate(self) -> Fate {
        match self {
            Self::Good => Fate::STORED,
            Self::Refused | Self::Odd | Self::Torn => Fate::ERROR_DOCUMENT,
            Self::RefusedTwice => Fate::DEAD_LETTER,
        }
    }
}

/// What happens next.
#[derive(Clone, Debug)]
enum Step {
    /// A batch is posted, while the engine's next requests have these faults.
    Post(Vec<Kind>, Vec<Option<Fault>>),
    /// The same once more, of a batch that was posted before; they are counted round and round.
    Again(usize, Vec<Option<Fault>>),
    /// One batch of the retry queue is delivered.
    Redrive(Vec<Option<Fault>>),
    /// The functions are replaced by new environments.
    Restart,
    /// The requests on hold are executed.
    Release,
    /// This many seconds pass.
    Pass(u64),
    /// SQS is down for one post of one event.
    NoQueue,
}

/// Faults that end by themselves.
fn passing() -> impl Strategy<Value = Fault> {
    let refusal = prop_oneof![Just(Refusal::Busy), Just(Refusal::Unavailable)];
    prop_oneof![
        Just(Fault::Engine(429, "rejected_execution_exception")),
        Just(Fault::Engine(503, "cluster_manager_not_discovered_exception")),
        Just(Fault::Html(502)),
        Just(Fault::Html(200)),
        (refusal, any::<u64>()).prop_map(|(refusal, mask)| Fault::Some(refusal, mask)),
        Just(Fault::CloseBefore),
        Just(Fault::CloseAfter),
        Just(Fault::CutAnswer),
        (1..20_u64).prop_map(|seconds| Fault::Slow(Duration::from_secs(seconds))),
        Just(Fault::Hold),
    ]
}

/// Faults that only the operator can end, and that say nothing about any event.
fn of_the_operator() -> impl Strategy<Value = Fault> {
    let refusal = prop_oneof![
        Just(Refusal::ShardLimit),
        Just(Refusal::Block),
        Just(Refusal::NoIndex),
        Just(Refusal::NoPipeline),
    ];
    prop_oneof![
        prop_oneof![
            Just(301_u16),
            Just(400),
            Just(403),
            Just(404),
            Just(408),
            Just(413),
            Just(421),
            Just(500)
        ]
        .prop_map(Fault::Html),
        Just(Fault::Engine(403, "security_exception")),
        Just(Fault::Engine(404, "index_not_found_exception")),
        refusal.prop_map(Fault::All),
    ]
}

fn kinds() -> impl Strategy<Value = Vec<Kind>> {
    let kind = prop_oneof![
        6 => Just(Kind::Good),
        1 => Just(Kind::Refused),
        1 => Just(Kind::RefusedTwice),
        1 => Just(Kind::Torn),
    ];
    // A good event leads: a body in which nothing is JSON is answered with 400.
    vec(kind, 0..6).prop_map(|mut kinds| {
        kinds.insert(0, Kind::Good);
        kinds
    })
}

fn step(
    kinds: impl Strategy<Value = Vec<Kind>> + 'static,
    fault: impl Strategy<Value = Fault> + 'static,
) -> impl Strategy<Value = Step> {
    let faults = vec(option::of(fault), 0..6).boxed();
    prop_oneof![
        6 => (kinds, faults.clone()).prop_map(|(kinds, faults)| Step::Post(kinds, faults)),
        2 => (0..4_usize, faults.clone())
            .prop_map(|(which, faults)| Step::Again(which, faults)),
        3 => faults.prop_map(Step::Redrive),
        1 => Just(Step::Restart),
        1 => Just(Step::Release),
        1 => (1..600_u64).prop_map(Step::Pass),
        1 => Just(Step::NoQueue),
    ]
}

/// A batch, and whether Auth0 heard that it is safe.
struct Sent {
    body: String,
    is_acknowledged: bool,
}

/// What was sent so far.
struct Scenario {
    world: World,
    source: Events,
    sent: Vec<Sent>,
    expected: Vec<(String, Kind)>,
}

impl Scenario {
    async fn new(runtime: &Runtime) -> Self {
        let world = World::new(runtime).await;
        Self { world, source: events(), sent: Vec::new(), expected: Vec::new() }
    }

    /// Adds a batch of these events; returns its number.
    fn add(&mut self, kinds: &[Kind]) -> usize {
        let texts: Vec<String> = kinds.iter().map(|kind| kind.text(&mut self.source)).collect();
        for (kind, text) in kinds.iter().zip(&texts) {
            self.expected.push((log_id(text.as_bytes()), *kind));
        }
        self.sent.push(Sent { body: texts.join("\n") + "\n", is_acknowledged: false });
        self.sent.len() - 1
    }

    /// Posts a batch once. A 200 means that each of its events is safe, and counted.
    async fn post(&mut self, number: usize) -> Result<(), Broken> {
        let sent = &mut self.sent[number];
        let (status, counts) = self.world.post(&sent.body).await;
        if status == 503 {
            return Ok(());
        }
        if status != 200 {
            return Err(format!("a good batch was answered with {status}: {counts}"));
        }
        sent.is_acknowledged = true;
        let events = sent.body.lines().count();
        let count = |name: &str| counts[name].as_u64().unwrap_or_default();
        let parts = ["stored", "duplicates", "rejected", "dead_lettered", "parked"].map(count);
        if count("received") != events as u64 || parts.iter().sum::<u64>() != events as u64 {
            return Err(format!("{events} events are counted as {counts}"));
        }
        let fates = self.world.fates();
        let is_safe =
            |line: &&str| fates.get(&log_id(line.as_bytes())).is_some_and(|fate| fate.is_durable());
        match sent.body.lines().find(|line| !is_safe(line)) {
            Some(lost) => Err(format!("acknowledged, and nowhere: {lost}")),
            None => Ok(()),
        }
    }

    async fn take(&mut self, step: Step) -> Result<(), Broken> {
        match step {
            Step::Post(kinds, faults) => {
                self.world.engine.fail_next(faults);
                let number = self.add(&kinds);
                self.post(number).await?;
            }
            Step::Again(which, faults) if !self.sent.is_empty() => {
                self.world.engine.fail_next(faults);
                self.post(which % self.sent.len()).await?;
            }
            Step::Again(..) => {}
            Step::Redrive(faults) => {
                self.world.engine.fail_next(faults);
                self.world.redrive_once().await;
            }
            Step::Restart => self.world.restart(),
            Step::Release => self.world.engine.release(),
            Step::Pass(seconds) => pass(Duration::from_secs(seconds)).await,
            Step::NoQueue => {
                self.world.aws.set_queues_down(true);
                let number = self.add(&[Kind::Good]);
                self.post(number).await?;
                self.world.aws.set_queues_down(false);
            }
        }
        Ok(())
    }

    /// Ends all faults, lets Auth0 repeat what it was refused, and lets redrive do its work.
    async fn settle(&mut self) -> Result<(), Broken> {
        self.world.heal().await;
        for number in 0..self.sent.len() {
            if !self.sent[number].is_acknowledged {
                self.post(number).await?;
            }
            if !self.sent[number].is_acknowledged {
                return Err("refused although nothing fails".to_owned());
            }
        }
        self.world.drain().await
    }

    /// Each event is in the one place where it belongs.
    fn assert_each_in_its_place(&self) -> Result<(), Broken> {
        let fates = self.world.fates();
        for (id, kind) in &self.expected {
            let mut fate = fates.get(id).copied().unwrap_or_default();
            // A dead letter is for people. Auth0's repeat of a batch may bring a second one.
            fate.dead_letters = fate.dead_letters.min(1);
            if fate != kind.fate() {
                return Err(format!("{kind:?} {id} is at {fate:?}, not {:?}", kind.fate()));
            }
        }
        self.world.assert_served();
        match fates.len() == self.expected.len() {
            true => Ok(()),
            false => Err(format!("{} events were sent, {fates:?}", self.expected.len())),
        }
    }

    /// No event was set aside.
    fn assert_none_set_aside(&self) -> Result<(), Broken> {
        let fates = self.world.fates();
        match fates.iter().find(|(_, fate)| fate.error_documents + fate.dead_letters > 0) {
            Some((id, fate)) => Err(format!("the operator's fault was {id}'s: {fate:?}")),
            None => Ok(()),
        }
    }
}

async fn run(runtime: &Runtime, Steps(steps): Steps<Step>) -> Result<(), Broken> {
    let mut scenario = Scenario::new(runtime).await;
    for step in steps {
        scenario.take(step).await?;
    }
    scenario.settle().await?;
    scenario.assert_each_in_its_place()
}

#[test]
fn event_ends_in_exactly_one_place_whatever_fails() {
    check(200, steps(step(kinds(), passing()), 1..8), run);
}

#[test]
fn operator_fault_sets_no_event_aside() {
    let kinds = vec(Just(Kind::Good), 1..6);
    let fault = prop_oneof![3 => of_the_operator(), 1 => passing()];
    check(200, steps(step(kinds, fault), 1..8), async |runtime, Steps(steps)| {
        let mut scenario = Scenario::new(runtime).await;
        for step in steps {
            scenario.take(step).await?;
            scenario.assert_none_set_aside()?;
        }
        scenario.settle().await?;
        scenario.assert_each_in_its_place()
    });
}

#[test]
fn lasting_operator_fault_parks_every_event_and_sets_none_aside() {
    let batches = vec(1..6_usize, 1..4);
    check(100, (of_the_operator(), batches), async |runtime, (fault, batches)| {
        let mut scenario = Scenario::new(runtime).await;
        scenario.world.engine.fail(fault);
        for count in batches {
            let number = scenario.add(&vec![Kind::Good; count]);
            scenario.post(number).await?;
            scenario.world.redrive_once().await;
            // Half an hour at most: an event alone may be set aside after an hour.
            pass(Duration::from_secs(600)).await;
            scenario.assert_none_set_aside()?;
        }
        if scenario.world.fates().values().any(|fate| fate.stored > 0) {
            return Err("stored by an engine that refuses all".to_owned());
        }
        scenario.settle().await?;
        scenario.assert_each_in_its_place()
    });
}

#[test]
fn oddly_refused_event_is_set_aside_and_its_neighbors_are_stored() {
    let kind = prop_oneof![2 => Just(Kind::Good), 1 => Just(Kind::Odd)];
    check(60, vec(vec(kind, 1..6), 1..4), async |runtime, batches| {
        let posts = batches.into_iter().map(|kinds| Step::Post(kinds, Vec::new()));
        run(runtime, Steps(posts.collect())).await
    });
}

#[test]
fn firewalled_event_is_set_aside_and_its_neighbors_are_stored() {
    let batch = vec(prop::bool::weighted(0.3), 1..8);
    check(60, vec(batch, 1..3), async |runtime, batches| {
        let world = World::new(runtime).await;
        world.engine.put_behind_firewall();
        let mut source = events();
        let mut expected = Vec::new();
        for batch in batches {
            let mut lines = String::new();
            for is_firewalled in batch {
                let mut event = source.take(1).remove(0);
                if is_firewalled {
                    event["data"]["user_agent"] = json!(format!("{FIREWALLED}://x}}"));
                }
                let line = format!(r#"{{"log_id":{},"data":{}}}"#, event["log_id"], event["data"]);
                expected.push((log_id(line.as_bytes()), is_firewalled));
                lines += &format!("{line}\n");
            }
            let (status, counts) = world.post(&lines).await;
            if status != 200 {
                return Err(format!("{status}: {counts}"));
            }
        }
        world.drain().await?;
        let fates = world.fates();
        for (id, is_firewalled) in expected {
            let fate = fates.get(&id).copied().unwrap_or_default();
            let is_right = match is_firewalled {
                true => fate.stored == 0 && fate.error_documents + fate.dead_letters == 1,
                false => fate == Fate::STORED,
            };
            if !is_right {
                return Err(format!("firewalled: {is_firewalled}, {fate:?}"));
            }
        }
        Ok(())
    });
}

#[test]
fn too_large_request_is_halved_and_no_event_set_aside() {
    check(60, (vec(1..12_usize, 1..4), 4_000..20_000_usize), async |runtime, (batches, limit)| {
        let mut scenario = Scenario::new(runtime).await;
        scenario.world.engine.limit_bodies(limit);
        for count in batches {
            let number = scenario.add(&vec![Kind::Good; count]);
            scenario.post(number).await?;
        }
        scenario.settle().await?;
        scenario.assert_each_in_its_place()
    });
}

#[test]
fn outage_is_remembered_until_the_first_success() {
    let outage = prop_oneof![
        Just(Fault::CloseBefore),
        Just(Fault::Hold),
        Just(Fault::Engine(503, "unavailable")),
        Just(Fault::All(Refusal::Busy)),
    ];
    check(20, (outage, 2..5_usize), async |runtime, (outage, posts)| {
        let mut scenario = Scenario::new(runtime).await;
        scenario.world.engine.fail(outage);
        for n in 0..posts {
            let begun = Instant::now();
            let number = scenario.add(&[Kind::Good, Kind::Good]);
            scenario.post(number).await?;
            let took = begun.elapsed();
            if n > 0 && took > Duration::from_millis(500) {
                return Err(format!("post {n} of an outage took {took:?}"));
            }
        }
        scenario.world.engine.heal();
        scenario.world.engine.release();
        // By then, one batch may try.
        pass(Duration::from_secs(31)).await;
        for _ in 0..2 {
            let number = scenario.add(&[Kind::Good]);
            scenario.post(number).await?;
            let (id, _) = scenario.expected.last().expect("just added");
            if scenario.world.fates()[id] != Fate::STORED {
                return Err("parked although the outage is over".to_owned());
            }
        }
        scenario.settle().await?;
        scenario.assert_each_in_its_place()
    });
}

/// Keeps the shape of the answer in one place: other tests read it by name.
#[test]
fn answer_counts_every_event() {
    check(1, Just(()), async |runtime, ()| {
        let mut scenario = Scenario::new(runtime).await;
        let number = scenario.add(&[Kind::Good, Kind::Refused, Kind::RefusedTwice, Kind::Torn]);
        let (status, counts): (u16, Value) = scenario.world.post(&scenario.sent[number].body).await;
        let expected = json!({
            "received": 4, "filtered": 0, "stored": 1, "duplicates": 0, "rejected": 2,
            "dead_lettered": 1, "parked": 0,
        });
        match (status, counts == expected) {
            (200, true) => Ok(()),
            _ => Err(format!("{status}: {counts}")),
        }
    });
}
