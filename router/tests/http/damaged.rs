//! Good bodies with a few bytes damaged, on every route that takes one: an answer or a typed
//! refusal, never a fault of the server's.

use proptest::prelude::*;
use proptest::sample::Index;
use serde_json::{Value, json};

use crate::support::*;

/// A route and a body that it takes.
fn good() -> Vec<(&'static str, Value)> {
    let sampling = json!({
        "temperature": 0.5, "top_p": 0.9, "top_k": 5, "min_p": 0.1, "seed": 7, "n": 2, "stop": ["l", "w"],
        "stop_token_ids": [1, 2], "logit_bias": {"5": -1.5}, "presence_penalty": 0.5, "min_tokens": 1,
        "max_tokens": 3, "stream": true, "stream_options": {"include_usage": true}, "user": "\u{1F600}\u{e9}\n",
    });
    let tool = json!({"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}});
    let native = json!({
        "inputs": "Hi", "parameters": {"max_new_tokens": 3, "do_sample": true, "details": true, "stop": ["l"],
                                       "top_n_tokens": 2, "truncate": 5, "seed": 1}
    });
    vec![
        ("/v1/chat/completions", with(chat("Hi"), sampling.clone())),
        (
            "/v1/chat/completions",
            with(chat("Hi"), json!({"tools": [tool], "max_tokens": 3})),
        ),
        (
            "/v1/chat/completions",
            with(
                chat("Hi"),
                json!({"logprobs": true, "top_logprobs": 2, "max_tokens": 3}),
            ),
        ),
        ("/v1/completions", with(json!({"prompt": ["Hi", "Ho"]}), sampling)),
        (
            "/v1/completions",
            json!({"prompt": [[1, 2], [3]], "max_tokens": 2, "echo": true, "logprobs": 1}),
        ),
        ("/generate", native.clone()),
        ("/generate_stream", native.clone()),
        ("/", native),
        ("/tokenize", json!({"inputs": "Hi", "add_special_tokens": false})),
    ]
}

/// What a body suffers.
#[derive(Clone, Debug)]
enum Damage {
    Byte(Index, u8),
    Cut(Index),
    Insert(Index, &'static str),
}

fn damage() -> impl Strategy<Value = Damage> {
    let scraps = vec![
        "null",
        "-1",
        "1e400",
        "18446744073709551616",
        "\"\"",
        "[]",
        "{}",
        "[[",
        "\\ud800",
        "\u{0}",
        ",",
        ":",
        "true",
        "\"a\":1,",
        "0.5",
    ];
    prop_oneof![
        (any::<Index>(), any::<u8>()).prop_map(|(at, byte)| Damage::Byte(at, byte)),
        any::<Index>().prop_map(Damage::Cut),
        (any::<Index>(), prop::sample::select(scraps)).prop_map(|(at, scrap)| Damage::Insert(at, scrap)),
    ]
}

fn damaged(body: &Value, damages: Vec<Damage>) -> Vec<u8> {
    let mut bytes = body.to_string().into_bytes();
    for damage in damages {
        match damage {
            Damage::Byte(at, byte) if !bytes.is_empty() => {
                let at = at.index(bytes.len());
                bytes[at] = byte;
            }
            Damage::Byte(..) => {}
            Damage::Cut(at) => bytes.truncate(at.index(bytes.len() + 1)),
            Damage::Insert(at, scrap) => {
                let at = at.index(bytes.len() + 1);
                bytes.splice(at..at, scrap.bytes());
            }
        }
    }
    bytes
}

#[test]
fn damaged_bodies_are_answered_or_refused() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let server = runtime.block_on(Server::new());
    let config = ProptestConfig {
        failure_persistence: None,
        ..ProptestConfig::default()
    };
    let cases = (
        prop::sample::select(good()),
        prop::collection::vec(damage(), 0..4),
    );
    proptest!(config, |((path, body) in cases.0, damages in cases.1)| {
        let bytes = damaged(&body, damages);
        let answer = runtime.block_on(server.post_text(path, bytes.clone()));
        let status = answer.status.as_u16();
        let shown = String::from_utf8_lossy(&bytes).into_owned();
        prop_assert!([200, 400, 404, 422].contains(&status), "{path} {status}: {shown}: {}", answer.text);
        if status != 200 {
            prop_assert!(!answer.json()["error"].is_null(), "{}", answer.text);
        }
    });
    runtime.block_on(server.settled());
}
