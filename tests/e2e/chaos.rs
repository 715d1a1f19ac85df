//! Each event once, while a real cluster loses nodes: the webhook and the poller at once, rollovers, and
//! functions that are killed. `make chaos` starts the nodes, and kills and freezes them meanwhile.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use chrono::Utc;
use futures_util::future::join_all;
use serde_json::Value;
use support::balancer::Balancer;
use support::engine::{DataStream, Engine};
use support::events::{Events, json_lines, log_ids};
use support::runtime::Function;
use support::stack::{EngineKind, variable};
use tokio::sync::Mutex;
use tokio::time::sleep;

use crate::world::{TIMEOUT, WebhookResponse, World, poll, post};

/// Senders at once, each of which waits for a second or two between its batches.
const SENDERS: usize = 12;

/// Events of a batch.
const BATCH: usize = 20;

/// A message is delayed by 14 minutes, and again if it comes back within 14 minutes of the last rollover.
const LONGEST_SETTLING: Duration = Duration::from_secs(45 * 60);

/// What the parts of the test share.
struct Chaos {
    world: World,
    webhook: Function,
    poller: Function,
    redrive: Function,
    source: Mutex<Events>,
    sent: Mutex<BTreeSet<String>>,
    is_over: AtomicBool,
    rollovers: AtomicUsize,
}

#[tokio::test]
#[ignore = "needs a cluster whose nodes are killed: make chaos"]
async fn event_is_stored_once_while_nodes_and_functions_die() {
    let port = variable("E2E_BALANCER_PORT").parse().expect("a port");
    let nodes = variable("E2E_NODES").split(',').map(str::to_owned).collect();
    let _balancer = Balancer::start(port, nodes).await.expect("the port is free");
    let seconds = variable("CHAOS_SECONDS").parse().expect("a number of seconds");
    sleep(Duration::from_secs(2)).await;

    let world = World::new(EngineKind::OpenSearch).await;
    let chaos = Chaos {
        webhook: world.function("webhook", 8),
        poller: world.function("poller", 2),
        redrive: world.function("redrive", 2),
        world,
        // About as many events as are sent: a date in the future would let a copy from before it be missed.
        source: Mutex::new(Events::new(fastrand::u64(..), Utc::now()).every(1..12)),
        sent: Mutex::default(),
        is_over: AtomicBool::new(false),
        rollovers: AtomicUsize::new(0),
    };
    announce("begun");
    let senders = join_all((0..SENDERS).map(|_| chaos.send()));
    let clock = async {
        sleep(Duration::from_secs(seconds)).await;
        chaos.is_over.store(true, Ordering::Relaxed);
    };
    tokio::join!(
        senders,
        chaos.tick(),
        chaos.redrive(),
        chaos.rollover(),
        chaos.kill_functions(),
        clock
    );
    announce("over");
    chaos.settle().await;
    chaos.judge().await;
}

impl Chaos {
    fn is_over(&self) -> bool {
        self.is_over.load(Ordering::Relaxed)
    }

    /// Posts batch after batch, each until it is acknowledged. The poller reads them, too, and some more.
    async fn send(&self) {
        while !self.is_over() {
            let events = {
                let mut source = self.source.lock().await;
                let events = source.take(BATCH);
                // Under the lock: Auth0 logs nothing before what it has already given to a reader.
                self.world.tenant.add(&events);
                events
            };
            self.sent.lock().await.extend(log_ids(&events));
            let only_pulled = fastrand::usize(..BATCH / 4);
            let body = json_lines(&events[only_pulled..]);
            // Either the poller or the post can be first.
            sleep(Duration::from_millis(fastrand::u64(..3_000))).await;
            while !matches!(
                post(&self.webhook, body.as_bytes()).await,
                Ok(WebhookResponse { status: 200, .. })
            ) {
                sleep(Duration::from_millis(300)).await;
            }
        }
    }

    async fn tick(&self) {
        while !self.is_over() {
            // Now and then, two run at once.
            if fastrand::u8(..4) == 0 {
                drop(tokio::join!(poll(&self.poller), poll(&self.poller)));
            } else {
                poll(&self.poller).await.ok();
            }
            sleep(Duration::from_secs(2)).await;
        }
    }

    async fn redrive(&self) {
        while !self.is_over() {
            self.world.queues.deliver_batch(&self.redrive, TIMEOUT).await;
            sleep(Duration::from_secs(1)).await;
        }
    }

    /// The cluster answers a rollover only if enough of its nodes are there.
    async fn rollover(&self) {
        let client = reqwest::Client::builder().timeout(Duration::from_secs(20)).build().unwrap();
        let stream = &self.world.stream;
        let url = format!("{}/{}/_rollover", stream.engine.url, stream.name);
        while !self.is_over() {
            sleep(Duration::from_millis(fastrand::u64(3_000..9_000))).await;
            let Ok(answer) = client.post(&url).send().await else { continue };
            let answer: Value = answer.json().await.unwrap_or_default();
            let is_done = answer["rolled_over"] == true;
            self.rollovers.fetch_add(usize::from(is_done), Ordering::Relaxed);
        }
    }

    async fn kill_functions(&self) {
        while !self.is_over() {
            sleep(Duration::from_millis(fastrand::u64(2_000..10_000))).await;
            match fastrand::u8(..4) {
                0 => self.poller.kill(),
                1 => self.redrive.kill(),
                _ => self.webhook.kill(),
            }
        }
    }

    /// Waits until the nodes are back, the poller has read everything, and the retry queue is empty.
    async fn settle(&self) {
        while !marker("healed").exists() {
            sleep(Duration::from_secs(1)).await;
        }
        let last = self.sent.lock().await.last().cloned();
        let begun = Instant::now();
        let mut told = begun;
        loop {
            poll(&self.poller).await.ok();
            let (received, _) = self.world.queues.deliver_batch(&self.redrive, TIMEOUT).await;
            let waiting = self.world.queues.parked().await + self.world.queues.delayed().await;
            let checkpoint = self.world.table.checkpoint().await;
            if received == 0 && waiting == 0 && checkpoint >= last {
                return;
            }
            assert!(
                begun.elapsed() < LONGEST_SETTLING,
                "{waiting} messages are left, and the checkpoint is {checkpoint:?} of {last:?}:\n{}",
                self.redrive.last_logs()
            );
            if told.elapsed() > Duration::from_secs(30) {
                eprintln!("waiting for {waiting} messages of the retry queue");
                told = Instant::now();
            }
            if received == 0 {
                sleep(Duration::from_secs(1)).await;
            }
        }
    }

    /// Counts what is lost and what is there twice, and says so.
    async fn judge(&self) {
        let sent = self.sent.lock().await;
        // Not by way of the balancer, which closes the connections of a node that is slow for a moment.
        let nodes = variable("E2E_NODES");
        let (node, _) = nodes.split_once(',').expect("several nodes");
        let name = self.world.stream.name.clone();
        let stream = DataStream { engine: Engine::at(format!("http://{node}")), name };
        let copies = stream.copies().await;
        let lost: Vec<_> = sent.iter().filter(|id| !copies.contains_key(*id)).collect();
        // A search by pages can miss a copy, the count of all documents cannot.
        let documents = stream.count().await;
        let twice = documents - copies.len();
        let named: Vec<_> = copies.iter().filter(|(_, count)| **count > 1).collect();
        let harmed = std::fs::read_to_string(marker("healed")).expect("make chaos writes it");
        let rollovers = self.rollovers.load(Ordering::Relaxed);
        let dead_letters = self.world.queues.dead_letters().await;
        eprintln!(
            "{} events: {} lost, {twice} twice, {rollovers} rollovers, {harmed} nodes killed or frozen",
            sent.len(),
            lost.len(),
        );
        assert!(lost.is_empty(), "lost: {lost:?}");
        assert_eq!(twice, 0, "twice: {named:?}");
        assert_eq!(copies.len(), sent.len(), "documents that nobody sent");
        assert_eq!(dead_letters, 0, "dead letters");
    }
}

/// A file by which this test and `chaos.py` tell each other how far they are.
fn marker(name: &str) -> PathBuf {
    PathBuf::from(variable("E2E_CHAOS_DIR")).join(name)
}

fn announce(name: &str) {
    std::fs::write(marker(name), "").expect("the folder can be written");
}
