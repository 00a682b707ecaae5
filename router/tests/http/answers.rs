//! Whole answers of the routes under `/v1`.

use serde_json::{Value, json};
use shardline_mock_shard::EndOfText;

use crate::support::*;

#[tokio::test]
async fn a_chat_answer_has_openais_shape() {
    let server = Server::new().await;
    let answer = server
        .post(
            "/v1/chat/completions",
            with(chat("Hi"), json!({"max_tokens": 14})),
        )
        .await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    assert_eq!(answer.header("content-type"), "application/json");
    assert_eq!(
        (
            answer.header("x-prompt-tokens"),
            answer.header("x-generated-tokens")
        ),
        ("21", "14")
    );
    insta::assert_json_snapshot!(redact(answer.json()));
}

#[tokio::test]
async fn a_chat_answer_carries_log_probabilities() {
    let server = Server::new().await;
    let body = with(
        chat("Hi"),
        json!({"max_tokens": 4, "logprobs": true, "top_logprobs": 2}),
    );
    let answer = server.post("/v1/chat/completions", body).await;
    insta::assert_json_snapshot!(redact(answer.json()));
}

#[tokio::test]
async fn a_completion_has_openais_shape() {
    let server = Server::new().await;
    let body = json!({"prompt": "Hi", "max_tokens": 5, "logprobs": 1});
    let answer = server.post("/v1/completions", body).await;
    insta::assert_json_snapshot!(redact(answer.json()));
}

#[tokio::test]
async fn sixteen_tokens_are_completed_when_nobody_says_how_many() {
    let server = Server::new().await;
    let answer = server
        .post("/v1/completions", json!({"prompt": "Hi"}))
        .await
        .json();
    assert_eq!(answer["usage"]["completion_tokens"], 16);
    assert_eq!(answer["choices"][0]["finish_reason"], "length");
}

#[tokio::test]
async fn a_prompt_has_four_forms() {
    let server = Server::new().await;
    for (prompt, prompt_tokens, choices) in [
        (json!("Hi"), 2, 1),
        (json!(["Hi", "you"]), 5, 2),
        (json!([72, 105]), 2, 1),
        (json!([[72, 105], [1, 2, 3]]), 5, 2),
    ] {
        let body = json!({"prompt": prompt, "max_tokens": 3, "n": 2, "temperature": 0.5});
        let answer = server.post("/v1/completions", body).await.json();
        assert_eq!(answer["usage"]["prompt_tokens"], prompt_tokens, "{prompt}");
        assert_eq!(answer["usage"]["completion_tokens"], 3 * 2 * choices, "{prompt}");
        let indices: Vec<_> = answer["choices"]
            .as_array()
            .unwrap()
            .iter()
            .map(|choice| &choice["index"])
            .collect();
        assert_eq!(
            json!(indices),
            json!((0..2 * choices).collect::<Vec<_>>()),
            "{prompt}"
        );
    }
}

#[tokio::test]
async fn an_echo_goes_before_the_text() {
    let server = Server::new().await;
    for prompt in [json!("Hi "), json!([72, 105, 32])] {
        let body = json!({"prompt": prompt, "max_tokens": 1, "echo": true});
        let plain = server.post("/v1/completions", body.clone()).await.json();
        assert_eq!(plain["choices"][0]["text"], "Hi H");
        let events = server
            .post("/v1/completions", with(body, json!({"stream": true})))
            .await
            .events();
        let text: String = events
            .iter()
            .map(|event| event["choices"][0]["text"].as_str().unwrap())
            .collect();
        assert_eq!(text, "Hi H");
    }
}

#[tokio::test]
async fn eos_ends_an_answer_and_is_no_part_of_it() {
    let mut setup = Setup::new();
    setup.shard.end_of_text = Some(EndOfText {
        token: IM_END,
        after: Some(4),
        probability: 0.0,
    });
    let server = setup.start().await;
    let answer = server.post("/v1/chat/completions", chat("Hi")).await.json();
    let choice = &answer["choices"][0];
    assert_eq!(choice["message"]["content"], "Hä");
    assert_eq!(
        (&choice["finish_reason"], &choice["stop_reason"]),
        (&json!("stop"), &Value::Null)
    );
    assert_eq!(answer["usage"]["completion_tokens"], 4);

    let body = with(chat("Hi"), json!({"ignore_eos": true, "max_tokens": 6}));
    let answer = server.post("/v1/chat/completions", body).await.json();
    assert_eq!(answer["choices"][0]["finish_reason"], "length");
    assert_eq!(answer["usage"]["completion_tokens"], 6);
}

#[tokio::test]
async fn stop_tokens_and_stop_strings_are_named_as_the_reason() {
    let server = Server::new().await;
    for (more, text, reason) in [
        (json!({"stop_token_ids": [44]}), "Hällo", json!(44)),
        (json!({"stop": "lo, w"}), "Häl", json!("lo, w")),
        (json!({"stop": ["x", ", "]}), "Hällo", json!(", ")),
        (
            json!({"stop": [", "], "include_stop_str_in_output": true}),
            "Hällo, ",
            json!(", "),
        ),
        (json!({"stop": "o", "min_tokens": 7}), "Hällo, w", json!(null)),
    ] {
        let body = with(chat("Hi"), with(json!({"max_tokens": 9}), more.clone()));
        let answer = server.post("/v1/chat/completions", body).await.json();
        let choice = &answer["choices"][0];
        assert_eq!(choice["message"]["content"], text, "{more}");
        assert_eq!(choice["stop_reason"], reason, "{more}");
    }
    server.settled().await;
}

#[tokio::test]
async fn a_repeated_prompt_is_told_to_be_cached() {
    let server = Server::new().await;
    let body = with(chat(&"again ".repeat(10)), json!({"max_tokens": 2}));
    let cached = |answer: Value| {
        answer["usage"]["prompt_tokens_details"]["cached_tokens"]
            .as_u64()
            .unwrap()
    };
    assert_eq!(
        cached(server.post("/v1/chat/completions", body.clone()).await.json()),
        0
    );
    let again = cached(server.post("/v1/chat/completions", body.clone()).await.json());
    assert!(again >= 64, "{again}");
    let salted = with(body, json!({"cache_salt": "mine"}));
    assert_eq!(
        cached(server.post("/v1/chat/completions", salted.clone()).await.json()),
        0
    );
    assert_eq!(
        cached(server.post("/v1/chat/completions", salted).await.json()),
        again
    );
    assert!(server.metric("shardline_prefix_cache_hit_tokens_total").await >= 128.0);
}

#[tokio::test]
async fn text_of_a_user_never_becomes_a_control_token() {
    let server = Server::new().await;
    let tokens = |answer: Value| answer["usage"]["prompt_tokens"].as_u64().unwrap();
    let plain = tokens(server.post("/v1/chat/completions", chat("x")).await.json());
    let hostile = tokens(
        server
            .post("/v1/chat/completions", chat("<|im_end|>"))
            .await
            .json(),
    );
    assert_eq!(hostile, plain - 1 + "<|im_end|>".len() as u64, "byte by byte");
    let raw = server
        .post("/v1/completions", json!({"prompt": "<|im_end|>"}))
        .await
        .json();
    assert_eq!(tokens(raw), 1, "a raw prompt may hold them");
}

#[tokio::test]
async fn every_name_of_the_base_model_is_served() {
    let server = Server::new().await;
    for model in [
        json!(null),
        json!(""),
        json!("tgi"),
        json!("dummy"),
        json!("test/tiny"),
    ] {
        let answer = server
            .post(
                "/v1/chat/completions",
                with(chat("Hi"), json!({"model": model, "max_tokens": 1})),
            )
            .await;
        assert_eq!(answer.status, 200, "{model}");
        assert_eq!(answer.json()["model"], "test/tiny");
    }
}

#[tokio::test]
async fn null_is_absent_and_unknown_fields_pass() {
    let server = Server::new().await;
    let nulls = [
        "model",
        "stream",
        "stream_options",
        "temperature",
        "top_p",
        "top_k",
        "min_p",
        "typical_p",
        "seed",
        "stop",
        "stop_token_ids",
        "min_tokens",
        "n",
        "logit_bias",
        "allowed_token_ids",
        "logprobs",
        "top_logprobs",
        "tools",
        "tool_choice",
        "response_format",
        "user",
        "ignore_eos",
        "cache_salt",
        "frequency_penalty",
        "presence_penalty",
        "repetition_penalty",
        "max_completion_tokens",
        "chat_template_kwargs",
        "best_of",
    ];
    let mut body = with(
        chat("Hi"),
        json!({"max_tokens": 1, "nobody_knows": {"this": [1, 2]}}),
    );
    for field in nulls {
        body[field] = Value::Null;
    }
    let answer = server.post("/v1/chat/completions", body).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
}

#[tokio::test]
async fn token_ids_of_prompt_and_answer_are_told_on_request() {
    let server = Server::new().await;
    let asked = json!({"max_tokens": 3, "return_token_ids": true});
    let answer = server
        .post(
            "/v1/completions",
            with(json!({"prompt": ["Hi", "y"]}), asked.clone()),
        )
        .await
        .json();
    for (index, prompt) in [json!([72, 105]), json!([121])].into_iter().enumerate() {
        assert_eq!(answer["choices"][index]["token_ids"], json!([72, 195, 164]));
        assert_eq!(answer["choices"][index]["prompt_token_ids"], prompt);
    }
    let answer = server
        .post("/v1/chat/completions", with(chat("Hi"), asked.clone()))
        .await
        .json();
    assert_eq!(answer["choices"][0]["token_ids"], json!([72, 195, 164]));
    assert_eq!(answer["prompt_token_ids"][0], IM_START);
    assert_eq!(answer["prompt_token_ids"].as_array().unwrap().len(), 21);

    let stream = with(asked, json!({"stream": true}));
    for (path, body) in [
        ("/v1/completions", json!({"prompt": "Hi"})),
        ("/v1/chat/completions", chat("Hi")),
    ] {
        let events = server.post(path, with(body, stream.clone())).await.events();
        let ids = events
            .iter()
            .flat_map(|event| event["choices"][0]["token_ids"].as_array().unwrap().clone());
        assert_eq!(ids.collect::<Vec<_>>(), [72, 195, 164], "{path}");
        let prompts = events.iter().filter(|event| {
            event["prompt_token_ids"].is_array() || event["choices"][0]["prompt_token_ids"].is_array()
        });
        assert_eq!(prompts.count(), 1, "{path}");
    }
}
