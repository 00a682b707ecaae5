//! Any text as what a model says, through the parsers of some kinds of models, on every route that
//! streams: the events are framed as their specification wants it, and a client that joins them has
//! the answer that comes in one piece.
//!
//! The first line: the kind of model and the route, then the most tokens.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use serde_json::{Map, Value, json};
use shardline_fuzz::events::{self, Event};
use shardline_fuzz::headed;
use shardline_fuzz::joined;
use shardline_fuzz::server::House;

static HERMES: LazyLock<House> = LazyLock::new(|| House::parrot("hermes", "qwen3"));
static MISTRAL: LazyLock<House> = LazyLock::new(|| House::parrot("mistral", "mistral"));
static PYTHONIC: LazyLock<House> = LazyLock::new(|| House::parrot("pythonic", "none"));
static CODER: LazyLock<House> = LazyLock::new(|| House::parrot("qwen3_coder", "deepseek_r1"));

/// Longest text: each of its bytes is a step of the engine.
const MAX_BYTES: usize = 120;

struct Route {
    path: &'static str,
    stream_path: &'static str,
    body: fn(&str, u64) -> Value,
    /// What a stream must come to, of the answer in one piece.
    whole: fn(Value) -> Value,
    joined: fn(&[Event]) -> Value,
}

const ROUTES: [(&str, Route); 5] = [
    (
        "chat",
        Route {
            path: "/v1/chat/completions",
            stream_path: "/v1/chat/completions",
            body: |text, tokens| {
                let tool = |name: &str| json!({"type": "function", "function": {"name": name}});
                json!({"messages": [{"role": "user", "content": text}], "max_tokens": tokens,
                       "tools": [tool("now"), tool("get_weather")]})
            },
            whole: |answer| {
                let choice = &answer["choices"][0];
                json!([choice["message"], choice["finish_reason"]])
            },
            joined: joined::chat,
        },
    ),
    (
        "completions",
        Route {
            path: "/v1/completions",
            stream_path: "/v1/completions",
            body: |text, tokens| json!({"prompt": text, "max_tokens": tokens, "stop": ["\n\n", "zz"]}),
            whole: |answer| {
                json!([
                    answer["choices"][0]["text"],
                    answer["choices"][0]["finish_reason"]
                ])
            },
            joined: joined::completion,
        },
    ),
    (
        "generate",
        Route {
            path: "/generate",
            stream_path: "/generate_stream",
            body: |text, tokens| json!({"inputs": text, "parameters": {"max_new_tokens": tokens, "stop": ["zz"]}}),
            whole: |answer| answer["generated_text"].clone(),
            joined: joined::generated,
        },
    ),
    (
        "messages",
        Route {
            path: "/v1/messages",
            stream_path: "/v1/messages",
            body: |text, tokens| {
                let tool = |name: &str| json!({"name": name, "input_schema": {"type": "object"}});
                json!({"messages": [{"role": "user", "content": text}], "max_tokens": tokens, "model": "test/tiny",
                       "tools": [tool("now"), tool("get_weather")], "stop_sequences": ["zz"]})
            },
            whole: |answer| answer,
            joined: joined::message,
        },
    ),
    (
        "responses",
        Route {
            path: "/v1/responses",
            stream_path: "/v1/responses",
            body: |text, tokens| {
                let tool =
                    |name: &str| json!({"type": "function", "name": name, "parameters": {"type": "object"}});
                json!({"input": text, "max_output_tokens": tokens.max(16), "model": "test/tiny",
                       "tools": [tool("now"), tool("get_weather")]})
            },
            whole: |answer| answer,
            joined: joined::response,
        },
    ),
];

/// Without what is different each time.
fn comparable(value: Value) -> Value {
    match value {
        Value::Object(fields) => {
            let fresh = ["id", "call_id", "created_at", "usage"];
            let kept = fields
                .into_iter()
                .filter(|(name, _)| !fresh.contains(&name.as_str()));
            Value::Object(
                kept.map(|(name, value)| (name, comparable(value)))
                    .collect::<Map<_, _>>(),
            )
        }
        Value::Array(values) => Value::Array(values.into_iter().map(comparable).collect()),
        value => value,
    }
}

fuzz_target!(|data: &[u8]| {
    let Some((head, text)) = headed(data) else { return };
    let Ok(text) = std::str::from_utf8(text) else {
        return;
    };
    if text.len() > MAX_BYTES {
        return;
    }
    let mut words = head.split(' ');
    let house = match words.next() {
        Some("hermes") => &*HERMES,
        Some("mistral") => &*MISTRAL,
        Some("pythonic") => &*PYTHONIC,
        Some("coder") => &*CODER,
        _ => return,
    };
    let Some((_, route)) = words
        .next()
        .and_then(|name| ROUTES.iter().find(|(known, _)| *known == name))
    else {
        return;
    };
    let tokens = words
        .next()
        .and_then(|word| word.parse().ok())
        .unwrap_or(200)
        .clamp(1, 200);
    let body = (route.body)(text, tokens);
    let answer = house.post(route.path, body.to_string().into_bytes());
    if answer.status != 200 {
        let status = answer.status.as_u16();
        assert!(
            [400, 422].contains(&status),
            "{head} {text:?}: {status} {}",
            answer.text
        );
        return;
    }
    let expected = comparable((route.whole)(answer.json()));
    let mut body = body;
    body["stream"] = json!(true);
    let stream = house.post(route.stream_path, body.to_string().into_bytes());
    assert_eq!(stream.status, 200, "{head} {text:?}: {}", stream.text);
    let found = comparable((route.joined)(&events::read(&stream.text)));
    assert_eq!(found, expected, "{head} {text:?}");
});
