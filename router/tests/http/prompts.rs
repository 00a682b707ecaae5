//! What is told of a prompt, and what is done with one that is too long.

use serde_json::{Value, json};

use crate::support::*;

#[tokio::test]
async fn an_echo_with_log_probabilities_scores_the_prompt() {
    let server = Server::new().await;
    let body = json!({"prompt": "Hä", "max_tokens": 1, "echo": true, "logprobs": 1});
    let whole = server.post("/v1/completions", body.clone()).await;
    assert_eq!(whole.status, 200, "{}", whole.text);
    let choice = whole.json()["choices"][0].clone();
    insta::assert_json_snapshot!("scored_echo", choice);

    let events = server
        .post("/v1/completions", with(body, json!({"stream": true})))
        .await
        .events();
    let mut joined = json!({});
    for field in ["text_offset", "token_logprobs", "tokens", "top_logprobs"] {
        let pieces = events
            .iter()
            .filter_map(|event| event["choices"][0]["logprobs"][field].as_array());
        joined[field] = pieces.flatten().cloned().collect();
    }
    assert_eq!(joined, choice["logprobs"]);
    let text: String = events
        .iter()
        .filter_map(|event| event["choices"][0]["text"].as_str())
        .collect();
    assert_eq!(text, choice["text"]);
}

#[tokio::test]
async fn nothing_is_generated_when_only_the_prompt_is_to_be_scored() {
    let server = Server::new().await;
    let body = json!({"prompt": ["Hi", "you"], "max_tokens": 0, "echo": true, "logprobs": 0});
    let answer = server.post("/v1/completions", body.clone()).await.json();
    assert_eq!(answer["usage"]["completion_tokens"], 0);
    for (index, text) in ["Hi", "you"].into_iter().enumerate() {
        let choice = &answer["choices"][index];
        assert_eq!(
            (&choice["text"], &choice["finish_reason"]),
            (&json!(text), &json!("length"))
        );
        assert_eq!(choice["logprobs"]["tokens"].as_array().unwrap().len(), text.len());
        assert_eq!(choice["logprobs"]["token_logprobs"][0], Value::Null);
        assert_eq!(choice["logprobs"]["top_logprobs"], Value::Null);
    }
    let events = server
        .post("/v1/completions", with(body, json!({"stream": true})))
        .await
        .events();
    assert_eq!(events.len(), 4, "an echo and an end each: {events:?}");
    let plain = json!({"prompt": "Hi", "max_tokens": 0, "echo": true});
    let answer = server.post("/v1/completions", plain).await.json();
    assert_eq!(answer["choices"][0]["text"], "Hi");
    let answer = server
        .post("/v1/completions", json!({"prompt": "Hi", "max_tokens": 0}))
        .await;
    assert_eq!(
        (answer.status.as_u16(), &answer.json()["error"]["param"]),
        (400, &json!("max_tokens"))
    );
    server.settled().await;
}

#[tokio::test]
async fn log_probabilities_of_the_prompt_have_a_field_of_their_own() {
    let server = Server::new().await;
    let body = json!({"prompt": "ab", "max_tokens": 1, "prompt_logprobs": 1});
    let answer = server.post("/v1/completions", body).await.json();
    insta::assert_json_snapshot!("prompt_logprobs", answer["choices"][0]["prompt_logprobs"]);
    assert_eq!(answer["choices"][0]["logprobs"], Value::Null);

    let body = with(chat("Hi"), json!({"max_tokens": 1, "prompt_logprobs": -1}));
    let answer = server.post("/v1/chat/completions", body).await.json();
    let prompt = answer["prompt_logprobs"].as_array().unwrap();
    assert_eq!(
        prompt.len() as u64,
        answer["usage"]["prompt_tokens"].as_u64().unwrap()
    );
    assert_eq!(prompt[1].as_object().unwrap().len(), 20, "as many as there are");

    for (more, param) in [
        (json!({"prompt_logprobs": -2}), "prompt_logprobs"),
        (json!({"prompt_logprobs": 21}), "prompt_logprobs"),
        (json!({"prompt_logprobs": 1, "stream": true}), "prompt_logprobs"),
    ] {
        let answer = server.post("/v1/chat/completions", with(chat("Hi"), more)).await;
        assert_eq!(
            (answer.status.as_u16(), &answer.json()["error"]["param"]),
            (400, &json!(param))
        );
    }
}

#[tokio::test]
async fn a_prompt_is_cut_to_what_was_asked_for() {
    let server = Server::new().await;
    let ids = |answer: &Value| answer["choices"][0]["prompt_token_ids"].clone();
    let base = json!({"prompt": [1, 2, 3, 4], "max_tokens": 1, "return_token_ids": true});
    for (more, kept) in [
        (json!({"truncate_prompt_tokens": 2}), json!([3, 4])),
        (
            json!({"truncate_prompt_tokens": 2, "truncation_side": "right"}),
            json!([1, 2]),
        ),
        (json!({"truncate_prompt_tokens": 9}), json!([1, 2, 3, 4])),
        (json!({"truncate_prompt_tokens": -1}), json!([1, 2, 3, 4])),
    ] {
        let answer = server
            .post("/v1/completions", with(base.clone(), more.clone()))
            .await
            .json();
        assert_eq!(ids(&answer), kept, "{more}");
    }
    let long = json!({"prompt": "a".repeat(2000), "max_tokens": 12, "truncate_prompt_tokens": -1});
    let answer = server.post("/v1/completions", long).await.json();
    assert_eq!(
        answer["usage"]["prompt_tokens"], 500,
        "as many as fit before the answer"
    );
    let body = with(
        chat(&"a".repeat(2000)),
        json!({"max_tokens": 2, "truncate_prompt_tokens": 30}),
    );
    let answer = server.post("/v1/chat/completions", body).await.json();
    assert_eq!(answer["usage"]["prompt_tokens"], 30);
    for (more, param) in [
        (json!({"truncate_prompt_tokens": 0}), "truncate_prompt_tokens"),
        (json!({"truncate_prompt_tokens": 512}), "truncate_prompt_tokens"),
        (json!({"truncation_side": "middle"}), "truncation_side"),
    ] {
        let answer = server.post("/v1/completions", with(base.clone(), more)).await;
        assert_eq!(
            (answer.status.as_u16(), &answer.json()["error"]["param"]),
            (400, &json!(param))
        );
    }
}

#[tokio::test]
async fn a_message_that_is_continued_is_echoed_on_request() {
    let server = Server::new().await;
    let body = json!({
        "messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Well, "}],
        "add_generation_prompt": false, "continue_final_message": true, "echo": true, "max_tokens": 1,
    });
    let answer = server.post("/v1/chat/completions", body.clone()).await.json();
    assert_eq!(answer["choices"][0]["message"]["content"], "Well, H");
    let events = server
        .post("/v1/chat/completions", with(body, json!({"stream": true})))
        .await
        .events();
    let text: String = events
        .iter()
        .filter_map(|event| event["choices"][0]["delta"]["content"].as_str())
        .collect();
    assert_eq!(text, "Well, H");
}
