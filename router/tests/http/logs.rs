//! What is written down of a request, and what never is.

use std::io;
use std::sync::{Arc, Mutex};

use axum::body::Body;
use http::Request;
use serde_json::json;
use tracing_subscriber::fmt::MakeWriter;

use crate::support::*;

/// A log in memory.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl Lines {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

impl io::Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Lines {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

#[tokio::test]
async fn every_request_leaves_one_line_and_none_of_its_secrets() {
    let lines = Lines::default();
    let subscriber = tracing_subscriber::fmt()
        .with_writer(lines.clone())
        .with_ansi(false);
    let subscriber = subscriber.with_max_level(tracing::Level::TRACE).finish();
    let _guard = tracing::subscriber::set_default(subscriber);
    let mut setup = Setup::new();
    setup.settings.keys = key("opensesame");
    let server = setup.start().await;
    let send = |path: &str, authorization: &str, body: serde_json::Value| {
        let request = Request::post(path)
            .header("content-type", "application/json")
            .header("authorization", authorization)
            .body(Body::from(body.to_string()))
            .unwrap();
        server.send(request)
    };
    let short = json!({"max_tokens": 2, "user": "xyzzy", "cache_salt": "xyzzy"});
    assert_eq!(
        send(
            "/v1/chat/completions",
            "Bearer opensesame",
            with(chat("xyzzy"), short)
        )
        .await
        .status,
        200
    );
    let native = json!({"inputs": "xyzzy", "parameters": {"max_new_tokens": 2}});
    assert_eq!(
        send("/generate_stream?xyzzy", "Bearer opensesame", native)
            .await
            .status,
        200
    );
    let wrong = with(
        chat("xyzzy"),
        json!({"stop": ["xyzzy", ""], "logit_bias": {"xyzzy": 1}}),
    );
    assert_eq!(
        send("/v1/chat/completions", "Bearer opensesame", wrong)
            .await
            .status,
        400
    );
    assert_eq!(
        send("/v1/completions", "Bearer guess-xyzzy", json!({}))
            .await
            .status,
        401
    );
    assert_eq!(send("/xyzzy", "Bearer opensesame", json!({})).await.status, 404);
    let text = lines.text();
    assert_eq!(text.matches("generation ended").count(), 2, "{text}");
    assert_eq!(text.matches("request refused").count(), 3, "{text}");
    for secret in ["xyzzy", "opensesame"] {
        assert!(!text.contains(secret), "{text}");
    }
    for field in ["queue_ms=", "first_token_ms=", "total_ms="] {
        let (_, rest) = text.split_once(field).unwrap();
        let number = rest.split_whitespace().next().unwrap();
        let decimals = number.split('.').nth(1).unwrap_or_default();
        assert!(decimals.len() <= 2, "{field}{number}");
    }
}
