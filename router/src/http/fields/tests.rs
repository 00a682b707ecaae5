use bytes::Bytes;
use http::HeaderMap;
use schemars::JsonSchema;
use serde::Deserialize;

use super::*;
use crate::http::unbuilt::Harmless;

#[derive(Debug, Deserialize, JsonSchema)]
struct One {
    #[allow(dead_code)]
    a: Option<u32>,
    #[serde(rename = "type")]
    kind: Option<String>,
}

#[derive(Debug, Deserialize, JsonSchema)]
struct Two {
    b: Option<Inner>,
}

#[derive(Debug, Deserialize, JsonSchema)]
struct Inner {
    #[allow(dead_code)]
    c: Option<u32>,
}

const UNBUILT: &[Unbuilt] = &[Unbuilt::unless("x", &[Harmless::Number(1.0)])];

fn ignored(text: &str) -> Result<String, ApiError> {
    let body = JsonBody::new(Bytes::copy_from_slice(text.as_bytes())).unwrap();
    let inside = [("b", names::<Inner>())];
    let (_, ignored) = read_with::<(One, Two)>(&body, &[UNBUILT], &inside)?;
    let mut headers = HeaderMap::new();
    ignored.put(&mut headers);
    let value = headers.get("x-shardline-ignored-fields");
    Ok(value.map_or("", |value| value.to_str().unwrap()).to_owned())
}

#[test]
fn every_set_is_read_from_the_same_body() {
    let text = br#"{"a": 1, "type": "k", "b": {"c": 2}}"#;
    let body = JsonBody::new(Bytes::from_static(text)).unwrap();
    let ((one, two), ignored) = read::<(One, Two)>(&body, &[]).unwrap();
    assert_eq!((one.a, one.kind.as_deref()), (Some(1), Some("k")));
    assert_eq!(two.b.unwrap().c, Some(2));
    assert_eq!(ignored, Ignored::default());
    assert_eq!(<(One, Two)>::names(), [&["a", "type"][..], &["b"]]);
    assert!(names::<Vec<u32>>().is_empty());
}

#[test]
fn what_nobody_knows_is_listed_and_cannot_break_the_header() {
    assert_eq!(ignored(r#"{"a": 1, "x": 1, "b": null}"#).unwrap(), "");
    assert_eq!(
        ignored(r#"{"A": 1, "b": {"d": [1, {"a": 2}]}, "é\n": 0}"#).unwrap(),
        "A, b.d, ??"
    );
    let many: Vec<String> = (0..20).map(|index| format!("\"f{index}\": 0")).collect();
    let told = ignored(&format!("{{{}}}", many.join(","))).unwrap();
    assert!(told.ends_with("f15, and 4 more"), "{told}");
    let long = ignored(&format!("{{\"{}\": 0}}", "n".repeat(500))).unwrap();
    assert_eq!(long.len(), 64);
}

#[test]
fn what_is_not_built_is_refused_before_anything_is_listed() {
    assert!(
        matches!(ignored(r#"{"y": 1, "x": 2}"#), Err(ApiError::Unsupported { param, .. }) if param == "x")
    );
    assert!(matches!(ignored("[1]"), Err(ApiError::WrongType { .. })));
}
