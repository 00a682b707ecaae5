//! `/v1/chat/completions`

use serde_json::json;

use super::openai;
use crate::support::*;

#[tokio::test]
async fn messages_are_checked() {
    let server = Server::new().await;
    for (messages, param) in [
        (json!([]), "messages"),
        (json!("Hi"), "messages"),
        (json!({}), "messages"),
        (json!(["Hi"]), "messages[0]"),
        (json!([{}]), "messages[0].role"),
        (json!([{"role": 7, "content": "Hi"}]), "messages[0].role"),
        (json!([{"role": "king", "content": "Hi"}]), "messages[0].role"),
        (json!([{"role": "user"}]), "messages[0].content"),
        (json!([{"role": "user", "content": null}]), "messages[0].content"),
        (json!([{"role": "user", "content": 7}]), "messages[0].content"),
        (
            json!([{"role": "user", "content": "a"}, {"role": "user", "content": [7]}]),
            "messages[1].content[0]",
        ),
        (
            json!([{"role": "user", "content": [{}]}]),
            "messages[0].content[0].type",
        ),
        (
            json!([{"role": "user", "content": [{"type": "text"}]}]),
            "messages[0].content[0].text",
        ),
        (
            json!([{"role": "user", "content": [{"type": "text", "text": 7}]}]),
            "messages[0].content[0].text",
        ),
        (
            json!([{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "http://x"}}]}]),
            "messages[0].content[0].type",
        ),
        (
            json!([{"role": "tool", "content": "42"}]),
            "messages[0].tool_call_id",
        ),
        (
            json!([{"role": "assistant", "tool_calls": 7}]),
            "messages[0].tool_calls",
        ),
        (
            json!([{"role": "user", "content": "a", "name": 7}]),
            "messages[0].name",
        ),
    ] {
        let answer = server
            .post("/v1/chat/completions", json!({"messages": messages}))
            .await;
        let (status, _, param_given) = openai(&answer);
        assert_eq!((status, param_given), (400, json!(param)), "{messages}");
    }
    let answer = server.post("/v1/chat/completions", json!({})).await;
    assert_eq!(
        openai(&answer),
        (400, "missing_required_parameter".to_owned(), json!("messages"))
    );
}

#[tokio::test]
async fn fields_that_exclude_each_other_are_refused() {
    let server = Server::new().await;
    for (more, param) in [
        (json!({"n": 2, "temperature": 0}), "n"),
        (json!({"top_logprobs": 2}), "top_logprobs"),
        (
            json!({"max_tokens": 2, "max_completion_tokens": 3}),
            "max_completion_tokens",
        ),
        (json!({"min_tokens": 5, "max_tokens": 3}), "min_tokens"),
        (
            json!({"continue_final_message": true, "add_generation_prompt": true}),
            "continue_final_message",
        ),
        (json!({"stream_options": {}, "stream": false}), "stream_options"),
    ] {
        let answer = server
            .post("/v1/chat/completions", with(chat("Hi"), more.clone()))
            .await;
        let (status, _, param_given) = openai(&answer);
        assert_eq!((status, param_given), (400, json!(param)), "{more}");
    }
}

#[tokio::test]
async fn what_is_not_built_is_named() {
    let server = Server::new().await;
    for (field, value) in [
        ("functions", json!([{"name": "f"}])),
        ("best_of", json!(2)),
        ("audio", json!({})),
        ("chat_template", json!("{{ range(1000000000) }}")),
        ("use_beam_search", json!(true)),
    ] {
        let answer = server
            .post("/v1/chat/completions", with(chat("Hi"), json!({field: value})))
            .await;
        assert_eq!(
            openai(&answer),
            (400, "unsupported_parameter".to_owned(), json!(field))
        );
    }
}

#[tokio::test]
async fn a_prompt_that_is_too_long_is_told_both_counts() {
    let server = Server::new().await;
    let answer = server.post("/v1/chat/completions", chat(&"a".repeat(600))).await;
    assert_eq!(
        openai(&answer),
        (400, "context_length_exceeded".to_owned(), json!("messages"))
    );
    let message = answer.json()["error"]["message"].as_str().unwrap().to_owned();
    assert!(message.contains("511") && message.contains("619"), "{message}");
}
