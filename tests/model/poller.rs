//! The poller's checkpoint: it never passes an event that is not safe, and never goes back.

use std::collections::BTreeSet;
use std::time::Duration;

use chrono::TimeDelta;
use lambda_runtime::LambdaEvent;
use poller::handler::handle;
use poller::run::Poller;
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use serde_json::{Value, json};
use shared::start::config::PollerConfig;
use support::events::{Events, log_ids};
use support::model::aws::SaveFault;
use support::model::engine::{Fault as EngineFault, Refusal};
use support::model::runtime::{Runtime, pass};
use support::payload::tick;
use support::tenant::{Fault as TenantFault, Tenant};
use tokio::time::timeout;

use crate::cases::{Broken, Steps, check, steps};
use crate::world::{World, context, events};

/// The poller's timeout in `template.yaml`.
const TIMEOUT: TimeDelta = TimeDelta::seconds(60);

/// The clock's longest step, twice.
const GRACE: Duration = Duration::from_secs(1);

/// Together with all that passes, less than the shortest retention: no checkpoint of these tests is old
/// enough to have expired, so that a refusal of it is a fault.
const INITIAL_INTERVAL: Duration = Duration::from_secs(12 * 3_600);

/// Ticks until everything has to be read.
const MOST_TICKS: usize = 30;

/// What goes wrong during a step.
#[derive(Clone, Debug)]
struct Faults {
    tenant: Vec<TenantFault>,
    engine: Vec<Option<EngineFault>>,
    saves: Vec<Option<SaveFault>>,
}

#[derive(Clone, Debug)]
enum Step {
    /// So many events are logged.
    Log(usize),
    /// One tick.
    Poll(Faults),
    /// A tick while the one before still runs.
    PollTwice(Faults),
    /// This many seconds pass.
    Pass(u64),
}

fn faults() -> impl Strategy<Value = Faults> {
    let tenant = prop_oneof![
        Just(TenantFault::Slow(Duration::ZERO)),
        Just(TenantFault::Unauthorized),
        Just(TenantFault::RateLimited(Duration::from_secs(5))),
        Just(TenantFault::RateLimited(Duration::from_secs(500))),
        Just(TenantFault::Status(500)),
        Just(TenantFault::Status(404)),
        Just(TenantFault::Status(403)),
        Just(TenantFault::Hang),
        Just(TenantFault::Html),
        Just(TenantFault::HalfBody),
        Just(TenantFault::Slow(Duration::from_secs(10))),
        Just(TenantFault::EmptyPage),
        Just(TenantFault::ExpiredCheckpoint),
    ];
    let engine = prop_oneof![
        Just(EngineFault::Engine(503, "unavailable")),
        Just(EngineFault::Html(403)),
        Just(EngineFault::CloseAfter),
        Just(EngineFault::CloseBefore),
        Just(EngineFault::Hold),
        Just(EngineFault::Slow(Duration::from_secs(15))),
        any::<u64>().prop_map(|mask| EngineFault::Some(Refusal::Busy, mask)),
        Just(EngineFault::All(Refusal::ShardLimit)),
    ];
    let save = prop_oneof![
        Just(SaveFault::CrashBefore),
        Just(SaveFault::CrashAfter),
        Just(SaveFault::Unavailable),
        Just(SaveFault::LostAnswer),
    ];
    let faults =
        (vec(tenant, 0..4), vec(option::of(engine), 0..4), vec(option::weighted(0.3, save), 0..4));
    faults.prop_map(|(tenant, engine, saves)| Faults { tenant, engine, saves })
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        // Around Auth0's page of a hundred.
        3 => prop_oneof![1..5_usize, 99..102_usize, 150..260_usize].prop_map(Step::Log),
        5 => faults().prop_map(Step::Poll),
        1 => faults().prop_map(Step::PollTwice),
        1 => (1..1_800_u64).prop_map(Step::Pass),
    ]
}

struct Scenario {
    world: World,
    tenant: Tenant,
    source: Events,
    pollers: [Poller; 2],
    logged: BTreeSet<String>,
}

impl Scenario {
    async fn new(runtime: &Runtime) -> Self {
        let world = World::new(runtime).await;
        let tenant = Tenant::start("client", "secret").await.expect("a free port");
        let pollers = [poller(&world, &tenant), poller(&world, &tenant)];
        Self { world, tenant, source: events(), pollers, logged: BTreeSet::new() }
    }

    async fn take(&mut self, step: Step) -> Result<(), Broken> {
        match step {
            Step::Log(count) => self.log(count),
            Step::Poll(faults) => {
                self.fail(faults);
                self.poll(1).await?;
            }
            Step::PollTwice(faults) => {
                self.fail(faults);
                self.poll(2).await?;
            }
            Step::Pass(seconds) => pass(Duration::from_secs(seconds)).await,
        }
        self.assert_checkpoint_is_safe()
    }

    /// Small events: what they hold does not matter here.
    fn log(&mut self, count: usize) {
        let events: Vec<Value> = self
            .source
            .take(count)
            .into_iter()
            .map(|event| {
                let data = json!({
                    "log_id": event["log_id"],
                    "date": event["data"]["date"],
                    "type": "s",
                });
                json!({ "log_id": event["log_id"], "data": data })
            })
            .collect();
        self.logged.extend(log_ids(&events));
        self.tenant.add(&events);
    }

    fn fail(&self, Faults { tenant, engine, saves }: Faults) {
        self.tenant.heal();
        self.world.engine.heal();
        self.world.aws.heal();
        self.tenant.fail_pages(tenant);
        self.world.engine.fail_next(engine);
        self.world.aws.fail_saves(saves);
    }

    /// Ticks so many pollers at once. A crash is the end of all of them.
    async fn poll(&mut self, count: usize) -> Result<(), Broken> {
        let limit = TIMEOUT.to_std().expect("seconds") + GRACE;
        let tick = async |poller: &Poller| {
            let event = LambdaEvent::new(tick(), context(TIMEOUT));
            timeout(limit, handle(poller, event)).await.is_ok()
        };
        let [one, other] = &self.pollers;
        let both = async {
            match count {
                1 => tick(one).await,
                _ => {
                    let (one, other) = tokio::join!(tick(one), tick(other));
                    one && other
                }
            }
        };
        let is_in_time = tokio::select! {
            is_in_time = both => Some(is_in_time),
            () = self.world.aws.crashed() => None,
        };
        match is_in_time {
            Some(true) => {}
            Some(false) => return Err("a tick was not over at its timeout".to_owned()),
            None => {
                self.pollers = [(); 2].map(|()| poller(&self.world, &self.tenant));
            }
        }
        Ok(())
    }

    fn assert_checkpoint_is_safe(&self) -> Result<(), Broken> {
        let saves = self.world.aws.saves();
        if let Some(pair) = saves.windows(2).find(|pair| pair[0] > pair[1]) {
            return Err(format!("the checkpoint went back from {} to {}", pair[0], pair[1]));
        }
        let Some(last) = saves.last() else { return Ok(()) };
        let fates = self.world.fates();
        let passed = self.logged.iter().take_while(|id| *id <= last);
        match passed.into_iter().find(|id| !fates.contains_key(*id)) {
            Some(lost) => Err(format!("the checkpoint {last} passed {lost}, which is nowhere")),
            None => Ok(()),
        }
    }

    async fn settle(&mut self) -> Result<(), Broken> {
        self.tenant.heal();
        self.world.heal().await;
        for _ in 0..MOST_TICKS {
            if self.world.aws.saves().last() >= self.logged.last() {
                return self.world.drain().await;
            }
            self.poll(1).await?;
            self.assert_checkpoint_is_safe()?;
            pass(Duration::from_secs(60)).await;
        }
        Err(format!("not read to the end after {MOST_TICKS} ticks: {:?}", self.world.aws.saves()))
    }

    fn assert_each_stored_once(&self) -> Result<(), Broken> {
        self.world.assert_served();
        let fates = self.world.fates();
        let wrong = self
            .logged
            .iter()
            .find(|id| fates.get(*id).is_none_or(|fate| *fate != crate::world::Fate::STORED));
        match wrong {
            Some(id) => Err(format!("{id} is at {:?}", fates.get(id))),
            None => Ok(()),
        }
    }
}

fn poller(world: &World, tenant: &Tenant) -> Poller {
    let config = PollerConfig {
        pipeline: world.pipeline(),
        auth0_url: tenant.url().parse().expect("a URL"),
        secret_id: "auth0".to_owned(),
        checkpoint_table: "checkpoints".to_owned(),
        initial_interval: INITIAL_INTERVAL,
    };
    Poller::new(config, world.client.clone(), &world.sdk).expect("no file is opened")
}

#[test]
fn checkpoint_never_goes_back_and_passes_no_event_that_is_not_safe() {
    check(100, steps(step(), 2..8), async |runtime, Steps(steps)| {
        let mut scenario = Scenario::new(runtime).await;
        for step in steps {
            scenario.take(step).await?;
        }
        scenario.settle().await?;
        scenario.assert_each_stored_once()
    });
}
