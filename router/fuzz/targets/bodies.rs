//! Any bytes as the body of every route that takes one, through a whole router with a mock shard behind
//! it: an answer or a typed refusal, never a fault of the server's, and nothing keeps running.
//!
//! The first line: the route.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use shardline_fuzz::server::House;
use shardline_fuzz::{events, headed};

const ROUTES: [&str; 13] = [
    "/v1/chat/completions",
    "/v1/completions",
    "/v1/messages",
    "/v1/messages/count_tokens",
    "/v1/responses",
    "/generate",
    "/generate_stream",
    "/",
    "/tokenize",
    "/detokenize",
    "/chat_tokenize",
    "/invocations",
    "/vertex",
];

static HOUSE: LazyLock<House> = LazyLock::new(House::plain);

fuzz_target!(|data: &[u8]| {
    let Some((route, body)) = headed(data) else { return };
    if !ROUTES.contains(&route) {
        return;
    }
    let answer = HOUSE.post(route, body.to_vec());
    let status = answer.status.as_u16();
    assert!(
        [200, 400, 404, 422].contains(&status),
        "{route}: {status} {}",
        answer.text
    );
    if answer.header("content-type").starts_with("text/event-stream") {
        assert!(!events::read(&answer.text).is_empty());
    } else {
        let json = answer.json();
        assert_eq!(
            status != 200,
            json.get("error").is_some_and(|error| !error.is_null()),
            "{}",
            answer.text
        );
    }
    HOUSE.settle();
});
