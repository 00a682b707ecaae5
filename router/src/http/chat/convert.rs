//! From a checked request to a prompt that may run.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use serde_json::Value;
use shardline_text::{ChatRequest as Template, ModelText, TemplateError};

use crate::http::app::{App, Served};
use crate::http::chat::validate::ChatRequest;
use crate::http::decoding::Limits;
use crate::http::error::ApiError;
use crate::http::prompt::{self, Origin};
use crate::http::start::{Ready, TextRules};

/// Takes a place, then renders and tokenises the messages.
///
/// # Errors
/// When there is no room, the template refuses the messages, or the prompt does not fit.
pub async fn convert(
    app: &App,
    served: &Served,
    request: ChatRequest,
    began: Instant,
) -> Result<Ready, ApiError> {
    let place = app.admission.enter(request.decoding.choices)?;
    let rules = TextRules {
        continuing: request.continue_final_message,
        keep_stop_token: request.decoding.stop.keep,
        settle: request.decoding.sampling.logprobs,
    };
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs());
    let template = Template {
        messages: request.messages.into_iter().map(Value::Object).collect(),
        add_generation_prompt: request.add_generation_prompt,
        continue_final_message: request.continue_final_message,
        template_kwargs: request.template_variables,
        now_unix_s: i64::try_from(now).unwrap_or(i64::MAX),
        ..Template::default()
    };
    let (model, limits) = (served.text.clone(), served.limits.clone());
    let (ids, characters) = app
        .workers
        .run(move || encode(&model, &template, &limits))
        .await??;
    let asked = request.decoding.must_fit();
    let prompt = prompt::fit(ids, characters, asked, &served.limits, Origin::Chat)?;
    Ok(Ready {
        began,
        place,
        prompts: vec![prompt],
        decoding: request.decoding,
        rules,
    })
}

/// Token ids and characters of the prompt.
fn encode(model: &ModelText, template: &Template, limits: &Limits) -> Result<(Vec<u32>, usize), ApiError> {
    let rendered = model.render_chat(template).map_err(|error| refused(&error))?;
    let text = rendered.text();
    prompt::check_bytes(model, &text, limits, Origin::Chat)?;
    let ids = model
        .encode_chat(&rendered)
        .map_err(|error| prompt::not_encoded(&error))?;
    Ok((ids, text.chars().count()))
}

fn refused(error: &TemplateError) -> ApiError {
    ApiError::Template {
        message: error.to_string(),
    }
}
