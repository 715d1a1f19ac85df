//! Secrets with real version stages: a rotation loses nothing, and an outage keeps what is cached.

use std::time::Duration;

use serde_json::json;
use shared::start::secrets::{SearchCredentials, SecretError, Secrets};
use shared::start::token::WebhookToken;
use support::aws::{self, create_empty_secret, create_secret, rotate_secret};
use support::events::{json_lines, log_ids};
use support::payload::webhook_post;
use support::proxy::{Fault, Proxy};
use support::runtime::eventually;
use support::stack::{self, EngineKind};

use crate::world::{TOKEN, World, events, poll, post, post_all, send};

fn unique(name: &str) -> String {
    format!("{}/{name}", stack::unique("e2e"))
}

fn secrets() -> Secrets {
    Secrets::new(&aws::config(stack::moto_url()))
}

async fn rotated_token(id: &str, token: &str) {
    rotate_secret(id, &json!({ "token": token })).await;
}

#[tokio::test]
async fn rotated_token_and_previous_one_are_accepted() {
    let id = create_secret(&unique("webhook"), &json!({ "token": "first" })).await;
    let token = WebhookToken::new(secrets(), id.clone());
    assert!(token.verify(b"first").await.unwrap());

    rotated_token(&id, "second").await;
    assert!(token.verify(b"first").await.unwrap());
    assert!(token.verify(b"second").await.unwrap(), "read again when the check fails");
    assert!(token.verify(b"first").await.unwrap(), "still the previous one");
    assert!(!token.verify(b"third").await.unwrap());

    rotated_token(&id, "third").await;
    let elsewhere = WebhookToken::new(secrets(), id);
    assert!(elsewhere.verify(b"third").await.unwrap());
    assert!(elsewhere.verify(b"second").await.unwrap());
    assert!(!elsewhere.verify(b"first").await.unwrap(), "its time is over");
}

#[tokio::test]
async fn wrong_tokens_do_not_hammer_secrets_manager() {
    let proxy = Proxy::start(&stack::moto_url()).await;
    let id = create_secret(&unique("webhook"), &json!({ "token": "right" })).await;
    let token = WebhookToken::new(Secrets::new(&aws::config(proxy.url().to_owned())), id);
    for n in 0..50 {
        assert!(!token.verify(format!("wrong {n}").as_bytes()).await.unwrap());
        assert!(token.verify(b"right").await.unwrap());
    }
    assert_eq!(proxy.requests(), 4, "both stages, at first and after the first wrong token");
}

#[tokio::test]
async fn secrets_outage_keeps_the_cached_token_and_is_not_a_rejection() {
    let proxy = Proxy::start(&stack::moto_url()).await;
    let through_proxy = Secrets::new(&aws::config(proxy.url().to_owned()));
    let id = create_secret(&unique("webhook"), &json!({ "token": "right" })).await;
    let token = WebhookToken::new(through_proxy.clone(), id.clone());
    assert!(token.verify(b"right").await.unwrap());
    for fault in [Fault::Refuse, Fault::Hang, Fault::Status(500), Fault::Html] {
        proxy.fail(fault).await;
        assert!(!token.verify(b"wrong").await.unwrap(), "{fault:?}");
        assert!(token.verify(b"right").await.unwrap(), "{fault:?}");
        let cold = WebhookToken::new(through_proxy.clone(), id.clone());
        let unknown = cold.verify(b"right").await;
        assert!(matches!(unknown, Err(SecretError::Unavailable { .. })), "{fault:?}: {unknown:?}");
    }
}

#[tokio::test]
async fn missing_or_empty_secret_is_named() {
    let missing = unique("auth0");
    let error = secrets().auth0_client(&missing).await.unwrap_err();
    assert!(matches!(&error, SecretError::Missing { id } if *id == missing), "{error}");

    let empty = create_empty_secret(&unique("search")).await;
    let error = secrets().search_credentials(&empty).await.unwrap_err();
    // Secrets Manager tells the two apart; moto says the same about both.
    assert!(error.to_string().contains("yet"), "{error}");
    assert!(error.to_string().contains(&empty), "{error}");
    rotate_secret(&empty, &json!({})).await;
    let error = secrets().search_credentials(&empty).await.unwrap_err();
    assert!(matches!(error, SecretError::NotFilledIn { .. }), "{error}");

    let filled = json!({ "username": "writer", "password": "hunter2" });
    rotate_secret(&empty, &filled).await;
    let credentials = secrets().search_credentials(&empty).await.unwrap();
    assert!(
        matches!(credentials, SearchCredentials::Basic { username, .. } if username == "writer")
    );

    let token = create_empty_secret(&unique("webhook")).await;
    rotated_token(&token, "first ever").await;
    let token = WebhookToken::new(secrets(), token);
    assert!(token.verify(b"first ever").await.unwrap());
    assert!(!token.verify(b"").await.unwrap(), "the empty version before it opens nothing");
}

#[tokio::test]
async fn token_rotation_under_load_rejects_no_valid_token() {
    const NEW_TOKEN: &str = "Bearer the-next-token-of-the-tests";
    let world = World::new(EngineKind::OpenSearch).await;
    let webhook = world.function("webhook", 4);
    let mut source = events();
    let batches: Vec<_> = (0..1_000).map(|_| source.take(2)).collect();
    let (old, new) = batches.split_at(500);

    // Auth0 uses the previous token until the operator has changed the stream.
    let (first, rest) = old.split_at(100);
    post_all(&webhook, TOKEN, first).await;
    rotated_token(&world.secret_id("webhook"), NEW_TOKEN).await;
    let (one, two) = rest.split_at(200);
    let (three, four) = new.split_at(250);
    tokio::join!(
        post_all(&webhook, TOKEN, one),
        post_all(&webhook, TOKEN, two),
        post_all(&webhook, NEW_TOKEN, three),
        post_all(&webhook, NEW_TOKEN, four)
    );
    world.stream.assert_holds_exactly(&log_ids(&batches.concat())).await;
}

#[tokio::test]
async fn rotation_of_all_secrets_under_load_loses_no_event() {
    /// `writer:first` in base64, in the proxy's lower case.
    const FIRST: &str = "basic d3jpdgvyomzpcnn0";
    const NEW_TOKEN: &str = "Bearer the-next-token-of-the-tests";
    const MOMENT: Duration = Duration::from_millis(300);
    let world = World::new(EngineKind::OpenSearch).await;
    let first = json!({ "username": "writer", "password": "first" });
    let id = create_secret(&unique("search"), &first).await;
    let search = [("SEARCH_SECRET_ID", id.as_str())];
    let webhook = world.function_with("webhook", 4, &search);
    let redrive = world.function_with("redrive", 1, &search);
    let poller = world.function_with("poller", 1, &search);
    let mut source = events();
    let batches: Vec<_> = (0..1_000).map(|_| source.take(1)).collect();
    let pulled = world.tenant.add_next(&mut source, 50);

    // Auth0 and the engine get the new credentials some time before the secrets do.
    let rotate = async {
        tokio::time::sleep(MOMENT).await;
        world.proxy.fail_only(Fault::Status(401), |head| head.contains(FIRST)).await;
        world.tenant.rotate_client_secret("another secret");
        tokio::time::sleep(MOMENT).await;
        rotate_secret(&id, &json!({ "username": "writer", "password": "second" })).await;
        let client = json!({ "client_id": "client", "client_secret": "another secret" });
        rotate_secret(&world.secret_id("auth0"), &client).await;
        rotated_token(&world.secret_id("webhook"), NEW_TOKEN).await;
        post_all(&webhook, NEW_TOKEN, &batches[750..]).await;
    };
    let polls = async {
        while world.table.checkpoint().await.is_none() {
            // A run may fail while Auth0 and the secret disagree; the next one continues.
            let _failed = poll(&poller).await;
            tokio::time::sleep(MOMENT).await;
        }
    };
    let (one, two, three) = (&batches[..250], &batches[250..500], &batches[500..750]);
    tokio::join!(
        post_all(&webhook, TOKEN, one),
        post_all(&webhook, TOKEN, two),
        post_all(&webhook, TOKEN, three),
        rotate,
        polls
    );
    assert!(world.proxy.failed() > 0, "the engine never saw the old password");
    poll(&poller).await.expect("the new credentials are used");
    world.queues.drain(&redrive).await;
    let sent = log_ids(&[batches.concat(), pulled].concat());
    world.stream.assert_holds_exactly(&sent).await;
    assert!(webhook.starts() <= 4 && poller.starts() == 1, "a process was restarted");
    for secret in ["another secret", "the-next-token"] {
        assert!(!webhook.logs().contains(secret) && !poller.logs().contains(secret));
    }
}

#[tokio::test]
async fn rotated_auth0_credentials_are_used_without_a_restart() {
    let world = World::new(EngineKind::OpenSearch).await;
    let poller = world.poller();
    let mut source = events();
    let first = world.tenant.add_next(&mut source, 5);
    poll(&poller).await.unwrap();

    world.tenant.rotate_client_secret("another secret");
    let second = world.tenant.add_next(&mut source, 5);
    let outcome = poll(&poller).await;
    assert!(outcome.is_err(), "the old secret was accepted: {outcome:?}");
    let both = json!({ "client_id": "client", "client_secret": "another secret" });
    rotate_secret(&world.secret_id("auth0"), &both).await;
    poll(&poller).await.expect("no restart is needed");
    world.stream.assert_holds_exactly(&log_ids(&[first, second].concat())).await;
    assert_eq!(poller.starts(), 1);
    assert!(!poller.logs().contains("another secret"));
}

#[tokio::test]
async fn webhook_tokens_stay_out_of_the_logs() {
    let world = World::new(EngineKind::OpenSearch).await;
    let webhook = world.webhook();
    let body = json_lines(&events().take(3));
    let request = webhook_post("Bearer a-wrong-token", body.as_bytes());
    assert_eq!(send(&webhook, request).await.unwrap().status, 401);
    assert_eq!(post(&webhook, body.as_bytes()).await.unwrap().status, 200);
    // The logs are read in the background.
    eventually("both requests are logged", async || {
        let logs = webhook.logs();
        logs.contains("\"Unauthorized\":1") && logs.contains("\"EventsReceived\":3")
    })
    .await;
    for secret in ["a-token-of-the-tests", "a-wrong-token"] {
        assert!(!webhook.logs().contains(secret), "{}", webhook.logs());
    }
}
