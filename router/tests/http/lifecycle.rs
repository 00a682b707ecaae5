//! Room, cancellation, and failures of the model.

use std::time::Duration;

use serde_json::{Value, json};
use shardline_mock_shard::EndOfText;

use crate::support::*;

fn endless() -> Value {
    with(chat("Hi"), json!({"stream": true, "max_tokens": 400}))
}

#[tokio::test]
async fn one_too_many_is_told_when_to_come_back() {
    let mut setup = Setup::new();
    setup.settings.max_concurrent_requests = 2;
    let server = setup.start().await;
    // A place is taken until the last byte is read.
    let open = [
        server.open("/v1/chat/completions", endless()).await,
        server.open("/v1/chat/completions", endless()).await,
    ];
    let answer = server.post("/v1/chat/completions", chat("Hi")).await;
    assert_eq!(answer.status, 429, "{}", answer.text);
    assert!(answer.header("retry-after").parse::<u64>().unwrap() >= 1);
    assert_eq!(answer.json()["error"]["code"], "overloaded");
    let answer = server.post("/generate", json!({"inputs": "c"})).await;
    assert_eq!(
        (answer.status.as_u16(), &answer.json()["error_type"]),
        (429, &json!("overloaded"))
    );
    drop(open);
    let body = json!({"inputs": "d", "parameters": {"max_new_tokens": 1}});
    assert_eq!(server.post("/generate", body).await.status, 200);
    assert_eq!(
        server.metric("tgi_request_failure{err=\"overloaded\"}").await,
        2.0
    );
}

#[tokio::test]
async fn more_choices_than_there_is_room_are_refused_together() {
    let mut setup = Setup::new();
    setup.settings.max_concurrent_requests = 4;
    let server = setup.start().await;
    let four = json!({"prompt": ["a", "b"], "n": 2, "max_tokens": 1});
    let open = server.open("/v1/chat/completions", endless()).await;
    let answer = server.post("/v1/completions", four.clone()).await;
    assert_eq!(answer.status, 429);
    drop(open);
    let answer = server.post("/v1/completions", four).await;
    assert_eq!(answer.status, 200, "no room is lost");
}

#[tokio::test]
async fn a_client_that_goes_away_frees_its_blocks() {
    let server = Server::new().await;
    let gate = server.shard.as_ref().unwrap().gate();
    gate.close();
    gate.permit(5);
    let mut body = server.open("/v1/chat/completions", endless()).await;
    assert!(piece(&mut body).await.unwrap().starts_with("data: {"));
    assert!(server.engine.stats().running > 0);
    drop(body);
    gate.open();
    server.settled().await;
    assert_eq!(server.metric("tgi_request_failure{err=\"dropped\"}").await, 1.0);
    assert!(server.engine.stats().generated_tokens < 100);
}

#[tokio::test]
async fn a_client_that_waits_for_a_whole_answer_and_goes_away_frees_its_blocks() {
    let server = Server::new().await;
    let gate = server.shard.as_ref().unwrap().gate();
    gate.close();
    let request = tokio::spawn({
        let router = server.router.clone();
        let body = with(chat("Hi"), json!({"max_tokens": 400})).to_string();
        async move { tower::ServiceExt::oneshot(router, post("/v1/chat/completions", body)).await }
    });
    while server.engine.stats().running == 0 {
        tokio::task::yield_now().await;
    }
    request.abort();
    gate.open();
    server.settled().await;
    assert!(server.engine.stats().generated_tokens < 100);
}

#[tokio::test]
async fn a_stop_string_ends_the_sequence_in_the_engine_too() {
    let server = Server::new().await;
    let body = with(chat("Hi"), json!({"stop": "wör", "max_tokens": 400}));
    server.post("/v1/chat/completions", body).await;
    server.settled().await;
    assert!(server.engine.stats().generated_tokens < 50);
}

#[tokio::test]
async fn a_failure_before_the_first_token_has_its_own_status() {
    let mut setup = Setup::new();
    setup.shard.faults.nan_token = Some(u32::from(b'#'));
    let server = setup.start().await;
    for stream in [false, true] {
        let answer = server
            .post("/v1/chat/completions", with(chat("#"), json!({"stream": stream})))
            .await;
        assert_eq!(
            (answer.status.as_u16(), &answer.json()["error"]["code"]),
            (500, &json!("generation_failed"))
        );
    }
    for path in ["/generate", "/generate_stream"] {
        let answer = server.post(path, json!({"inputs": "#"})).await;
        assert_eq!(
            (answer.status.as_u16(), &answer.json()["error_type"]),
            (424, &json!("generation"))
        );
    }
    let answer = server
        .post(
            "/generate",
            json!({"inputs": "a", "parameters": {"max_new_tokens": 1}}),
        )
        .await;
    assert_eq!(answer.status, 200, "others are unharmed");
    assert_eq!(
        server.metric("tgi_request_failure{err=\"generation\"}").await,
        4.0
    );
}

#[tokio::test]
async fn a_failure_in_the_middle_is_an_event() {
    for (path, body, done) in [
        ("/v1/chat/completions", endless(), true),
        (
            "/generate_stream",
            json!({"inputs": "Hi", "parameters": {"max_new_tokens": 400}}),
            false,
        ),
    ] {
        let mut setup = Setup::new();
        setup.engine.recovery_grace = Duration::ZERO;
        let mut server = setup.start().await;
        let gate = server.shard.as_ref().unwrap().gate();
        gate.close();
        gate.permit(5);
        let mut body = server.open(path, body).await;
        let mut text = piece(&mut body).await.unwrap();
        server.shard = None;
        while let Some(piece) = piece(&mut body).await {
            text.push_str(&piece);
        }
        let mut events = events(&text);
        if done {
            assert_eq!(events.pop().as_deref(), Some("[DONE]"));
        }
        let last: Value = serde_json::from_str(events.last().unwrap()).unwrap();
        let message = last["error"]["message"]
            .as_str()
            .or(last["error"].as_str())
            .unwrap();
        assert!(message.starts_with("Request failed during generation"), "{last}");
    }
}

#[tokio::test]
async fn many_streams_at_once_are_each_whole() {
    let mut setup = Setup::new();
    setup.shard.tokens = shardline_mock_shard::TokenSource::Hash;
    setup.shard.end_of_text = Some(EndOfText {
        token: IM_END,
        after: Some(40),
        probability: 0.02,
    });
    let server = setup.start().await;
    let ask = |number: usize, stream: bool| {
        let body = with(
            chat(&format!("number {number}")),
            json!({"seed": number, "stream": stream, "max_tokens": 30}),
        );
        server.post("/v1/chat/completions", body)
    };
    let mut alone = Vec::new();
    for number in 0..16 {
        alone.push(ask(number, false).await.json()["choices"][0]["message"]["content"].clone());
    }
    let together = futures_util::future::join_all((0..16).map(|number| ask(number, true))).await;
    for (answer, alone) in together.iter().zip(alone) {
        let events = answer.events();
        let text: String = events
            .iter()
            .filter_map(|event| event["choices"][0]["delta"]["content"].as_str())
            .collect();
        assert_eq!(json!(text), alone);
    }
    server.settled().await;
}

#[tokio::test(start_paused = true)]
async fn a_connection_on_which_nothing_happens_is_shown_that_it_lives() {
    let server = Server::new().await;
    let gate = server.shard.as_ref().unwrap().gate();
    gate.close();
    gate.permit(3);
    let mut body = server
        .open("/v1/chat/completions", with(endless(), json!({"max_tokens": 20})))
        .await;
    let mut text = String::new();
    // The clock jumps ahead whenever nothing else can happen.
    let comment = loop {
        let piece = piece(&mut body).await.unwrap();
        if piece.starts_with(':') {
            break piece;
        }
        text.push_str(&piece);
    };
    assert_eq!(comment, ":\n\n");
    gate.open();
    while let Some(piece) = piece(&mut body).await {
        text.push_str(piece.trim_start_matches(":\n\n"));
    }
    assert_eq!(events(&text).len(), 1 + 20 + 1 + 1);
}
