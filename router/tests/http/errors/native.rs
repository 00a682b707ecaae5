//! `/generate` and its like.

use serde_json::json;

use super::native;
use crate::support::*;

#[tokio::test]
async fn native_parameters_are_checked_in_known_words() {
    let server = Server::new().await;
    for (parameters, message) in [
        (
            json!({"temperature": 0}),
            "`temperature` must be strictly positive",
        ),
        (
            json!({"repetition_penalty": -1}),
            "`repetition_penalty` must be strictly positive",
        ),
        (json!({"top_k": 0}), "`top_k` must be strictly positive"),
        (json!({"top_p": 0}), "`top_p` must be > 0.0 and <= 1.0. Given: 0"),
        (
            json!({"typical_p": 1.5}),
            "`typical_p` must be > 0.0 and <= 1.0. Given: 1.5",
        ),
        (
            json!({"frequency_penalty": 3}),
            "`frequency_penalty` must be >= -2.0 and <= 2.0. Given: 3",
        ),
        (
            json!({"max_new_tokens": 0}),
            "`max_new_tokens` must be strictly positive",
        ),
        (
            json!({"best_of": 3, "do_sample": true}),
            "`best_of` must be > 0 and <= 2. Given: 3",
        ),
        (
            json!({"best_of": 0, "do_sample": true}),
            "`best_of` must be > 0 and <= 2. Given: 0",
        ),
        (
            json!({"best_of": 2}),
            "you must use sampling when `best_of` is > 1",
        ),
        (
            json!({"best_of": 2, "do_sample": true, "seed": 1}),
            "`seed` must not be set when `best_of` > 1",
        ),
        (
            json!({"truncate": 0}),
            "`truncate` must be strictly positive and less than 511. Given: 0",
        ),
        (
            json!({"top_n_tokens": 6}),
            "`top_n_tokens` must be >= 0 and <= 5. Given: 6",
        ),
        (
            json!({"stop": ["a", "b", "c", "d", "e"]}),
            "`stop` supports up to 4 stop sequences (--max-stop-sequences). Given: 5",
        ),
        (
            json!({"max_new_tokens": 511}),
            "`inputs` tokens + `max_new_tokens` must be <= 512. Given: 2 `inputs` tokens and 511 `max_new_tokens`",
        ),
    ] {
        let answer = server
            .post("/generate", json!({"inputs": "Hi", "parameters": parameters}))
            .await;
        assert_eq!(native(&answer), (422, "validation".to_owned()));
        assert_eq!(
            answer.json()["error"],
            format!("Input validation error: {message}")
        );
    }
    for (body, param) in [
        (json!({}), "inputs"),
        (json!({"inputs": ""}), "inputs"),
        (json!({"inputs": 7}), "inputs"),
        (json!({"inputs": "Hi", "parameters": 7}), "parameters"),
        (
            json!({"inputs": "Hi", "parameters": {"top_k": "x"}}),
            "parameters.top_k",
        ),
        (json!({"inputs": "a".repeat(600)}), "inputs"),
        (json!({"inputs": "a".repeat(600_000)}), "inputs"),
    ] {
        for path in ["/generate", "/generate_stream", "/"] {
            let answer = server.post(path, body.clone()).await;
            assert_eq!(native(&answer), (422, "validation".to_owned()), "{path} {param}");
            assert_eq!(answer.json()["param"], param, "{path}");
        }
    }
}

#[tokio::test]
async fn what_is_not_built_is_named() {
    let server = Server::new().await;
    for (field, value) in [("watermark", json!(true)), ("adapter_id", json!("me/adapter"))] {
        let answer = server
            .post("/generate", json!({"inputs": "Hi", "parameters": {field: value}}))
            .await;
        assert_eq!(native(&answer), (422, "validation".to_owned()), "{field}");
        assert_eq!(answer.json()["param"], format!("parameters.{field}"));
    }
}

#[tokio::test]
async fn a_grammar_that_cannot_be_followed_is_refused() {
    let server = Server::new().await;
    let grammar = json!({"type": "json", "value": false});
    let body = json!({"inputs": "Hi", "parameters": {"grammar": grammar}});
    let answer = server.post("/generate", body).await;
    assert_eq!(native(&answer), (422, "validation".to_owned()));
    assert_eq!(answer.json()["param"], "parameters.grammar");
}
