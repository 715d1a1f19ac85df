//! The poller between a tenant and an engine that both fail: every log event exactly once, and a
//! checkpoint that never passes an event that is not stored.

use std::time::Duration;

use chrono::TimeDelta;
use support::events::{json_lines, log_ids};
use support::proxy::{Fault as EngineFault, Proxy};
use support::runtime::{Function, InvokeError, eventually};
use support::stack::{self, EngineKind};
use support::tenant::Fault;

use crate::world::{SHORT, TIMEOUT, World, deliver, events, poll, poll_within};

on_both_engines![
    with_faults_on_both_sides_each_event_is_there_once_in_the_end,
    killed_between_page_and_checkpoint_it_repeats_the_page,
    an_engine_away_leaves_the_checkpoint_where_it_was,
    two_pollers_at_once_leave_one_document_an_event,
    a_backlog_drains_over_several_ticks,
];

/// The checkpoint's promise, to be asked after every tick.
async fn assert_nothing_was_passed(world: &World, sent: &[String]) {
    // Read first: what is stored after it does not count.
    let Some(checkpoint) = world.table.checkpoint().await else { return };
    let copies = world.stream.copies().await;
    let passed: Vec<_> =
        sent.iter().filter(|id| **id <= checkpoint && !copies.contains_key(*id)).collect();
    assert!(passed.is_empty(), "the checkpoint {checkpoint} has passed {passed:?}");
}

/// Ticks until the checkpoint is at the last event.
async fn poll_to_the_end(world: &World, poller: &Function, sent: &[String]) {
    for _ in 0..60 {
        drop(poll(poller).await);
        assert_nothing_was_passed(world, sent).await;
        if world.table.checkpoint().await.as_ref() == sent.last() {
            return;
        }
    }
    panic!("sixty ticks were not enough:\n{}", poller.last_logs());
}

async fn with_faults_on_both_sides_each_event_is_there_once_in_the_end(kind: EngineKind) {
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
        let batch = source.take(250);
        world.tenant.add(&batch);
        sent.extend(log_ids(&batch));
        world.proxy.fail(EngineFault::Mixed(round)).await;
        let mut shuffled = pages;
        fastrand::Rng::with_seed(round).shuffle(&mut shuffled);
        world.tenant.fail_pages(shuffled);
        if round == 1 {
            world.tenant.fail_tokens(tokens);
        }
        for _ in 0..6 {
            drop(poll_within(&poller, SHORT).await);
            assert_nothing_was_passed(&world, &sent).await;
        }
        world.proxy.heal().await;
        world.tenant.heal();
        poll_to_the_end(&world, &poller, &sent).await;
        world.stream.assert_holds_exactly(&sent).await;
    }
}

async fn killed_between_page_and_checkpoint_it_repeats_the_page(kind: EngineKind) {
    let world = World::new(kind).await;
    let table = Proxy::start(&stack::dynamodb_url()).await;
    let changes = [("AWS_ENDPOINT_URL_DYNAMODB", table.url())];
    let poller = world.function_with("poller", 1, &changes);
    let events = events().take(150);
    let sent = log_ids(&events);
    world.tenant.add(&events);

    // The write of the checkpoint hangs, and the process dies there.
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
    assert!(asked[before] < sent[0], "the page is asked for again: {}", asked[before]);
    assert_eq!(world.table.checkpoint().await.as_ref(), sent.last());
    world.stream.assert_holds_exactly(&sent).await;
}

async fn an_engine_away_leaves_the_checkpoint_where_it_was(kind: EngineKind) {
    let world = World::new(kind).await;
    let poller = world.poller();
    let mut source = events();
    let first = source.take(30);
    world.tenant.add(&first);
    poll(&poller).await.unwrap();
    let before = world.table.checkpoint().await;
    assert_eq!(before.as_ref(), log_ids(&first).last());

    let second = source.take(30);
    world.tenant.add(&second);
    world.proxy.fail(EngineFault::Refuse).await;
    let outcome = poll_within(&poller, SHORT).await;
    assert!(matches!(outcome, Err(InvokeError::Reported(_))), "an alarm needs it: {outcome:?}");
    assert_eq!(world.table.checkpoint().await, before);
    assert_eq!(world.queues.parked().await, 0, "the checkpoint is the poller's queue");

    world.proxy.heal().await;
    poll(&poller).await.unwrap();
    world.stream.assert_holds_exactly(&log_ids(&[first, second].concat())).await;
}

async fn two_pollers_at_once_leave_one_document_an_event(kind: EngineKind) {
    let world = World::new(kind).await;
    let pollers = world.function("poller", 2);
    let mut source = events();
    let mut sent = Vec::new();
    let mut last = None;
    for _ in 0..3 {
        let batch = source.take(350);
        world.tenant.add(&batch);
        sent.extend(log_ids(&batch));
        let (one, other) = tokio::join!(poll(&pollers), poll(&pollers));
        assert!(one.is_ok() || other.is_ok(), "{one:?} {other:?}");
        let checkpoint = world.table.checkpoint().await;
        assert!(checkpoint > last, "it only moves on");
        last = checkpoint;
        assert_nothing_was_passed(&world, &sent).await;
    }
    poll_to_the_end(&world, &pollers, &sent).await;
    world.stream.assert_holds_exactly(&sent).await;
}

async fn a_backlog_drains_over_several_ticks(kind: EngineKind) {
    let world = World::new(kind).await;
    let poller = world.poller();
    let mut source = events();
    // A data stream's first document takes an engine seconds.
    let first = source.take(1);
    world.tenant.add(&first);
    poll(&poller).await.unwrap();
    let events = [first, source.take(1_499)].concat();
    let sent = log_ids(&events);
    world.tenant.add(&events);
    // Fifteen pages of half a second each do not fit into a tick.
    world.tenant.fail_pages([Fault::Slow(Duration::from_millis(500)); 40]);
    let mut checkpoints = Vec::new();
    while checkpoints.last() != sent.last() {
        let tick = poll_within(&poller, Duration::from_secs(5)).await;
        assert!(tick.is_ok(), "it ends by itself in time: {tick:?}\n{}", poller.last_logs());
        assert_nothing_was_passed(&world, &sent).await;
        checkpoints.push(world.table.checkpoint().await.unwrap());
        assert!(checkpoints.len() < 20, "each tick gets on: {checkpoints:?}");
    }
    assert!(checkpoints.len() > 1, "it did not fit into one tick");
    assert!(checkpoints.windows(2).all(|pair| pair[0] < pair[1]), "{checkpoints:?}");
    world.stream.assert_holds_exactly(&sent).await;
    assert_eq!(world.tenant.counters().tokens, 1, "the token is kept from page to page");
}

// What follows is between the poller and the tenant; one engine is enough.

#[tokio::test]
async fn a_rate_limit_that_ends_soon_is_waited_for() {
    let world = World::new(EngineKind::OpenSearch).await;
    let events = events().take(120);
    world.tenant.add(&events);
    world.tenant.fail_pages([Fault::RateLimited(Duration::from_secs(1))]);
    poll(&world.poller()).await.unwrap();
    world.stream.assert_holds_exactly(&log_ids(&events)).await;
    // The limited page, the two pages and the empty one; repeating at once would be more.
    assert!(world.tenant.counters().requests <= 4, "{:?}", world.tenant.counters());
}

#[tokio::test]
async fn a_rate_limit_that_lasts_ends_the_tick_and_the_next_one_goes_on() {
    let world = World::new(EngineKind::OpenSearch).await;
    let poller = world.poller();
    let events = events().take(250);
    let sent = log_ids(&events);
    world.tenant.add(&events);
    let hour = Fault::RateLimited(Duration::from_secs(3_600));
    // The first page comes, the second is limited.
    world.tenant.fail_pages([Fault::Slow(Duration::ZERO), hour]);
    poll(&poller).await.expect("it is no failure to be limited");
    assert_eq!(world.table.checkpoint().await.as_ref(), Some(&sent[99]));
    assert_eq!(world.tenant.counters().requests, 2, "no hammering");
    poll(&poller).await.unwrap();
    world.stream.assert_holds_exactly(&sent).await;
}

#[tokio::test]
async fn a_revoked_token_is_replaced_once() {
    let world = World::new(EngineKind::OpenSearch).await;
    let poller = world.poller();
    let events = events().take(120);
    world.tenant.add(&events);
    world.tenant.fail_pages([Fault::Unauthorized]);
    poll(&poller).await.unwrap();
    world.stream.assert_holds_exactly(&log_ids(&events)).await;
    assert_eq!(world.tenant.counters().tokens, 2);

    // A tenant that never accepts one does not cost a token a page.
    world.tenant.fail_pages([Fault::Unauthorized; 50]);
    assert!(poll(&poller).await.is_err(), "somebody has to look at it");
    assert!(world.tenant.counters().tokens <= 4, "{:?}", world.tenant.counters());
}

#[tokio::test]
async fn a_poller_that_was_overtaken_ends_and_moves_nothing_back() {
    let world = World::new(EngineKind::OpenSearch).await;
    let poller = world.poller();
    let mut source = events();
    let events = source.take(20);
    world.tenant.add(&events);
    let further = log_ids(&source.take(1)).remove(0);
    world.tenant.fail_pages([Fault::Slow(Duration::from_secs(1))]);
    let another = async {
        eventually("it reads", || async { world.tenant.counters().requests > 0 }).await;
        world.table.set("127.0.0.1", &further).await;
    };
    let (outcome, ()) = tokio::join!(poll(&poller), another);
    let answer = outcome.expect("to be overtaken is no failure");
    assert_eq!(answer["stopped"], "another_poller", "{answer}");
    assert_eq!(answer["checkpoint"], *further);
    assert_eq!(world.table.checkpoint().await, Some(further));
    world.stream.assert_holds_exactly(&log_ids(&events)).await;
}

#[tokio::test]
async fn tokens_are_renewed_before_they_expire() {
    let world = World::new(EngineKind::OpenSearch).await;
    let poller = world.poller();
    let mut source = events();
    let mut sent = Vec::new();
    world.tenant.token_life(TimeDelta::seconds(1));
    for _ in 0..3 {
        let batch = source.take(20);
        world.tenant.add(&batch);
        sent.extend(log_ids(&batch));
        poll(&poller).await.unwrap();
        tokio::time::sleep(Duration::from_millis(1_100)).await;
    }
    world.stream.assert_holds_exactly(&sent).await;
}

#[tokio::test]
async fn a_checkpoint_that_auth0_forgot_is_replaced_by_the_oldest_event_and_reported() {
    let world = World::new(EngineKind::OpenSearch).await;
    let poller = world.poller();
    let mut source = events();
    let first = source.take(10);
    world.tenant.add(&first);
    poll(&poller).await.unwrap();
    // While nobody polled, the tenant got further and forgot.
    let lost = source.take(10);
    let kept = source.take(150);
    world.tenant.add(&lost);
    world.tenant.add(&kept);
    world.tenant.forget_before(&log_ids(&kept)[0]);

    drop(poll(&poller).await);
    poll_to_the_end(&world, &poller, &log_ids(&[first.clone(), kept.clone()].concat())).await;
    world.stream.assert_holds_exactly(&log_ids(&[first, kept].concat())).await;
    assert!(poller.logs().contains("CheckpointExpired"), "{}", poller.last_logs());
}

#[tokio::test]
async fn the_first_run_starts_at_the_initial_interval_and_later_ones_at_the_checkpoint() {
    let world = World::new(EngineKind::OpenSearch).await;
    let mut old = support::events::Events::new(1, chrono::Utc::now() - TimeDelta::hours(3));
    let too_old = old.take(5);
    let mut source = events();
    let recent = source.take(5);
    world.tenant.add(&too_old);
    world.tenant.add(&recent);
    let poller = world.function_with("poller", 1, &[("INITIAL_INTERVAL", "2h")]);
    poll(&poller).await.unwrap();
    world.stream.assert_holds_exactly(&log_ids(&recent)).await;

    // A checkpoint that is there wins over the interval.
    let late = source.take(5);
    world.tenant.add(&late);
    let poller = world.function_with("poller", 1, &[("INITIAL_INTERVAL", "30d")]);
    poll(&poller).await.unwrap();
    world.stream.assert_holds_exactly(&log_ids(&[recent, late].concat())).await;
}

#[tokio::test]
async fn a_tenant_that_never_answers_ends_the_tick_in_time() {
    let world = World::new(EngineKind::OpenSearch).await;
    let poller = world.poller();
    let events = events().take(20);
    world.tenant.add(&events);
    world.tenant.fail_pages([Fault::Hang; 50]);
    let outcome = poll_within(&poller, SHORT).await;
    assert!(matches!(outcome, Err(InvokeError::Reported(_))), "not by a timeout: {outcome:?}");
    assert_eq!(world.table.checkpoint().await, None);
    world.tenant.heal();
    poll(&poller).await.unwrap();
    world.stream.assert_holds_exactly(&log_ids(&events)).await;
}

#[tokio::test]
async fn a_broken_event_of_a_page_is_kept_and_the_checkpoint_goes_past_it() {
    let world = World::new(EngineKind::OpenSearch).await;
    let poller = world.poller();
    let mut source = events();
    let mut events = source.take(20);
    events[7]["data"]["date"] = serde_json::json!({ "no": "date" });
    events[9]["data"]["details"] = serde_json::json!("not an object");
    events[11]["data"]["ip"] = serde_json::json!("unknown");
    world.tenant.add(&events);
    poll(&poller).await.unwrap();
    let sent = log_ids(&events);
    assert_eq!(world.stream.count().await, sent.len());
    assert_eq!(world.table.checkpoint().await.as_ref(), sent.last());
    // The same events by the stream bring nothing new.
    deliver(&world.webhook(), json_lines(&events).as_bytes()).await;
    assert_eq!(world.stream.count().await, sent.len());
}

#[tokio::test]
async fn a_backfill_reads_its_window_and_leaves_the_checkpoint_alone() {
    let world = World::new(EngineKind::OpenSearch).await;
    let poller = world.function_with("poller", 1, &[("INITIAL_INTERVAL", "90m")]);
    let hours_ago = |hours| chrono::Utc::now() - TimeDelta::hours(hours);
    let wanted = support::events::Events::new(fastrand::u64(..), hours_ago(6)).take(350);
    let later = support::events::Events::new(fastrand::u64(..), hours_ago(4)).take(30);
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
        let order =
            serde_json::json!({ "backfill": { "from": from, "to": hours_ago(5).to_rfc3339() } });
        let answer = poller.invoke(order, Duration::from_secs(5)).await.unwrap();
        orders += 1;
        if answer["backfill"]["done"] == true {
            break;
        }
        assert_eq!(answer["stopped"], "out_of_time", "{answer}");
        answer["backfill"]["next_from"].as_str().unwrap().clone_into(&mut from);
        assert!(orders < 10, "each order gets on: {answer}");
    }
    assert!(orders > 1, "it did not fit into one");
    world.stream.assert_holds_exactly(&log_ids(&[wanted, live].concat())).await;
    assert_eq!(world.table.checkpoint().await, checkpoint);
}

#[tokio::test]
async fn an_order_that_cannot_be_used_is_refused_and_says_why() {
    let world = World::new(EngineKind::OpenSearch).await;
    let poller = world.poller();
    let order = serde_json::json!({ "backfill": { "from": "yesterday", "to": "today" } });
    let Err(InvokeError::Reported(error)) = poller.invoke(order, TIMEOUT).await else {
        panic!("{}", poller.logs());
    };
    assert_eq!(error["errorType"], "BackfillOrderUnusable");
    assert_eq!(world.tenant.counters().requests, 0);
}

#[tokio::test]
async fn where_even_the_oldest_time_is_refused_it_starts_at_what_a_plan_keeps() {
    let world = World::new(EngineKind::OpenSearch).await;
    let poller = world.poller();
    let mut source = events();
    let first = source.take(10);
    world.tenant.add(&first);
    poll(&poller).await.unwrap();
    let second = source.take(10);
    world.tenant.add(&second);
    world.tenant.fail_pages([Fault::ExpiredCheckpoint; 3]);
    poll(&poller).await.unwrap();
    let sent = log_ids(&[first, second].concat());
    world.stream.assert_holds_exactly(&sent).await;
    assert_eq!(world.table.checkpoint().await.as_ref(), sent.last());
}

#[tokio::test]
async fn a_page_without_log_ids_is_kept_and_does_not_go_round_for_ever() {
    let world = World::new(EngineKind::OpenSearch).await;
    let poller = world.poller();
    let events = events().take(5);
    world.tenant.add(&events);
    world.tenant.fail_pages([Fault::NoIds; 50]);
    let Err(InvokeError::Reported(error)) = poll(&poller).await else {
        panic!("{}", poller.logs());
    };
    assert_eq!(error["errorType"], "NoLogId");
    assert_eq!(world.tenant.counters().requests, 1);
    assert_eq!(world.table.checkpoint().await, None);
    assert_eq!(world.stream.count().await, 5);
    drop(poll(&poller).await);
    assert_eq!(world.stream.count().await, 5, "the same page gives the same documents");
}
