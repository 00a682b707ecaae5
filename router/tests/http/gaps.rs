//! `suffix` of `/v1/completions`: a gap that the answer fills.

use serde_json::{Value, json};
use shardline_mock_shard::TokenSource;

use crate::support::*;

const MARKS: [&str; 4] = [
    "<|fim_prefix|>",
    "<|fim_suffix|>",
    "<|fim_middle|>",
    "<|file_sep|>",
];
const PREFIX: u32 = FIRST_OWN;
const SUFFIX: u32 = FIRST_OWN + 1;
const MIDDLE: u32 = FIRST_OWN + 2;
const FILE: u32 = FIRST_OWN + 3;

fn bytes(text: &str) -> Vec<u32> {
    text.bytes().map(u32::from).collect()
}

/// The model says "mid", and then begins another file.
async fn server() -> Server {
    let mut setup = Setup::new().control_tokens(&MARKS);
    setup.shard.tokens = TokenSource::Cycle([bytes("mid"), vec![FILE]].concat());
    setup.start().await
}

async fn choices(server: &Server, body: Value) -> Vec<Value> {
    let body = with(json!({"max_tokens": 8, "return_token_ids": true}), body);
    let answer = server.post("/v1/completions", body).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    answer.json()["choices"].as_array().unwrap().clone()
}

#[tokio::test]
async fn the_model_is_told_what_stands_around_the_gap() {
    let server = server().await;
    let expected = [&[PREFIX][..], &bytes("a("), &[SUFFIX], &bytes(")b"), &[MIDDLE]].concat();
    for prompt in [
        json!("a("),
        json!(["a("]),
        json!(bytes("a(")),
        json!([bytes("a(")]),
    ] {
        let choices = choices(&server, json!({"prompt": prompt, "suffix": ")b"})).await;
        let choice = &choices[0];
        assert_eq!(choice["prompt_token_ids"], json!(expected), "{prompt}");
        assert_eq!(
            (&choice["text"], &choice["finish_reason"]),
            (&json!("mid"), &json!("stop"))
        );
        assert_eq!(choice["stop_reason"], FILE);
    }
    let two = choices(&server, json!({"prompt": ["x", "a("], "suffix": ")b"})).await;
    assert_eq!(two[1]["prompt_token_ids"], json!(expected));
}

#[tokio::test]
async fn a_stream_fills_the_same() {
    let server = server().await;
    let body = json!({"prompt": "a(", "suffix": ")b", "max_tokens": 8, "stream": true});
    let events = server.post("/v1/completions", body).await.events();
    let text: String = events
        .iter()
        .filter_map(|event| event["choices"][0]["text"].as_str())
        .collect();
    assert_eq!(text, "mid");
    assert_eq!(events.last().unwrap()["choices"][0]["finish_reason"], "stop");
}

#[tokio::test]
async fn an_answer_goes_on_where_nothing_is_to_end_it() {
    let server = server().await;
    let asked = json!({"prompt": "a", "suffix": "b", "ignore_eos": true});
    let choice = &choices(&server, asked).await[0];
    assert_eq!(
        (&choice["text"], &choice["finish_reason"]),
        (&json!("midmid"), &json!("length"))
    );
    // An empty one is none.
    let choice = &choices(&server, json!({"prompt": "a", "suffix": ""})).await[0];
    assert_eq!(choice["prompt_token_ids"], json!(bytes("a")));
    assert_eq!(choice["finish_reason"], "length");
}

#[tokio::test]
async fn marks_in_the_texts_stay_text() {
    let server = server().await;
    let asked = json!({"prompt": "a<|fim_middle|>", "suffix": "<|fim_prefix|>b"});
    let choice = &choices(&server, asked).await[0];
    let expected = [
        &[PREFIX][..],
        &bytes("a<|fim_middle|>"),
        &[SUFFIX],
        &bytes("<|fim_prefix|>b"),
        &[MIDDLE],
    ];
    assert_eq!(choice["prompt_token_ids"], json!(expected.concat()));
}

#[tokio::test]
async fn what_cannot_be_filled_is_refused() {
    let refused = async |server: &Server, more: Value| {
        let body = with(json!({"prompt": "a", "suffix": "b"}), more);
        let answer = server.post("/v1/completions", body).await;
        assert_eq!(answer.status, 400, "{}", answer.text);
        answer.json()["error"].clone()
    };
    let filler = server().await;
    for (more, param, code) in [
        (json!({"echo": true}), "echo", "conflicting_parameters"),
        (
            json!({"truncate_prompt_tokens": 2}),
            "truncate_prompt_tokens",
            "conflicting_parameters",
        ),
        (
            json!({"suffix": "x".repeat(600)}),
            "prompt",
            "context_length_exceeded",
        ),
        (json!({"suffix": 7}), "suffix", "invalid_type"),
    ] {
        let error = refused(&filler, more).await;
        assert_eq!((&error["param"], &error["code"]), (&json!(param), &json!(code)));
    }
    let error = refused(&Server::new().await, json!({})).await;
    assert_eq!(
        (&error["param"], &error["code"]),
        (&json!("suffix"), &json!("unsupported_parameter"))
    );
    let message = error["message"].as_str().unwrap();
    assert!(
        message.contains("this model has no tokens that mark a gap"),
        "{message}"
    );
}
