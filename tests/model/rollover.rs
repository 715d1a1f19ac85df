//! One copy of an event across backing indices, in whatever order the data stream is rolled over, shrunk
//! and cut off while deliveries are lost, late or repeated.

use std::collections::BTreeSet;
use std::time::Duration;

use chrono::TimeDelta;
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use shared::clock;
use support::events::{Events, json_lines, log_ids};
use support::model::engine::{Fault, Refusal};
use support::model::runtime::{Runtime, pass};

use crate::cases::{Broken, Steps, check, steps};
use crate::world::World;

/// No engine executes a request later than this after its arrival: a frozen node is removed from the
/// cluster within minutes, and its primaries with it.
const LONGEST_HOLD: Duration = Duration::from_secs(300);

#[derive(Clone, Debug)]
enum Step {
    /// Events of these ages, in minutes, are posted.
    Post(Vec<i64>, Vec<Option<Fault>>),
    /// An earlier batch is posted once more; they are counted round and round.
    Again(usize, Vec<Option<Fault>>),
    /// One batch of the retry queue is delivered.
    Redrive(Vec<Option<Fault>>),
    Rollover,
    /// One of the older indices, counted from the oldest.
    Shrink(usize),
    DeleteOldest,
    /// The requests on hold are executed.
    Release,
    /// New environments.
    Restart,
    /// This many seconds pass.
    Pass(u64),
}

fn step() -> impl Strategy<Value = Step> {
    let fault = prop_oneof![
        3 => Just(Fault::Hold),
        2 => Just(Fault::CloseAfter),
        1 => Just(Fault::CutAnswer),
        1 => Just(Fault::CloseBefore),
        1 => Just(Fault::Engine(503, "unavailable")),
        1 => (1..25_u64).prop_map(|seconds| Fault::Slow(Duration::from_secs(seconds))),
        1 => any::<u64>().prop_map(|mask| Fault::Some(Refusal::Busy, mask)),
    ];
    let faults = vec(option::weighted(0.6, fault), 0..5).boxed();
    let ages = prop_oneof![Just(0_i64), Just(3), Just(10), Just(60), Just(3 * 24 * 60)];
    prop_oneof![
        5 => (vec(ages, 1..4), faults.clone()).prop_map(|(ages, faults)| Step::Post(ages, faults)),
        5 => (0..4_usize, faults.clone())
            .prop_map(|(which, faults)| Step::Again(which, faults)),
        2 => faults.prop_map(Step::Redrive),
        4 => Just(Step::Rollover),
        1 => (0..4_usize).prop_map(Step::Shrink),
        1 => Just(Step::DeleteOldest),
        2 => Just(Step::Release),
        1 => Just(Step::Restart),
        1 => (1..1_200_u64).prop_map(Step::Pass),
    ]
}

struct Scenario {
    world: World,
    seed: u64,
    /// Each batch, and whether Auth0 heard that it is safe.
    batches: Vec<(String, bool)>,
    sent: BTreeSet<String>,
    /// What was in an index that was deleted.
    deleted: BTreeSet<String>,
}

impl Scenario {
    async fn new(runtime: &Runtime) -> Self {
        Self {
            world: World::new(runtime).await,
            seed: 0,
            batches: Vec::new(),
            sent: BTreeSet::new(),
            deleted: BTreeSet::new(),
        }
    }

    async fn take(&mut self, step: Step) -> Result<(), Broken> {
        match step {
            Step::Post(ages, faults) => {
                let mut events = Vec::new();
                for age in ages {
                    self.seed += 1;
                    let start = clock::now() - TimeDelta::minutes(age);
                    events.extend(Events::new(self.seed, start).take(1));
                }
                self.sent.extend(log_ids(&events));
                self.batches.push((json_lines(&events), false));
                self.world.engine.fail_next(faults);
                self.post(self.batches.len() - 1).await?;
            }
            Step::Again(which, faults) if !self.batches.is_empty() => {
                self.world.engine.fail_next(faults);
                self.post(which % self.batches.len()).await?;
            }
            Step::Again(..) => {}
            Step::Redrive(faults) => {
                self.world.engine.fail_next(faults);
                self.world.redrive_once().await;
            }
            Step::Rollover => self.world.engine.rollover(),
            Step::Shrink(which) => self.world.engine.shrink(which),
            Step::DeleteOldest => self.deleted.extend(self.world.engine.delete_oldest()),
            Step::Release => self.world.engine.release(),
            Step::Restart => self.world.restart(),
            Step::Pass(seconds) => {
                self.world
                    .engine
                    .release_after(LONGEST_HOLD.saturating_sub(Duration::from_secs(seconds)));
                pass(Duration::from_secs(seconds)).await;
            }
        }
        self.world.engine.release_after(LONGEST_HOLD);
        Ok(())
    }

    async fn post(&mut self, number: usize) -> Result<(), Broken> {
        let (body, is_acknowledged) = &mut self.batches[number];
        match self.world.post(body).await {
            (200, _) => *is_acknowledged = true,
            (503, _) => {}
            (status, counts) => return Err(format!("{status}: {counts}")),
        }
        Ok(())
    }

    async fn settle(&mut self) -> Result<(), Broken> {
        self.world.heal().await;
        for number in 0..self.batches.len() {
            if !self.batches[number].1 {
                self.post(number).await?;
            }
        }
        self.world.drain().await
    }

    fn assert_one_copy_each(&self) -> Result<(), Broken> {
        self.world.assert_served();
        let fates = self.world.fates();
        for id in &self.sent {
            let fate = fates.get(id).copied().unwrap_or_default();
            let may_be_gone = self.deleted.contains(id);
            if fate.stored > 1 || fate.stored == 0 && !may_be_gone {
                let copies = self.world.engine.copies();
                let places: Vec<u64> = copies
                    .iter()
                    .filter(|copy| copy.id == *id)
                    .map(|copy| copy.generation)
                    .collect();
                return Err(format!("{id} is in the indices {places:?}: {fate:?}"));
            }
            if fate.error_documents + fate.dead_letters + fate.parked > 0 {
                return Err(format!("{id}: {fate:?}"));
            }
        }
        Ok(())
    }
}

async fn run(runtime: &Runtime, Steps(steps): Steps<Step>) -> Result<(), Broken> {
    let mut scenario = Scenario::new(runtime).await;
    for step in steps {
        scenario.take(step).await?;
    }
    scenario.settle().await?;
    scenario.assert_one_copy_each()
}

#[test]
fn event_has_one_copy_whatever_happens_to_the_indices() {
    check(250, steps(step(), 2..14), run);
}

/// The window of a rollover between two deliveries, of which the first is still on its way.
#[test]
fn late_copy_in_an_older_index_is_found_and_deleted() {
    // Of the first delivery, only the request that is on hold matters: its retries fail.
    let faults = [vec![Some(Fault::Hold)], vec![Some(Fault::CloseBefore); 40]].concat();
    check(1, Just(faults), async |runtime, faults| {
        let first = Step::Post(vec![3, 10], faults);
        let mut scenario = Scenario::new(runtime).await;
        scenario.take(first).await?;
        scenario.world.engine.heal();
        scenario.take(Step::Rollover).await?;
        scenario.world.redrive_once().await;
        scenario.world.engine.release();
        scenario.settle().await?;
        scenario.assert_one_copy_each()
    });
}
