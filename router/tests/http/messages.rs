//! Anthropic's interface.

use serde_json::{Value, json};

use crate::support::*;

const TEMPLATE: &str = "{% if tools %}<tool_call>{{ tools | tojson }}\n{% endif %}\
    {% for message in messages %}<|im_start|>{{ message.role }}\n\
    {% if message.reasoning_content %}<think>{{ message.reasoning_content }}</think>{% endif %}{{ message.content }}\
    {% for call in message.tool_calls or [] %}{{ call.function | tojson }}{% endfor %}<|im_end|>\n{% endfor %}\
    {% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}";
const SAYS: &str = "<think>\nHm.\n</think>\n\nI look.\n<tool_call>\n{\"name\": \"get_weather\", \"arguments\": \
    {\"city\": \"Zürich\"}}\n</tool_call>\n<tool_call>\n{\"name\": \"now\", \"arguments\": {}}\n</tool_call>";

fn asked(more: Value) -> Value {
    let body =
        json!({"model": "test/tiny", "max_tokens": 1000, "messages": [{"role": "user", "content": "Hi"}]});
    with(body, more)
}

fn tools() -> Value {
    json!([
        {"name": "get_weather", "description": "Of a city", "input_schema":
            {"type": "object", "properties": {"city": {"type": "string"}}}},
        {"name": "now", "input_schema": {"type": "object", "properties": {}}},
    ])
}

async fn server(says: &str) -> Server {
    Setup::new().template(TEMPLATE).says(says).start().await
}

async fn whole(server: &Server, body: Value) -> Value {
    let answer = server.post("/v1/messages", body).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    without_ids(answer.json())
}

/// Events as (name, data).
async fn events(server: &Server, body: Value) -> Vec<Value> {
    let answer = server
        .post("/v1/messages", with(body, json!({"stream": true})))
        .await;
    assert_eq!(
        answer.headers["content-type"], "text/event-stream",
        "{}",
        answer.text
    );
    let events = answer.text.split_terminator("\n\n").map(|event| {
        let (name, data) = event.split_once('\n').unwrap();
        let data: Value = serde_json::from_str(data.strip_prefix("data: ").unwrap()).unwrap();
        assert_eq!(name.strip_prefix("event: ").unwrap(), data["type"], "{event}");
        data
    });
    events.collect()
}

/// What the clients' libraries make of a stream.
async fn streamed(server: &Server, body: Value) -> Value {
    let mut message = Value::Null;
    let mut partial = String::new();
    for event in events(server, body).await {
        let index = event["index"].as_u64().unwrap_or(0) as usize;
        match event["type"].as_str().unwrap() {
            "message_start" => message = event["message"].clone(),
            "content_block_start" => {
                let content = message["content"].as_array_mut().unwrap();
                assert_eq!(content.len(), index);
                content.push(event["content_block"].clone());
                partial.clear();
            }
            "content_block_delta" => {
                let (block, delta) = (&mut message["content"][index], &event["delta"]);
                let mut join = |field: &str| {
                    let before = block[field].as_str().unwrap().to_owned();
                    block[field] = json!(before + delta[field].as_str().unwrap());
                };
                match delta["type"].as_str().unwrap() {
                    "text_delta" => join("text"),
                    "thinking_delta" => join("thinking"),
                    "input_json_delta" => partial.push_str(delta["partial_json"].as_str().unwrap()),
                    other => panic!("{other}"),
                }
            }
            "content_block_stop" => {
                let block = &mut message["content"][index];
                if block["type"] == "tool_use" {
                    block["input"] = serde_json::from_str(&partial)
                        .unwrap_or_else(|_| json!({"_incomplete": partial.clone()}));
                }
            }
            "message_delta" => {
                for field in ["stop_reason", "stop_sequence"] {
                    message[field] = event["delta"][field].clone();
                }
                message["usage"] = event["usage"].clone();
            }
            "ping" | "message_stop" => {}
            other => panic!("{other}"),
        }
    }
    without_ids(message)
}

fn without_ids(mut message: Value) -> Value {
    assert!(message["id"].as_str().unwrap().starts_with("msg_"));
    message["id"] = json!("msg");
    // The second of two equal requests finds the first one's prompt in the cache.
    let usage = message["usage"].take();
    let input = usage["input_tokens"].as_u64().unwrap() + usage["cache_read_input_tokens"].as_u64().unwrap();
    message["usage"] = json!({"input": input, "output": usage["output_tokens"]});
    for block in message["content"].as_array_mut().unwrap() {
        if block["type"] == "tool_use" {
            assert!(block["id"].as_str().unwrap().starts_with("call_"));
            block["id"] = json!("call");
        }
    }
    message
}

#[tokio::test]
async fn an_answer_is_a_list_of_blocks_streamed_or_whole() {
    let server = server(SAYS).await;
    let body = asked(json!({"tools": tools()}));
    let message = whole(&server, body.clone()).await;
    insta::assert_json_snapshot!(message);
    assert_eq!(streamed(&server, body).await, message);
}

#[tokio::test]
async fn a_stream_has_anthropics_events() {
    let server = server("Yes.").await;
    let events: Vec<Value> = events(&server, asked(json!({})))
        .await
        .into_iter()
        .map(|mut event| {
            if event["message"].is_object() {
                event["message"]["id"] = json!("msg");
            }
            event
        })
        .collect();
    insta::assert_json_snapshot!(events);
}

#[tokio::test]
async fn every_length_gives_the_same_streamed_and_whole() {
    let server = server(SAYS).await;
    for length in (1..SAYS.len()).step_by(7) {
        let body = asked(json!({"tools": tools(), "max_tokens": length}));
        let message = whole(&server, body.clone()).await;
        assert_eq!(message["stop_reason"], "max_tokens");
        assert_eq!(streamed(&server, body).await, message, "{length}");
    }
}

#[tokio::test]
async fn ends_are_told_in_anthropics_words() {
    let server = server("One, two, three.").await;
    let message = whole(&server, asked(json!({"stop_sequences": ["x", " two"]}))).await;
    assert_eq!(message["content"], json!([{"type": "text", "text": "One,"}]));
    assert_eq!(
        (&message["stop_reason"], &message["stop_sequence"]),
        (&json!("stop_sequence"), &json!(" two"))
    );
    let message = whole(&server, asked(json!({}))).await;
    assert_eq!(
        (&message["stop_reason"], &message["stop_sequence"]),
        (&json!("end_turn"), &Value::Null)
    );
}

#[tokio::test]
async fn a_call_can_be_forced() {
    for (choice, says) in [
        (json!({"type": "any"}), "[{\"name\": \"now\", \"arguments\": {}}]"),
        (json!({"type": "tool", "name": "now"}), "{}"),
    ] {
        let server = server(says).await;
        let body = asked(json!({"tools": tools(), "tool_choice": choice}));
        let message = whole(&server, body.clone()).await;
        assert_eq!(
            message["content"],
            json!([{"type": "tool_use", "id": "call", "name": "now", "input": {}}])
        );
        assert_eq!(message["stop_reason"], "tool_use");
        assert_eq!(streamed(&server, body).await, message);
    }
}

#[tokio::test]
async fn a_conversation_with_calls_is_rendered_and_counted() {
    let server = server("Noon.").await;
    let messages = json!([
        {"role": "user", "content": [{"type": "text", "text": "When?", "cache_control": {"type": "ephemeral"}}]},
        {"role": "assistant", "content": [
            {"type": "thinking", "thinking": "Look.", "signature": ""},
            {"type": "tool_use", "id": "1", "name": "now", "input": {}},
        ]},
        {"role": "user", "content": [
            {"type": "tool_result", "tool_use_id": "1", "content": [{"type": "text", "text": "12:00"}]},
            {"type": "text", "text": "Well?"},
        ]},
    ]);
    let more =
        json!({"messages": messages, "system": [{"type": "text", "text": "Be brief."}], "tools": tools()});
    let message = whole(&server, asked(more.clone())).await;
    let body = with(json!({"model": "test/tiny"}), more);
    let count = server.post("/v1/messages/count_tokens", body).await.json();
    assert_eq!(count, json!({"input_tokens": message["usage"]["input"]}));
    assert!(count["input_tokens"].as_u64().unwrap() > 200);

    let fresh = json!([{"role": "user", "content": "Hi"}]);
    let begun = json!([{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "It is"}]);
    let tokens = |messages: Value| {
        let body = json!({"model": "test/tiny", "messages": messages});
        let server = &server;
        async move {
            let answer = server.post("/v1/messages/count_tokens", body).await.json();
            answer["input_tokens"].as_u64().unwrap()
        }
    };
    let more = "It is".len() as u64;
    assert_eq!(
        tokens(begun).await,
        tokens(fresh).await + more,
        "the answer goes on with it"
    );
}

#[tokio::test]
async fn errors_have_anthropics_shape() {
    let server = server("x").await;
    for (more, status, kind, param) in [
        (
            json!({"max_tokens": null}),
            400,
            "invalid_request_error",
            "max_tokens",
        ),
        (
            json!({"max_tokens": 0}),
            400,
            "invalid_request_error",
            "max_tokens",
        ),
        (json!({"model": null}), 400, "invalid_request_error", "model"),
        (json!({"model": "other"}), 404, "not_found_error", "model"),
        (json!({"messages": []}), 400, "invalid_request_error", "messages"),
        (
            json!({"messages": [{"role": "system", "content": "x"}]}),
            400,
            "invalid_request_error",
            "messages[0].role",
        ),
        (
            json!({"messages": [{"role": "user", "content": 7}]}),
            400,
            "invalid_request_error",
            "messages[0].content",
        ),
        (
            json!({"messages": [{"role": "user", "content": [{"type": "image"}]}]}),
            400,
            "invalid_request_error",
            "messages[0].content[0].type",
        ),
        (
            json!({"messages": [{"role": "user", "content": [{"type": "tool_result"}]}]}),
            400,
            "invalid_request_error",
            "messages[0].content[0].tool_use_id",
        ),
        (
            json!({"stop_sequences": [""]}),
            400,
            "invalid_request_error",
            "stop_sequences[0]",
        ),
        (
            json!({"temperature": -1}),
            400,
            "invalid_request_error",
            "temperature",
        ),
        (
            json!({"tools": [{"name": "f"}]}),
            400,
            "invalid_request_error",
            "tools[0].input_schema",
        ),
        (
            json!({"tools": [{"type": "bash_20250124", "name": "bash"}]}),
            400,
            "invalid_request_error",
            "tools[0].type",
        ),
        (
            json!({"tool_choice": {"type": "any"}}),
            400,
            "invalid_request_error",
            "tool_choice",
        ),
        (
            json!({"thinking": {"type": "much"}}),
            400,
            "invalid_request_error",
            "thinking.type",
        ),
        (
            json!({"mcp_servers": [{}]}),
            400,
            "invalid_request_error",
            "mcp_servers",
        ),
    ] {
        for stream in [false, true] {
            let body = with(asked(more.clone()), json!({"stream": stream}));
            let answer = server.post("/v1/messages", body).await;
            let error = answer.json();
            assert_eq!(answer.status, status, "{more}: {error}");
            assert_eq!(
                (&error["type"], &error["error"]["type"], &error["error"]["param"]),
                (&json!("error"), &json!(kind), &json!(param)),
                "{more}"
            );
        }
    }
    let answer = server.post_text("/v1/messages", "{").await;
    assert_eq!(answer.json()["error"]["type"], "invalid_request_error");
}
