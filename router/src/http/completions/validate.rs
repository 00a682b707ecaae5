//! The rules of `POST /v1/completions`.

use std::sync::Arc;

use crate::http::body::JsonBody;
use crate::http::check;
use crate::http::completions::types::{Body, CompletionFields, Prompt, UNBUILT};
use crate::http::decoding::{Decoding, Limits};
use crate::http::error::{ApiError, Rule};
use crate::http::fields::{self, Ignored};
use crate::http::numbers::Integer;
use crate::http::openai::form::{AnswerForm, Logprobs, answer_form};
use crate::http::openai::prompt_fields;
use crate::http::openai::types::{PromptFields, UNBUILT as SHARED_UNBUILT, inside};
use crate::http::openai::validate::{self as shared, Asked};
use crate::http::prompt::Truncation;
use crate::http::request_id;
use crate::http::rules::Rules;
use crate::http::structure;

/// What OpenAI generates when nobody says how much.
const DEFAULT_MAX_TOKENS: u32 = 16;

/// A request that keeps every rule.
#[derive(Clone, Debug)]
pub struct CompletionRequest {
    /// In which form the answer comes.
    pub(super) form: AnswerForm,
    /// At least one; token ids are of the vocabulary.
    pub(super) prompts: Vec<PromptInput>,
    /// What stands behind the gap that the answer fills, not empty; `None`: the answer goes on with the
    /// prompt.
    pub(super) suffix: Option<String>,
    /// Put the prompt before the answer.
    pub(super) echo: bool,
    /// Whether the tokenizer adds BOS.
    pub(super) add_special_tokens: bool,
    /// How a prompt that is too long is cut.
    pub(super) truncation: Option<Truncation>,
    /// Choices a prompt that are answered.
    pub(super) n: usize,
    /// How tokens are drawn.
    pub(super) decoding: Decoding,
    /// As the body names it.
    pub(super) request_id: Option<Arc<str>>,
    /// Fields of the body without effect.
    pub(super) ignored: Ignored,
}

/// One prompt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PromptInput {
    /// To be tokenised.
    Text(String),
    /// Not empty, of the vocabulary.
    Tokens(Vec<u32>),
}

/// Parses and checks a body.
///
/// # Errors
/// With the first field at fault.
pub fn validate(body: &JsonBody, rules: Rules<'_>) -> Result<CompletionRequest, ApiError> {
    let (fields, ignored) = fields::read_with::<Body>(body, &[UNBUILT, SHARED_UNBUILT], &inside())?;
    let (fields, answer, prompt, sampling, structure, _) = fields;
    let limits = rules.limits;
    let logprobs = logprobs(&fields, &prompt, limits)?;
    let form = answer_form(&answer, logprobs, rules.name)?;
    let echo = fields.echo.unwrap_or(false);
    // Nothing generated and the prompt echoed: the prompt is scored.
    let least = u32::from(!echo);
    let n = sampling.n;
    let asked = Asked {
        max_new_tokens: shared::max_tokens(fields.max_completion_tokens, fields.max_tokens, least, limits)?,
        default_max_new_tokens: Some(DEFAULT_MAX_TOKENS),
        logprobs,
        best_of: best_of(&fields, n, form.stream, limits)?,
        scored_echo: echo && logprobs.wanted,
        cache_salt: shared::cache_salt(sampling.cache_salt.as_deref(), rules.ids)?,
        structure: structure::openai(structure)?,
    };
    let truncation = prompt_fields::truncation(&prompt, asked.max_new_tokens, limits)?;
    let suffix = fields.suffix.filter(|suffix| !suffix.is_empty());
    if suffix.is_some() {
        alone_with_suffix("echo", echo)?;
        alone_with_suffix("truncate_prompt_tokens", truncation.is_some())?;
    }
    let decoding = shared::decoding(sampling, asked, limits, rules.defaults)?;
    let prompts = prompts(fields.prompt.ok_or_else(|| ApiError::missing("prompt"))?, limits)?;
    check_sequences(prompts.len(), decoding.choices, limits.max_sequences)?;
    Ok(CompletionRequest {
        request_id: request_id::field(answer.request_id.as_deref())?,
        ignored,
        form,
        prompts,
        suffix,
        echo,
        add_special_tokens: fields.add_special_tokens.unwrap_or(true),
        truncation,
        n: n.and_then(|n| usize::try_from(n.0).ok()).unwrap_or(1),
        decoding,
    })
}

/// A prompt with a gap is more than its text.
fn alone_with_suffix(param: &str, given: bool) -> Result<(), ApiError> {
    if !given {
        return Ok(());
    }
    let message = format!("`suffix` and `{param}` exclude each other; leave one out");
    Err(ApiError::invalid(param, Rule::Conflict, message))
}

fn logprobs(fields: &CompletionFields, prompt: &PromptFields, limits: &Limits) -> Result<Logprobs, ApiError> {
    let top = prompt_fields::top("logprobs", fields.logprobs, limits)?;
    Ok(Logprobs {
        wanted: top.is_some(),
        top: top.unwrap_or(0),
        prompt: prompt_fields::prompt_logprobs(prompt, limits)?,
    })
}

/// `None` where it asks for no more than `n` does.
fn best_of(
    fields: &CompletionFields,
    n: Option<Integer>,
    stream: bool,
    limits: &Limits,
) -> Result<Option<u32>, ApiError> {
    let best_of = check::integer("best_of", fields.best_of, 1, limits.max_choices)?;
    let best_of = best_of.filter(|best_of| Integer((*best_of).into()) != n.unwrap_or(Integer(1)));
    if best_of.is_some() && stream {
        let message =
            "`best_of` must equal `n` when streaming: which ones are best is known at the end alone";
        return Err(ApiError::invalid("best_of", Rule::Conflict, message));
    }
    Ok(best_of)
}

fn prompts(given: Prompt, limits: &Limits) -> Result<Vec<PromptInput>, ApiError> {
    let empty = |param: &str| ApiError::invalid(param, Rule::Missing, format!("`{param}` cannot be empty"));
    let most = limits.max_client_batch_size as usize;
    match given {
        Prompt::Text(text) if text.is_empty() => Err(empty("prompt")),
        Prompt::Text(text) => Ok(vec![PromptInput::Text(text)]),
        Prompt::Tokens(ids) => Ok(vec![PromptInput::Tokens(check::tokens(
            "prompt",
            &ids,
            limits.vocab_size,
        )?)]),
        Prompt::Texts(texts) if texts.is_empty() => Err(empty("prompt")),
        Prompt::Texts(texts) => {
            check_batch(texts.len(), most)?;
            let checked = texts.into_iter().enumerate().map(|(index, text)| {
                if text.is_empty() {
                    Err(empty(&format!("prompt[{index}]")))
                } else {
                    Ok(PromptInput::Text(text))
                }
            });
            checked.collect()
        }
        Prompt::TokenLists(lists) => {
            check_batch(lists.len(), most)?;
            let checked = lists.iter().enumerate().map(|(index, ids)| {
                let param = format!("prompt[{index}]");
                if ids.is_empty() {
                    return Err(empty(&param));
                }
                check::tokens(&param, ids, limits.vocab_size).map(PromptInput::Tokens)
            });
            checked.collect()
        }
    }
}

/// Each prompt has all choices. What could never run is not told to try again.
fn check_sequences(prompts: usize, choices: u32, most: u32) -> Result<(), ApiError> {
    let given = prompts.saturating_mul(choices as usize);
    if given <= most as usize {
        return Ok(());
    }
    let message = format!(
        "`prompt` and `n` ask for {prompts} times {choices} sequences, and at most {most} run at once \
         (--max-concurrent-requests); send fewer prompts in one request"
    );
    Err(ApiError::invalid("prompt", Rule::Count, message))
}

fn check_batch(given: usize, most: usize) -> Result<(), ApiError> {
    if given <= most {
        return Ok(());
    }
    let message = format!("`prompt` supports up to {most} prompts (--max-client-batch-size). Given: {given}");
    Err(ApiError::invalid("prompt", Rule::Count, message))
}
