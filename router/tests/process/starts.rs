use std::process::Stdio;

use serde_json::json;

use crate::router::{Place, Router};

#[test]
fn health_tells_the_phase_until_shards_and_tokenizer_are_there() {
    let place = Place::new();
    let mut router = Router::start(&place, &[]);
    router.order(&json!({"phase": "download", "message": "1 of 2 files"}));
    let body = router.health_until(|status, body| status == 503 && body.contains("download"));
    assert!(body.contains("1 of 2 files"), "{body}");
    let _shard = place.shard();
    router.log_until("shards are ready");
    let (status, _) = router.request("GET", "/health", "");
    assert_eq!(status, 503, "without a tokenizer nothing can be answered");
    router.tell_model(&place.path("model"));
    router.is_ready();
}

#[test]
fn a_taken_port_is_one_clear_sentence() {
    let place = Place::new();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let ended = Router::command(&place)
        .args(["--port", &port])
        .stderr(Stdio::piped())
        .output()
        .unwrap();
    let words = String::from_utf8(ended.stderr).unwrap();
    assert_eq!(ended.status.code(), Some(1));
    assert!(
        words.starts_with(&format!("error: cannot listen on 127.0.0.1:{port}")),
        "{words}"
    );
}

#[test]
fn settings_that_cannot_be_are_all_told() {
    let place = Place::new();
    let wrong = ["--max-total-tokens=1", "--overlap-depth=9"];
    let ended = Router::command(&place)
        .args(wrong)
        .stderr(Stdio::piped())
        .output()
        .unwrap();
    let words = String::from_utf8(ended.stderr).unwrap();
    assert_eq!(ended.status.code(), Some(2));
    assert!(
        words.contains("--max-total-tokens 1") && words.contains("--overlap-depth 9"),
        "{words}"
    );
}

#[test]
fn a_model_without_a_tokenizer_ends_the_process_with_its_path() {
    let place = Place::new();
    let missing = place.path("nothing");
    let ended = Router::command(&place)
        .arg("--model-path")
        .arg(&missing)
        .stderr(Stdio::piped())
        .output();
    let ended = ended.unwrap();
    let words = String::from_utf8(ended.stderr).unwrap();
    assert_eq!(ended.status.code(), Some(1));
    assert!(words.contains(missing.to_str().unwrap()), "{words}");
}
