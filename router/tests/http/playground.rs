//! The page at `/ui`.

use http::StatusCode;
use serde_json::json;

use crate::support::*;

#[tokio::test]
async fn the_page_is_open_to_all_and_may_load_nothing_from_elsewhere() {
    let mut setup = Setup::new();
    setup.settings.keys = key("sesame");
    let server = setup.start().await;
    let page = server.get("/ui").await;
    assert_eq!(page.status, StatusCode::OK);
    assert_eq!(page.header("content-type"), "text/html; charset=utf-8");
    let links: Vec<_> = page
        .text
        .split(['"'])
        .filter(|part| part.starts_with("ui/"))
        .collect();
    assert!(links.len() >= 3, "{links:?}");
    for link in links {
        assert_eq!(
            server.get(&format!("/{link}")).await.status,
            StatusCode::OK,
            "{link}"
        );
    }
    for path in ["/ui", "/ui/main.js", "/ui/icon.svg"] {
        let file = server.get(path).await;
        let policy = file.header("content-security-policy");
        assert!(policy.starts_with("default-src 'none';"), "{path}: {policy}");
        assert!(
            !policy.contains("unsafe") && !policy.contains('*'),
            "{path}: {policy}"
        );
        assert_eq!(file.header("x-content-type-options"), "nosniff", "{path}");
    }
}

#[tokio::test]
async fn a_slash_too_much_leads_to_the_page_and_other_names_nowhere() {
    let server = Server::new().await;
    let moved = server.get("/ui/").await;
    assert_eq!(
        (moved.status, moved.header("location")),
        (StatusCode::PERMANENT_REDIRECT, "../ui")
    );
    assert_eq!(server.get("/ui/other.js").await.status, StatusCode::NOT_FOUND);
    let answer = server.post("/ui", json!({})).await;
    assert_eq!(answer.status, StatusCode::METHOD_NOT_ALLOWED);
}

#[tokio::test]
async fn a_server_without_a_page_has_none() {
    let mut setup = Setup::new();
    setup.settings.playground = false;
    let server = setup.start().await;
    for path in ["/ui", "/ui/", "/ui/main.js"] {
        assert_eq!(server.get(path).await.status, StatusCode::NOT_FOUND, "{path}");
    }
}

#[tokio::test]
async fn a_streams_headers_tell_what_its_first_token_cost() {
    let server = Server::new().await;
    for (path, body) in [
        (
            "/v1/completions",
            json!({"prompt": "abc", "max_tokens": 2, "stream": true}),
        ),
        (
            "/generate_stream",
            json!({"inputs": "abc", "parameters": {"max_new_tokens": 2}}),
        ),
    ] {
        let answer = server.post(path, body).await;
        assert_eq!(answer.header("x-prompt-tokens"), "3", "{path}");
        for name in ["x-queue-time", "x-validation-time"] {
            assert!(answer.header(name).parse::<u64>().is_ok(), "{path} {name}");
        }
    }
}
