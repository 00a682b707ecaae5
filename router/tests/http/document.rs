//! The document of the API.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::support::*;

/// Every `$ref` below a value.
fn references<'a>(value: &'a Value, found: &mut Vec<&'a str>) {
    match value {
        Value::Object(fields) => {
            found.extend(fields.get("$ref").and_then(Value::as_str));
            fields.values().for_each(|value| references(value, found));
        }
        Value::Array(values) => values.iter().for_each(|value| references(value, found)),
        _ => {}
    }
}

async fn document(server: &Server) -> Value {
    let answer = server.get("/api-doc/openapi.json").await;
    assert_eq!(
        (answer.status.as_u16(), answer.header("content-type")),
        (200, "application/json")
    );
    answer.json()
}

/// Methods and paths of the document.
fn operations(document: &Value) -> Vec<(String, String)> {
    let paths = document["paths"].as_object().unwrap().iter();
    paths
        .flat_map(|(path, methods)| {
            let methods = methods.as_object().unwrap().keys();
            methods
                .map(|method| (method.clone(), path.clone()))
                .collect::<Vec<_>>()
        })
        .collect()
}

#[tokio::test]
async fn the_document_is_whole() {
    let server = Server::new().await;
    let document = document(&server).await;
    assert_eq!(document["openapi"], "3.1.0");
    let mut found = Vec::new();
    references(&document, &mut found);
    assert!(!found.is_empty());
    for reference in found {
        let target = reference
            .strip_prefix('#')
            .and_then(|path| document.pointer(path));
        assert!(target.is_some(), "{reference} points nowhere");
    }
    let ids: Vec<&str> = document["paths"]
        .as_object()
        .unwrap()
        .values()
        .flat_map(|methods| methods.as_object().unwrap().values())
        .map(|operation| operation["operationId"].as_str().unwrap())
        .collect();
    let distinct: BTreeSet<_> = ids.iter().collect();
    assert_eq!(distinct.len(), ids.len(), "{ids:?}");
}

#[tokio::test]
async fn every_route_of_the_document_is_served() {
    let server = Server::new().await;
    let operations = operations(&document(&server).await);
    for known in [
        "/v1/chat/completions",
        "/v1/completions",
        "/generate",
        "/vertex",
        "/docs",
        "/health",
    ] {
        assert!(operations.iter().any(|(_, path)| path == known), "{known}");
    }
    for (method, path) in operations {
        let path = path.replace("{id}", "test/tiny");
        let answer = match method.as_str() {
            "get" => server.get(&path).await,
            _ => server.post(&path, json!({})).await,
        };
        let expected = if method == "get" { 200..201 } else { 400..423 };
        let status = answer.status.as_u16();
        assert!(
            expected.contains(&status) && status != 404 && status != 405,
            "{method} {path}: {status}"
        );
    }
}

#[tokio::test]
async fn every_field_of_the_document_is_known() {
    let server = Server::new().await;
    let document = document(&server).await;
    for (path, needed) in [
        ("/v1/chat/completions", chat("Hi")),
        ("/v1/completions", json!({"prompt": "Hi"})),
        ("/generate", json!({"inputs": "Hi"})),
        ("/tokenize", json!({"prompt": "Hi"})),
        ("/detokenize", json!({"tokens": [72]})),
        ("/vertex", json!({"instances": [{"inputs": "Hi"}]})),
    ] {
        let schema = &document["paths"][path]["post"]["requestBody"]["content"]["application/json"]["schema"];
        let properties = schema["properties"].as_object().unwrap();
        assert!(!properties.is_empty());
        let nulls = properties
            .keys()
            .map(|name| (name.clone(), Value::Null))
            .collect();
        let answer = server.post(path, with(Value::Object(nulls), needed)).await;
        assert_eq!(answer.status, 200, "{path}: {}", answer.text);
        assert_eq!(answer.header("x-shardline-ignored-fields"), "", "{path}");
    }
    let parameters = document["components"]["schemas"]["Parameters"]["properties"]
        .as_object()
        .unwrap();
    for field in [
        "best_of",
        "decoder_input_details",
        "top_n_tokens",
        "truncate",
        "return_full_text",
    ] {
        assert!(parameters.contains_key(field), "{field}");
        assert!(parameters[field]["description"].is_string(), "{field}");
    }
}

#[tokio::test]
async fn the_page_loads_nothing_from_elsewhere() {
    let server = Server::new().await;
    let page = server.get("/docs").await;
    assert_eq!(
        (page.status.as_u16(), page.header("content-type")),
        (200, "text/html; charset=utf-8")
    );
    assert!(
        page.header("content-security-policy")
            .contains("default-src 'none'")
    );
    for foreign in ["http://", "https://", "//cdn", "<link", "@import", "src="] {
        assert!(!page.text.contains(foreign), "{foreign}");
    }
}
