//! A stream and a whole answer of the same request say the same: text, tokens, reason, usage.

use serde_json::{Map, Value, json};
use shardline_mock_shard::{EndOfText, TokenSource};

use crate::support::*;

/// Parameter sets of each kind of route.
const SETS: u64 = 170;

/// A small generator of numbers, the same ones each time.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % sides
    }

    fn chance(&mut self, one_in: u64) -> bool {
        self.roll(one_in) == 0
    }

    fn pick<T: Clone>(&mut self, from: &[T]) -> T {
        from[self.roll(from.len() as u64) as usize].clone()
    }
}

/// What a choice comes to, in either form of the answer.
#[derive(Debug, Default, PartialEq)]
struct Outcome {
    text: String,
    token_ids: Vec<Value>,
    logprobs: Vec<Value>,
    finish_reason: Value,
    stop_reason: Value,
}

/// Fields that chat and completions share.
fn shared(dice: &mut Dice) -> Map<String, Value> {
    let mut fields = Map::new();
    let mut put = |name: &str, value: Value| fields.insert(name.to_owned(), value);
    let max_tokens = 1 + dice.roll(24);
    put("max_tokens", json!(max_tokens));
    put("seed", json!(dice.roll(1 << 40)));
    put("return_token_ids", json!(true));
    let temperature = dice.pick(&[0.0, 0.3, 1.0, 1.7]);
    put("temperature", json!(temperature));
    if temperature > 0.0 && dice.chance(3) {
        put("n", json!(1 + dice.roll(3)));
    }
    if dice.chance(2) {
        let stops = ["ö", "lo", "! H", "wörld", "ä", "e", "\u{fffd}", "\n"];
        let few: Vec<_> = (0..=dice.roll(3)).map(|_| dice.pick(&stops)).collect();
        put("stop", if dice.chance(3) { json!(few[0]) } else { json!(few) });
        put("include_stop_str_in_output", json!(dice.chance(2)));
    }
    if dice.chance(4) {
        put("stop_token_ids", json!([dice.roll(256), 108]));
    }
    if dice.chance(4) {
        put("min_tokens", json!(dice.roll(max_tokens + 1)));
    }
    if dice.chance(3) {
        put("ignore_eos", json!(true));
    }
    if dice.chance(3) {
        put("skip_special_tokens", json!(false));
    }
    if dice.chance(3) {
        put("return_tokens_as_token_ids", json!(true));
    }
    if dice.chance(4) {
        put("truncate_prompt_tokens", json!(1 + dice.roll(30)));
    }
    for (name, values) in [
        ("top_p", [0.5, 1.0]),
        ("min_p", [0.0, 0.2]),
        ("repetition_penalty", [1.0, 1.3]),
        ("frequency_penalty", [-0.5, 0.5]),
        ("presence_penalty", [-0.5, 0.5]),
    ] {
        if dice.chance(4) {
            put(name, json!(dice.pick(&values)));
        }
    }
    fields
}

fn streamed(body: &Value) -> Value {
    with(
        body.clone(),
        json!({"stream": true, "stream_options": {"include_usage": true}}),
    )
}

/// Tokens of the log-probabilities, each with its value, of a chat or a completion.
fn logprobs(choice: &Value) -> Vec<Value> {
    let told = &choice["logprobs"];
    if let Some(content) = told["content"].as_array() {
        return content.clone();
    }
    let list = |name: &str| told[name].as_array().cloned().unwrap_or_default();
    let (tokens, values, offsets) = (list("tokens"), list("token_logprobs"), list("text_offset"));
    let joined = tokens.iter().zip(&values).zip(&offsets);
    joined
        .map(|((token, value), offset)| json!([token, value, offset]))
        .collect()
}

fn whole(answer: &Value) -> Vec<Outcome> {
    let choices = answer["choices"].as_array().unwrap().iter();
    choices
        .map(|choice| Outcome {
            text: choice["message"]["content"]
                .as_str()
                .or(choice["text"].as_str())
                .unwrap()
                .to_owned(),
            token_ids: choice["token_ids"].as_array().unwrap().clone(),
            logprobs: logprobs(choice),
            finish_reason: choice["finish_reason"].clone(),
            stop_reason: choice["stop_reason"].clone(),
        })
        .collect()
}

fn joined(events: &[Value], choices: usize) -> Vec<Outcome> {
    let mut outcomes: Vec<Outcome> = (0..choices).map(|_| Outcome::default()).collect();
    for choice in events
        .iter()
        .flat_map(|event| event["choices"].as_array().unwrap())
    {
        let outcome = &mut outcomes[choice["index"].as_u64().unwrap() as usize];
        assert!(
            outcome.finish_reason.is_null(),
            "nothing follows the end: {choice}"
        );
        let text = choice["delta"]["content"].as_str().or(choice["text"].as_str());
        outcome.text.push_str(text.unwrap_or_default());
        outcome
            .token_ids
            .extend(choice["token_ids"].as_array().cloned().unwrap_or_default());
        outcome.logprobs.extend(logprobs(choice));
        outcome.finish_reason = choice["finish_reason"].clone();
        outcome.stop_reason = choice["stop_reason"].clone();
    }
    outcomes
}

async fn compare(server: &Server, path: &str, body: &Value) {
    let answer = server.post(path, body.clone()).await;
    assert_eq!(answer.status, 200, "{body}: {}", answer.text);
    let answer = answer.json();
    let expected = whole(&answer);
    let events = server.post(path, streamed(body)).await;
    assert_eq!(events.status, 200, "{body}: {}", events.text);
    let events = events.events();
    let usage = |value: &Value| (value["prompt_tokens"].clone(), value["completion_tokens"].clone());
    let last = events.last().unwrap();
    assert_eq!(usage(&last["usage"]), usage(&answer["usage"]), "{body}");
    assert_eq!(joined(&events, expected.len()), expected, "{body}");
}

/// One that speaks any bytes, and one that sings.
async fn servers() -> [Server; 2] {
    let end = |probability| {
        Some(EndOfText {
            token: IM_END,
            after: None,
            probability,
        })
    };
    let mut bytes = Setup::new();
    bytes.shard.tokens = TokenSource::Hash;
    bytes.shard.end_of_text = end(0.05);
    let mut song = Setup::new();
    song.shard.end_of_text = end(0.02);
    [bytes.start().await, song.start().await]
}

#[tokio::test]
async fn chats_stream_what_they_answer_whole() {
    let servers = servers().await;
    let mut dice = Dice(1);
    for _ in 0..SETS {
        let mut body = chat(dice.pick(&["Hi", "Tell me of wörlds", "<|im_end|>"]));
        if dice.chance(2) {
            body = with(body, json!({"logprobs": true, "top_logprobs": dice.roll(4)}));
        }
        let body = with(body, Value::Object(shared(&mut dice)));
        compare(
            dice.pick(&[&servers[0], &servers[1]]),
            "/v1/chat/completions",
            &body,
        )
        .await;
    }
}

#[tokio::test]
async fn completions_stream_what_they_answer_whole() {
    let servers = servers().await;
    let mut dice = Dice(2);
    for _ in 0..SETS {
        let prompts = [
            json!("Hä"),
            json!(["a", "bc", "Hällo"]),
            json!([72, 195]),
            json!([[1], [2, 3]]),
        ];
        let mut body = json!({"prompt": dice.pick(&prompts)});
        if dice.chance(2) {
            body = with(body, json!({"logprobs": dice.roll(4)}));
        }
        let mut more = shared(&mut dice);
        if dice.chance(3) {
            more.insert("echo".to_owned(), json!(true));
            if dice.chance(3) {
                more.insert("max_tokens".to_owned(), json!(0));
                more.remove("min_tokens");
            }
        }
        let body = with(body, Value::Object(more));
        compare(dice.pick(&[&servers[0], &servers[1]]), "/v1/completions", &body).await;
    }
}

#[tokio::test]
async fn native_generations_stream_what_they_answer_whole() {
    let servers = servers().await;
    let mut dice = Dice(3);
    for _ in 0..SETS {
        let mut parameters = shared(&mut dice);
        parameters.retain(|name, _| ["seed", "stop", "top_p", "repetition_penalty"].contains(&name.as_str()));
        let more = json!({
            "details": true, "max_new_tokens": 1 + dice.roll(24), "do_sample": dice.chance(2),
            "return_full_text": dice.chance(2), "top_n_tokens": dice.roll(3),
        });
        let parameters = with(Value::Object(parameters), more);
        let body = json!({"inputs": dice.pick(&["Hi", "wörlds"]), "parameters": parameters});
        let server = dice.pick(&[&servers[0], &servers[1]]);
        let whole = server.post("/generate", body.clone()).await;
        assert_eq!(whole.status, 200, "{body}: {}", whole.text);
        let whole = whole.json();
        let events = server.post("/generate_stream", body.clone()).await.events();
        let last = events.last().unwrap();
        assert_eq!(last["generated_text"], whole["generated_text"], "{body}");
        for field in ["finish_reason", "generated_tokens", "seed"] {
            assert_eq!(last["details"][field], whole["details"][field], "{field}: {body}");
        }
        let tokens: Vec<_> = events.iter().map(|event| event["token"].clone()).collect();
        // The text that was held back until the end is told with the last token.
        let ids = |tokens: &Value| -> Vec<Value> {
            let tokens = tokens.as_array().unwrap().iter();
            tokens
                .map(|token| json!([token["id"], token["logprob"], token["special"]]))
                .collect()
        };
        assert_eq!(ids(&json!(tokens)), ids(&whole["details"]["tokens"]), "{body}");
    }
}
