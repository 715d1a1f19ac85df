//! Mapping times, for comparing two versions on one machine: `cargo bench -p shared`.
//! Promises are made in instructions instead (`make instructions`).
#![allow(missing_docs, clippy::unwrap_used, clippy::indexing_slicing, reason = "a benchmark")]

mod load;

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use support::batch::{AGENTS, batch};
use user_agent::UserAgentParser;

fn batches(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("map");
    let mapper = load::mapper(false, None, None);
    for (events, bytes) in [(1, 1_800), (100, 1_800), (5_000, 1_800), (100, 10_000), (10, 100_000)]
    {
        let body = batch(events, bytes);
        group.throughput(Throughput::Bytes(body.len() as u64));
        let id = BenchmarkId::new(format!("{events} events"), format!("{bytes} bytes each"));
        group.bench_with_input(id, &body, |bencher, body| {
            bencher.iter(|| load::map(&mapper, black_box(body)));
        });
    }
    let original = load::mapper(true, None, None);
    let body = batch(100, 1_800);
    group.throughput(Throughput::Bytes(body.len() as u64));
    group.bench_function("100 events/with event.original", |bencher| {
        bencher.iter(|| load::map(&original, black_box(&body)));
    });
    group.finish();
}

fn user_agents(criterion: &mut Criterion) {
    let agent = AGENTS[0].replace("{}", "6");
    let known = UserAgentParser::new();
    criterion.bench_function("user agent/seen before", |bencher| {
        bencher.iter(|| known.parse(black_box(&agent)));
    });
    let warm = UserAgentParser::new();
    let mut version = 0_u64;
    criterion.bench_function("user agent/new", |bencher| {
        bencher.iter(|| {
            version += 1;
            warm.parse(black_box(&format!("{agent} build/{version}")))
        });
    });
}

criterion_group!(benches, batches, user_agents);
criterion_main!(benches);
