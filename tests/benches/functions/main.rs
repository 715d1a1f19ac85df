//! What the built functions cost: start, instructions, memory, pace, and events per second compared
//! with a plain `_bulk`. `make bench` starts the engine and the stand-ins for AWS and runs this.
//!
//! The functions are the binaries from the zips, behind the tests' stand-in for the runtime API. Each
//! measurement is a line of JSON in the file `BENCH_RECORDS`, of which `tests/benches/bench.py` makes
//! tables. Nothing here fails because something is slow.
//!
//! Arguments select parts: `start`, `share`, `instructions`, `memory`, `pace`, `outage`, `load`,
//! `throughput`.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    clippy::print_stdout,
    reason = "a benchmark"
)]

mod instructions;
mod load;
mod memory;
mod outage;
mod pace;
mod process;
mod share;
mod start;
mod throughput;
mod world;

use std::io::Write as _;
use std::sync::Mutex;

use serde_json::Value;
use support::stack;

use crate::world::World;

/// The file of the measurements.
struct Records(Mutex<std::fs::File>);

impl Records {
    fn add(&self, record: &Value) {
        println!("{record}");
        writeln!(self.0.lock().unwrap(), "{record}").expect("the line can be written");
    }
}

#[tokio::main]
async fn main() {
    let wanted: Vec<String> = std::env::args().skip(1).filter(|arg| arg != "--bench").collect();
    let wants = |part: &str| wanted.is_empty() || wanted.iter().any(|name| name == part);
    let file = std::fs::OpenOptions::new()
        .create(true)
        .append(true)
        .open(stack::variable("BENCH_RECORDS"))
        .expect("the file can be written");
    let records = Records(Mutex::new(file));
    let world = World::new().await;
    if wants("start") {
        start::measure(&world, &records).await;
    }
    if wants("share") {
        share::measure(&world, &records).await;
    }
    if wants("instructions") {
        instructions::measure(&world, &records).await;
    }
    if wants("memory") {
        memory::measure(&world, &records).await;
    }
    if wants("pace") {
        pace::measure(&world, &records).await;
    }
    if wants("outage") {
        outage::measure(&world, &records).await;
    }
    if wants("load") {
        load::measure(&world, &records).await;
    }
    if wants("throughput") {
        throughput::measure(&world, &records).await;
    }
}

/// The median of some measurements.
fn median<T: Copy + PartialOrd>(values: &[T]) -> T {
    let mut sorted = values.to_vec();
    sorted.sort_by(|a, b| a.partial_cmp(b).expect("no measurement is NaN"));
    sorted[sorted.len() / 2]
}
