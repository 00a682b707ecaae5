//! The rules of the fields that chat and completions share.

use crate::engine::api::Sampling;
use crate::http::bad_words;
use crate::http::check;
use crate::http::decoding::{Decoding, Limits, StopStrings};
use crate::http::error::{ApiError, Rule};
use crate::http::ids::Ids;
use crate::http::model::GenerationDefaults;
use crate::http::numbers::Integer;
use crate::http::openai::form::Logprobs;
use crate::http::openai::types::{LogitBias, SamplingFields};
use crate::http::structure::Structured;

/// Below it a temperature only adds rounding; 0 is greedy.
const LEAST_TEMPERATURE: f32 = 0.01;
/// Above it every distribution is flat.
const MOST_TEMPERATURE: f64 = 100.0;
/// Above it no token comes twice anyway.
const MOST_REPETITION_PENALTY: f64 = 100.0;
/// Token ids in a request's lists.
const MAX_STOP_TOKENS: usize = 128;
const MAX_BIASED_TOKENS: usize = 1024;
const MAX_ALLOWED_TOKENS: usize = 16_384;
const MAX_SALT_BYTES: usize = 1024;

/// What the caller has checked already.
#[derive(Clone, Debug, Default)]
pub struct Asked {
    /// From `max_tokens` or its other name.
    pub max_new_tokens: Option<u32>,
    /// When neither is given; `None`: as many as fit.
    pub default_max_new_tokens: Option<u32>,
    /// From the route's own fields.
    pub logprobs: Logprobs,
    /// Sequences a prompt, of which the `n` best are answered; `None`: `n` itself.
    pub best_of: Option<u32>,
    /// Whether the prompt is told with its log-probabilities in the place of an echo.
    pub scored_echo: bool,
    /// Salt of the prefix cache.
    pub cache_salt: u64,
    /// From the fields that ask for one.
    pub structure: Option<Structured>,
}

/// Checks how tokens are to be drawn; what is absent comes from the model's defaults.
///
/// # Errors
/// With the first field that breaks a rule.
pub fn decoding(
    fields: SamplingFields,
    asked: Asked,
    limits: &Limits,
    defaults: &GenerationDefaults,
) -> Result<Decoding, ApiError> {
    let sampling = sampling(&fields, &asked, limits, defaults)?;
    let choices = choices(&fields, asked.best_of, sampling.temperature > 0.0, limits)?;
    let most = asked.max_new_tokens.unwrap_or(limits.max_total_tokens);
    let min_new_tokens = check::integer("min_tokens", fields.min_tokens, 0, most)?.unwrap_or(0);
    let stop_token_ids = fields.stop_token_ids.unwrap_or_default();
    check::count("stop_token_ids", stop_token_ids.len(), MAX_STOP_TOKENS)?;
    let strings = fields.stop.map(|stop| stop.0).unwrap_or_default();
    Ok(Decoding {
        sampling,
        max_new_tokens: asked.max_new_tokens.or(asked.default_max_new_tokens),
        insists: asked.max_new_tokens.is_some(),
        min_new_tokens,
        stop_token_ids: check::tokens("stop_token_ids", &stop_token_ids, limits.vocab_size)?,
        ignore_eos: fields.ignore_eos.unwrap_or(false),
        seed: seed(fields.seed)?,
        cache_salt: asked.cache_salt,
        stop: StopStrings {
            strings: check::stop_strings(strings, limits.max_stop_sequences)?,
            keep: fields.include_stop_str_in_output.unwrap_or(false),
        },
        structure: asked.structure,
        choices,
        choice_seeds: Vec::new(),
        bad_words: bad_words::check(fields.bad_words)?,
        priority: priority(fields.priority)?,
        skip_special_tokens: fields.skip_special_tokens.unwrap_or(true),
        prompt_only: asked.max_new_tokens == Some(0),
    })
}

/// Sequences a prompt: `best_of`, of which `n` are answered, or `n`.
fn choices(
    fields: &SamplingFields,
    best_of: Option<u32>,
    drawn: bool,
    limits: &Limits,
) -> Result<u32, ApiError> {
    let n = check::integer("n", fields.n, 1, limits.max_choices)?.unwrap_or(1);
    let (field, choices) = best_of.map_or(("n", n), |best_of| ("best_of", best_of));
    if choices < n {
        let message = format!("`best_of` must be at least `n`. Given: {choices} and {n}");
        return Err(ApiError::invalid("best_of", Rule::Conflict, message));
    }
    if choices > 1 && !drawn {
        let message =
            format!("`{field}` must be 1 when `temperature` is 0: all would be the same. Given: {choices}");
        return Err(ApiError::invalid(field, Rule::Conflict, message));
    }
    Ok(choices)
}

/// Clients count from the front: a lower number runs earlier.
fn priority(given: Option<Integer>) -> Result<i32, ApiError> {
    let Some(Integer(value)) = given else { return Ok(0) };
    i32::try_from(-value).map_err(|_| {
        let most = i32::MAX;
        let message = format!("`priority` must be >= -{most} and <= {most}. Given: {value}");
        ApiError::invalid("priority", Rule::Range, message)
    })
}

fn sampling(
    fields: &SamplingFields,
    asked: &Asked,
    limits: &Limits,
    defaults: &GenerationDefaults,
) -> Result<Sampling, ApiError> {
    let off = Sampling::default();
    let or = |given: Option<f32>, default: Option<f32>, off: f32| given.or(default).unwrap_or(off);
    let defaults = &usable(defaults);
    let temperature = or(
        check::number("temperature", fields.temperature, 0.0, MOST_TEMPERATURE)?,
        defaults.temperature,
        off.temperature,
    );
    Ok(Sampling {
        temperature: if temperature > 0.0 {
            temperature.max(LEAST_TEMPERATURE)
        } else {
            0.0
        },
        top_k: top_k(fields.top_k)?.or(defaults.top_k).unwrap_or(off.top_k),
        top_p: or(
            check::number_above("top_p", fields.top_p, 0.0, 1.0)?,
            defaults.top_p,
            off.top_p,
        ),
        min_p: or(
            check::number("min_p", fields.min_p, 0.0, 1.0)?,
            defaults.min_p,
            off.min_p,
        ),
        typical_p: or(
            check::number_above("typical_p", fields.typical_p, 0.0, 1.0)?,
            defaults.typical_p,
            off.typical_p,
        ),
        repetition_penalty: or(
            check::number_above(
                "repetition_penalty",
                fields.repetition_penalty,
                0.0,
                MOST_REPETITION_PENALTY,
            )?,
            defaults.repetition_penalty,
            off.repetition_penalty,
        ),
        frequency_penalty: check::number("frequency_penalty", fields.frequency_penalty, -2.0, 2.0)?
            .unwrap_or(off.frequency_penalty),
        presence_penalty: check::number("presence_penalty", fields.presence_penalty, -2.0, 2.0)?
            .unwrap_or(off.presence_penalty),
        logit_bias: logit_bias(fields.logit_bias.as_ref(), limits.vocab_size)?,
        allowed_token_ids: allowed_token_ids(fields.allowed_token_ids.as_deref(), limits.vocab_size)?,
        // Ranking needs them too.
        logprobs: asked.logprobs.wanted || asked.best_of.is_some(),
        top_logprobs: asked.logprobs.top,
        prompt_logprobs: asked
            .logprobs
            .prompt
            .max(asked.scored_echo.then_some(asked.logprobs.top)),
    })
}

/// The model's defaults without those that no request could ask for either.
fn usable(defaults: &GenerationDefaults) -> GenerationDefaults {
    let within =
        |given: Option<f32>, least: f32, most: f32| given.filter(|value| (least..=most).contains(value));
    GenerationDefaults {
        temperature: within(defaults.temperature, 0.0, MOST_TEMPERATURE as f32),
        top_p: within(defaults.top_p, f32::MIN_POSITIVE, 1.0),
        min_p: within(defaults.min_p, 0.0, 1.0),
        typical_p: within(defaults.typical_p, f32::MIN_POSITIVE, 1.0),
        repetition_penalty: within(
            defaults.repetition_penalty,
            f32::MIN_POSITIVE,
            MOST_REPETITION_PENALTY as f32,
        ),
        ..defaults.clone()
    }
}

/// `max_completion_tokens`, or `max_tokens`, its older name.
///
/// # Errors
/// When one is less than `least` or beyond the limits, or both are given and differ.
pub fn max_tokens(
    newer: Option<Integer>,
    older: Option<Integer>,
    least: u32,
    limits: &Limits,
) -> Result<Option<u32>, ApiError> {
    if let (Some(newer), Some(older)) = (newer, older)
        && newer != older
    {
        let message = format!(
            "`max_completion_tokens` and `max_tokens` mean the same; send one. Given: {} and {}",
            newer.0, older.0
        );
        return Err(ApiError::invalid(
            "max_completion_tokens",
            Rule::Conflict,
            message,
        ));
    }
    let (param, given) = if newer.is_some() {
        ("max_completion_tokens", newer)
    } else {
        ("max_tokens", older)
    };
    check::integer(param, given, least, limits.max_total_tokens)
}

/// The number under which cached blocks are shared; 0 without a salt.
///
/// # Errors
/// When it is empty or too long.
pub fn cache_salt(given: Option<&str>, ids: &Ids) -> Result<u64, ApiError> {
    match given {
        None => Ok(0),
        Some("") => {
            let message = "`cache_salt` must not be empty; leave it out";
            Err(ApiError::invalid("cache_salt", Rule::Value, message))
        }
        Some(salt) if salt.len() > MAX_SALT_BYTES => {
            let message = format!(
                "`cache_salt` must have at most {MAX_SALT_BYTES} bytes. Given: {}",
                salt.len()
            );
            Err(ApiError::invalid("cache_salt", Rule::Range, message))
        }
        Some(salt) => Ok(ids.salt(salt)),
    }
}

fn top_k(given: Option<Integer>) -> Result<Option<u32>, ApiError> {
    match given {
        Some(Integer(-1)) => Ok(Some(0)),
        Some(Integer(value)) if value < 0 => {
            let message = format!("`top_k` must be >= 1, or 0 or -1 for no cut. Given: {value}");
            Err(ApiError::invalid("top_k", Rule::Range, message))
        }
        // More than the vocabulary is no cut either.
        _ => check::integer("top_k", given, 0, i32::MAX.unsigned_abs()),
    }
}

/// The bits of a signed or unsigned 64-bit seed; -1 is none.
#[allow(clippy::cast_sign_loss)]
fn seed(given: Option<Integer>) -> Result<Option<u64>, ApiError> {
    match given.map(|integer| integer.0) {
        None | Some(-1) => Ok(None),
        Some(value) => match (u64::try_from(value), i64::try_from(value)) {
            (Ok(unsigned), _) => Ok(Some(unsigned)),
            (_, Ok(signed)) => Ok(Some(signed as u64)),
            _ => {
                let message = format!(
                    "`seed` must be >= {} and <= {}. Given: {value}",
                    i64::MIN,
                    u64::MAX
                );
                Err(ApiError::invalid("seed", Rule::Range, message))
            }
        },
    }
}

fn logit_bias(given: Option<&LogitBias>, vocab_size: u32) -> Result<Vec<(u32, f32)>, ApiError> {
    let entries = given.map(|bias| bias.0.as_slice()).unwrap_or_default();
    check::count("logit_bias", entries.len(), MAX_BIASED_TOKENS)?;
    entries
        .iter()
        .map(|(key, bias)| {
            let Ok(id) = key.trim().parse::<i64>() else {
                let key: String = key.chars().take(20).collect();
                let message = format!("`logit_bias` has token ids as keys. Given: `{key}`");
                return Err(ApiError::invalid("logit_bias", Rule::Value, message));
            };
            let param = format!("logit_bias.{id}");
            let token = check::token(&param, Integer(id.into()), vocab_size)?;
            let bias = check::number(&param, Some(*bias), -100.0, 100.0)?;
            Ok((token, bias.unwrap_or_default()))
        })
        .collect()
}

fn allowed_token_ids(given: Option<&[Integer]>, vocab_size: u32) -> Result<Vec<u32>, ApiError> {
    let Some(ids) = given else { return Ok(Vec::new()) };
    if ids.is_empty() {
        let message = "`allowed_token_ids` must not be empty: nothing could be drawn; leave it out";
        return Err(ApiError::invalid("allowed_token_ids", Rule::Count, message));
    }
    check::count("allowed_token_ids", ids.len(), MAX_ALLOWED_TOKENS)?;
    check::tokens("allowed_token_ids", ids, vocab_size)
}

#[cfg(test)]
#[path = "validate_tests.rs"]
mod tests;
