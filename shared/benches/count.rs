//! One run of the mapping, for counting instructions: `count EVENTS BYTES ROUNDS [original] [CITY ASN]`.
//!
//! `make instructions` runs it under valgrind with few and with many rounds. The difference is the cost
//! of mapping without the start and without building the batch.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a benchmark"
)]

mod load;

use std::path::Path;

use support::batch::batch;

fn main() {
    let args: Vec<String> = std::env::args().skip(1).filter(|arg| arg != "--bench").collect();
    let number =
        |index: usize, default: usize| args.get(index).map_or(default, |a| a.parse().unwrap());
    let (events, bytes, rounds) = (number(0, 100), number(1, 1_800), number(2, 1));
    let original = args.iter().any(|arg| arg == "original");
    let files: Vec<&Path> =
        args.iter().filter(|arg| arg.ends_with(".mmdb")).map(Path::new).collect();
    let mapper = load::mapper(original, files.first().copied(), files.get(1).copied());
    let body = batch(events, bytes);
    let mapped: usize = (0..rounds).map(|_| load::map(&mapper, &body)).sum();
    println!("{events} events of {} bytes, {rounds} rounds: {mapped} bytes", body.len() / events);
}
