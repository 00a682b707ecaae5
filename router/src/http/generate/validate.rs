//! The rules of the native routes, in the words their clients know.

use crate::engine::api::Sampling;
use crate::http::body::JsonBody;
use crate::http::check;
use crate::http::decoding::{Decoding, Limits, StopStrings};
use crate::http::error::{ApiError, Rule};
use crate::http::fields::{self, Ignored, names};
use crate::http::generate::types::{Body, Parameters, UNBUILT_WATERMARK};
use crate::http::model::ServedName;
use crate::http::numbers::{Integer, Number};
use crate::http::prompt::{End, Truncation};
use crate::http::rules::Rules;
use crate::http::structure;

/// Above it every distribution is flat.
const MOST_TEMPERATURE: f64 = 100.0;
/// Above it no token comes twice anyway.
const MOST_REPETITION_PENALTY: f64 = 100.0;

/// A request that keeps every rule.
#[derive(Clone, Debug, PartialEq)]
pub struct GenerateRequest {
    /// Not empty.
    pub(super) inputs: String,
    /// Keep so many of the prompt's last tokens.
    pub(super) truncate: Option<Truncation>,
    /// How tokens are drawn.
    pub(super) decoding: Decoding,
    /// Put the prompt before the text.
    pub(super) return_full_text: Option<bool>,
    /// Tell tokens and the reason of the end.
    pub(super) details: bool,
    /// Tell this many of the most likely tokens.
    pub(super) top_n_tokens: u32,
    /// What the body says; only `/` follows it.
    pub(super) stream: bool,
    /// Fields of the body without effect.
    pub(super) ignored: Ignored,
}

/// Parses and checks a body.
///
/// # Errors
/// With the first field at fault.
pub fn validate(body: &JsonBody, rules: Rules<'_>) -> Result<GenerateRequest, ApiError> {
    check_fields(body, false, rules.limits, rules.name)
}

/// The same for the route that always streams.
///
/// # Errors
/// With the first field at fault.
pub fn validate_stream(body: &JsonBody, rules: Rules<'_>) -> Result<GenerateRequest, ApiError> {
    check_fields(body, true, rules.limits, rules.name)
}

fn check_fields(
    body: &JsonBody,
    streams: bool,
    limits: &Limits,
    name: &ServedName,
) -> Result<GenerateRequest, ApiError> {
    let inside = [("parameters", names::<Parameters>())];
    let ((fields,), ignored) = fields::read_with::<Body>(body, &[], &inside)?;
    let inputs = fields.inputs.ok_or_else(|| ApiError::missing("inputs"))?;
    if inputs.is_empty() {
        return Err(ApiError::invalid(
            "inputs",
            Rule::Missing,
            "`inputs` cannot be empty",
        ));
    }
    let sampled_by_default = fields.parameters.is_none();
    let parameters = fields.parameters.unwrap_or_default();
    let stream = streams || fields.stream.unwrap_or(false);
    let watermark = parameters.watermark.as_ref();
    if watermark.is_some_and(|given| !given.passes(UNBUILT_WATERMARK.harmless)) {
        return Err(UNBUILT_WATERMARK.refusal("parameters."));
    }
    if let Some(id) = parameters
        .adapter_id
        .as_deref()
        .filter(|id| name.check(Some(id)).is_err())
    {
        let fix = format!(
            "no adapter is served, and `{}` is none",
            id.chars().take(100).collect::<String>()
        );
        return Err(ApiError::unsupported("parameters.adapter_id", fix));
    }
    let top_n_tokens = check::integer(
        "top_n_tokens",
        parameters.top_n_tokens,
        0,
        limits.max_top_n_tokens,
    )?
    .unwrap_or(0);
    let prefill = parameters.decoder_input_details.unwrap_or(false);
    if prefill && stream {
        let message = "`decoder_input_details` == true is not supported when streaming tokens";
        return Err(ApiError::invalid(
            "decoder_input_details",
            Rule::Conflict,
            message,
        ));
    }
    let best_of = best_of(&parameters, stream, limits)?;
    let truncate = truncate(parameters.truncate, limits)?;
    let return_full_text = parameters.return_full_text;
    let details = parameters.details.unwrap_or(false) || prefill;
    let told = stream || details || best_of > 1;
    let decoding = decoding(parameters, sampled_by_default, told, limits)?;
    if best_of > 1 && decoding.sampling.temperature <= 0.0 {
        let message = "you must use sampling when `best_of` is > 1";
        return Err(ApiError::invalid("best_of", Rule::Conflict, message));
    }
    Ok(GenerateRequest {
        inputs,
        ignored,
        truncate,
        return_full_text,
        details,
        top_n_tokens,
        stream,
        decoding: Decoding {
            choices: best_of,
            sampling: Sampling {
                prompt_logprobs: prefill.then_some(0),
                ..decoding.sampling
            },
            ..decoding
        },
    })
}

/// How many sequences are generated, of which the likeliest is answered.
fn best_of(parameters: &Parameters, stream: bool, limits: &Limits) -> Result<u32, ApiError> {
    let Some(Integer(given)) = parameters.best_of else {
        return Ok(1);
    };
    let refused = |rule, message: String| Err(ApiError::invalid("best_of", rule, message));
    let most = limits.max_best_of;
    match u32::try_from(given) {
        Ok(1) => Ok(1),
        _ if stream => {
            let message = "`best_of` != 1 is not supported when streaming tokens";
            refused(Rule::Conflict, message.to_owned())
        }
        _ if most <= 1 => {
            let message = "`best_of` != 1 is not allowed for this endpoint";
            refused(Rule::Range, message.to_owned())
        }
        Ok(best_of) if best_of > 0 && best_of <= most => {
            if parameters.seed.is_some() {
                let message = "`seed` must not be set when `best_of` > 1";
                return refused(Rule::Conflict, message.to_owned());
            }
            Ok(best_of)
        }
        _ => {
            let message = format!("`best_of` must be > 0 and <= {most}. Given: {given}");
            refused(Rule::Range, message)
        }
    }
}

/// `told`: whether the answer tells each token, which it does with its log-probability.
fn decoding(
    mut parameters: Parameters,
    sampled: bool,
    told: bool,
    limits: &Limits,
) -> Result<Decoding, ApiError> {
    let sampling = sampling(&parameters, sampled, told, limits)?;
    let seed = seed(parameters.seed)?;
    let max_new_tokens = max_new_tokens(parameters.max_new_tokens)?;
    let grammar = match parameters.grammar.take() {
        Some(field) => structure::native("parameters.grammar", field)?,
        None => None,
    };
    let strings = parameters.stop.map(|stop| stop.0).unwrap_or_default();
    Ok(Decoding {
        sampling,
        max_new_tokens,
        insists: max_new_tokens.is_some(),
        min_new_tokens: 0,
        stop_token_ids: Vec::new(),
        ignore_eos: false,
        seed,
        cache_salt: 0,
        stop: StopStrings {
            strings: check::stop_strings(strings, limits.max_stop_sequences)?,
            keep: true,
        },
        structure: grammar,
        choices: 1,
        choice_seeds: Vec::new(),
        bad_words: Vec::new(),
        priority: 0,
        skip_special_tokens: true,
        prompt_only: false,
    })
}

fn sampling(
    parameters: &Parameters,
    sampled: bool,
    told: bool,
    limits: &Limits,
) -> Result<Sampling, ApiError> {
    let off = Sampling::default();
    let temperature = positive("temperature", parameters.temperature, MOST_TEMPERATURE)?;
    let top_k = match parameters.top_k {
        Some(Integer(value)) if value < 1 => return Err(not_positive("top_k")),
        given => check::integer("top_k", given, 1, i32::MAX.unsigned_abs())?,
    };
    let top_p = part("top_p", parameters.top_p)?;
    let typical_p = part("typical_p", parameters.typical_p)?;
    // Asking for a way of drawing is asking to draw.
    let draws = parameters.do_sample.unwrap_or(sampled)
        || temperature.is_some_and(|temperature| (temperature - 1.0).abs() > f32::EPSILON)
        || top_k.is_some()
        || top_p.is_some_and(|top_p| top_p < 1.0)
        || typical_p.is_some_and(|typical_p| typical_p < 1.0);
    let top_n_tokens = check::integer(
        "top_n_tokens",
        parameters.top_n_tokens,
        0,
        limits.max_top_n_tokens,
    )?
    .unwrap_or(0);
    Ok(Sampling {
        temperature: if draws {
            temperature.unwrap_or(off.temperature).max(0.01)
        } else {
            0.0
        },
        top_k: top_k.unwrap_or(off.top_k),
        top_p: top_p.unwrap_or(off.top_p),
        typical_p: typical_p.unwrap_or(off.typical_p),
        repetition_penalty: positive(
            "repetition_penalty",
            parameters.repetition_penalty,
            MOST_REPETITION_PENALTY,
        )?
        .unwrap_or(off.repetition_penalty),
        frequency_penalty: check::number("frequency_penalty", parameters.frequency_penalty, -2.0, 2.0)?
            .unwrap_or(off.frequency_penalty),
        logprobs: told,
        top_logprobs: if told { top_n_tokens } else { 0 },
        ..off
    })
}

fn not_positive(param: &str) -> ApiError {
    ApiError::invalid(param, Rule::Range, format!("`{param}` must be strictly positive"))
}

fn positive(param: &str, given: Option<Number>, most: f64) -> Result<Option<f32>, ApiError> {
    match given {
        Some(Number(value)) if value <= 0.0 => Err(not_positive(param)),
        given => check::number_above(param, given, 0.0, most),
    }
}

/// 1 is no cut, and asked for by many.
fn part(param: &str, given: Option<Number>) -> Result<Option<f32>, ApiError> {
    check::number_above(param, given, 0.0, 1.0)
}

fn max_new_tokens(given: Option<Integer>) -> Result<Option<u32>, ApiError> {
    match given {
        Some(Integer(value)) if value < 1 => Err(not_positive("max_new_tokens")),
        given => check::integer("max_new_tokens", given, 1, u32::MAX),
    }
}

fn seed(given: Option<Integer>) -> Result<Option<u64>, ApiError> {
    let Some(Integer(value)) = given else {
        return Ok(None);
    };
    u64::try_from(value).map(Some).map_err(|_| {
        let message = format!("`seed` must be >= 0 and <= {}. Given: {value}", u64::MAX);
        ApiError::invalid("seed", Rule::Range, message)
    })
}

fn truncate(given: Option<Integer>, limits: &Limits) -> Result<Option<Truncation>, ApiError> {
    let Some(Integer(value)) = given else {
        return Ok(None);
    };
    match u32::try_from(value) {
        Ok(tokens) if tokens > 0 && tokens <= limits.max_input_tokens => Ok(Some(Truncation {
            keep: tokens,
            end: End::Last,
        })),
        _ => {
            let message = format!(
                "`truncate` must be strictly positive and less than {}. Given: {value}",
                limits.max_input_tokens
            );
            Err(ApiError::invalid("truncate", Rule::Range, message))
        }
    }
}

#[cfg(test)]
#[path = "validate_tests.rs"]
mod tests;
