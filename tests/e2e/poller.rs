//! The poller between a tenant and an engine that both fail: every log event is stored exactly once, and
//! the checkpoint never passes an event that is not stored.

use std::time::{Duration, Instant};

use chrono::{TimeDelta, Utc};
use serde_json::{Value, json};
use support::events::{Events, json_lines, log_ids};
use support::proxy::{Fault as EngineFault, Proxy};
use support::runtime::{Function, InvokeError, eventually};
use support::stack::{self, EngineKind};
use support::tenant::Fault;

use crate::world::{SHORT, TIMEOUT, World, deliver, events, poll, poll_within};

on_both_engines![
    poller_stores_each_event_once_despite_faults_on_both_sides,
    poller_killed_before_checkpoint_repeats_the_page,
    engine_outage_fails_the_poll_and_keeps_the_checkpoint,
    concurrent_pollers_leave_one_document_per_event,
    backlog_drains_over_several_ticks,
];

/// Asserts that the checkpoint has passed no event that is not stored; for use after every tick.
async fn assert_nothing_was_passed(world: &World, sent: &[String]) {
    // Read first: events stored later do not count.
    let Some(checkpoint) = world.table.checkpoint().await else { return };
    let copies = world.stream.copies().await;
    let passed: Vec<_> =
        sent.iter().filter(|id| **id <= checkpoint && !copies.contains_key(*id)).collect();
    assert!(passed.is_empty(), "the checkpoint {checkpoint} has passed {passed:?}");
}

/// Ticks until the checkpoint reaches the last event.
async fn poll_to_the_end(world: &World, poller: &Function, sent: &[String]) {
    for _ in 0..60 {
        drop(poll(poller).await);
        assert_nothing_was_passed(world, sent).await;
        if world.table.checkpoint().await.as_ref() == sent.last() {
            return;
        }
    }
    panic!("the checkpoint is behind after sixty ticks:\n{}", poller.last_logs());
}

async fn poller_stores_each_event_once_despite_faults_on_both_sides(kind: EngineKind) {
    /// Faults of the engine in each round, at least.
    const ENGINE_FAULTS: u64 = 5;
    let world = World::new(kind).await;
    let poller = world.poller();
    let mut source = events();
    let mut sent = Vec::new();
    let pages = [
        Fault::Unauthorized,
        Fault::RateLimited(Duration::from_secs(1)),
        Fault::Status(502),
        Fault::Status(500),
        Fault::Html,
        Fault::HalfBody,
        Fault::Slow(Duration::from_millis(500)),
        Fault::EmptyPage,
        Fault::RateLimited(Duration::from_secs(600)),
        Fault::Hang,
    ];
    let tokens = [Fault::Status(503), Fault::RateLimited(Duration::from_secs(1)), Fault::Html];
    for round in 0..2 {
        let batch = world.tenant.add_next(&mut source, 250);
        sent.extend(log_ids(&batch));
        let (asked, failed) = (world.tenant.counters(), world.proxy.failed());
        world.proxy.fail(EngineFault::Mixed(round)).await;
        let mut shuffled = pages;
        fastrand::Rng::with_seed(round).shuffle(&mut shuffled);
        world.tenant.fail_pages(shuffled);
        if round == 1 {
            world.tenant.fail_tokens(tokens);
        }
        let mut outcomes = Vec::new();
        while world.tenant.has_faults_left() || world.proxy.failed() < failed + ENGINE_FAULTS {
            assert!(outcomes.len() < 30, "faults are left after thirty ticks: {outcomes:?}");
            // Without new events, the engine would not be asked again once all are stored.
            sent.extend(log_ids(&world.tenant.add_next(&mut source, 20)));
            outcomes.push(poll_within(&poller, SHORT).await);
            assert_nothing_was_passed(&world, &sent).await;
        }
        let counters = world.tenant.counters();
        assert_eq!(counters.page_faults - asked.page_faults, pages.len());
        let token_faults = if round == 1 { tokens.len() } else { 0 };
        assert_eq!(counters.token_faults - asked.token_faults, token_faults);
        let is_cut_short = |outcome: &Result<Value, _>| {
            outcome.as_ref().map_or(true, |answer| answer["stopped"] != "caught_up")
        };
        assert!(outcomes.iter().any(is_cut_short), "no run failed or ended early: {outcomes:?}");
        world.proxy.heal().await;
        world.tenant.heal();
        poll_to_the_end(&world, &poller, &sent).await;
        world.stream.assert_holds_exactly(&sent).await;
    }
}

async fn poller_killed_before_checkpoint_repeats_the_page(kind: EngineKind) {
    let world = World::new(kind).await;
    let table = Proxy::start(&stack::dynamodb_url()).await;
    let changes = [("AWS_ENDPOINT_URL_DYNAMODB", table.url())];
    let poller = world.function_with("poller", 1, &changes);
    let events = events().take(150);
    let sent = log_ids(&events);
    world.tenant.add(&events);

    // The write of the checkpoint hangs, and the process is killed there.
    table.fail_only(EngineFault::Hang, |head| head.contains("dynamodb_20120810.putitem")).await;
    let killed_there = async {
        eventually("the checkpoint is about to be written", || async { table.failed() > 0 }).await;
        poller.kill();
    };
    let (outcome, ()) = tokio::join!(poll(&poller), killed_there);
    assert_eq!(outcome, Err(InvokeError::Died));
    assert_eq!(world.table.checkpoint().await, None);
    assert_eq!(world.stream.count().await, 100, "the first page is stored");

    table.heal().await;
    let before = world.tenant.counters().from.len();
    poll(&poller).await.unwrap();
    let asked = world.tenant.counters().from;
    assert!(asked[before] < sent[0], "the page was not read again: {}", asked[before]);
    assert_eq!(world.table.checkpoint().await.as_ref(), sent.last());
    world.stream.assert_holds_exactly(&sent).await;
}

async fn engine_outage_fails_the_poll_and_keeps_the_checkpoint(kind: EngineKind) {
    let world = World::new(kind).await;
    let poller = world.poller();
    let mut source = events();
    let first = world.tenant.add_next(&mut source, 30);
    poll(&poller).await.unwrap();
    let before = world.table.checkpoint().await;
    assert_eq!(before.as_ref(), log_ids(&first).last());

    let second = world.tenant.add_next(&mut source, 30);
    world.proxy.fail(EngineFault::Refuse).await;
    let outcome = poll_within(&poller, SHORT).await;
    assert!(
        matches!(outcome, Err(InvokeError::Reported(_))),
        "an alarm needs an error: {outcome:?}"
    );
    assert_eq!(world.table.checkpoint().await, before);
    assert_eq!(world.queues.parked().await, 0, "the checkpoint is the poller's queue");

    world.proxy.heal().await;
    poll(&poller).await.unwrap();
    world.stream.assert_holds_exactly(&log_ids(&[first, second].concat())).await;
}

async fn concurrent_pollers_leave_one_document_per_event(kind: EngineKind) {
    let world = World::new(kind).await;
    let pollers = world.function("poller", 2);
    let mut source = events();
    let mut sent = Vec::new();
    let mut last = None;
    for _ in 0..3 {
        let batch = world.tenant.add_next(&mut source, 350);
        sent.extend(log_ids(&batch));
        let (one, other) = tokio::join!(poll(&pollers), poll(&pollers));
        assert!(one.is_ok() || other.is_ok(), "{one:?} {other:?}");
        assert_eq!(pollers.starts(), 2, "both pollers have to run at once");
        let checkpoint = world.table.checkpoint().await;
        assert!(checkpoint > last, "the checkpoint did not advance");
        last = checkpoint;
        assert_nothing_was_passed(&world, &sent).await;
    }
    poll_to_the_end(&world, &pollers, &sent).await;
    world.stream.assert_holds_exactly(&sent).await;
}

async fn backlog_drains_over_several_ticks(kind: EngineKind) {
    let world = World::new(kind).await;
    let poller = world.poller();
    let mut source = events();
    // The first document of a data stream takes an engine seconds.
    let first = world.tenant.add_next(&mut source, 1);
    poll(&poller).await.unwrap();
    let events = [first, source.take(1_499)].concat();
    let sent = log_ids(&events);
    world.tenant.add(&events);
    // Fifteen pages of half a second each do not fit into one tick.
    world.tenant.fail_pages([Fault::Slow(Duration::from_millis(500)); 40]);
    let mut checkpoints = Vec::new();
    while checkpoints.last() != sent.last() {
        let tick = poll_within(&poller, Duration::from_secs(5)).await;
        assert!(
            tick.is_ok(),
            "the tick has to end in time by itself: {tick:?}\n{}",
            poller.last_logs()
        );
        assert_nothing_was_passed(&world, &sent).await;
        checkpoints.push(world.table.checkpoint().await.unwrap());
        assert!(checkpoints.len() < 20, "the backlog is not drained: {checkpoints:?}");
    }
    assert!(checkpoints.len() > 1, "the backlog fit into one tick");
    assert!(checkpoints.windows(2).all(|pair| pair[0] < pair[1]), "{checkpoints:?}");
    world.stream.assert_holds_exactly(&sent).await;
    assert_eq!(world.tenant.counters().tokens, 1, "one token for all pages");
}

// The rest is between the poller and the tenant; one engine is enough.

#[tokio::test]
async fn short_rate_limit_waits_until_reset() {
    let world = World::new(EngineKind::OpenSearch).await;
    let events = world.tenant.add_next(&mut events(), 120);
    world.tenant.fail_pages([Fault::RateLimited(Duration::from_secs(1))]);
    let begun = Instant::now();
    poll(&world.poller()).await.unwrap();
    assert!(begun.elapsed() >= Duration::from_secs(1), "it did not wait: {:?}", begun.elapsed());
    world.stream.assert_holds_exactly(&log_ids(&events)).await;
    // The limited page and the two pages, of which the short one is the last. Without the wait there
    // would be more.
    assert_eq!(world.tenant.counters().requests, 3, "{:?}", world.tenant.counters());
}

#[tokio::test]
async fn long_rate_limit_ends_the_tick_and_the_next_one_continues() {
    let world = World::new(EngineKind::OpenSearch).await;
    let poller = world.poller();
    let events = events().take(250);
    let sent = log_ids(&events);
    world.tenant.add(&events);
    let hour = Fault::RateLimited(Duration::from_secs(3_600));
    // The first page is returned, the second one limited.
    world.tenant.fail_pages([Fault::Slow(Duration::ZERO), hour]);
    poll(&poller).await.expect("a rate limit is not a failure");
    assert_eq!(world.table.checkpoint().await.as_ref(), Some(&sent[99]));
    assert_eq!(world.tenant.counters().requests, 2, "the limited page was requested again");
    poll(&poller).await.unwrap();
    world.stream.assert_holds_exactly(&sent).await;
}

#[tokio::test]
async fn revoked_token_is_replaced_once() {
    let world = World::new(EngineKind::OpenSearch).await;
    let poller = world.poller();
    let events = world.tenant.add_next(&mut events(), 120);
    world.tenant.fail_pages([Fault::Unauthorized]);
    poll(&poller).await.unwrap();
    world.stream.assert_holds_exactly(&log_ids(&events)).await;
    assert_eq!(world.tenant.counters().tokens, 2);

    // A tenant that never accepts a token does not cost one per page.
    world.tenant.fail_pages([Fault::Unauthorized; 50]);
    assert!(poll(&poller).await.is_err(), "an operator has to act");
    assert!(world.tenant.counters().tokens <= 4, "{:?}", world.tenant.counters());
}

#[tokio::test]
async fn overtaken_poller_stops_and_keeps_the_newer_checkpoint() {
    let world = World::new(EngineKind::OpenSearch).await;
    let poller = world.poller();
    let mut source = events();
    let events = world.tenant.add_next(&mut source, 20);
    let further = log_ids(&source.take(1)).remove(0);
    world.tenant.fail_pages([Fault::Slow(Duration::from_secs(1))]);
    let another = async {
        eventually("it reads", || async { world.tenant.counters().requests > 0 }).await;
        world.table.set("127.0.0.1", &further).await;
    };
    let (outcome, ()) = tokio::join!(poll(&poller), another);
    let answer = outcome.expect("being overtaken is not a failure");
    assert_eq!(answer["stopped"], "another_poller", "{answer}");
    assert_eq!(answer["checkpoint"], *further);
    assert_eq!(world.table.checkpoint().await, Some(further));
    world.stream.assert_holds_exactly(&log_ids(&events)).await;
}

#[tokio::test]
async fn access_token_is_renewed_before_it_expires() {
    let world = World::new(EngineKind::OpenSearch).await;
    let poller = world.poller();
    let mut source = events();
    let mut sent = Vec::new();
    world.tenant.token_life(TimeDelta::seconds(1));
    for _ in 0..3 {
        let batch = world.tenant.add_next(&mut source, 20);
        sent.extend(log_ids(&batch));
        poll(&poller).await.unwrap();
        tokio::time::sleep(Duration::from_millis(1_100)).await;
    }
    let counters = world.tenant.counters();
    assert!(counters.tokens >= 3, "{counters:?}");
    assert_eq!(counters.unauthorized, 0, "an expired token was used: {counters:?}");
    world.stream.assert_holds_exactly(&sent).await;
}

#[tokio::test]
async fn endless_token_is_kept() {
    let world = World::new(EngineKind::OpenSearch).await;
    let poller = world.poller();
    let mut source = events();
    world.tenant.fail_tokens([Fault::EndlessToken]);
    let first = world.tenant.add_next(&mut source, 5);
    poll(&poller).await.unwrap();
    let second = world.tenant.add_next(&mut source, 5);
    poll(&poller).await.unwrap();
    world.stream.assert_holds_exactly(&log_ids(&[first, second].concat())).await;
    assert_eq!(world.tenant.counters().tokens, 1);
}

#[tokio::test]
async fn next_page_starts_where_auth0s_link_says() {
    let world = World::new(EngineKind::OpenSearch).await;
    let poller = world.poller();
    let sent = log_ids(&world.tenant.add_next(&mut events(), 350));
    world.tenant.fail_pages([Fault::LinkBehind, Fault::LinkElsewhere]);
    poll(&poller).await.unwrap();
    let from = world.tenant.counters().from;
    assert_eq!(from[1], sent[98], "the link of the first page");
    assert_eq!(from[2], sent[198], "the last log id, because the link leads elsewhere");
    assert_eq!(from[3], sent[298], "the link of the third page");
    assert_eq!(from.len(), 4, "the short page is the last one: {from:?}");
    assert_eq!(world.table.checkpoint().await.as_ref(), sent.last());
    world.stream.assert_holds_exactly(&sent).await;
}

/// A poller whose checkpoint is older than the shortest retention, a day, and what it has stored.
async fn poller_with_old_checkpoint(world: &World) -> (Function, Vec<Value>, Events) {
    let poller = world.function_with("poller", 1, &[("INITIAL_INTERVAL", "3d")]);
    let mut source = Events::new(fastrand::u64(..), Utc::now() - TimeDelta::hours(30));
    let first = world.tenant.add_next(&mut source, 10);
    poll(&poller).await.unwrap();
    (poller, first, source)
}

#[tokio::test]
async fn expired_checkpoint_is_reported_and_replaced_by_the_oldest_event() {
    let world = World::new(EngineKind::OpenSearch).await;
    let (poller, first, mut source) = poller_with_old_checkpoint(&world).await;
    // While nobody polled, events were logged and the oldest ones expired.
    let lost = source.take(10);
    let kept = events().take(150);
    world.tenant.add(&lost);
    world.tenant.add(&kept);
    world.tenant.forget_before(&log_ids(&kept)[0]);

    let before = world.tenant.counters().from.len();
    poll(&poller).await.unwrap();
    let from = world.tenant.counters().from;
    assert_eq!(from[before], from[before + 1], "one refusal is not believed");
    assert_eq!(world.table.checkpoint().await.as_ref(), log_ids(&kept).last());
    world.stream.assert_holds_exactly(&log_ids(&[first, kept].concat())).await;
    assert!(poller.logs().contains("CheckpointExpired"), "{}", poller.last_logs());
}

#[tokio::test]
async fn checkpoint_refused_once_is_kept() {
    let world = World::new(EngineKind::OpenSearch).await;
    let (poller, first, mut source) = poller_with_old_checkpoint(&world).await;
    let checkpoint = log_ids(&first).remove(9);
    let second = world.tenant.add_next(&mut source, 10);
    world.tenant.fail_pages([Fault::ExpiredCheckpoint]);
    let before = world.tenant.counters().from.len();
    poll(&poller).await.unwrap();
    assert_eq!(world.tenant.counters().from[before..], [checkpoint.clone(), checkpoint]);
    world.stream.assert_holds_exactly(&log_ids(&[first, second].concat())).await;
    assert!(!poller.logs().contains("CheckpointExpired"), "{}", poller.last_logs());
}

#[tokio::test]
async fn refused_checkpoint_that_no_retention_has_passed_is_kept() {
    let world = World::new(EngineKind::OpenSearch).await;
    let poller = world.poller();
    let mut source = events();
    let first = world.tenant.add_next(&mut source, 10);
    poll(&poller).await.unwrap();
    let second = world.tenant.add_next(&mut source, 10);
    world.tenant.fail_pages([Fault::ExpiredCheckpoint; 10]);
    let before = world.tenant.counters();
    let Err(InvokeError::Reported(error)) = poll(&poller).await else {
        panic!("{}", poller.logs());
    };
    assert_eq!(error["errorType"], "CheckpointRefused");
    assert_eq!(world.tenant.counters().requests, before.requests + 1);
    assert_eq!(world.table.checkpoint().await.as_ref(), log_ids(&first).last());
    assert!(!poller.logs().contains("CheckpointExpired"), "{}", poller.last_logs());

    world.tenant.heal();
    poll(&poller).await.unwrap();
    world.stream.assert_holds_exactly(&log_ids(&[first, second].concat())).await;
}

#[tokio::test]
async fn other_refusals_fail_the_poll_and_keep_the_checkpoint() {
    let world = World::new(EngineKind::OpenSearch).await;
    let (poller, first, mut source) = poller_with_old_checkpoint(&world).await;
    let second = world.tenant.add_next(&mut source, 10);
    for (status, error_type) in [
        (404, "Auth0UrlWrong"),
        (302, "Auth0UrlWrong"),
        (400, "Auth0Rejected"),
        (414, "Auth0Rejected"),
    ] {
        world.tenant.fail_pages([Fault::Status(status); 10]);
        let before = world.tenant.counters().requests;
        let Err(InvokeError::Reported(error)) = poll(&poller).await else {
            panic!("{}", poller.logs());
        };
        assert_eq!(error["errorType"], error_type, "{error}");
        assert_eq!(world.tenant.counters().requests, before + 1);
        assert_eq!(world.table.checkpoint().await.as_ref(), log_ids(&first).last());
        world.tenant.heal();
    }
    assert!(!poller.logs().contains("CheckpointExpired"), "{}", poller.last_logs());
    poll(&poller).await.unwrap();
    world.stream.assert_holds_exactly(&log_ids(&[first, second].concat())).await;
}

#[tokio::test]
async fn first_run_starts_at_initial_interval_and_later_ones_at_checkpoint() {
    let world = World::new(EngineKind::OpenSearch).await;
    let mut old = Events::new(1, Utc::now() - TimeDelta::hours(3));
    let too_old = old.take(5);
    let mut source = events();
    let recent = source.take(5);
    world.tenant.add(&too_old);
    world.tenant.add(&recent);
    let poller = world.function_with("poller", 1, &[("INITIAL_INTERVAL", "2h")]);
    poll(&poller).await.unwrap();
    world.stream.assert_holds_exactly(&log_ids(&recent)).await;

    // An existing checkpoint takes precedence over the interval.
    let late = world.tenant.add_next(&mut source, 5);
    let poller = world.function_with("poller", 1, &[("INITIAL_INTERVAL", "30d")]);
    poll(&poller).await.unwrap();
    world.stream.assert_holds_exactly(&log_ids(&[recent, late].concat())).await;
}

#[tokio::test]
async fn hanging_tenant_ends_the_tick_in_time() {
    let world = World::new(EngineKind::OpenSearch).await;
    let poller = world.poller();
    let events = world.tenant.add_next(&mut events(), 20);
    world.tenant.fail_pages([Fault::Hang; 50]);
    let outcome = poll_within(&poller, SHORT).await;
    assert!(
        matches!(outcome, Err(InvokeError::Reported(_))),
        "it has to end before the timeout: {outcome:?}"
    );
    assert_eq!(world.table.checkpoint().await, None);
    world.tenant.heal();
    poll(&poller).await.unwrap();
    world.stream.assert_holds_exactly(&log_ids(&events)).await;
}

#[tokio::test]
async fn broken_event_in_a_page_is_kept_and_the_checkpoint_passes_it() {
    let world = World::new(EngineKind::OpenSearch).await;
    let poller = world.poller();
    let mut source = events();
    let mut events = source.take(20);
    events[7]["data"]["date"] = json!({ "no": "date" });
    events[9]["data"]["details"] = json!("not an object");
    events[11]["data"]["ip"] = json!("unknown");
    world.tenant.add(&events);
    poll(&poller).await.unwrap();
    let sent = log_ids(&events);
    world.stream.assert_holds_exactly(&sent).await;
    let documents = world.stream.documents().await;
    let kept_whole = |hit: &&Value| hit["_source"]["event"]["original"].is_string();
    assert_eq!(documents.iter().filter(kept_whole).count(), 3, "the three broken events");
    assert_eq!(world.table.checkpoint().await.as_ref(), sent.last());
    // The same events from the log stream add nothing.
    deliver(&world.webhook(), json_lines(&events).as_bytes()).await;
    world.stream.assert_holds_exactly(&sent).await;
}

#[tokio::test]
async fn backfill_reads_its_window_and_keeps_the_checkpoint() {
    let world = World::new(EngineKind::OpenSearch).await;
    let poller = world.function_with("poller", 1, &[("INITIAL_INTERVAL", "90m")]);
    let hours_ago = |hours| Utc::now() - TimeDelta::hours(hours);
    let wanted = Events::new(fastrand::u64(..), hours_ago(6)).take(350);
    let later = Events::new(fastrand::u64(..), hours_ago(4)).take(30);
    let live = events().take(10);
    world.tenant.add(&[wanted.clone(), later].concat());
    world.tenant.add(&live);
    poll(&poller).await.unwrap();
    let checkpoint = world.table.checkpoint().await;

    // Four slow pages do not fit into one order of five seconds.
    world.tenant.fail_pages([Fault::Slow(Duration::from_millis(800)); 8]);
    let mut from = hours_ago(7).to_rfc3339();
    let mut orders = 0;
    loop {
        let order = json!({ "backfill": { "from": from, "to": hours_ago(5).to_rfc3339() } });
        let answer = poller.invoke(order, Duration::from_secs(5)).await.unwrap();
        orders += 1;
        if answer["backfill"]["done"] == true {
            break;
        }
        assert_eq!(answer["stopped"], "out_of_time", "{answer}");
        answer["backfill"]["next_from"].as_str().unwrap().clone_into(&mut from);
        assert!(orders < 10, "the orders make no progress: {answer}");
    }
    assert!(orders > 1, "the window fit into one order");
    world.stream.assert_holds_exactly(&log_ids(&[wanted, live].concat())).await;
    assert_eq!(world.table.checkpoint().await, checkpoint);
}

#[tokio::test]
async fn unusable_backfill_order_is_rejected_with_the_reason() {
    let world = World::new(EngineKind::OpenSearch).await;
    let poller = world.poller();
    let order = json!({ "backfill": { "from": "yesterday", "to": "today" } });
    let Err(InvokeError::Reported(error)) = poller.invoke(order, TIMEOUT).await else {
        panic!("{}", poller.logs());
    };
    assert_eq!(error["errorType"], "BackfillOrderUnusable");
    assert!(error["errorMessage"].as_str().unwrap().contains("\"today\""), "{error}");
    assert_eq!(world.tenant.counters().requests, 0);
}

#[tokio::test]
async fn backfill_leaves_the_last_requests_to_ticks() {
    let world = World::new(EngineKind::OpenSearch).await;
    let poller = world.poller();
    let sent = log_ids(&world.tenant.add_next(&mut events(), 150));
    let hours_ago = |hours| (Utc::now() - TimeDelta::hours(hours)).to_rfc3339();
    let order = json!({ "backfill": { "from": hours_ago(2), "to": hours_ago(0) } });

    world.tenant.fail_pages([Fault::LastRequest(Duration::from_secs(2))]);
    let begun = Instant::now();
    let answer = poller.invoke(order.clone(), TIMEOUT).await.unwrap();
    assert_eq!(answer["backfill"]["done"], true, "{answer}");
    assert!(begun.elapsed() >= Duration::from_secs(2), "it did not wait: {:?}", begun.elapsed());
    world.stream.assert_holds_exactly(&sent).await;

    world.tenant.fail_pages([Fault::LastRequest(Duration::from_secs(3_600))]);
    let answer = poller.invoke(order, TIMEOUT).await.unwrap();
    assert_eq!(answer["stopped"], "rate_limited", "{answer}");
    assert_eq!(answer["backfill"]["next_from"], sent[99], "{answer}");
}

#[tokio::test]
async fn expired_checkpoint_falls_back_to_the_retention_of_a_plan() {
    let world = World::new(EngineKind::OpenSearch).await;
    let (poller, first, mut source) = poller_with_old_checkpoint(&world).await;
    let second = world.tenant.add_next(&mut source, 10);
    // The checkpoint twice, the beginning of time and the longest retention, 30 days, are rejected.
    world.tenant.fail_pages([Fault::ExpiredCheckpoint; 4]);
    let before = world.tenant.counters().from.len();
    poll(&poller).await.unwrap();
    // The next retention is ten days; the poller starts five minutes later.
    let ten_days_ago = Utc::now() - TimeDelta::days(10);
    let log_id = |minutes| {
        (ten_days_ago + TimeDelta::minutes(minutes)).format("900%Y%m%d%H%M%S").to_string()
    };
    let from = &world.tenant.counters().from[before + 4];
    assert!((log_id(0)..log_id(6)).contains(from), "{from}");
    let sent = log_ids(&[first, second].concat());
    world.stream.assert_holds_exactly(&sent).await;
    assert_eq!(world.table.checkpoint().await.as_ref(), sent.last());
}

#[tokio::test]
async fn page_without_log_ids_is_stored_and_passed_by_its_link() {
    let world = World::new(EngineKind::OpenSearch).await;
    let poller = world.poller();
    let sent = log_ids(&world.tenant.add_next(&mut events(), 105));
    world.tenant.fail_pages([Fault::NoIds]);
    poll(&poller).await.unwrap();
    assert_eq!(world.tenant.counters().requests, 2);
    assert_eq!(world.table.checkpoint().await.as_ref(), sent.last());
    assert_eq!(world.stream.count().await, 105);
    let message = "no event of the page has a log id";
    assert!(poller.logs().contains(message), "{}", poller.last_logs());
}

#[tokio::test]
async fn page_without_log_ids_and_link_continues_at_its_last_date() {
    let world = World::new(EngineKind::OpenSearch).await;
    let poller = world.poller();
    let sent = log_ids(&world.tenant.add_next(&mut events(), 120));
    world.tenant.fail_pages([Fault::NoIdsNorLink]);
    poll(&poller).await.unwrap();
    assert_eq!(world.table.checkpoint().await.as_ref(), sent.last());
    let copies = world.stream.copies().await;
    let missing: Vec<_> = sent[99..].iter().filter(|id| !copies.contains_key(*id)).collect();
    assert!(missing.is_empty(), "passed, though not on the page: {missing:?}");
}

#[tokio::test]
async fn page_that_leads_nowhere_is_stored_and_fails_without_looping() {
    let world = World::new(EngineKind::OpenSearch).await;
    let poller = world.poller();
    let mut source = events();
    let first = log_ids(&world.tenant.add_next(&mut source, 5));
    world.tenant.fail_pages([Fault::NoIdsNorLink; 50]);
    // To the second of the last date, and not further.
    poll(&poller).await.unwrap();
    let checkpoint = world.table.checkpoint().await.unwrap();
    assert!(checkpoint < first[4], "{checkpoint}");
    assert_eq!(checkpoint.get(..17), first[4].get(..17), "the same second");
    let Err(InvokeError::Reported(error)) = poll(&poller).await else {
        panic!("{}", poller.logs());
    };
    assert_eq!(error["errorType"], "NoLogId");
    assert_eq!(world.tenant.counters().requests, 2);
    assert_eq!(world.table.checkpoint().await.unwrap(), checkpoint);
    assert_eq!(world.stream.count().await, 5, "the same events yield the same documents");

    world.tenant.heal();
    let second = log_ids(&world.tenant.add_next(&mut source, 5));
    poll(&poller).await.unwrap();
    assert_eq!(world.table.checkpoint().await.as_ref(), second.last());
}
