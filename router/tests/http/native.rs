//! `/generate`, `/generate_stream`, `/` and `/tokenize`.

use serde_json::{Value, json};
use shardline_mock_shard::{EndOfText, TokenSource};

use crate::support::*;

#[tokio::test]
async fn a_generation_is_text_alone_unless_details_are_wanted() {
    let server = Server::new().await;
    let answer = server
        .post(
            "/generate",
            json!({"inputs": "Hi", "parameters": {"max_new_tokens": 15}}),
        )
        .await;
    assert_eq!(answer.json(), json!({"generated_text": "Hällo, wörld!"}));
    for name in [
        "x-compute-type",
        "x-compute-time",
        "x-compute-characters",
        "x-total-time",
        "x-validation-time",
        "x-queue-time",
        "x-inference-time",
        "x-time-per-token",
        "x-prompt-tokens",
        "x-generated-tokens",
    ] {
        assert!(!answer.header(name).is_empty(), "{name}");
    }
    assert_eq!(answer.header("x-compute-type"), "1-cpu");
    assert_eq!(
        (
            answer.header("x-prompt-tokens"),
            answer.header("x-generated-tokens")
        ),
        ("2", "15")
    );

    let parameters =
        json!({"max_new_tokens": 2, "details": true, "top_n_tokens": 2, "do_sample": true, "seed": 7});
    let answer = server
        .post("/generate", json!({"inputs": "Hi", "parameters": parameters}))
        .await;
    insta::assert_json_snapshot!(answer.json());
}

#[tokio::test]
async fn a_streamed_generation_tells_every_token() {
    let server = Server::new().await;
    let parameters = json!({"max_new_tokens": 3, "details": true, "top_n_tokens": 1});
    let answer = server
        .post(
            "/generate_stream",
            json!({"inputs": "Hi", "parameters": parameters}),
        )
        .await;
    assert_eq!(answer.header("x-accel-buffering"), "no");
    assert_eq!(answer.header("x-compute-characters"), "2");
    assert!(!answer.text.contains("[DONE]"));
    insta::assert_json_snapshot!(answer.events());
}

#[tokio::test]
async fn eos_is_told_as_a_token_and_is_no_part_of_the_text() {
    let mut setup = Setup::new();
    setup.shard.end_of_text = Some(EndOfText {
        token: IM_END,
        after: Some(2),
        probability: 0.0,
    });
    let server = setup.start().await;
    let body = json!({"inputs": "Hi", "parameters": {"details": true}});
    let answer = server.post("/generate", body.clone()).await.json();
    assert_eq!(answer["generated_text"], "H");
    assert_eq!(answer["details"]["finish_reason"], "eos_token");
    let eos = json!({"id": IM_END, "text": "<|im_end|>", "logprob": -0.75, "special": true});
    assert_eq!(answer["details"]["tokens"][1], eos);
    let events = server.post("/generate_stream", body).await.events();
    assert_eq!(events.len(), 2);
    assert_eq!(
        (&events[1]["token"], &events[1]["generated_text"]),
        (&eos, &json!("H"))
    );
}

#[tokio::test]
async fn a_stop_string_stays_in_the_text_and_ends_it_anywhere() {
    let server = Server::new().await;
    let body = json!({"inputs": "Hi", "parameters": {"stop": ["lo,"], "details": true}});
    let answer = server.post("/generate", body.clone()).await.json();
    assert_eq!(answer["generated_text"], "Hällo,");
    assert_eq!(answer["details"]["finish_reason"], "stop_sequence");
    let events = server.post("/generate_stream", body).await.events();
    let text: String = events
        .iter()
        .map(|event| event["token"]["text"].as_str().unwrap())
        .collect();
    assert_eq!(text, "Hällo,");
    assert_eq!(events.last().unwrap()["generated_text"], "Hällo,");
    server.settled().await;
}

#[tokio::test]
async fn the_compatible_route_answers_with_a_list_of_the_full_text() {
    let server = Server::new().await;
    let body = json!({"inputs": "Hi ", "parameters": {"max_new_tokens": 1}});
    assert_eq!(
        server.post("/", body.clone()).await.json(),
        json!([{"generated_text": "Hi H"}])
    );
    let events = server
        .post("/", with(body.clone(), json!({"stream": true})))
        .await
        .events();
    assert_eq!(events[0]["generated_text"], "Hi H");
    let short = json!({"inputs": "Hi ", "parameters": {"max_new_tokens": 1, "return_full_text": false}});
    assert_eq!(
        server.post("/", short).await.json(),
        json!([{"generated_text": "H"}])
    );
    assert_eq!(
        server.post("/generate", body).await.json(),
        json!({"generated_text": "H"})
    );
}

#[tokio::test]
async fn the_prompts_tokens_are_told_on_request() {
    let server = Server::new().await;
    let parameters = json!({"max_new_tokens": 1, "decoder_input_details": true});
    let answer = server
        .post("/generate", json!({"inputs": "Hi", "parameters": parameters}))
        .await;
    insta::assert_json_snapshot!("prefill", answer.json());
    let answer = server
        .post(
            "/generate_stream",
            json!({"inputs": "Hi", "parameters": parameters}),
        )
        .await;
    assert_eq!(
        (answer.status.as_u16(), answer.json()["error"].as_str().unwrap()),
        (
            422,
            "Input validation error: `decoder_input_details` == true is not supported when streaming tokens"
        )
    );
}

#[tokio::test]
async fn the_likeliest_of_several_is_answered_with_the_others_beside_it() {
    let mut setup = Setup::new();
    setup.shard.tokens = TokenSource::Hash;
    setup.settings.max_best_of = 4;
    let server = setup.start().await;
    let parameters = json!({"max_new_tokens": 5, "do_sample": true, "best_of": 4, "details": true});
    let answer = server
        .post("/generate", json!({"inputs": "Hi", "parameters": parameters}))
        .await
        .json();
    let details = &answer["details"];
    let others = details["best_of_sequences"].as_array().unwrap();
    assert_eq!(others.len(), 3);
    // A token: a sequence may end early.
    let score = |sequence: &Value| -> f64 {
        let tokens = sequence["tokens"].as_array().unwrap();
        let sum: f64 = tokens
            .iter()
            .map(|token| token["logprob"].as_f64().unwrap())
            .sum();
        sum / tokens.len() as f64
    };
    for other in others {
        assert!(score(other) <= score(details) + 1e-6, "{answer}");
        assert!(other["generated_text"].is_string());
        // Each could be had alone, by its seed.
        let alone = json!({"max_new_tokens": 5, "do_sample": true, "seed": other["seed"], "details": true});
        let alone = server
            .post("/generate", json!({"inputs": "Hi", "parameters": alone}))
            .await
            .json();
        assert_eq!(alone["details"]["tokens"], other["tokens"]);
    }
    let streamed = json!({"inputs": "Hi", "parameters": {"best_of": 2, "do_sample": true}});
    let answer = server.post("/generate_stream", streamed).await;
    assert_eq!(
        answer.json()["error"],
        "Input validation error: `best_of` != 1 is not supported when streaming tokens"
    );
}

#[tokio::test]
async fn the_last_tokens_of_a_truncated_prompt_are_kept() {
    let server = Server::new().await;
    let body = json!({"inputs": "a".repeat(2000), "parameters": {"max_new_tokens": 1, "truncate": 10}});
    let answer = server.post("/generate", body).await;
    assert_eq!(
        (answer.status.as_u16(), answer.header("x-prompt-tokens")),
        (200, "10")
    );
}

#[tokio::test]
async fn more_than_can_ever_fit_means_as_much_as_fits() {
    let server = Server::new().await;
    let body = json!({"inputs": "Hi", "parameters": {"max_new_tokens": 100_000, "details": true}});
    // 1,024 of them would have to fit, and the model takes 512 tokens.
    assert_eq!(server.post("/generate", body).await.status, 422);
    let body = json!({"inputs": "Hi", "parameters": {"details": true}});
    assert_eq!(
        server.post("/generate", body).await.json()["details"]["generated_tokens"],
        510
    );
}

#[tokio::test]
async fn tokens_are_told_with_the_characters_they_stand_for() {
    let server = Server::new().await;
    let answer = server
        .post(
            "/tokenize",
            json!({"inputs": "ä<|im_end|>", "parameters": {"x": 1}}),
        )
        .await;
    insta::assert_json_snapshot!(answer.json());
    let answer = server.post("/tokenize", json!({"inputs": ""})).await;
    assert_eq!(answer.status, 422);
}
