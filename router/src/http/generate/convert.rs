//! From a checked request to a prompt that may run.

use std::time::Instant;

use crate::http::app::{App, Served};
use crate::http::error::ApiError;
use crate::http::generate::validate::GenerateRequest;
use crate::http::prompt::{self, Origin};
use crate::http::start::{Ready, TextRules};

/// Of a larger `max_new_tokens` only so many must fit: clients ask for very many to mean "all".
const MUST_FIT: u32 = 1024;

/// Takes a place, then tokenises.
///
/// # Errors
/// When there is no room, or the prompt does not fit.
pub async fn convert(
    app: &App,
    served: &Served,
    request: &GenerateRequest,
    began: Instant,
) -> Result<Ready, ApiError> {
    let place = app.admission.enter(request.decoding.choices)?;
    if request.truncate.is_none() {
        prompt::check_bytes(&served.text, &request.inputs, &served.limits, Origin::Native)?;
    }
    let (model, text) = (served.text.clone(), request.inputs.clone());
    let characters = text.chars().count();
    let ids = app
        .workers
        .run(move || prompt::encode_text(&model, &text, true))
        .await??;
    let ids = match request.truncate {
        Some(truncation) => truncation.cut(ids),
        None => ids,
    };
    let asked = request.decoding.must_fit().map(|asked| asked.min(MUST_FIT));
    Ok(Ready {
        began,
        place,
        prompts: vec![prompt::fit(
            ids,
            characters,
            asked,
            &served.limits,
            Origin::Native,
        )?],
        decoding: request.decoding.clone(),
        rules: TextRules {
            continuing: true,
            keep_stop_token: true,
            settle: false,
            skip_special_tokens: true,
            ..TextRules::default()
        },
    })
}
