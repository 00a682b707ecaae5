//! What clients' libraries make of a stream: the answer that would have come in one piece.

use serde_json::{Value, json};

use crate::events::Event;

fn text<'a>(value: &'a Value, what: &str) -> &'a str {
    value
        .as_str()
        .unwrap_or_else(|| panic!("{what} is no text: {value}"))
}

fn append(target: &mut Value, more: &str) {
    *target = json!(format!("{}{more}", target.as_str().unwrap_or_default()));
}

/// All data but that of `[DONE]`, which must be the last.
fn with_done(events: &[Event]) -> Vec<Value> {
    let (last, events) = events.split_last().expect("events");
    assert_eq!(last.data, "[DONE]");
    events.iter().map(Event::json).collect()
}

/// The message and the reason of a chat.
#[must_use]
pub fn chat(events: &[Event]) -> Value {
    let mut message = json!({"role": "assistant", "content": null, "refusal": null});
    let mut reason = Value::Null;
    for choice in with_done(events).iter().map(|event| &event["choices"][0]) {
        assert!(reason.is_null(), "{choice} after the end");
        for field in ["content", "reasoning"] {
            if let Some(more) = choice["delta"][field].as_str().filter(|more| !more.is_empty()) {
                append(&mut message[field], more);
            }
        }
        for call in choice["delta"]["tool_calls"].as_array().into_iter().flatten() {
            join_call(&mut message, call);
        }
        reason = choice["finish_reason"].clone();
    }
    json!([message, reason])
}

/// The first delta of an index brings id, type and name.
fn join_call(message: &mut Value, delta: &Value) {
    if !message["tool_calls"].is_array() {
        message["tool_calls"] = json!([]);
    }
    let calls = message["tool_calls"].as_array_mut().unwrap();
    let index = delta["index"].as_u64().unwrap() as usize;
    if delta.get("id").is_some() {
        assert_eq!(calls.len(), index, "{delta}");
        let mut call = delta.clone();
        call.as_object_mut().unwrap().remove("index");
        calls.push(call);
    } else {
        assert_eq!(calls.len(), index + 1, "{delta}");
        append(
            &mut calls[index]["function"]["arguments"],
            text(&delta["function"]["arguments"], "arguments"),
        );
    }
}

/// The text and the reason of a completion.
#[must_use]
pub fn completion(events: &[Event]) -> Value {
    let (mut whole, mut reason) = (json!(""), Value::Null);
    for choice in with_done(events).iter().map(|event| &event["choices"][0]) {
        assert!(reason.is_null(), "{choice} after the end");
        append(&mut whole, text(&choice["text"], "text"));
        reason = choice["finish_reason"].clone();
    }
    json!([whole, reason])
}

/// The last event of a native stream, without its token.
#[must_use]
pub fn generated(events: &[Event]) -> Value {
    let events: Vec<Value> = events.iter().map(Event::json).collect();
    let (last, before) = events.split_last().expect("events");
    assert!(before.iter().all(|event| event["generated_text"].is_null()));
    last["generated_text"].clone()
}

/// A message of Anthropic's interface.
#[must_use]
pub fn message(events: &[Event]) -> Value {
    let (mut message, mut partial) = (Value::Null, String::new());
    for event in events {
        let data = event.json();
        assert_eq!(event.name.as_deref(), data["type"].as_str());
        let index = data["index"].as_u64().unwrap_or(0) as usize;
        match text(&data["type"], "type") {
            "message_start" => message = data["message"].clone(),
            "content_block_start" => {
                let content = message["content"].as_array_mut().unwrap();
                assert_eq!(content.len(), index);
                content.push(data["content_block"].clone());
                partial.clear();
            }
            "content_block_delta" => {
                let (block, delta) = (&mut message["content"][index], &data["delta"]);
                match text(&delta["type"], "type") {
                    "text_delta" => append(&mut block["text"], text(&delta["text"], "text")),
                    "thinking_delta" => append(&mut block["thinking"], text(&delta["thinking"], "thinking")),
                    "input_json_delta" => partial.push_str(text(&delta["partial_json"], "partial_json")),
                    other => panic!("{other}"),
                }
            }
            "content_block_stop" if message["content"][index]["type"] == "tool_use" => {
                let input = serde_json::from_str(&partial);
                message["content"][index]["input"] =
                    input.unwrap_or_else(|_| json!({"_incomplete": partial}));
            }
            "message_delta" => {
                for field in ["stop_reason", "stop_sequence"] {
                    message[field] = data["delta"][field].clone();
                }
            }
            "content_block_stop" | "ping" | "message_stop" => {}
            other => panic!("{other}"),
        }
    }
    message
}

/// A response: what its last event tells, which must be what the others have told.
#[must_use]
pub fn response(events: &[Event]) -> Value {
    let (mut joined, mut items, mut last) = (String::new(), Vec::new(), Value::Null);
    for (index, event) in events.iter().enumerate() {
        let data = event.json();
        assert_eq!(event.name.as_deref(), data["type"].as_str());
        assert_eq!(data["sequence_number"], index);
        match text(&data["type"], "type")
            .strip_prefix("response.")
            .expect("a response's event")
        {
            "output_item.added" => joined.clear(),
            "output_text.delta" | "reasoning_text.delta" | "function_call_arguments.delta" => {
                joined.push_str(text(&data["delta"], "delta"));
            }
            "output_text.done" | "reasoning_text.done" => assert_eq!(data["text"], joined),
            "function_call_arguments.done" => assert_eq!(data["arguments"], joined),
            "output_item.done" => items.push(data["item"].clone()),
            "created" | "in_progress" | "content_part.added" | "content_part.done" => {}
            "completed" | "incomplete" => last = data["response"].clone(),
            other => panic!("{other}"),
        }
    }
    assert_eq!(last["output"], json!(items));
    last
}
