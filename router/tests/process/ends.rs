use std::io::{BufRead, BufReader, Read};

use nix::sys::signal::Signal;
use serde_json::json;

use crate::router::{Place, Router};

/// A router that answers, its shard, and a stream whose first token is read.
fn streaming(
    place: &Place,
) -> (
    Router,
    shardline_mock_shard::MockShard,
    BufReader<std::net::TcpStream>,
) {
    let shard = place.shard();
    let mut router = Router::start(place, &[]);
    router.tell_model(&place.path("model"));
    router.is_ready();
    // Three tokens, then the stream waits for the test.
    shard.gate().close();
    shard.gate().permit(3);
    let mut stream = BufReader::new(router.stream(50));
    let mut line = String::new();
    while !line.starts_with("data:") {
        line.clear();
        assert!(stream.read_line(&mut line).unwrap() > 0, "a stream that begins");
    }
    (router, shard, stream)
}

fn rest(mut stream: BufReader<std::net::TcpStream>) -> String {
    let mut rest = String::new();
    stream.read_to_string(&mut rest).unwrap();
    rest
}

#[test]
fn a_drain_finishes_what_runs_and_refuses_what_comes() {
    for by_signal in [true, false] {
        let place = Place::new();
        let (mut router, shard, stream) = streaming(&place);
        if by_signal {
            router.signal(Signal::SIGTERM);
        } else {
            router.order(&json!({"drain": true}));
        }
        router.health_until(|status, body| status == 503 && body.contains("draining"));
        let refused = json!({"prompt": [0], "max_tokens": 1}).to_string();
        assert_eq!(router.request("POST", "/v1/completions", &refused).0, 503);
        shard.gate().open();
        let rest = rest(stream);
        assert!(
            rest.contains("\"finish_reason\":\"length\"") && rest.contains("[DONE]"),
            "{rest}"
        );
        assert_eq!(router.wait().code(), Some(0));
    }
}

#[test]
fn an_idle_router_ends_at_once_when_it_is_told_to() {
    let place = Place::new();
    let router = Router::start(&place, &[]);
    router.signal(Signal::SIGINT);
    assert_eq!(router.wait().code(), Some(0));
}

#[test]
fn without_a_launcher_a_second_signal_cuts_off() {
    let place = Place::new();
    let shard = place.shard();
    let mut command = Router::command(&place);
    let mut router = Router::spawn(command.arg("--model-path").arg(place.path("model")));
    router.is_ready();
    shard.gate().close();
    let _stream = router.stream(50);
    while shard.journal().arrived.load(std::sync::atomic::Ordering::SeqCst) == 0 {
        std::thread::yield_now();
    }
    router.signal(Signal::SIGINT);
    router.log_until("draining");
    router.signal(Signal::SIGINT);
    assert_eq!(router.wait().code(), Some(130));
}

#[test]
fn the_end_of_the_control_pipe_is_the_end() {
    let place = Place::new();
    let (mut router, _shard, _stream) = streaming(&place);
    drop(router.control.take());
    assert_eq!(router.wait().code(), Some(1));
}

#[test]
fn a_failure_that_the_launcher_knows_reaches_the_streams() {
    let place = Place::new();
    let (mut router, _shard, stream) = streaming(&place);
    router.order(&json!({"failed": "shard-0 ended: out of memory"}));
    let rest = rest(stream);
    assert!(rest.contains("out of memory"), "{rest}");
    assert_eq!(router.wait().code(), Some(1));
}
