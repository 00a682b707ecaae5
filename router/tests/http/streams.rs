//! Streamed answers: the same as whole ones, token by token.

use serde_json::{Value, json};

use crate::support::*;

#[tokio::test]
async fn a_streamed_chat_has_openais_shape() {
    let server = Server::new().await;
    let more = json!({"max_tokens": 3, "stream": true, "stream_options": {"include_usage": true}});
    let answer = server.post("/v1/chat/completions", with(chat("Hi"), more)).await;
    assert!(answer.text.ends_with("data: [DONE]\n\n"), "{}", answer.text);
    insta::assert_json_snapshot!(answer.events().into_iter().map(redact).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_streamed_chat_carries_log_probabilities_with_the_text_they_belong_to() {
    let server = Server::new().await;
    let more = json!({"max_tokens": 3, "stream": true, "logprobs": true, "top_logprobs": 1});
    let events = server
        .post("/v1/chat/completions", with(chat("Hi"), more))
        .await
        .events();
    let choices: Vec<_> = events.iter().map(|event| event["choices"][0].clone()).collect();
    insta::assert_json_snapshot!(choices);
}

#[tokio::test]
async fn a_streamed_completion_has_openais_shape() {
    let server = Server::new().await;
    let more = json!({"prompt": "Hi", "max_tokens": 3, "stream": true, "logprobs": 1,
                      "stream_options": {"include_usage": true, "continuous_usage_stats": true}});
    let answer = server.post("/v1/completions", more).await;
    assert!(answer.text.ends_with("data: [DONE]\n\n"), "{}", answer.text);
    insta::assert_json_snapshot!(answer.events().into_iter().map(redact).collect::<Vec<_>>());
}

#[tokio::test]
async fn every_token_is_an_event_of_its_own() {
    let server = Server::new().await;
    let more = json!({"max_tokens": 50, "stream": true});
    let events = server
        .post("/v1/chat/completions", with(chat("Hi"), more))
        .await
        .events();
    assert_eq!(events.len(), 1 + 50 + 1, "the role, the tokens, the end");
    let ids: Vec<_> = events.iter().map(|event| event["id"].as_str().unwrap()).collect();
    assert!(ids.iter().all(|id| *id == ids[0] && id.starts_with("chatcmpl-")));
}

/// Joins the chunks of each choice: text, tokens of its log-probabilities, reason.
fn join(events: &[Value], text_of: fn(&Value) -> &Value) -> Vec<(String, Vec<Value>, Value)> {
    let mut choices: Vec<(String, Vec<Value>, Value)> = Vec::new();
    for choice in events
        .iter()
        .flat_map(|event| event["choices"].as_array().unwrap())
    {
        let index = choice["index"].as_u64().unwrap() as usize;
        choices.resize(
            choices.len().max(index + 1),
            (String::new(), Vec::new(), Value::Null),
        );
        let joined = &mut choices[index];
        joined.0.push_str(text_of(choice).as_str().unwrap_or_default());
        joined.1.extend(tokens_of(&choice["logprobs"]));
        if !choice["finish_reason"].is_null() {
            assert!(joined.2.is_null(), "one end a choice");
            joined.2 = choice["finish_reason"].clone();
        }
    }
    choices
}

fn tokens_of(logprobs: &Value) -> Vec<Value> {
    let list = logprobs.get("content").or_else(|| logprobs.get("tokens"));
    list.and_then(Value::as_array).cloned().unwrap_or_default()
}

#[tokio::test]
async fn a_stream_joins_to_the_whole_answer() {
    let server = Server::new().await;
    for more in [
        json!({"max_tokens": 20}),
        json!({"max_tokens": 20, "n": 3, "seed": 1}),
        json!({"max_tokens": 20, "stop": ["wör"]}),
        json!({"max_tokens": 20, "stop": ["orl", "rld!"], "include_stop_str_in_output": true}),
        json!({"max_tokens": 2}),
        json!({"max_tokens": 20, "stop_token_ids": [33]}),
    ] {
        let body = with(chat("Hi"), with(more.clone(), json!({"logprobs": true})));
        let whole = server.post("/v1/chat/completions", body.clone()).await.json();
        let streamed = server
            .post("/v1/chat/completions", with(body, json!({"stream": true})))
            .await
            .events();
        let choices: Vec<_> = whole["choices"]
            .as_array()
            .unwrap()
            .iter()
            .map(|choice| {
                let text = choice["message"]["content"].as_str().unwrap().to_owned();
                (
                    text,
                    tokens_of(&choice["logprobs"]),
                    choice["finish_reason"].clone(),
                )
            })
            .collect();
        assert_eq!(
            join(&streamed, |choice| &choice["delta"]["content"]),
            choices,
            "{more}"
        );

        let body = with(
            json!({"prompt": "Hi"}),
            with(more.clone(), json!({"logprobs": 0})),
        );
        let whole = server.post("/v1/completions", body.clone()).await.json();
        let streamed = server
            .post("/v1/completions", with(body, json!({"stream": true})))
            .await
            .events();
        let choices: Vec<_> = whole["choices"]
            .as_array()
            .unwrap()
            .iter()
            .map(|choice| {
                let text = choice["text"].as_str().unwrap().to_owned();
                (
                    text,
                    tokens_of(&choice["logprobs"]),
                    choice["finish_reason"].clone(),
                )
            })
            .collect();
        assert_eq!(join(&streamed, |choice| &choice["text"]), choices, "{more}");
    }
    server.settled().await;
}

#[tokio::test]
async fn a_character_is_never_cut() {
    let server = Server::new().await;
    let more = json!({"max_tokens": 15, "stream": true});
    let events = server
        .post("/v1/chat/completions", with(chat("Hi"), more))
        .await
        .events();
    let pieces: Vec<_> = events
        .iter()
        .filter_map(|event| event["choices"][0]["delta"]["content"].as_str())
        .collect();
    assert_eq!(pieces[1..5], ["H", "", "ä", "l"]);
    assert_eq!(pieces.concat(), "Hällo, wörld!");
}
