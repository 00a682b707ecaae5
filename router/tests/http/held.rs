//! Clients that hold on to what they do not use.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::json;
use shardline_router::http::TransportLimits;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

use crate::support::*;
use crate::transport::{Listening, listen, listen_with, request_text};

const SHORT: Duration = Duration::from_millis(100);

/// Returns once nothing runs and no place is taken.
async fn free_again(listening: &Listening) {
    listening.server.settled().await;
    let full = json!({"prompt": [1, 2], "max_tokens": 2, "n": 16, "temperature": 1});
    let settle = async {
        while listening
            .server
            .post("/v1/completions", full.clone())
            .await
            .status
            != 200
        {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), settle)
        .await
        .expect("all places are free in the end");
}

#[tokio::test]
async fn an_answer_that_nobody_reads_gives_its_place_back() {
    let limits = TransportLimits {
        stall_timeout: SHORT,
        ..TransportLimits::default()
    };
    let mut setup = Setup::new();
    setup.shard.num_blocks = 4096;
    let listening = listen_with(setup, limits).await;
    // Some 10 MB: more than the buffers of both sides hold.
    let body = with(
        chat("Hi"),
        json!({
            "max_tokens": 400, "n": 16, "temperature": 1, "ignore_eos": true, "stream": true,
            "logprobs": true, "top_logprobs": 20,
        }),
    )
    .to_string();
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    let mut stream = socket.connect(listening.address).await.unwrap();
    let head = format!(
        "POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all((head + &body).as_bytes()).await.unwrap();
    let mut first = [0; 15];
    stream.read_exact(&mut first).await.unwrap();
    assert_eq!(&first, b"HTTP/1.1 200 OK");
    free_again(&listening).await;
    let mut rest = Vec::new();
    let _ = stream.read_to_end(&mut rest).await;
    assert!(!String::from_utf8_lossy(&rest).contains("[DONE]"));
}

#[tokio::test]
async fn an_http2_stream_without_a_window_gives_its_place_back() {
    let limits = TransportLimits {
        stall_timeout: SHORT,
        ..TransportLimits::default()
    };
    let listening = listen(limits).await;
    let stream = TcpStream::connect(listening.address).await.unwrap();
    let (mut sender, connection) = hyper::client::conn::http2::Builder::new(TokioExecutor::new())
        .initial_stream_window_size(0)
        .handshake::<_, Full<Bytes>>(TokioIo::new(stream))
        .await
        .unwrap();
    let connection = tokio::spawn(connection);
    let body = with(
        chat("Hi"),
        json!({"stream": true, "ignore_eos": true, "max_tokens": 400}),
    );
    let request = http::Request::post(format!("http://{}/v1/chat/completions", listening.address))
        .header("content-type", "application/json")
        .body(Full::new(Bytes::from(body.to_string())))
        .unwrap();
    let answer = sender.send_request(request).await.unwrap();
    assert_eq!(answer.status(), 200);
    free_again(&listening).await;
    assert!(answer.into_body().collect().await.is_err());
    let _ = connection.await;
}

#[tokio::test]
async fn a_slow_reader_that_reads_is_left_alone() {
    // Longer than a busy machine leaves a thread without a core.
    let limit = Duration::from_millis(500);
    let limits = TransportLimits {
        stall_timeout: limit,
        idle_timeout: limit,
        ..TransportLimits::default()
    };
    let mut setup = Setup::new();
    // Silent for longer than any of the limits, but not without a sign of life.
    setup.shard.latency.base = Duration::from_millis(30);
    let listening = listen_with(setup, limits).await;
    let body = with(chat("Hi"), json!({"stream": true, "max_tokens": 24}));
    let answer = listening
        .exchange(request_text("/v1/chat/completions", &body.to_string()).as_bytes())
        .await;
    assert!(answer.contains("data: [DONE]"), "{answer}");
}

#[tokio::test]
async fn an_idle_connection_is_closed_on_either_version() {
    let limits = TransportLimits {
        idle_timeout: SHORT,
        ..TransportLimits::default()
    };
    let listening = listen(limits).await;
    let answer = listening
        .exchange(b"GET /health HTTP/1.1\r\nhost: x\r\n\r\n")
        .await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    let stream = TcpStream::connect(listening.address).await.unwrap();
    let (mut sender, connection) = hyper::client::conn::http2::handshake::<_, _, Full<Bytes>>(
        TokioExecutor::new(),
        TokioIo::new(stream),
    )
    .await
    .unwrap();
    let connection = tokio::spawn(connection);
    let request = http::Request::get(format!("http://{}/health", listening.address));
    let answer = sender
        .send_request(request.body(Full::default()).unwrap())
        .await
        .unwrap();
    assert_eq!(answer.status(), 200);
    let _ = connection.await.unwrap();
}

#[tokio::test]
async fn a_body_that_comes_in_drops_is_given_up() {
    let mut setup = Setup::new();
    setup.settings.transport.body_timeout = SHORT;
    let listening = listen_with(setup, TransportLimits::default()).await;
    let head = "POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n\
                content-length: 100\r\n\r\n{";
    let answer = listening.exchange(head.as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 408"), "{answer}");
    assert!(answer.contains("body_timeout"), "{answer}");
}
