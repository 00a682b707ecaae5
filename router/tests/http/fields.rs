//! Single fields of the routes under `/v1`.

use serde_json::{Value, json};
use shardline_mock_shard::{EndOfText, Journal, TokenSource};

use crate::support::*;

#[tokio::test]
async fn the_best_of_several_are_answered() {
    let mut setup = Setup::new();
    setup.shard.tokens = TokenSource::Hash;
    let server = setup.start().await;
    let base = json!({"prompt": ["Hi", "you"], "max_tokens": 6, "temperature": 1, "seed": 3, "logprobs": 0});
    let scores = |answer: &Value| -> Vec<f64> {
        let choices = answer["choices"].as_array().unwrap().iter();
        choices
            .map(|choice| {
                let logprobs = choice["logprobs"]["token_logprobs"].as_array().unwrap();
                logprobs.iter().map(|value| value.as_f64().unwrap()).sum()
            })
            .collect()
    };
    let all = server
        .post("/v1/completions", with(base.clone(), json!({"n": 4})))
        .await
        .json();
    let best = server
        .post("/v1/completions", with(base.clone(), json!({"best_of": 4})))
        .await
        .json();
    let most = |scores: &[f64]| scores.iter().copied().fold(f64::MIN, f64::max);
    let all_scores = scores(&all);
    assert_eq!(scores(&best), [most(&all_scores[..4]), most(&all_scores[4..])]);
    assert_eq!(
        best["usage"]["completion_tokens"], 48,
        "all that was generated counts"
    );
    let two = with(base.clone(), json!({"best_of": 4, "n": 2, "logprobs": null}));
    let two = server.post("/v1/completions", two).await.json();
    let indices: Vec<_> = two["choices"]
        .as_array()
        .unwrap()
        .iter()
        .map(|choice| &choice["index"])
        .collect();
    assert_eq!(indices, [0, 1, 2, 3]);
    assert_eq!(two["choices"][0]["logprobs"], Value::Null);
    for more in [
        json!({"best_of": 2, "n": 3}),
        json!({"best_of": 2, "stream": true}),
        json!({"best_of": 2, "temperature": 0}),
        json!({"best_of": 0}),
        json!({"best_of": 1000}),
    ] {
        let answer = server
            .post("/v1/completions", with(base.clone(), more.clone()))
            .await;
        assert_eq!(
            (answer.status.as_u16(), &answer.json()["error"]["param"]),
            (400, &json!("best_of")),
            "{more}"
        );
    }
}

#[tokio::test]
async fn a_seed_gives_the_same_answers_each_different() {
    let mut setup = Setup::new();
    setup.shard.tokens = TokenSource::Hash;
    let server = setup.start().await;
    let asked = json!({"max_tokens": 8, "temperature": 1, "n": 3, "seed": 11, "return_token_ids": true});
    let tokens = async || {
        let answer = server
            .post("/v1/chat/completions", with(chat("Hi"), asked.clone()))
            .await;
        let choices = answer.json()["choices"].as_array().unwrap().clone();
        choices
            .iter()
            .map(|choice| choice["token_ids"].to_string())
            .collect::<Vec<_>>()
    };
    let first = tokens().await;
    assert_eq!(tokens().await, first);
    let different: std::collections::HashSet<_> = first.iter().collect();
    assert_eq!(different.len(), 3, "{first:?}");
}

#[tokio::test]
async fn tokens_are_called_by_their_ids_on_request() {
    let server = Server::new().await;
    let more = json!({"max_tokens": 1, "return_tokens_as_token_ids": true});
    let body = with(json!({"prompt": "Hi", "logprobs": 1}), more.clone());
    let answer = server.post("/v1/completions", body).await.json();
    let logprobs = &answer["choices"][0]["logprobs"];
    assert_eq!(logprobs["tokens"], json!(["token_id:72"]));
    assert!(logprobs["top_logprobs"][0].get("token_id:72").is_some());
    let body = with(
        chat("Hi"),
        with(more, json!({"logprobs": true, "top_logprobs": 1})),
    );
    let answer = server.post("/v1/chat/completions", body).await.json();
    let entry = &answer["choices"][0]["logprobs"]["content"][0];
    assert_eq!(
        (&entry["token"], &entry["bytes"]),
        (&json!("token_id:72"), &json!([72]))
    );
    assert_eq!(entry["top_logprobs"][0]["token"], "token_id:72");
}

#[tokio::test]
async fn special_tokens_are_part_of_the_text_on_request() {
    let mut setup = Setup::new();
    setup.shard.tokens = TokenSource::Cycle(vec![72, IM_START, 73]);
    setup.shard.end_of_text = Some(EndOfText {
        token: IM_END,
        after: Some(4),
        probability: 0.0,
    });
    let server = setup.start().await;
    for (more, text) in [
        (json!({}), "HI"),
        (json!({"skip_special_tokens": true}), "HI"),
        (json!({"skip_special_tokens": false}), "H<|im_start|>I"),
        (
            json!({"skip_special_tokens": false, "include_stop_str_in_output": true}),
            "H<|im_start|>I<|im_end|>",
        ),
        (json!({"spaces_between_special_tokens": false}), "HI"),
    ] {
        let answer = server
            .post("/v1/chat/completions", with(chat("x"), more.clone()))
            .await
            .json();
        assert_eq!(answer["choices"][0]["message"]["content"], text, "{more}");
    }
}

#[tokio::test]
async fn priorities_have_a_range() {
    let server = Server::new().await;
    for (priority, status) in [
        (0, 200),
        (-5, 200),
        (2_147_483_647, 200),
        (2_147_483_649_i64, 400),
    ] {
        let body = with(chat("x"), json!({"max_tokens": 1, "priority": priority}));
        let answer = server.post("/v1/chat/completions", body).await;
        assert_eq!(answer.status, status, "{priority}: {}", answer.text);
    }
}

#[tokio::test]
async fn fields_that_nobody_knows_are_told_in_a_header() {
    let server = Server::new().await;
    let more = json!({"max_tokens": 1, "max_token": 5, "user": "me", "metadata": {"a": "b"}, "store": false});
    let body = with(chat("Hi"), more.clone());
    for body in [body.clone(), with(body, json!({"stream": true}))] {
        let answer = server.post("/v1/chat/completions", body).await;
        assert_eq!(answer.header("x-shardline-ignored-fields"), "max_token");
    }
    let answer = server
        .post("/v1/completions", with(json!({"prompt": "Hi"}), more))
        .await;
    assert_eq!(answer.header("x-shardline-ignored-fields"), "max_token");
    let body = json!({"inputs": "Hi", "extra": 1, "parameters": {"max_new_tokens": 1, "max_tokens": 1}});
    for path in ["/generate", "/generate_stream", "/"] {
        let answer = server.post(path, body.clone()).await;
        assert_eq!(
            answer.header("x-shardline-ignored-fields"),
            "extra, parameters.max_tokens",
            "{path}"
        );
    }
    let answer = server
        .post("/v1/chat/completions", with(chat("Hi"), json!({"max_tokens": 1})))
        .await;
    assert!(!answer.headers.contains_key("x-shardline-ignored-fields"));
}

#[tokio::test]
async fn a_request_has_one_id_everywhere() {
    let server = Server::new().await;
    let send = |id: &str, body: Value| {
        let request = http::Request::post("/v1/chat/completions")
            .header("content-type", "application/json")
            .header("x-request-id", id);
        server.send(request.body(body.to_string().into()).unwrap())
    };
    let body = with(chat("Hi"), json!({"max_tokens": 1}));
    let answer = send("Root=1-67891233", body.clone()).await;
    assert_eq!(answer.header("x-request-id"), "Root=1-67891233");
    assert_eq!(answer.json()["id"], "chatcmpl-Root=1-67891233");
    let named = with(body.clone(), json!({"request_id": "mine"}));
    let answer = send("theirs", named.clone()).await;
    assert_eq!(answer.json()["id"], "chatcmpl-theirs", "the header counts first");
    let answer = server.post("/v1/chat/completions", named).await;
    assert_eq!(
        (
            answer.json()["id"].as_str().unwrap(),
            answer.header("x-request-id")
        ),
        ("chatcmpl-mine", "mine")
    );
    let answer = server.post("/v1/chat/completions", body.clone()).await;
    let id = answer.json()["id"].as_str().unwrap().to_owned();
    assert_eq!(id.strip_prefix("chatcmpl-"), Some(answer.header("x-request-id")));
    for refused in [send("theirs", json!({})).await, server.get("/nothing").await] {
        assert!(
            !refused.header("x-request-id").is_empty(),
            "refusals have one too"
        );
    }
    for wrong in ["two words", "é", &"x".repeat(257)] {
        let answer = send(wrong, body.clone()).await;
        assert_eq!(
            (answer.status.as_u16(), &answer.json()["error"]["param"]),
            (400, &json!("x-request-id")),
            "{wrong}"
        );
        let named = with(body.clone(), json!({"request_id": wrong}));
        let answer = server.post("/v1/chat/completions", named).await;
        assert_eq!(answer.json()["error"]["param"], "request_id", "{wrong}");
    }
}

#[tokio::test]
async fn words_can_be_kept_away() {
    let server = Server::new().await;
    // Every byte is a token here, so that a word with a space before it has two of them.
    for (words, param) in [
        (json!(["x".repeat(64)]), "bad_words"),
        (json!([""]), "bad_words[0]"),
        (json!([" ", "x"]), "bad_words[0]"),
        (json!(["x".repeat(257)]), "bad_words[0]"),
        (json!(vec!["x"; 257]), "bad_words"),
        (json!("x"), "bad_words"),
    ] {
        let body = with(chat("Hi"), json!({"max_tokens": 1, "bad_words": words}));
        let answer = server.post("/v1/chat/completions", body).await;
        assert_eq!(
            (answer.status.as_u16(), &answer.json()["error"]["param"]),
            (400, &json!(param)),
            "{words}"
        );
    }
    for (words, grammars) in [(json!([]), 0), (json!(["x", "some words"]), 1)] {
        let body = with(chat("Hi"), json!({"max_tokens": 1, "bad_words": words}));
        assert_eq!(server.post("/v1/chat/completions", body).await.status, 200);
        let journal = server.shard.as_ref().unwrap().journal();
        assert_eq!(Journal::get(&journal.grammars), grammars);
    }
    let both = json!({"bad_words": ["x"], "response_format": {"type": "json_object"}});
    let answer = server.post("/v1/chat/completions", with(chat("Hi"), both)).await;
    let error = &answer.json()["error"];
    assert_eq!(
        (&error["param"], &error["code"]),
        (&json!("bad_words"), &json!("conflicting_parameters"))
    );
    server.settled().await;
}
