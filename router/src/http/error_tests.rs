use http::header;

use crate::access::{Kind, Refusal};

use super::*;

fn refusal(kind: Kind, seconds: Option<u64>) -> Refusal {
    Refusal {
        kind,
        limit: 7,
        wanted: 9,
        retry_after: seconds.map(Duration::from_secs),
    }
}

#[test]
fn a_limit_is_told_with_the_time_until_it_is_over() {
    for (kind, seconds, words) in [
        (Kind::Requests, Some(3), "7 requests a minute; try again in 3 s."),
        (Kind::Tokens, Some(3), "7 tokens a minute; try again in 3 s."),
        (Kind::Concurrent, Some(1), "7 requests at once; try again in 1 s."),
        (
            Kind::Tokens,
            None,
            "may need 9 tokens, and its API key may use 7 a minute; shorten",
        ),
    ] {
        let response = ApiError::RateLimited(refusal(kind, seconds)).respond(Dialect::OpenAi);
        let message = ApiError::RateLimited(refusal(kind, seconds)).to_string();
        assert!(message.contains(words), "{message}");
        let header = |name: &str| {
            response
                .headers()
                .get(name)
                .map(|value| value.to_str().unwrap().to_owned())
        };
        assert_eq!(header("retry-after"), seconds.map(|seconds| seconds.to_string()));
        assert_eq!(
            header("x-should-retry").as_deref(),
            seconds.is_none().then_some("false")
        );
    }
}

/// Every kind of error with its status on `/v1`, on the native routes, its code and its type there.
fn table() -> Vec<(ApiError, u16, u16, &'static str, &'static str)> {
    let text = || "x".to_owned();
    let seconds = Duration::from_secs;
    vec![
        (
            ApiError::BodyTooLarge { limit: 7 },
            413,
            413,
            "body_too_large",
            "validation",
        ),
        (
            ApiError::BodyTimeout { limit: seconds(7) },
            408,
            408,
            "body_timeout",
            "validation",
        ),
        (
            ApiError::BodyIncomplete { cause: text() },
            400,
            400,
            "body_incomplete",
            "validation",
        ),
        (
            ApiError::ContentType { given: text() },
            415,
            415,
            "unsupported_content_type",
            "validation",
        ),
        (
            ApiError::ContentEncoding { given: text() },
            415,
            415,
            "unsupported_content_encoding",
            "validation",
        ),
        (
            ApiError::NoRoom { limit: 7 },
            429,
            429,
            "overloaded",
            "overloaded",
        ),
        (
            ApiError::NotUtf8 { offset: 7 },
            400,
            400,
            "invalid_utf8",
            "validation",
        ),
        (
            ApiError::TooDeep { limit: 7 },
            400,
            400,
            "json_too_deep",
            "validation",
        ),
        (
            ApiError::TooManyFields { limit: 7 },
            400,
            400,
            "too_many_fields",
            "validation",
        ),
        (
            ApiError::Syntax {
                param: None,
                message: text(),
            },
            400,
            400,
            "invalid_json",
            "validation",
        ),
        (
            ApiError::WrongType {
                param: None,
                message: text(),
            },
            400,
            422,
            "invalid_type",
            "validation",
        ),
        (
            ApiError::missing("x"),
            400,
            422,
            "missing_required_parameter",
            "validation",
        ),
        (
            ApiError::CompilerBusy {
                retry_after: seconds(1),
            },
            429,
            429,
            "overloaded",
            "overloaded",
        ),
        (
            ApiError::grammar("x", GrammarError::Invalid { message: text() }),
            400,
            422,
            "invalid_grammar",
            "validation",
        ),
        (
            ApiError::grammar("x", GrammarError::Unsatisfiable { message: text() }),
            400,
            422,
            "unsatisfiable_grammar",
            "validation",
        ),
        (
            ApiError::grammar("x", GrammarError::TooComplex { message: text() }),
            400,
            422,
            "grammar_too_complex",
            "validation",
        ),
        (
            ApiError::invalid("x", Rule::Range, "m"),
            400,
            422,
            "out_of_range",
            "validation",
        ),
        (
            ApiError::invalid("x", Rule::Count, "m"),
            400,
            422,
            "invalid_count",
            "validation",
        ),
        (
            ApiError::invalid("x", Rule::Value, "m"),
            400,
            422,
            "invalid_value",
            "validation",
        ),
        (
            ApiError::invalid("x", Rule::Conflict, "m"),
            400,
            422,
            "conflicting_parameters",
            "validation",
        ),
        (
            ApiError::invalid("x", Rule::Vocabulary, "m"),
            400,
            422,
            "token_out_of_vocabulary",
            "validation",
        ),
        (
            ApiError::unsupported("x", "leave it out"),
            400,
            422,
            "unsupported_parameter",
            "validation",
        ),
        (
            ApiError::TooLong {
                param: "x",
                message: text(),
            },
            400,
            422,
            "context_length_exceeded",
            "validation",
        ),
        (
            ApiError::UnknownModel { model: text() },
            404,
            404,
            "model_not_found",
            "validation",
        ),
        (
            ApiError::Unauthorized { given: true },
            401,
            401,
            "invalid_api_key",
            "authentication",
        ),
        (
            ApiError::UnknownRoute { path: text() },
            404,
            404,
            "unknown_route",
            "not_found",
        ),
        (
            ApiError::Method {
                path: text(),
                method: text(),
            },
            405,
            405,
            "method_not_allowed",
            "method_not_allowed",
        ),
        (
            ApiError::Overloaded {
                limit: 7,
                retry_after: seconds(3),
            },
            429,
            429,
            "overloaded",
            "overloaded",
        ),
        (
            ApiError::RateLimited(refusal(Kind::Requests, Some(3))),
            429,
            429,
            "rate_limit_exceeded",
            "overloaded",
        ),
        (
            ApiError::NotReady {
                state: EngineState::Draining,
            },
            503,
            503,
            "not_ready",
            "unavailable",
        ),
        (
            ApiError::Template { message: text() },
            400,
            422,
            "template_error",
            "template_error",
        ),
        (
            ApiError::Generation { cause: text() },
            500,
            424,
            "generation_failed",
            "generation",
        ),
        (
            ApiError::Incomplete { cause: text() },
            500,
            500,
            "incomplete_generation",
            "incomplete_generation",
        ),
        (
            ApiError::Internal { cause: text() },
            500,
            500,
            "internal_error",
            "internal",
        ),
    ]
}

#[test]
fn every_error_has_its_status_code_and_type() {
    for (error, openai, native, code, error_type) in table() {
        let problem = error.problem();
        assert_eq!(problem.status.on(Dialect::OpenAi).as_u16(), openai, "{error:?}");
        assert_eq!(problem.status.on(Dialect::Native).as_u16(), native, "{error:?}");
        assert_eq!(
            (problem.code, problem.error_type),
            (code, error_type),
            "{error:?}"
        );
    }
}

#[test]
fn every_error_has_both_shapes() {
    for (error, ..) in table() {
        let problem = error.problem();
        let openai: serde_json::Value = serde_json::from_slice(&problem.json(Dialect::OpenAi)).unwrap();
        let fields: Vec<_> = openai["error"].as_object().unwrap().keys().cloned().collect();
        assert_eq!(fields, ["message", "type", "param", "code"]);
        assert_eq!(openai["error"]["message"], problem.message);
        let native: serde_json::Value = serde_json::from_slice(&problem.json(Dialect::Native)).unwrap();
        assert!(native["error"].as_str().unwrap().ends_with(&problem.message));
        assert_eq!(native["error_type"], problem.error_type);
    }
}

#[test]
fn headers_say_when_to_come_back_and_how_to_sign_in() {
    let overloaded = |retry_after| {
        ApiError::Overloaded {
            limit: 7,
            retry_after,
        }
        .respond(Dialect::OpenAi)
    };
    for (millis, seconds) in [(0, "1"), (1, "1"), (1000, "1"), (1001, "2"), (59_500, "60")] {
        let response = overloaded(Duration::from_millis(millis));
        assert_eq!(response.headers()[header::RETRY_AFTER], seconds, "{millis} ms");
    }
    let response = ApiError::Unauthorized { given: false }.respond(Dialect::Native);
    assert_eq!(response.headers()[header::WWW_AUTHENTICATE], "Bearer");
    assert_eq!(response.headers()[header::CONTENT_TYPE], "application/json");
}

#[test]
fn a_path_decides_the_dialect() {
    for (path, dialect) in [
        ("/v1/models", Dialect::OpenAi),
        ("/v1", Dialect::OpenAi),
        ("/v12", Dialect::Native),
        ("/generate", Dialect::Native),
        ("/", Dialect::Native),
    ] {
        assert_eq!(Dialect::of_path(path), dialect, "{path}");
    }
}

#[test]
fn a_proper_end_is_no_error() {
    assert_eq!(ApiError::of_finish(&Finish::Stop(1)), None);
    assert_eq!(ApiError::of_finish(&Finish::Length), None);
    for finish in [
        Finish::Cancelled,
        Finish::DeadlineExceeded,
        Finish::InvalidLogits,
        Finish::Grammar,
        Finish::ShardLost {
            cause: "killed".to_owned(),
        },
    ] {
        assert!(ApiError::of_finish(&finish).is_some(), "{finish:?}");
    }
}
