//! `/v1/completions`

use serde_json::json;

use super::openai;
use crate::support::*;

#[tokio::test]
async fn prompts_are_checked() {
    let server = Server::new().await;
    for (prompt, param) in [
        (json!(""), "prompt"),
        (json!([]), "prompt"),
        (json!([""]), "prompt[0]"),
        (json!([[]]), "prompt[0]"),
        (json!(["a", 1]), "prompt[1]"),
        (json!([1, "a"]), "prompt[1]"),
        (json!([1, VOCAB_SIZE]), "prompt[1]"),
        (json!([-1]), "prompt[0]"),
        (json!([[1], [VOCAB_SIZE]]), "prompt[1][0]"),
        (json!([1.5]), "prompt[0]"),
        (json!(7), "prompt"),
        (json!({}), "prompt"),
        (json!(["a", "b", "c", "d", "e"]), "prompt"),
        (json!(null), "prompt"),
    ] {
        let answer = server.post("/v1/completions", json!({"prompt": prompt})).await;
        let (status, _, param_given) = openai(&answer);
        assert_eq!((status, param_given), (400, json!(param)), "{prompt}");
    }
}

#[tokio::test]
async fn what_can_never_run_is_not_told_to_try_again() {
    let server = Server::new().await;
    let asked = |n| json!({"prompt": ["a", "b"], "n": n, "temperature": 1, "max_tokens": 1});
    assert_eq!(server.post("/v1/completions", asked(8)).await.status, 200);
    let answer = server.post("/v1/completions", asked(9)).await;
    assert_eq!(
        openai(&answer),
        (400, "invalid_count".to_owned(), json!("prompt"))
    );
    assert!(answer.text.contains("2 times 9 sequences"), "{}", answer.text);
}

#[tokio::test]
async fn a_prompt_must_leave_room_for_the_answer_that_is_asked_for() {
    let server = Server::new().await;
    let answer = server
        .post(
            "/v1/completions",
            json!({"prompt": vec![1; 500], "max_tokens": 13}),
        )
        .await;
    assert_eq!(
        openai(&answer),
        (400, "context_length_exceeded".to_owned(), json!("prompt"))
    );
    let answer = server
        .post("/v1/completions", json!({"prompt": vec![1; 500]}))
        .await;
    assert_eq!(
        answer.json()["usage"]["completion_tokens"],
        12,
        "sixteen is no wish of the client's"
    );
}
