//! What is refused, with which status and in whose shape.

mod chat;
mod completions;
mod native;
mod requests;
mod shared;

use serde_json::{Value, json};

use crate::support::*;

/// Status, code and field of an error under `/v1`.
fn openai(answer: &Answer) -> (u16, String, Value) {
    let error = &answer.json()["error"];
    assert!(
        error["message"]
            .as_str()
            .is_some_and(|message| !message.is_empty()),
        "{}",
        answer.text
    );
    assert!(error["type"].is_string(), "{}", answer.text);
    (
        answer.status.as_u16(),
        error["code"].as_str().unwrap().to_owned(),
        error["param"].clone(),
    )
}

/// Status and type of an error of a native route.
fn native(answer: &Answer) -> (u16, String) {
    let error = answer.json();
    assert!(error["error"].is_string(), "{}", answer.text);
    (
        answer.status.as_u16(),
        error["error_type"].as_str().unwrap().to_owned(),
    )
}

#[tokio::test]
async fn both_shapes() {
    let server = Server::new().await;
    let body = with(chat("Hi"), json!({"temperature": 1e9}));
    insta::assert_json_snapshot!("openai", server.post("/v1/chat/completions", body).await.json());
    let body = json!({"inputs": "Hi", "parameters": {"temperature": 0}});
    insta::assert_json_snapshot!("native", server.post("/generate", body).await.json());
}
