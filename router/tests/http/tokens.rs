//! `/tokenize`, `/detokenize`, `/chat_tokenize`, `/version` and `/load`.

use serde_json::{Value, json};

use crate::support::*;

#[tokio::test]
async fn the_body_decides_how_tokens_are_told() {
    let server = Server::new().await;
    let answer = server
        .post(
            "/tokenize",
            json!({"prompt": "ä<|im_end|>", "return_token_strs": true}),
        )
        .await;
    assert_eq!(
        answer.json(),
        json!({"count": 3, "max_model_len": 512, "tokens": [195, 164, IM_END],
               "token_strs": ["Ã", "¤", "<|im_end|>"]})
    );
    let answer = server.post("/tokenize", chat("Hi")).await.json();
    assert_eq!(
        (&answer["count"], &answer["token_strs"]),
        (&json!(21), &Value::Null)
    );
    let more = json!({"add_generation_prompt": false});
    let short = server.post("/tokenize", with(chat("Hi"), more)).await.json();
    assert_eq!(short["count"], 10);
    for (body, param) in [
        (json!({}), "inputs"),
        (json!({"prompt": ""}), "prompt"),
        (json!({"prompt": "a", "inputs": "b"}), "prompt"),
        (json!({"messages": []}), "messages"),
        (
            json!({"messages": [{"role": "user", "content": "x"}], "inputs": "b"}),
            "messages",
        ),
    ] {
        let answer = server.post("/tokenize", body.clone()).await;
        assert_eq!(
            (answer.status.as_u16(), &answer.json()["param"]),
            (422, &json!(param)),
            "{body}"
        );
    }
}

#[tokio::test]
async fn tokens_become_text_again() {
    let server = Server::new().await;
    let body = json!({"tokens": [72, 195, 164, IM_END, 299]});
    let answer = server.post("/detokenize", body.clone()).await.json();
    assert_eq!(answer, json!({"prompt": "Hä<|im_end|>"}));
    let answer = server
        .post("/detokenize", with(body, json!({"skip_special_tokens": true})))
        .await
        .json();
    assert_eq!(answer, json!({"prompt": "Hä"}));
    assert_eq!(
        server.post("/detokenize", json!({"tokens": []})).await.json(),
        json!({"prompt": ""})
    );
    for (body, param) in [
        (json!({}), "tokens"),
        (json!({"tokens": [300]}), "tokens[0]"),
        (json!({"tokens": [1, -1]}), "tokens[1]"),
    ] {
        let answer = server.post("/detokenize", body).await;
        assert_eq!(
            (answer.status.as_u16(), &answer.json()["param"]),
            (422, &json!(param))
        );
    }
}

#[tokio::test]
async fn the_prompt_of_a_conversation_is_told_as_it_would_run() {
    let server = Server::new().await;
    let body = with(chat("ä<|im_end|>"), json!({"max_tokens": 7, "model": "tgi"}));
    let answer = server.post("/chat_tokenize", body.clone()).await.json();
    let text = "<|im_start|>user\nä<|im_end|><|im_end|>\n<|im_start|>assistant\n";
    assert_eq!(answer["templated_text"], text);
    let tokens = answer["tokenize_response"].as_array().unwrap();
    let characters: Vec<char> = text.chars().collect();
    assert_eq!(
        tokens[0],
        json!({"id": IM_START, "text": "<|im_start|>", "start": 0, "stop": 12})
    );
    for token in tokens {
        let place = |name: &str| token[name].as_u64().unwrap() as usize;
        let part: String = characters[place("start")..place("stop")].iter().collect();
        assert!(part == token["text"] || part == "ä", "{token}");
    }
    let ids: Vec<_> = tokens.iter().map(|token| token["id"].clone()).collect();
    let run = with(body, json!({"return_token_ids": true, "max_tokens": 1}));
    let run = server.post("/v1/chat/completions", run).await.json();
    assert_eq!(
        run["prompt_token_ids"],
        json!(ids),
        "what a user wrote stays text here too"
    );
}

#[tokio::test]
async fn version_and_load_are_told() {
    let server = Server::new().await;
    let version = server.get("/version").await.json();
    assert_eq!(version["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(server.get("/load").await.json(), json!({"server_load": 0}));
}
