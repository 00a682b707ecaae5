//! OpenAI's newer interface.

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
    with(json!({"model": "test/tiny", "input": "Hi"}), more)
}

fn tools() -> Value {
    json!([
        {"type": "function", "name": "get_weather", "description": "Of a city", "strict": true, "parameters":
            {"type": "object", "properties": {"city": {"type": "string"}}}},
        {"type": "function", "name": "now", "parameters": {"type": "object", "properties": {}}},
    ])
}

async fn server(says: &str) -> Server {
    Setup::new().template(TEMPLATE).says(says).start().await
}

async fn whole(server: &Server, body: Value) -> Value {
    let answer = server.post("/v1/responses", body).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    without_ids(answer.json())
}

async fn events(server: &Server, body: Value) -> Vec<Value> {
    let body = with(body, json!({"stream": true}));
    let answer = server.post("/v1/responses", body).await;
    assert_eq!(
        answer.headers["content-type"], "text/event-stream",
        "{}",
        answer.text
    );
    let events = answer.text.split_terminator("\n\n").enumerate();
    events
        .map(|(index, event)| {
            let (name, data) = event.split_once('\n').unwrap();
            let data: Value = serde_json::from_str(data.strip_prefix("data: ").unwrap()).unwrap();
            assert_eq!(name.strip_prefix("event: ").unwrap(), data["type"], "{event}");
            assert_eq!(data["sequence_number"], index, "{event}");
            data
        })
        .collect()
}

/// The last event's answer; on the way, deltas must join to what their items end with.
async fn streamed(server: &Server, body: Value) -> Value {
    let mut joined = String::new();
    let mut items = Vec::new();
    let mut open = Value::Null;
    let events = events(server, body).await;
    for event in &events {
        let kind = event["type"].as_str().unwrap();
        if let Some(id) = event["item_id"].as_str() {
            assert_eq!(open["id"], id, "{event}");
            assert_eq!(event["output_index"], items.len());
        }
        match kind.strip_prefix("response.").unwrap() {
            "output_item.added" => {
                open = event["item"].clone();
                assert_eq!(open["status"], "in_progress");
                joined.clear();
            }
            "output_text.delta" | "reasoning_text.delta" | "function_call_arguments.delta" => {
                joined.push_str(event["delta"].as_str().unwrap());
            }
            "output_text.done" | "reasoning_text.done" => assert_eq!(event["text"], joined),
            "function_call_arguments.done" => assert_eq!(event["arguments"], joined),
            "output_item.done" => {
                assert_eq!(event["item"]["id"], open["id"]);
                items.push(event["item"].clone());
            }
            "created" | "in_progress" | "content_part.added" | "content_part.done" => {}
            "completed" | "incomplete" => assert_eq!(event["response"]["output"], json!(items)),
            other => panic!("{other}"),
        }
    }
    without_ids(events.last().unwrap()["response"].clone())
}

fn without_ids(mut response: Value) -> Value {
    assert!(response["id"].as_str().unwrap().starts_with("resp_"));
    assert!(response["created_at"].as_u64().unwrap() > 1_600_000_000);
    response["id"] = json!("resp");
    response["created_at"] = json!(0);
    // The second of two equal requests finds the first one's prompt in the cache.
    response["usage"]["input_tokens_details"] = Value::Null;
    for item in response["output"].as_array_mut().unwrap() {
        let kinds = [
            ("reasoning", "rs_"),
            ("message", "msg_"),
            ("function_call", "fc_"),
        ];
        let kind = kinds.iter().find(|(kind, _)| item["type"] == *kind).unwrap();
        assert!(item["id"].as_str().unwrap().starts_with(kind.1), "{item}");
        item["id"] = json!("item");
        if item["call_id"].is_string() {
            item["call_id"] = json!("call");
        }
    }
    response
}

#[tokio::test]
async fn an_answer_is_a_list_of_items_streamed_or_whole() {
    let server = server(SAYS).await;
    let body = asked(json!({"tools": tools(), "instructions": "Be brief.", "metadata": {"a": "b"}}));
    let response = whole(&server, body.clone()).await;
    insta::assert_json_snapshot!(response);
    assert_eq!(streamed(&server, body).await, response);
}

#[tokio::test]
async fn a_stream_has_openais_events() {
    let server = server("Yes.").await;
    let events = events(&server, asked(json!({}))).await;
    let names: Vec<&str> = events
        .iter()
        .map(|event| event["type"].as_str().unwrap())
        .collect();
    insta::assert_json_snapshot!(names);
}

#[tokio::test]
async fn every_length_gives_the_same_streamed_and_whole() {
    let server = server(SAYS).await;
    for length in (1..SAYS.len()).step_by(7) {
        let body = asked(json!({"tools": tools(), "max_output_tokens": length}));
        let response = whole(&server, body.clone()).await;
        assert_eq!(response["status"], "incomplete");
        assert_eq!(response["incomplete_details"]["reason"], "max_output_tokens");
        assert_eq!(streamed(&server, body).await, response, "{length}");
    }
}

#[tokio::test]
async fn a_call_can_be_forced() {
    for (choice, says) in [
        (json!("required"), "[{\"name\": \"now\", \"arguments\": {}}]"),
        (json!({"type": "function", "name": "now"}), "{}"),
    ] {
        let server = server(says).await;
        let body = asked(json!({"tools": tools(), "tool_choice": choice}));
        let response = whole(&server, body.clone()).await;
        assert_eq!(response["output"][0]["type"], "function_call");
        assert_eq!(response["output"][0]["name"], "now");
        assert_eq!(streamed(&server, body).await, response);
    }
}

#[tokio::test]
async fn a_conversation_with_calls_is_rendered() {
    let server = server("Noon.").await;
    let input = json!([
        {"role": "user", "content": "When?"},
        {"type": "function_call", "call_id": "1", "name": "now", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "1", "output": "12:00"},
    ]);
    let response = whole(&server, asked(json!({"input": input, "tools": tools()}))).await;
    assert_eq!(response["output"][0]["content"][0]["text"], "Noon.");
    let text = json!({"format": {"type": "json_schema", "name": "x", "schema": {"type": "object"}}});
    let response = whole(&server, asked(json!({"text": text.clone()}))).await;
    assert_eq!(response["text"], text);
}

#[tokio::test]
async fn what_is_wrong_is_named() {
    let server = server("x").await;
    for (more, status, param) in [
        (json!({"input": null}), 400, "input"),
        (json!({"input": ""}), 400, "input"),
        (json!({"input": []}), 400, "input"),
        (json!({"input": 7}), 400, "input"),
        (
            json!({"input": [{"type": "item_reference", "id": "1"}]}),
            400,
            "input[0].type",
        ),
        (
            json!({"input": [{"role": "robot", "content": "x"}]}),
            400,
            "input[0].role",
        ),
        (
            json!({"input": [{"role": "user", "content": [{"type": "input_image"}]}]}),
            400,
            "input[0].content[0].type",
        ),
        (
            json!({"input": [{"type": "function_call_output", "output": "x"}]}),
            400,
            "input[0].call_id",
        ),
        (json!({"model": "other"}), 404, "model"),
        (json!({"max_output_tokens": 0}), 400, "max_output_tokens"),
        (json!({"temperature": -1}), 400, "temperature"),
        (
            json!({"previous_response_id": "resp_1"}),
            400,
            "previous_response_id",
        ),
        (json!({"store": true}), 400, "store"),
        (json!({"background": true}), 400, "background"),
        (json!({"tools": [{"type": "web_search"}]}), 400, "tools[0].type"),
        (json!({"tools": [{"type": "function"}]}), 400, "tools[0].name"),
        (json!({"tool_choice": "required"}), 400, "tool_choice"),
        (json!({"text": {"format": {"type": "yaml"}}}), 400, "text.format"),
        (
            json!({"text": {"format": {"type": "json_schema"}}}),
            400,
            "text.format.schema",
        ),
        (json!({"reasoning": {"effort": "much"}}), 400, "reasoning.effort"),
        (json!({"top_logprobs": 2}), 400, "top_logprobs"),
        (json!({"top_logprobs": 1000}), 400, "top_logprobs"),
        (json!({"include": "message.output_text.logprobs"}), 400, "include"),
        (
            json!({"include": ["message.input_image.image_url"]}),
            400,
            "include",
        ),
        (json!({"truncation": "middle"}), 400, "truncation"),
    ] {
        let answer = server.post("/v1/responses", asked(more.clone())).await;
        let error = answer.json();
        assert_eq!(answer.status, status, "{more}: {error}");
        assert_eq!(error["error"]["param"], param, "{more}: {error}");
    }
}

fn scored(more: Value) -> Value {
    let include = json!(["message.output_text.logprobs"]);
    with(asked(json!({"include": include})), more)
}

/// Each of a list's tokens, and how many alternatives come with it.
fn tokens(logprobs: &Value) -> Vec<(&str, usize)> {
    let tokens = logprobs.as_array().unwrap().iter();
    tokens
        .map(|token| {
            let text = token["token"].as_str().unwrap();
            assert!(token["logprob"].is_f64() && token["bytes"].is_array(), "{token}");
            (text, token["top_logprobs"].as_array().unwrap().len())
        })
        .collect()
}

#[tokio::test]
async fn a_text_carries_log_probabilities() {
    let server = server("Yes.").await;
    let response = whole(&server, scored(json!({"top_logprobs": 1}))).await;
    insta::assert_json_snapshot!(response["output"]);
    assert_eq!(response["top_logprobs"], 1);
    let response = whole(&server, scored(json!({}))).await;
    let part = &response["output"][0]["content"][0];
    assert_eq!(
        tokens(&part["logprobs"]),
        [("Y", 0), ("e", 0), ("s", 0), (".", 0)]
    );
    let response = whole(&server, asked(json!({}))).await;
    assert_eq!(response["output"][0]["content"][0]["logprobs"], json!([]));
}

#[tokio::test]
async fn a_streamed_text_carries_them_with_its_pieces() {
    let server = server("Yes.").await;
    let events = events(&server, scored(json!({"top_logprobs": 2}))).await;
    let mut joined = Vec::new();
    for event in &events {
        match event["type"].as_str().unwrap() {
            "response.output_text.delta" => {
                let told = tokens(&event["logprobs"]);
                let text: String = told.iter().map(|(text, _)| *text).collect();
                assert_eq!(event["delta"], text, "{event}");
                joined.extend(event["logprobs"].as_array().unwrap().clone());
            }
            "response.output_text.done" => assert_eq!(event["logprobs"], json!(joined)),
            "response.content_part.done" => assert_eq!(event["part"]["logprobs"], json!(joined)),
            _ => {}
        }
    }
    assert_eq!(joined.len(), 4);
}

#[tokio::test]
async fn tags_and_calls_have_none() {
    let server = server(SAYS).await;
    let body = scored(json!({"tools": tools()}));
    let response = whole(&server, body.clone()).await;
    let message = &response["output"][1]["content"][0];
    let told: String = tokens(&message["logprobs"])
        .iter()
        .map(|(text, _)| *text)
        .collect();
    assert_eq!(told, "I look.");
    assert_eq!(message["text"], "I look.");
    assert_eq!(streamed(&server, body).await, response);
    for length in (1..SAYS.len()).step_by(5) {
        let body = scored(json!({"tools": tools(), "max_output_tokens": length}));
        let response = whole(&server, body.clone()).await;
        assert_eq!(streamed(&server, body).await, response, "{length}");
    }
}

/// Questions and answers of twenty characters each.
fn long(turns: usize) -> Vec<Value> {
    let turn = |turn: usize| {
        let text = format!("turn {turn:>15}");
        [
            json!({"role": "user", "content": text}),
            json!({"role": "assistant", "content": text}),
        ]
    };
    let last = json!({"role": "user", "content": "And then?"});
    (0..turns).flat_map(turn).chain([last]).collect()
}

#[tokio::test]
async fn the_oldest_items_are_left_out_where_not_all_fit() {
    let server = server("Yes.").await;
    let body = |turns: usize, more: Value| {
        let given = json!({"input": long(turns), "instructions": "Be brief.", "max_output_tokens": 8});
        asked(with(given, more))
    };
    let count = |response: &Value| response["usage"]["input_tokens"].as_u64().unwrap();
    let auto = || json!({"truncation": "auto"});
    let [short, more] = [2, 3].map(|turns| body(turns, auto()));
    let short = count(&whole(&server, short).await);
    let turn = count(&whole(&server, more).await) - short;
    // With an answer of 8 tokens, 2048 hold so many whole turns.
    let most = (2048 - 8 - short) / turn * turn + short;
    let response = whole(&server, body(500, auto())).await;
    assert_eq!(count(&response), most);
    assert_eq!(response["truncation"], "auto");
    assert_eq!(streamed(&server, body(500, auto())).await, response);
    // The room that was asked for is kept free.
    let response = whole(
        &server,
        body(500, json!({"truncation": "auto", "max_output_tokens": 1000})),
    )
    .await;
    assert_eq!(count(&response), (2048 - 1000 - short) / turn * turn + short);

    for truncation in [json!(null), json!("disabled")] {
        let answer = server
            .post("/v1/responses", body(500, json!({"truncation": truncation})))
            .await;
        assert_eq!(answer.status, 400, "{}", answer.text);
        assert_eq!(answer.json()["error"]["param"], "input");
        assert_eq!(answer.json()["error"]["code"], "context_length_exceeded");
    }
}

#[tokio::test]
async fn what_cannot_be_left_out_must_fit() {
    let server = server("Yes.").await;
    let long = "x".repeat(3000);
    for body in [
        json!({"input": long}),
        json!({"input": "Hi", "instructions": long}),
        json!({"input": [{"role": "developer", "content": long}, {"role": "user", "content": "Hi"}]}),
    ] {
        let body = asked(with(body, json!({"truncation": "auto"})));
        let answer = server.post("/v1/responses", body).await;
        assert_eq!(answer.status, 400, "{}", answer.text);
        assert_eq!(answer.json()["error"]["param"], "input");
    }
}
