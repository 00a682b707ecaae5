//! Any bytes as the body of any route, through a whole router with a mock shard behind it: an answer
//! or a typed refusal, never a fault of the server's.
#![no_main]

#[path = "../../router/tests/http/support.rs"]
#[allow(dead_code)]
mod support;

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use support::{Server, Setup};
use tokio::runtime::Runtime;

const ROUTES: [&str; 6] = [
    "/v1/chat/completions",
    "/v1/completions",
    "/generate",
    "/generate_stream",
    "/tokenize",
    "/",
];

static SERVER: LazyLock<(Runtime, Server)> = LazyLock::new(|| {
    let runtime = Runtime::new().unwrap();
    let server = runtime.block_on(Setup::new().start());
    (runtime, server)
});

fuzz_target!(|input: (u8, &[u8])| {
    let (route, body) = input;
    let route = ROUTES[usize::from(route) % ROUTES.len()];
    let (runtime, server) = &*SERVER;
    let answer = runtime.block_on(server.post_text(route, body.to_vec()));
    let status = answer.status.as_u16();
    assert!(status < 500, "{route}: {status} {}", answer.text);
    if status >= 400 {
        assert!(answer.json()["error"] != serde_json::Value::Null, "{}", answer.text);
    }
});
