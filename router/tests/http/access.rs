//! Keys, tenants and limits as clients see them.

use std::time::Instant;

use axum::body::Body;
use http::Request;
use serde_json::{Value, json};
use shardline_router::access::{KeyEntry, KeyHash, Keys, Limits, Tenant};

use crate::support::*;

fn entry(key: &str, tenant: &str, limits: Limits) -> KeyEntry {
    KeyEntry {
        hash: KeyHash::of(key.as_bytes()),
        tenant: Tenant::new(tenant),
        limits,
    }
}

async fn server(entries: Vec<KeyEntry>) -> Server {
    let mut setup = Setup::new();
    setup.settings.keys = Keys::new(None, Some(entries), Instant::now());
    setup.start().await
}

async fn send(server: &Server, key: &str, path: &str, body: Value) -> Answer {
    let request = Request::post(path)
        .header("content-type", "application/json")
        .header("authorization", format!("Bearer {key}"))
        .body(Body::from(body.to_string()))
        .unwrap();
    server.send(request).await
}

fn short() -> Value {
    with(chat("Hi"), json!({"max_tokens": 2}))
}

#[tokio::test]
async fn requests_beyond_the_limit_are_told_when_to_come_back() {
    let limits = Limits {
        requests_per_minute: Some(2),
        ..Limits::default()
    };
    let server = server(vec![
        entry("one", "a", limits),
        entry("two", "a", limits),
        entry("free", "b", Limits::default()),
    ])
    .await;
    for remaining in ["1", "0"] {
        let answer = send(&server, "one", "/v1/chat/completions", short()).await;
        assert_eq!(answer.status, 200);
        assert_eq!(answer.header("x-ratelimit-limit-requests"), "2");
        assert_eq!(answer.header("x-ratelimit-remaining-requests"), remaining);
        assert!(answer.header("x-ratelimit-reset-requests").ends_with('s'));
        assert_eq!(
            answer.header("x-ratelimit-limit-tokens"),
            "",
            "what is not limited is not told"
        );
    }
    let refused = send(&server, "one", "/v1/chat/completions", short()).await;
    assert_eq!(refused.status, 429);
    assert_eq!(refused.json()["error"]["code"], "rate_limit_exceeded");
    assert_eq!(refused.header("x-ratelimit-remaining-requests"), "0");
    let seconds: u64 = refused.header("retry-after").parse().unwrap();
    assert!((1..=30).contains(&seconds), "{seconds}");
    let native = send(&server, "one", "/generate", json!({"inputs": "Hi"})).await;
    assert_eq!(
        (native.status.as_u16(), &native.json()["error_type"]),
        (429, &json!("overloaded"))
    );
    for key in ["two", "free"] {
        let answer = send(&server, key, "/v1/chat/completions", short()).await;
        assert_eq!(answer.status, 200, "another key has limits of its own: {key}");
    }
    assert!(
        server
            .metric_of("free", "tgi_request_failure{err=\"rate_limited\"}")
            .await
            >= 2.0
    );
}

#[tokio::test]
async fn tokens_are_taken_as_asked_and_settled_as_used() {
    let limits = Limits {
        tokens_per_minute: Some(100),
        ..Limits::default()
    };
    let server = server(vec![entry("one", "a", limits)]).await;
    let ask = |max_tokens: u32| {
        let body = json!({"prompt": [1, 2, 3, 4], "max_tokens": max_tokens, "stop": "l"});
        send(&server, "one", "/v1/completions", body)
    };
    let too_large = ask(97).await;
    assert_eq!(too_large.status, 429, "{}", too_large.text);
    assert_eq!(too_large.header("x-should-retry"), "false");
    assert!(
        too_large.text.contains("may need 101 tokens"),
        "{}",
        too_large.text
    );
    // The song's third token ends it, so that most of what was taken comes back.
    let answer = ask(96).await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.header("x-ratelimit-limit-tokens"), "100");
    let used = answer.json()["usage"]["total_tokens"].as_u64().unwrap();
    assert!(used < 12, "{used}");
    let answer = ask(85).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
}

#[tokio::test]
async fn what_was_used_beyond_the_limit_is_owed() {
    let limits = Limits {
        tokens_per_minute: Some(20),
        ..Limits::default()
    };
    let server = server(vec![entry("one", "a", limits)]).await;
    let body = json!({"inputs": "Hi", "parameters": {"details": true}});
    let answer = send(&server, "one", "/generate", body.clone()).await;
    assert_eq!(
        answer.status, 200,
        "nobody said how much it would be: {}",
        answer.text
    );
    let refused = send(&server, "one", "/generate", body).await;
    assert_eq!(refused.status, 429, "{}", refused.text);
    assert!(refused.header("retry-after").parse::<u64>().unwrap() > 60);
}

#[tokio::test]
async fn a_tenant_with_all_its_places_taken_leaves_the_others_theirs() {
    let limits = Limits {
        concurrent_requests: Some(1),
        ..Limits::default()
    };
    let server = server(vec![entry("one", "a", limits), entry("two", "b", limits)]).await;
    let endless = with(
        chat("Hi"),
        json!({"stream": true, "ignore_eos": true, "max_tokens": 400}),
    );
    let request = Request::post("/v1/chat/completions")
        .header("content-type", "application/json")
        .header("x-api-key", "one")
        .body(Body::from(endless.to_string()))
        .unwrap();
    let mut running = tower::ServiceExt::oneshot(server.router.clone(), request)
        .await
        .unwrap()
        .into_body();
    assert!(piece(&mut running).await.is_some());
    let refused = send(&server, "one", "/v1/chat/completions", short()).await;
    assert_eq!(
        (refused.status.as_u16(), refused.header("retry-after")),
        (429, "1")
    );
    assert_eq!(
        send(&server, "two", "/v1/chat/completions", short()).await.status,
        200
    );
    drop(running);
    server.settled().await;
    assert_eq!(
        send(&server, "one", "/v1/chat/completions", short()).await.status,
        200
    );
}

#[tokio::test]
async fn tenants_do_not_see_each_others_cache() {
    let free = Limits::default();
    let server = server(vec![
        entry("one", "a", free),
        entry("also", "a", free),
        entry("two", "b", free),
    ])
    .await;
    let cached = async |key: &str| {
        let body = json!({"prompt": vec![7; 64], "max_tokens": 1});
        let answer = send(&server, key, "/v1/completions", body).await;
        answer.json()["usage"]["prompt_tokens_details"]["cached_tokens"]
            .as_u64()
            .unwrap()
    };
    assert_eq!(cached("one").await, 0);
    assert_eq!(cached("two").await, 0, "another tenant's prompt");
    assert!(cached("also").await > 0, "the same tenant by another key");
}

#[tokio::test]
async fn keys_are_replaced_while_requests_run() {
    let mut setup = Setup::new();
    let keys = Keys::new(
        None,
        Some(vec![entry("old", "a", Limits::default())]),
        Instant::now(),
    );
    setup.settings.keys = keys.clone();
    let server = setup.start().await;
    assert_eq!(
        send(&server, "old", "/v1/chat/completions", short()).await.status,
        200
    );
    keys.replace(vec![entry("new", "a", Limits::default())], Instant::now());
    assert_eq!(
        send(&server, "old", "/v1/chat/completions", short()).await.status,
        401
    );
    assert_eq!(
        send(&server, "new", "/v1/chat/completions", short()).await.status,
        200
    );
}
