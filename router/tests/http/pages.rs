//! What is there to look at.

use axum::body::Body;
use http::Request;
use serde_json::json;

use crate::support::*;

#[tokio::test]
async fn a_server_that_serves_is_healthy() {
    let server = Server::new().await;
    for path in ["/", "/health", "/ping"] {
        let answer = server.get(path).await;
        assert_eq!(
            (answer.status.as_u16(), answer.text.as_str()),
            (200, ""),
            "{path}"
        );
    }
}

#[tokio::test]
async fn a_server_that_starts_says_where_it_stands() {
    let server = Setup::new().start_without_shard();
    server
        .engine
        .report_phase("download", "model.safetensors, 3 of 9 MB");
    for path in ["/", "/health", "/ping"] {
        let answer = server.get(path).await;
        assert_eq!(answer.status, 503, "{path}");
        assert_eq!(answer.json()["error_type"], "healthcheck");
    }
    let answer = server.post("/v1/chat/completions", chat("Hi")).await;
    assert_eq!(
        (answer.status.as_u16(), &answer.json()["error"]["code"]),
        (503, &json!("not_ready"))
    );
    let answer = server.post("/tokenize", json!({"inputs": "Hi"})).await;
    assert_eq!(answer.status, 200, "the tokenizer is there");
    assert_eq!(server.get("/v1/models").await.status, 200);
    assert_eq!(server.get("/info").await.status, 200);
    assert_eq!(server.get("/metrics").await.status, 200);
}

#[tokio::test]
async fn models_and_info_have_their_shapes() {
    let server = Server::new().await;
    insta::assert_json_snapshot!("models", server.get("/v1/models").await.json());
    insta::assert_json_snapshot!("model", server.get("/v1/models/test/tiny").await.json());
    insta::assert_json_snapshot!("model_unknown", server.get("/v1/models/other/model").await.json());
    insta::assert_json_snapshot!("info", server.get("/info").await.json());
}

#[tokio::test]
async fn numbers_are_counted_once_a_request() {
    let server = Server::new().await;
    server
        .post("/v1/completions", json!({"prompt": ["a", "bc"], "max_tokens": 4}))
        .await;
    server
        .post(
            "/generate",
            json!({"inputs": "a", "parameters": {"max_new_tokens": 3}}),
        )
        .await;
    server.post("/generate", json!({"inputs": ""})).await;
    for (name, value) in [
        ("tgi_request_count", 3.0),
        ("tgi_request_success", 2.0),
        ("tgi_request_failure{err=\"validation\"}", 1.0),
        ("tgi_request_generated_tokens_sum", 11.0),
        ("tgi_request_input_length_sum", 4.0),
        ("tgi_request_max_new_tokens_sum", 7.0),
        ("shardline_time_to_first_token_seconds_count", 2.0),
        ("shardline_inter_token_seconds_count", 8.0),
        ("tgi_request_duration_count", 2.0),
        ("shardline_prompt_tokens_total", 4.0),
    ] {
        assert_eq!(server.metric(name).await, value, "{name}");
    }
    assert_eq!(server.metric("tgi_batch_max_total_tokens").await, 256.0 * 16.0);
}

#[tokio::test]
async fn a_browser_may_send_the_key_from_elsewhere() {
    let mut setup = Setup::new();
    setup.settings.cors_allow_origin = vec!["https://app.example".to_owned()];
    let server = setup.start().await;
    let preflight = |origin: &str| {
        Request::options("/v1/chat/completions")
            .header("origin", origin)
            .header("access-control-request-method", "POST")
            .header("access-control-request-headers", "authorization,content-type")
            .body(Body::empty())
            .unwrap()
    };
    let answer = server.send(preflight("https://app.example")).await;
    assert_eq!(
        answer.header("access-control-allow-origin"),
        "https://app.example"
    );
    assert!(
        answer
            .header("access-control-allow-headers")
            .contains("authorization")
    );
    let answer = server.send(preflight("https://evil.example")).await;
    assert_eq!(answer.header("access-control-allow-origin"), "");
}
