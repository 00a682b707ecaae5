//! Sampling parameters: defaults applied, ranges checked.

use shardline_proto::v1;

use crate::arrays;
use crate::decode::Limits;
use crate::frame::Sampling;
use crate::invalid::{Field, InvalidStep};

type Rule = (fn(f32) -> bool, &'static str);

const NOT_NEGATIVE: Rule = (
    |value| value.is_finite() && value >= 0.0,
    "it must be finite and at least 0",
);
const POSITIVE: Rule = (
    |value| value.is_finite() && value > 0.0,
    "it must be finite and above 0",
);
const FRACTION: Rule = (|value| (0.0..=1.0).contains(&value), "it must lie in [0, 1]");
const POSITIVE_FRACTION: Rule = (|value| value > 0.0 && value <= 1.0, "it must lie in (0, 1]");
const FINITE: Rule = (f32::is_finite, "it must be finite");

/// Checks the parameters of the new sequence at `index`. Absent parameters are all defaults.
pub(crate) fn decode(
    given: Option<v1::SamplingParameters>,
    index: usize,
    limits: &Limits,
) -> Result<Sampling, InvalidStep> {
    let given = given.unwrap_or_default();
    let number = |name, value: f32, rule: Rule| {
        if (rule.0)(value) {
            Ok(value)
        } else {
            Err(InvalidStep::Number {
                field: Field::sampling(index, name),
                given: value,
                rule: rule.1,
            })
        }
    };
    let count = |name, value: u32| {
        if value <= limits.max_top_logprobs {
            return Ok(value);
        }
        let rule = format!(
            "this shard returns at most {} (see Info)",
            limits.max_top_logprobs
        );
        Err(InvalidStep::Integer {
            field: Field::sampling(index, name),
            given: value.into(),
            rule,
        })
    };
    let sampling = Sampling {
        temperature: number("temperature", given.temperature.unwrap_or(1.0), NOT_NEGATIVE)?,
        top_k: given.top_k,
        top_p: number("top_p", given.top_p.unwrap_or(1.0), POSITIVE_FRACTION)?,
        min_p: number("min_p", given.min_p, FRACTION)?,
        typical_p: number("typical_p", given.typical_p.unwrap_or(1.0), POSITIVE_FRACTION)?,
        repetition_penalty: number(
            "repetition_penalty",
            given.repetition_penalty.unwrap_or(1.0),
            POSITIVE,
        )?,
        frequency_penalty: number("frequency_penalty", given.frequency_penalty, FINITE)?,
        presence_penalty: number("presence_penalty", given.presence_penalty, FINITE)?,
        logprobs: given.logprobs,
        top_logprobs: count("top_logprobs", given.top_logprobs)?,
        prompt_logprobs: given.prompt_logprobs,
        prompt_top_logprobs: count("prompt_top_logprobs", given.prompt_top_logprobs)?,
        min_tokens: given.min_tokens,
        stop_token_ids: given.stop_token_ids,
        allowed_token_ids: given.allowed_token_ids,
        logit_bias_ids: given.logit_bias_ids,
        logit_bias_values: given.logit_bias_values,
    };
    check_arrays(&sampling, index, limits)?;
    Ok(sampling)
}

fn check_arrays(sampling: &Sampling, index: usize, limits: &Limits) -> Result<(), InvalidStep> {
    for (name, ids) in [
        ("stop_token_ids", &sampling.stop_token_ids),
        ("allowed_token_ids", &sampling.allowed_token_ids),
        ("logit_bias_ids", &sampling.logit_bias_ids),
    ] {
        let field = Field::sampling(index, name);
        arrays::len::<i32>(field, ids)?;
        arrays::in_range(field, ids, 0, i64::from(limits.vocab_size))?;
    }
    let field = Field::sampling(index, "logit_bias_values");
    let expected = sampling.logit_bias_ids.len() / size_of::<i32>();
    arrays::exact_len::<f32>(
        field,
        &sampling.logit_bias_values,
        expected,
        "an entry of logit_bias_ids",
    )?;
    match arrays::iter::<f32>(&sampling.logit_bias_values).find(|value| !value.is_finite()) {
        Some(given) => Err(InvalidStep::Number {
            field,
            given,
            rule: FINITE.1,
        }),
        None => Ok(()),
    }
}
