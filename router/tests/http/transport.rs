//! Real connections: what a client may hold on to.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::json;
use shardline_router::http::{Door, Tls, TransportLimits, listen as listen_on, serve};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::support::*;

/// A server with a socket.
pub struct Listening {
    pub server: Server,
    pub address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    task: JoinHandle<()>,
}

pub async fn listen(limits: TransportLimits) -> Listening {
    listen_with(Setup::new(), limits).await
}

pub async fn listen_with(setup: Setup, limits: TransportLimits) -> Listening {
    listen_at(setup, limits, None).await
}

pub async fn listen_at(setup: Setup, limits: TransportLimits, tls: Option<Tls>) -> Listening {
    let server = setup.start().await;
    let listener = listen_on("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, stopped) = oneshot::channel();
    let router = server.router.clone();
    let task = tokio::spawn(async move {
        let door = Door { listener, tls };
        serve(door, router, limits, async {
            let _ = stopped.await;
        })
        .await;
    });
    Listening {
        server,
        address,
        stop: Some(stop),
        task,
    }
}

impl Listening {
    /// Sends bytes and reads until the server closes.
    pub async fn exchange(&self, bytes: &[u8]) -> String {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        // A server that has seen enough may close before all is sent.
        let _ = stream.write_all(bytes).await;
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer).await;
        String::from_utf8_lossy(&answer).into_owned()
    }
}

pub fn request_text(path: &str, body: &str) -> String {
    format!(
        "POST {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-type: application/json\r\n\
         content-length: {}\r\n\r\n{body}",
        body.len()
    )
}

#[tokio::test]
async fn a_stream_over_a_socket_is_chunked_events() {
    let listening = listen(TransportLimits::default()).await;
    let body = with(chat("Hi"), json!({"stream": true, "max_tokens": 3})).to_string();
    let answer = listening
        .exchange(request_text("/v1/chat/completions", &body).as_bytes())
        .await;
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    assert_eq!(answer.matches("data: {").count(), 5, "{answer}");
    assert!(answer.contains("data: [DONE]\n\n"), "{answer}");
}

#[tokio::test]
async fn headers_are_limited_in_number_and_size() {
    let listening = listen(TransportLimits::default()).await;
    let many = "x: y\r\n".repeat(10_000);
    let long = format!("x: {}\r\n", "y".repeat(1_000_000));
    for headers in [many, long] {
        let answer = listening
            .exchange(format!("GET /health HTTP/1.1\r\nhost: x\r\n{headers}\r\n").as_bytes())
            .await;
        assert!(
            answer.is_empty() || answer.starts_with("HTTP/1.1 431"),
            "{answer}"
        );
    }
    let answer = listening
        .exchange(b"GET /health HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
        .await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}

#[tokio::test]
async fn two_lengths_of_one_body_are_refused() {
    let listening = listen(TransportLimits::default()).await;
    let smuggled =
        "POST /generate HTTP/1.1\r\nhost: x\r\ncontent-length: 4\r\ncontent-length: 40\r\n\r\n{}{}";
    let answer = listening.exchange(smuggled.as_bytes()).await;
    assert!(
        answer.is_empty() || answer.starts_with("HTTP/1.1 400"),
        "{answer}"
    );
}

#[tokio::test]
async fn a_client_that_never_finishes_its_headers_is_cut_off() {
    let limits = TransportLimits {
        header_timeout: Duration::from_millis(20),
        ..TransportLimits::default()
    };
    let listening = listen(limits).await;
    // Ends although this side keeps its half of the connection open.
    let answer = listening.exchange(b"GET /health HTTP/1.1\r\nhost: x\r\nx").await;
    assert!(!answer.starts_with("HTTP/1.1 200"), "{answer}");
    let answer = listening.exchange(b"").await;
    assert_eq!(answer, "", "nor one that says nothing");
}

#[tokio::test]
async fn a_client_that_closes_its_socket_frees_its_blocks() {
    let listening = listen(TransportLimits::default()).await;
    let gate = listening.server.shard.as_ref().unwrap().gate();
    gate.close();
    gate.permit(3);
    let body = with(chat("Hi"), json!({"stream": true, "max_tokens": 400})).to_string();
    let mut stream = TcpStream::connect(listening.address).await.unwrap();
    stream
        .write_all(request_text("/v1/chat/completions", &body).as_bytes())
        .await
        .unwrap();
    let mut first = [0; 64];
    stream.read_exact(&mut first).await.unwrap();
    drop(stream);
    gate.open();
    listening.server.settled().await;
    assert!(
        listening.server.engine.stats().generated_tokens < 399,
        "it did not run to its end"
    );
}

#[tokio::test]
async fn a_body_that_is_announced_too_large_is_not_waited_for() {
    let listening = listen(TransportLimits::default()).await;
    let headers = "POST /generate HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-type: application/json\r\n\
                   expect: 100-continue\r\ncontent-length: 9000000\r\n\r\n";
    let answer = listening.exchange(headers.as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 413"), "{answer}");
}

#[tokio::test]
async fn streams_that_run_are_finished_before_the_end() {
    let mut listening = listen(TransportLimits::default()).await;
    let gate = listening.server.shard.as_ref().unwrap().gate();
    gate.close();
    gate.permit(3);
    let body = with(chat("Hi"), json!({"stream": true, "max_tokens": 50})).to_string();
    let mut stream = TcpStream::connect(listening.address).await.unwrap();
    stream
        .write_all(request_text("/v1/chat/completions", &body).as_bytes())
        .await
        .unwrap();
    let mut answer = vec![0; 64];
    stream.read_exact(&mut answer).await.unwrap();
    listening.stop.take().unwrap().send(()).unwrap();
    gate.open();
    stream.read_to_end(&mut answer).await.unwrap();
    assert!(String::from_utf8_lossy(&answer).contains("data: [DONE]"));
    listening.task.await.unwrap();
    assert!(
        TcpStream::connect(listening.address).await.is_err(),
        "new connections are refused"
    );
}

#[tokio::test]
async fn the_end_does_not_wait_for_those_who_said_nothing() {
    let limits = TransportLimits {
        header_timeout: Duration::from_secs(3600),
        ..TransportLimits::default()
    };
    let mut listening = listen(limits).await;
    let mut silent = TcpStream::connect(listening.address).await.unwrap();
    // Answered after the silent one was taken in.
    listening
        .exchange(b"GET /health HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
        .await;
    listening.stop.take().unwrap().send(()).unwrap();
    listening.task.await.unwrap();
    assert_eq!(silent.read(&mut [0]).await.unwrap(), 0);
}

#[tokio::test]
async fn a_burst_waits_to_be_taken_in() {
    let listener = listen_on("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = listener.local_addr().unwrap();
    let mut burst = Vec::new();
    for _ in 0..500 {
        // Nobody takes them in. One that found no place would be told nothing for minutes.
        burst.push(TcpStream::connect(address).await.unwrap());
    }
}

#[tokio::test]
async fn http2_is_spoken_on_the_same_port() {
    let listening = listen(TransportLimits::default()).await;
    let stream = TcpStream::connect(listening.address).await.unwrap();
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
            .await
            .unwrap();
    tokio::spawn(connection);
    let body = with(chat("Hi"), json!({"stream": true, "max_tokens": 3})).to_string();
    let mut two = Vec::new();
    for _ in 0..2 {
        let uri = format!("http://{}/v1/chat/completions", listening.address);
        let request = http::Request::post(uri).header("content-type", "application/json");
        two.push(sender.send_request(request.body(Full::new(Bytes::from(body.clone()))).unwrap()));
    }
    for answer in futures_util::future::join_all(two).await {
        let answer = answer.unwrap();
        assert_eq!(
            (answer.version(), answer.status().as_u16()),
            (http::Version::HTTP_2, 200)
        );
        let text = answer.into_body().collect().await.unwrap().to_bytes();
        assert!(text.ends_with(b"data: [DONE]\n\n"));
    }
}

#[tokio::test]
async fn an_upload_that_is_too_large_hears_why() {
    let listening = listen(TransportLimits::default()).await;
    let large = request_text("/generate", &"x".repeat(6_000_000));
    let answer = listening.exchange(large.as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 413"), "{}", answer.len());
    assert!(answer.contains("2000000 bytes (--payload-limit)"), "{answer}");
}
