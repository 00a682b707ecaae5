use std::sync::Arc;

use super::*;
use crate::http::decoding::tests::limits;
use crate::http::structure::Structure;

fn check(text: &str, defaults: &GenerationDefaults) -> Result<Decoding, ApiError> {
    let fields: SamplingFields = serde_json::from_str(text).unwrap();
    decoding(fields, Asked::default(), &limits(), defaults)
}

fn plain(text: &str) -> Decoding {
    check(text, &GenerationDefaults::default()).unwrap()
}

#[test]
fn nothing_said_and_nothing_known_is_neutral() {
    assert_eq!(plain("{}").sampling, Sampling::default());
}

#[test]
fn the_models_defaults_fill_what_is_absent_and_yield_to_what_is_said() {
    let defaults = GenerationDefaults {
        eos_token_ids: vec![2, 3],
        temperature: Some(0.6),
        top_p: Some(0.9),
        top_k: Some(20),
        min_p: Some(0.1),
        typical_p: Some(0.8),
        repetition_penalty: Some(1.1),
        ..GenerationDefaults::default()
    };
    let sampling = check("{}", &defaults).unwrap().sampling;
    assert_eq!(
        (sampling.temperature, sampling.top_p, sampling.top_k),
        (0.6, 0.9, 20)
    );
    assert_eq!(
        (sampling.min_p, sampling.typical_p, sampling.repetition_penalty),
        (0.1, 0.8, 1.1)
    );
    let text = r#"{"temperature":1,"top_p":1,"top_k":0,"min_p":0,"typical_p":1,"repetition_penalty":1}"#;
    assert_eq!(check(text, &defaults).unwrap().sampling, Sampling::default());
    let stop = |text: &str| check(text, &defaults).unwrap().stop_tokens(&defaults).to_vec();
    assert_eq!(stop(r#"{"stop_token_ids":[9,3]}"#), [2, 3, 9]);
    assert_eq!(stop(r#"{"stop_token_ids":[9],"ignore_eos":true}"#), [9]);
}

#[test]
fn defaults_that_cannot_be_used_are_left_out() {
    let defaults = GenerationDefaults {
        temperature: Some(-1.0),
        top_p: Some(0.0),
        min_p: Some(f32::NAN),
        repetition_penalty: Some(0.0),
        ..GenerationDefaults::default()
    };
    assert_eq!(check("{}", &defaults).unwrap().sampling, Sampling::default());
}

#[test]
fn a_structure_ends_where_it_is_complete_and_not_before_it_must() {
    let defaults = GenerationDefaults {
        eos_token_ids: vec![2],
        ..GenerationDefaults::default()
    };
    let asked = Asked {
        structure: Some(Structured::new("guided_json", Structure::JsonObject)),
        ..Asked::default()
    };
    let fields: SamplingFields = serde_json::from_str(r#"{"ignore_eos":true}"#).unwrap();
    let decoding = decoding(fields, asked, &limits(), &defaults).unwrap();
    assert_eq!(decoding.stop_tokens(&defaults).to_vec(), [2]);
    let prompt: Arc<[u32]> = Arc::from([1]);
    let generate = decoding.generates(&prompt, &defaults, 9, 0).next().unwrap();
    assert_eq!((generate.min_new_tokens, generate.max_new_tokens), (9, 9));
    assert_eq!(generate.grammar, Some(Structure::JsonObject.grammar()));
}

#[test]
fn tiny_temperatures_are_raised_and_zero_is_greedy() {
    for (given, temperature) in [
        ("0", 0.0),
        ("-0", 0.0),
        ("1e-40", 0.01),
        ("0.001", 0.01),
        ("0.5", 0.5),
    ] {
        assert_eq!(
            plain(&format!(r#"{{"temperature":{given}}}"#))
                .sampling
                .temperature,
            temperature,
            "{given}"
        );
    }
}

#[test]
fn seeds_of_both_signs_are_taken_and_minus_one_is_none() {
    for (given, seed) in [
        ("-1", None),
        ("0", Some(0)),
        ("18446744073709551615", Some(u64::MAX)),
        ("-2", Some(u64::MAX - 1)),
        ("-9223372036854775808", Some(1 << 63)),
    ] {
        assert_eq!(plain(&format!(r#"{{"seed":{given}}}"#)).seed, seed, "{given}");
    }
}

#[test]
fn biases_and_allowed_tokens_are_of_the_vocabulary() {
    let decoding = plain(r#"{"logit_bias":{"5":-100,"99":1.5},"allowed_token_ids":[5,6],"top_k":-1}"#);
    assert_eq!(decoding.sampling.logit_bias, [(5, -100.0), (99, 1.5)]);
    assert_eq!(decoding.sampling.allowed_token_ids, [5, 6]);
    assert_eq!(decoding.sampling.top_k, 0);
}

#[test]
fn both_names_of_the_answers_length_mean_the_same() {
    let number = |value| Some(Integer(value));
    assert_eq!(max_tokens(number(5), None, 1, &limits()), Ok(Some(5)));
    assert_eq!(max_tokens(None, number(5), 1, &limits()), Ok(Some(5)));
    assert_eq!(max_tokens(number(5), number(5), 1, &limits()), Ok(Some(5)));
    assert_eq!(max_tokens(None, None, 1, &limits()), Ok(None));
    let error = max_tokens(None, number(65), 1, &limits()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "`max_tokens` must be >= 1 and <= 64. Given: 65"
    );
}
