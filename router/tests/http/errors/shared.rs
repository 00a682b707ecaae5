//! `/v1/chat/completions` and `/v1/completions`: the fields they share.

use serde_json::json;

use super::openai;
use crate::support::*;

#[tokio::test]
async fn every_shared_field_is_checked() {
    let server = Server::new().await;
    for (field, values) in [
        ("temperature", json!([-1, 1e9, "1", [], true])),
        ("top_p", json!([0, -1, 1.1, "1"])),
        ("top_k", json!([-2, 2_147_483_648_u64, 1.5, "1"])),
        ("min_p", json!([-0.1, 1.1, {}])),
        ("typical_p", json!([0, 2, "x"])),
        ("repetition_penalty", json!([0, -1, 1e9, "x"])),
        ("frequency_penalty", json!([-2.1, 2.1, 1e9, -1e9, []])),
        ("presence_penalty", json!([-2.1, 2.1, 1e9, -1e9, false])),
        ("seed", json!([1.8446744073709552e19, -1e19, 1.5, "7"])),
        ("n", json!([0, -1, 1_000_000, 1.5, "1"])),
        (
            "stop",
            json!([
                "",
                ["a", ""],
                ["a", "b", "c", "d", "e"],
                7,
                [7],
                {},
                "x".repeat(2000)
            ]),
        ),
        (
            "stop_token_ids",
            json!([
                [-1],
                [VOCAB_SIZE],
                [9_223_372_036_854_775_808_u64],
                7,
                ["a"],
                vec![1; 200]
            ]),
        ),
        ("min_tokens", json!([-1, 100_000, "1"])),
        ("max_tokens", json!([0, -1, 2_147_483_648_u64, 1.5, "1"])),
        (
            "logit_bias",
            json!([{"x": 1}, {"-1": 1}, {"300": 1}, {"1": 101}, {"1": "a"}, [], 7]),
        ),
        ("allowed_token_ids", json!([[], [VOCAB_SIZE], [-1], 7])),
        ("ignore_eos", json!(["yes", 1])),
        ("include_stop_str_in_output", json!([1])),
        ("cache_salt", json!(["", 7, "x".repeat(2000)])),
        ("stream", json!(["true", 1])),
        ("stream_options", json!([{"include_usage": true}, 7, []])),
        ("model", json!([7, []])),
    ] {
        for value in values.as_array().unwrap() {
            for (path, body) in [
                ("/v1/chat/completions", chat("Hi")),
                ("/v1/completions", json!({"prompt": "Hi"})),
            ] {
                let answer = server.post(path, with(body, json!({field: value}))).await;
                let (status, _, param) = openai(&answer);
                let param = param.as_str().unwrap_or_default();
                assert!(
                    status == 400 && param.split(['[', '.']).next() == Some(field),
                    "{path} {field} = {value}: {status} {}",
                    answer.text
                );
            }
        }
    }
    server.settled().await;
    assert_eq!(server.engine.stats().steps, 0, "the model was not asked");
}

#[tokio::test]
async fn a_structure_that_cannot_be_followed_is_refused_before_anything_runs() {
    let server = Server::new().await;
    for (more, status, code, param) in [
        (
            json!({"guided_json": false}),
            400,
            "unsatisfiable_grammar",
            json!("guided_json"),
        ),
        (
            json!({"guided_regex": "("}),
            400,
            "invalid_grammar",
            json!("guided_regex"),
        ),
        (
            json!({"structured_outputs": {"grammar": "start: start"}}),
            400,
            "grammar_too_complex",
            json!("structured_outputs.grammar"),
        ),
        (json!({"guided_regex": "busy"}), 429, "overloaded", json!(null)),
    ] {
        for path in ["/v1/chat/completions", "/v1/completions"] {
            let body = with(
                with(chat("Hi"), json!({"prompt": "Hi", "stream": true})),
                more.clone(),
            );
            let answer = server.post(path, body).await;
            assert_eq!(
                openai(&answer),
                (status, code.to_owned(), param.clone()),
                "{path} {more}"
            );
        }
    }
    let followed = json!({"response_format": {"type": "json_object"}, "max_tokens": 1});
    assert_eq!(
        server
            .post("/v1/chat/completions", with(chat("Hi"), followed))
            .await
            .status,
        200
    );
}

#[tokio::test]
async fn without_grammar_support_the_field_is_refused_by_name() {
    let mut setup = Setup::new();
    setup.settings.grammar_support = false;
    let server = setup.start().await;
    let asked = json!({"response_format": {"type": "json_object"}});
    let answer = server.post("/v1/chat/completions", with(chat("Hi"), asked)).await;
    let expected = (400, "unsupported_parameter".to_owned(), json!("response_format"));
    assert_eq!(openai(&answer), expected);
    let text = json!({"response_format": {"type": "text"}, "max_tokens": 1});
    assert_eq!(
        server
            .post("/v1/chat/completions", with(chat("Hi"), text))
            .await
            .status,
        200
    );
}
