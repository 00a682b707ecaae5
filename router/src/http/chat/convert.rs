//! From a checked request to a prompt that may run.

use std::time::Instant;

use crate::http::app::{App, Served};
use crate::http::chat::validate::ChatRequest;
use crate::http::conversation;
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
        continuing: request.conversation.continues(),
        keep_stop_token: request.decoding.stop.keep,
        settle: request.form.logprobs.wanted,
        skip_special_tokens: request.decoding.skip_special_tokens,
    };
    let (model, limits, conversation) = (served.text.clone(), served.limits.clone(), request.conversation);
    let truncation = request.truncation;
    let work = move || {
        let rendered = conversation::render(&model, conversation)?;
        let limits = Some(&limits).filter(|_| truncation.is_none());
        let ids = conversation::encode(&model, &rendered, limits)?;
        let ids = match truncation {
            Some(truncation) => truncation.cut(ids),
            None => ids,
        };
        Ok::<_, ApiError>((ids, rendered.text.chars().count()))
    };
    let (ids, characters) = app.workers.run(work).await??;
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
