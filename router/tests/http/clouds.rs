//! `/invocations` and `/vertex`.

use serde_json::{Value, json};

use crate::support::*;

#[tokio::test]
async fn an_invocation_is_what_its_body_says() {
    let server = Server::new().await;
    let native = json!({"inputs": "Hi ", "parameters": {"max_new_tokens": 1}});
    let answer = server.post("/invocations", native.clone()).await;
    assert_eq!(answer.json(), json!([{"generated_text": "Hi H"}]));
    assert_eq!(answer.header("x-generated-tokens"), "1");
    let streamed = server
        .post("/invocations", with(native, json!({"stream": true})))
        .await;
    assert_eq!(streamed.events()[0]["generated_text"], "Hi H");
    let answer = server
        .post("/invocations", with(chat("Hi"), json!({"max_tokens": 1})))
        .await;
    let id = answer.json()["id"].as_str().unwrap().to_owned();
    assert_eq!(id, format!("chatcmpl-{}", answer.header("x-request-id")));
    let answer = server
        .post("/invocations", json!({"prompt": "Hi", "max_tokens": 2}))
        .await;
    assert_eq!(answer.json()["object"], "text_completion");
    for (body, status) in [
        (json!({}), 422),
        (json!({"inputs": null}), 422),
        (json!({"inputs": 7}), 422),
        (json!({"messages": []}), 400),
        (json!([]), 422),
    ] {
        assert_eq!(
            server.post("/invocations", body.clone()).await.status,
            status,
            "{body}"
        );
    }
    assert_eq!(server.metric("tgi_request_success").await, 4.0);
}

#[tokio::test]
async fn instances_are_predicted_in_their_order() {
    let server = Server::new().await;
    let body = json!({"instances": [
        {"inputs": "Hi", "parameters": {"max_new_tokens": 1}},
        with(chat("Hi"), json!({"max_tokens": 3, "stream": true, "stream_options": {"include_usage": true}})),
    ]});
    let answer = server.post("/vertex", body).await;
    assert_eq!(answer.json(), json!({"predictions": ["H", "Hä"]}));
    let one = json!({"inputs": "Hi"});
    let wrong = json!({"inputs": "Hi", "parameters": {"temperature": 0}});
    for (instances, param) in [
        (Value::Null, "instances"),
        (json!([]), "instances"),
        (json!([one, one, one, one, one]), "instances"),
        (json!([{}]), "instances[0].inputs"),
        (json!([one, wrong]), "instances[1].temperature"),
        (json!([chat("x"), {"messages": []}]), "instances[1].messages"),
        (json!([3]), "instances[0]"),
    ] {
        let answer = server.post("/vertex", json!({"instances": instances})).await;
        assert_eq!(
            (answer.status.as_u16(), &answer.json()["param"]),
            (422, &json!(param)),
            "{}",
            answer.text
        );
    }
    server.settled().await;
}

#[tokio::test]
async fn the_key_guards_what_is_handed_on() {
    let mut setup = Setup::new();
    setup.settings.keys = key("Sesame");
    let server = setup.start().await;
    for path in ["/invocations", "/vertex", "/detokenize", "/chat_tokenize"] {
        assert_eq!(
            server.post(path, json!({"inputs": "Hi"})).await.status,
            401,
            "{path}"
        );
    }
    let request = http::Request::post("/invocations")
        .header("content-type", "application/json")
        .header("authorization", "Bearer Sesame");
    let body = json!({"inputs": "Hi", "parameters": {"max_new_tokens": 1}});
    let answer = server.send(request.body(body.to_string().into()).unwrap()).await;
    assert_eq!(answer.status, 200);
    for path in ["/docs", "/api-doc/openapi.json", "/version", "/load"] {
        assert_eq!(server.get(path).await.status, 401, "{path}");
    }
}
