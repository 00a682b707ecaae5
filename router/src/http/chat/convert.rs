//! From a checked request to a prompt that may run.

use std::time::Instant;

use crate::http::app::{App, Served};
use crate::http::chat::validate::ChatRequest;
use crate::http::conversation::{self, Prepared, Reading};
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
) -> Result<(Ready, Reading), ApiError> {
    let place = app.admission.enter(request.decoding.choices)?;
    let mut rules = TextRules {
        continuing: request.conversation.continues(),
        keep_stop_token: request.decoding.stop.keep,
        settle: request.form.logprobs.wanted,
        skip_special_tokens: request.decoding.skip_special_tokens,
        ..TextRules::default()
    };
    let (model, speech, limits) = (served.text.clone(), served.speech.clone(), served.limits.clone());
    let (conversation, truncation) = (request.conversation, request.truncation);
    let work = move || {
        let limits = Some(&limits).filter(|_| truncation.is_none());
        let mut prepared = conversation::prepare(&model, &speech, limits, conversation)?;
        if let Some(truncation) = truncation {
            prepared.ids = truncation.cut(prepared.ids);
        }
        Ok::<_, ApiError>(prepared)
    };
    let prepared: Prepared = app.workers.run(work).await??;
    let asked = request.decoding.must_fit();
    let prompt = prompt::fit(
        prepared.ids,
        prepared.characters,
        asked,
        &served.limits,
        Origin::Chat,
    )?;
    let mut decoding = request.decoding;
    rules.kept_special_tokens = prepared.kept_special_tokens;
    decoding.structure = prepared.structure.or(decoding.structure);
    let ready = Ready {
        began,
        place,
        prompts: vec![prompt],
        rules,
        decoding,
    };
    Ok((ready, prepared.reading))
}
