//! Calls of tools and reasoning in chat answers.

use serde_json::{Value, json};
use shardline_router::config::{ParserChoice, Parsers};

use crate::support::*;

/// A template that tells of tools and gives the spelling of calls and reasoning away.
const TEMPLATE: &str = "{% if tools %}Tools, to be called by <tool_call>: {{ tools | tojson }}\n{% endif %}\
    {% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}\
    {% for call in message.tool_calls or [] %}{{ call.function | tojson }}{% endfor %}<|im_end|>\n{% endfor %}\
    {% if add_generation_prompt %}<|im_start|>assistant\n{% if enable_thinking is defined and not enable_thinking %}\
    <think>\n\n</think>\n\n{% endif %}{% endif %}";

const THOUGHT: &str = "<think>\nHm.\n</think>\n\n";
const CALLS: &str = "I look.\n<tool_call>\n{\"name\": \"get_weather\", \"arguments\": {\"city\": \"Zürich\"}}\n</tool_call>\n\
    <tool_call>\n{\"name\": \"now\", \"arguments\": {}}\n</tool_call>";

fn asked(more: Value) -> Value {
    let tools = json!([
        {"type": "function", "function": {"name": "get_weather", "description": "Of a city", "parameters":
            {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}}},
        {"type": "function", "function": {"name": "now"}},
    ]);
    with(chat("Hi"), with(json!({"tools": tools}), more))
}

async fn server(says: &str) -> Server {
    Setup::new().template(TEMPLATE).says(says).start().await
}

/// The message and the reason of an answer in one piece.
async fn whole(server: &Server, body: Value) -> (Value, Value) {
    let answer = server.post("/v1/chat/completions", body).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    let choice = &answer.json()["choices"][0];
    (
        without_ids(choice["message"].clone()),
        choice["finish_reason"].clone(),
    )
}

/// The same, joined from the deltas of a stream.
async fn streamed(server: &Server, body: Value) -> (Value, Value) {
    let body = with(body, json!({"stream": true}));
    let events = server.post("/v1/chat/completions", body).await.events();
    let mut message = json!({"role": "assistant", "content": null, "refusal": null});
    let mut reason = Value::Null;
    for choice in events.iter().map(|event| &event["choices"][0]) {
        let delta = &choice["delta"];
        for field in ["content", "reasoning"] {
            if let Some(text) = delta[field].as_str().filter(|text| !text.is_empty()) {
                let before = message[field].as_str().unwrap_or_default();
                message[field] = json!(format!("{before}{text}"));
            }
        }
        for call in delta["tool_calls"].as_array().into_iter().flatten() {
            join_call(&mut message, call);
        }
        if !choice["finish_reason"].is_null() {
            reason = choice["finish_reason"].clone();
        }
    }
    (without_ids(message), reason)
}

/// What the clients' libraries do: the first delta of an index brings id, type and name.
fn join_call(message: &mut Value, delta: &Value) {
    if !message["tool_calls"].is_array() {
        message["tool_calls"] = json!([]);
    }
    let calls = message["tool_calls"].as_array_mut().unwrap();
    let index = delta["index"].as_u64().unwrap() as usize;
    if delta.get("id").is_some() {
        assert_eq!(
            (calls.len(), &delta["type"]),
            (index, &json!("function")),
            "{delta}"
        );
        assert_eq!(delta["function"]["arguments"], "");
        let mut call = delta.clone();
        call.as_object_mut().unwrap().remove("index");
        calls.push(call);
        return;
    }
    assert_eq!(calls.len(), index + 1, "{delta}");
    assert_eq!(delta["function"].as_object().unwrap().len(), 1, "{delta}");
    let before = calls[index]["function"]["arguments"].as_str().unwrap().to_owned();
    let more = delta["function"]["arguments"].as_str().unwrap();
    calls[index]["function"]["arguments"] = json!(format!("{before}{more}"));
}

fn without_ids(mut message: Value) -> Value {
    let calls = message.get_mut("tool_calls").and_then(Value::as_array_mut);
    for call in calls.into_iter().flatten() {
        let id = call["id"].as_str().unwrap().to_owned();
        assert!(id.starts_with("call_") && id.len() == 37, "{id}");
        call["id"] = json!("ID");
    }
    message
}

#[tokio::test]
async fn calls_and_reasoning_are_told_apart() {
    let server = server(&format!("{THOUGHT}{CALLS}")).await;
    let (message, reason) = whole(&server, asked(json!({}))).await;
    assert_eq!(reason, "tool_calls");
    insta::assert_json_snapshot!(message);
    assert_eq!(streamed(&server, asked(json!({}))).await, (message, reason));
}

#[tokio::test]
async fn a_stream_of_calls_has_openais_shape() {
    let server = server("a <tool_call>{\"name\":\"now\",\"arguments\":{\"a\":1}}</tool_call>").await;
    let more = json!({"stream": true, "stream_options": {"include_usage": true}});
    let answer = server.post("/v1/chat/completions", asked(more)).await;
    let deltas: Vec<Value> = answer
        .events()
        .into_iter()
        .map(redact)
        .map(|mut event| match event["choices"].as_array_mut() {
            Some(choices) if !choices.is_empty() => {
                let mut choice = choices.remove(0);
                if choice["delta"]["tool_calls"][0]["id"].is_string() {
                    choice["delta"]["tool_calls"][0]["id"] = json!("ID");
                }
                choice
            }
            _ => event["usage"].clone(),
        })
        .collect();
    insta::assert_json_snapshot!(deltas);
}

#[tokio::test]
async fn every_length_gives_the_same_streamed_and_whole() {
    let text = format!("{THOUGHT}{CALLS}");
    let server = server(&text).await;
    for length in (1..text.len()).step_by(3) {
        let body = asked(json!({"max_tokens": length}));
        let (message, reason) = whole(&server, body.clone()).await;
        assert_eq!(reason, "length");
        let (joined, joined_reason) = streamed(&server, body).await;
        // An empty text says nothing, whichever way it is spelled.
        let spelled = |mut message: Value| {
            if message["content"] == "" {
                message["content"] = Value::Null;
            }
            message
        };
        assert_eq!(
            (spelled(joined), joined_reason),
            (spelled(message), reason),
            "{length}"
        );
    }
}

#[tokio::test]
async fn one_call_is_told_where_only_one_is_wanted() {
    let server = server(CALLS).await;
    let body = asked(json!({"parallel_tool_calls": false}));
    let (message, reason) = whole(&server, body.clone()).await;
    assert_eq!(message["tool_calls"].as_array().unwrap().len(), 1);
    assert_eq!(reason, "tool_calls");
    assert_eq!(streamed(&server, body).await, (message, reason));
}

#[tokio::test]
async fn every_token_has_its_log_probability_whatever_it_became() {
    let text = format!("{THOUGHT}{CALLS}");
    let server = server(&text).await;
    for more in [json!({}), json!({"parallel_tool_calls": false})] {
        let body = with(asked(more), json!({"logprobs": true, "top_logprobs": 1}));
        let whole = server.post("/v1/chat/completions", body.clone()).await.json();
        let whole = whole["choices"][0]["logprobs"]["content"].clone();
        assert_eq!(whole.as_array().unwrap().len(), text.len() + 1);
        let body = with(body, json!({"stream": true}));
        let events = server.post("/v1/chat/completions", body).await.events();
        let streamed: Vec<Value> = events
            .iter()
            .filter_map(|event| event["choices"][0]["logprobs"]["content"].as_array())
            .flatten()
            .cloned()
            .collect();
        assert_eq!(Value::from(streamed), whole);
    }
}

#[tokio::test]
async fn without_tools_a_call_is_text() {
    let server = server(CALLS).await;
    for body in [chat("Hi"), asked(json!({"tool_choice": "none"}))] {
        let (message, reason) = whole(&server, body.clone()).await;
        assert_eq!(
            message,
            json!({"role": "assistant", "content": CALLS, "refusal": null})
        );
        assert_eq!(reason, "stop");
        assert_eq!(streamed(&server, body).await, (message, reason));
    }
}

#[tokio::test]
async fn a_call_can_be_forced() {
    let server = server("{\"city\": \"Zürich\"}").await;
    for choice in [
        json!("get_weather"),
        json!({"type": "function", "function": {"name": "get_weather"}}),
    ] {
        let body = asked(json!({"tool_choice": choice}));
        let (message, reason) = whole(&server, body.clone()).await;
        assert_eq!(message["content"], Value::Null);
        assert_eq!(
            message["tool_calls"][0]["function"],
            json!({"name": "get_weather", "arguments": "{\"city\": \"Zürich\"}"})
        );
        assert_eq!(reason, "stop", "the client chose, not the model");
        assert_eq!(streamed(&server, body).await, (message, reason));
    }
    drop(server);
    let says = "[{\"name\": \"now\", \"arguments\": {}}, {\"name\": \"now\", \"arguments\": {}}]";
    let server = self::server(says).await;
    let body = asked(json!({"tool_choice": "required"}));
    let (message, reason) = whole(&server, body.clone()).await;
    assert_eq!(message["tool_calls"].as_array().unwrap().len(), 2);
    assert_eq!(reason, "tool_calls");
    assert_eq!(streamed(&server, body).await, (message, reason));
}

#[tokio::test]
async fn reasoning_is_counted_and_can_be_left_out() {
    let server = server(&format!("{THOUGHT}Yes.")).await;
    let answer = server.post("/v1/chat/completions", chat("Hi")).await.json();
    assert_eq!(answer["choices"][0]["message"]["reasoning"], "Hm.");
    assert_eq!(answer["choices"][0]["message"]["content"], "Yes.");
    // A token is a byte here. The two line breaks behind the tag belong to the answer.
    let reasoning = THOUGHT.trim_end().len();
    let details = &answer["usage"]["completion_tokens_details"];
    assert_eq!(
        details["reasoning_tokens"],
        reasoning - "<think".len(),
        "{answer}"
    );

    let (message, _) = whole(&server, with(chat("Hi"), json!({"include_reasoning": false}))).await;
    assert_eq!(
        message,
        json!({"role": "assistant", "content": "Yes.", "refusal": null})
    );
    let body = with(chat("Hi"), json!({"include_reasoning": false}));
    assert_eq!(streamed(&server, body).await.0, message);
}

#[tokio::test]
async fn a_prompt_that_ends_the_reasoning_leaves_none() {
    let server = server("Yes.").await;
    let tokens = |effort: Value| {
        let body = with(chat("Hi"), json!({"reasoning_effort": effort}));
        let server = &server;
        async move {
            let answer = server.post("/v1/chat/completions", body).await;
            assert_eq!(answer.status, 200, "{}", answer.text);
            answer.json()["usage"]["prompt_tokens"].as_u64().unwrap()
        }
    };
    let spelled = "<think>\n\n</think>\n\n".len() as u64;
    assert_eq!(tokens(json!("none")).await, tokens(json!("high")).await + spelled);
    let body = with(chat("Hi"), json!({"reasoning_effort": "much"}));
    let answer = server.post("/v1/chat/completions", body).await;
    assert_eq!(answer.json()["error"]["param"], "reasoning_effort");
}

#[tokio::test]
async fn a_model_whose_template_knows_no_tools_is_told_of_them_all_the_same() {
    let server = Setup::new().says(CALLS).start().await;
    let answer = server.post("/v1/chat/completions", asked(json!({}))).await.json();
    let tokens = answer["usage"]["prompt_tokens"].as_u64().unwrap();
    assert!(tokens > 400, "the tools are in the prompt: {tokens}");
    let calls = answer["choices"][0]["message"]["tool_calls"].as_array().unwrap();
    assert_eq!(calls[0]["function"]["name"], "get_weather");
    let history = json!([
        {"role": "user", "content": "q"},
        {"role": "assistant", "content": null, "tool_calls": calls},
        {"role": "tool", "tool_call_id": "1", "content": "noon"},
    ]);
    let answer = server
        .post("/v1/chat/completions", json!({"messages": history}))
        .await;
    assert_eq!(answer.status, 200, "{}", answer.text);
}

#[tokio::test]
async fn parsers_can_be_named_and_turned_off() {
    let mut setup = Setup::new().template(TEMPLATE).says(&format!("{THOUGHT}{CALLS}"));
    setup.settings.parsers = Parsers {
        tools: ParserChoice::Off,
        reasoning: ParserChoice::Off,
    };
    let (message, reason) = whole(&setup.start().await, asked(json!({}))).await;
    assert_eq!(message["content"], format!("{THOUGHT}{CALLS}"));
    assert_eq!(reason, "stop");
}

#[tokio::test]
async fn what_tools_cannot_be_is_named() {
    let server = server("x").await;
    let many: Vec<Value> = (0..10_000)
        .map(|index| json!({"type": "function", "function": {"name": format!("f{index}")}}))
        .collect();
    for (more, code, param) in [
        (json!({"tools": []}), "invalid_count", "tools"),
        (json!({"tools": many}), "invalid_count", "tools"),
        (json!({"tools": [7]}), "invalid_type", "tools[0]"),
        (
            json!({"tools": null, "tool_choice": "required"}),
            "conflicting_parameters",
            "tool_choice",
        ),
        (json!({"tool_choice": "other"}), "invalid_value", "tool_choice"),
        (json!({"tool_choice": 7}), "invalid_value", "tool_choice"),
        (
            json!({"tools": [{"type": "function", "function": {"name": "a\"b"}}]}),
            "invalid_value",
            "tools[0].function.name",
        ),
        (
            json!({"functions": [{"name": "f"}]}),
            "unsupported_parameter",
            "functions",
        ),
        (
            json!({"messages": [{"role": "assistant", "tool_calls": [{"id": "1"}]}]}),
            "missing_required_parameter",
            "messages[0].tool_calls[0].function",
        ),
    ] {
        let answer = server.post("/v1/chat/completions", asked(more.clone())).await;
        assert_eq!(answer.status, 400, "{more}");
        let error = &answer.json()["error"];
        assert_eq!(
            (&error["code"], &error["param"]),
            (&json!(code), &json!(param)),
            "{}",
            answer.text
        );
    }
}
