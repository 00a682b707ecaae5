//! What is refused, with which status and in whose shape.

use axum::body::Body;
use http::Request;
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
async fn what_can_never_run_is_not_told_to_try_again() {
    let server = Server::new().await;
    let asked = |n| json!({"prompt": ["a", "b"], "n": n, "temperature": 1, "max_tokens": 1});
    assert_eq!(server.post("/v1/completions", asked(8)).await.status, 200);
    let answer = server.post("/v1/completions", asked(9)).await;
    assert_eq!(
        openai(&answer),
        (400, "invalid_count".to_owned(), json!("prompt"))
    );
    assert!(answer.text.contains("2 times 9 sequences"), "{}", answer.text);
}

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
async fn prompts_are_checked() {
    let server = Server::new().await;
    for (prompt, param) in [
        (json!(""), "prompt"),
        (json!([]), "prompt"),
        (json!([""]), "prompt[0]"),
        (json!([[]]), "prompt[0]"),
        (json!(["a", 1]), "prompt[1]"),
        (json!([1, "a"]), "prompt[1]"),
        (json!([1, VOCAB_SIZE]), "prompt[1]"),
        (json!([-1]), "prompt[0]"),
        (json!([[1], [VOCAB_SIZE]]), "prompt[1][0]"),
        (json!([1.5]), "prompt[0]"),
        (json!(7), "prompt"),
        (json!({}), "prompt"),
        (json!(["a", "b", "c", "d", "e"]), "prompt"),
        (json!(null), "prompt"),
    ] {
        let answer = server.post("/v1/completions", json!({"prompt": prompt})).await;
        let (status, _, param_given) = openai(&answer);
        assert_eq!((status, param_given), (400, json!(param)), "{prompt}");
    }
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
    for (field, value) in [("watermark", json!(true)), ("adapter_id", json!("me/adapter"))] {
        let answer = server
            .post("/generate", json!({"inputs": "Hi", "parameters": {field: value}}))
            .await;
        assert_eq!(native(&answer), (422, "validation".to_owned()), "{field}");
        assert_eq!(answer.json()["param"], format!("parameters.{field}"));
    }
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
    let grammar = json!({"type": "json", "value": false});
    let body = json!({"inputs": "Hi", "parameters": {"grammar": grammar}});
    let answer = server.post("/generate", body).await;
    assert_eq!(native(&answer), (422, "validation".to_owned()));
    assert_eq!(answer.json()["param"], "parameters.grammar");
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
async fn a_prompt_that_is_too_long_is_told_both_counts() {
    let server = Server::new().await;
    let answer = server.post("/v1/chat/completions", chat(&"a".repeat(600))).await;
    assert_eq!(
        openai(&answer),
        (400, "context_length_exceeded".to_owned(), json!("messages"))
    );
    let message = answer.json()["error"]["message"].as_str().unwrap().to_owned();
    assert!(message.contains("511") && message.contains("619"), "{message}");
    let answer = server
        .post(
            "/v1/completions",
            json!({"prompt": vec![1; 500], "max_tokens": 13}),
        )
        .await;
    assert_eq!(
        openai(&answer),
        (400, "context_length_exceeded".to_owned(), json!("prompt"))
    );
    let answer = server
        .post("/v1/completions", json!({"prompt": vec![1; 500]}))
        .await;
    assert_eq!(
        answer.json()["usage"]["completion_tokens"],
        12,
        "sixteen is no wish of the client's"
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
