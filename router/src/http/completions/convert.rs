//! From a checked request to prompts that may run.

use std::sync::Arc;
use std::time::Instant;

use crate::http::app::{App, Served};
use crate::http::completions::gap::{self, Gap};
use crate::http::completions::validate::{CompletionRequest, PromptInput};
use crate::http::error::ApiError;
use crate::http::prompt::{self, Encoded, Origin};
use crate::http::start::{Ready, TextRules};

/// Takes a place, then tokenises.
///
/// # Errors
/// When there is no room, a prompt does not fit, or the model cannot fill gaps.
pub async fn convert(
    app: &App,
    served: &Served,
    request: &CompletionRequest,
    began: Instant,
) -> Result<Ready, ApiError> {
    let prompts = u32::try_from(request.prompts.len()).unwrap_or(u32::MAX);
    let place = app
        .admission
        .enter(prompts.saturating_mul(request.decoding.choices))?;
    let mut decoding = request.decoding.clone();
    let gap = match &request.suffix {
        Some(suffix) => Some(Gap::new(app, served, suffix).await?),
        None => None,
    };
    if let Some(gap) = gap.as_ref().filter(|_| !decoding.ignore_eos) {
        decoding.stop_token_ids.extend_from_slice(gap.ends());
    }
    Ok(Ready {
        began,
        place,
        prompts: encode(app, served, request, gap.as_ref()).await?,
        decoding,
        rules: TextRules {
            continuing: true,
            keep_stop_token: request.decoding.stop.keep,
            settle: request.form.logprobs.wanted,
            skip_special_tokens: request.decoding.skip_special_tokens,
            ..TextRules::default()
        },
    })
}

async fn encode(
    app: &App,
    served: &Served,
    request: &CompletionRequest,
    gap: Option<&Gap>,
) -> Result<Vec<Encoded>, ApiError> {
    let asked = request.decoding.must_fit();
    let limits = &served.limits;
    let mut encoded = Vec::with_capacity(request.prompts.len());
    let (add_special_tokens, filled) = (request.add_special_tokens, gap.is_some());
    for prompt in &request.prompts {
        let (mut ids, mut characters) = match prompt {
            PromptInput::Tokens(ids) => (ids.clone(), 0),
            PromptInput::Text(text) => {
                if request.truncation.is_none() {
                    prompt::check_bytes(&served.text, text, limits, Origin::Completion)?;
                }
                let (model, text) = (served.text.clone(), Arc::<str>::from(text.as_str()));
                let characters = text.chars().count();
                let work = move || match filled {
                    true => gap::encode(&model, &text, false),
                    false => prompt::encode_text(&model, &text, add_special_tokens),
                };
                (app.workers.run(work).await??, characters)
            }
        };
        if let Some(gap) = gap {
            ids = gap.prompt(&served.text, &ids, add_special_tokens);
            characters += gap.characters();
        }
        let ids = match request.truncation {
            Some(truncation) => truncation.cut(ids),
            None => ids,
        };
        encoded.push(prompt::fit(ids, characters, asked, limits, Origin::Completion)?);
    }
    Ok(encoded)
}

/// The texts of the prompts, when they are to be echoed.
#[must_use]
pub fn echo(served: &Served, request: &CompletionRequest, ready: &Ready) -> Vec<String> {
    if !request.echo {
        return Vec::new();
    }
    let texts = request
        .prompts
        .iter()
        .zip(&ready.prompts)
        .map(|(prompt, encoded)| match prompt {
            PromptInput::Text(text) if request.truncation.is_none() => text.clone(),
            _ => served.text.tokenizer.decode(&encoded.ids, true),
        });
    texts.collect()
}
