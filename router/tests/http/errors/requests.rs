//! Whatever the route: bodies, methods, keys.

use axum::body::Body;
use http::Request;
use serde_json::{Value, json};

use super::{native, openai};
use crate::support::*;

#[tokio::test]
async fn a_body_that_is_none_is_refused() {
    let server = Server::new().await;
    let deep = "[".repeat(100_000);
    for (body, code) in [
        (Vec::new(), "invalid_json"),
        (b"{".to_vec(), "invalid_json"),
        (b"[]".to_vec(), "invalid_type"),
        (b"\"text\"".to_vec(), "invalid_type"),
        (b"null".to_vec(), "invalid_type"),
        (b"{\"messages\":\"\xff\"}".to_vec(), "invalid_utf8"),
        (deep.clone().into_bytes(), "json_too_deep"),
        (format!("{{\"messages\":{deep}").into_bytes(), "json_too_deep"),
        (format!("{{\"unknown\":{deep}").into_bytes(), "json_too_deep"),
        (br#"{"messages":[],"temperature":NaN}"#.to_vec(), "invalid_json"),
        (br#"{"messages":[],"temperature":1e400}"#.to_vec(), "invalid_json"),
        (br#"{"messages":[],"messages":[]}"#.to_vec(), "invalid_type"),
    ] {
        let shown = String::from_utf8_lossy(&body)
            .chars()
            .take(60)
            .collect::<String>();
        let answer = server.post_text("/v1/chat/completions", body).await;
        let (status, given, _) = openai(&answer);
        assert_eq!((status, given.as_str()), (400, code), "{shown}");
    }
}

#[tokio::test]
async fn a_number_that_json_does_not_have_is_named() {
    let server = Server::new().await;
    for (text, field) in [
        (r#"{"temperature":NaN}"#, "temperature"),
        (r#"{"top_p":1e400}"#, "top_p"),
        (r#"{"stop_token_ids":[1,-]}"#, "stop_token_ids"),
    ] {
        let answer = server.post_text("/v1/chat/completions", text).await;
        assert_eq!(
            openai(&answer),
            (400, "invalid_json".to_owned(), json!(field)),
            "{text}"
        );
    }
}

#[tokio::test]
async fn a_body_over_the_limit_is_refused() {
    let mut setup = Setup::new();
    setup.settings.payload_limit = 100;
    let server = setup.start().await;
    let answer = server.post("/v1/chat/completions", chat(&"a".repeat(100))).await;
    assert_eq!(openai(&answer), (413, "body_too_large".to_owned(), Value::Null));
    assert!(
        answer.json()["error"]["message"]
            .as_str()
            .unwrap()
            .contains("100 bytes (--payload-limit)")
    );
    assert_eq!(
        server.post("/generate", json!({"inputs": "Hi"})).await.status,
        200
    );
}

#[tokio::test]
async fn routes_methods_models_and_types_that_do_not_exist() {
    let server = Server::new().await;
    let answer = server.get("/v1/nothing").await;
    assert_eq!(openai(&answer), (404, "unknown_route".to_owned(), Value::Null));
    assert_eq!(
        native(&server.get("/nothing").await),
        (404, "not_found".to_owned())
    );
    let answer = server.get("/v1/chat/completions").await;
    assert_eq!(
        openai(&answer),
        (405, "method_not_allowed".to_owned(), Value::Null)
    );
    assert_eq!(answer.header("allow"), "POST");
    let answer = server
        .send(Request::delete("/info").body(Body::empty()).unwrap())
        .await;
    assert_eq!(native(&answer), (405, "method_not_allowed".to_owned()));
    let answer = server
        .post(
            "/v1/chat/completions",
            with(chat("Hi"), json!({"model": "gpt-9"})),
        )
        .await;
    assert_eq!(
        openai(&answer),
        (404, "model_not_found".to_owned(), json!("model"))
    );
    assert_eq!(
        answer.json()["error"]["message"],
        "The model `gpt-9` does not exist."
    );
    let form = Request::post("/generate").header("content-type", "application/x-www-form-urlencoded");
    let answer = server.send(form.body(Body::from("inputs=Hi")).unwrap()).await;
    assert_eq!(native(&answer), (415, "validation".to_owned()));
}

#[tokio::test]
async fn the_key_guards_every_route_but_health() {
    let mut setup = Setup::new();
    setup.settings.keys = key("Sesame");
    let server = setup.start().await;
    for path in [
        "/v1/chat/completions",
        "/v1/completions",
        "/generate",
        "/generate_stream",
        "/",
        "/tokenize",
    ] {
        let answer = server.post(path, json!({})).await;
        assert_eq!(answer.status, 401, "{path}");
        assert_eq!(answer.header("www-authenticate"), "Bearer");
        assert!(!answer.text.contains("Sesame"));
    }
    for path in ["/v1/models", "/v1/models/x", "/info", "/metrics"] {
        assert_eq!(server.get(path).await.status, 401, "{path}");
    }
    for path in ["/", "/health", "/ping"] {
        assert_eq!(server.get(path).await.status, 200, "{path}");
    }
    for (given, status) in [
        ("Bearer Sesame", 200),
        ("Bearer sesame", 401),
        ("Sesame", 401),
        ("Bearer ", 401),
    ] {
        let request = Request::get("/v1/models")
            .header("authorization", given)
            .body(Body::empty())
            .unwrap();
        assert_eq!(server.send(request).await.status, status, "{given}");
    }
}
