use super::*;
use crate::http::decoding::tests::limits;

fn check(text: &str) -> GenerateRequest {
    let body = JsonBody::new(bytes::Bytes::copy_from_slice(text.as_bytes())).unwrap();
    check_fields(&body, false, &limits(), &ServedName::new("me/model")).unwrap()
}

#[test]
fn whether_tokens_are_drawn_follows_what_is_said() {
    for (parameters, drawn) in [
        ("", true),
        (r#","parameters":null"#, true),
        (r#","parameters":{}"#, false),
        (r#","parameters":{"do_sample":true}"#, true),
        (r#","parameters":{"do_sample":false}"#, false),
        (r#","parameters":{"temperature":1.0}"#, false),
        (r#","parameters":{"temperature":0.5}"#, true),
        (r#","parameters":{"top_k":5}"#, true),
        (r#","parameters":{"top_p":0.9}"#, true),
        (r#","parameters":{"top_p":1}"#, false),
        (r#","parameters":{"typical_p":0.9}"#, true),
    ] {
        let request = check(&format!(r#"{{"inputs":"Hi"{parameters}}}"#));
        assert_eq!(request.decoding.sampling.temperature > 0.0, drawn, "{parameters}");
    }
}

#[test]
fn what_asks_for_nothing_passes() {
    let request = check(
        r#"{"inputs":"Hi","unknown":1,"parameters":{"best_of":1,"watermark":false,"decoder_input_details":false,
            "grammar":null,"adapter_id":"me/model","stop":"x","max_new_tokens":100000,"unknown":[]}}"#,
    );
    assert_eq!(
        request.decoding.stop,
        StopStrings {
            strings: vec!["x".to_owned()],
            keep: true
        }
    );
    assert_eq!(request.decoding.max_new_tokens, Some(100_000));
}

#[test]
fn log_probabilities_are_asked_for_when_tokens_are_told() {
    assert!(!check(r#"{"inputs":"Hi"}"#).decoding.sampling.logprobs);
    let details = check(r#"{"inputs":"Hi","parameters":{"details":true,"top_n_tokens":3}}"#);
    assert!(details.decoding.sampling.logprobs);
    assert_eq!(details.decoding.sampling.top_logprobs, 3);
}
