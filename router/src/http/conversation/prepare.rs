//! From a conversation to a prompt that may run, and to how its answer is read.

use std::sync::Arc;
use std::time::Instant;

use shardline_text::ModelText;

use crate::http::app::{App, Served};
use crate::http::conversation::described::text_of;
use crate::http::conversation::forced;
use crate::http::conversation::reading::Reading;
use crate::http::conversation::render::{encode, render};
use crate::http::conversation::speech::Speech;
use crate::http::conversation::validate::Conversation;
use crate::http::decoding::{Decoding, Limits};
use crate::http::error::ApiError;
use crate::http::prompt::{self, Origin, Truncation};
use crate::http::start::{Ready, TextRules};
use crate::http::structure::Structured;

/// A conversation, and how it is to be answered.
#[derive(Clone, Debug)]
pub struct Turn {
    /// The prompt.
    pub conversation: Conversation,
    /// How tokens are drawn.
    pub decoding: Decoding,
    /// How a prompt that is too long is cut.
    pub truncation: Option<Truncation>,
    /// Whether tokens are told together with the text they stand for.
    pub settle: bool,
}

/// Takes a place, then renders and tokenises the messages.
///
/// # Errors
/// When there is no room, the template refuses the messages, or the prompt does not fit.
pub async fn ready(
    app: &App,
    served: &Served,
    turn: Turn,
    began: Instant,
) -> Result<(Ready, Reading), ApiError> {
    let place = app.admission.enter(turn.decoding.choices)?;
    let continuing = turn.conversation.continues();
    let prepared = prepare(app, served, turn.conversation, turn.truncation).await?;
    let asked = turn.decoding.must_fit();
    let (ids, characters) = (prepared.ids, prepared.characters);
    let prompt = prompt::fit(ids, characters, asked, &served.limits, Origin::Chat)?;
    let mut decoding = turn.decoding;
    decoding.structure = prepared.structure.or(decoding.structure);
    let ready = Ready {
        began,
        place,
        prompts: vec![prompt],
        rules: TextRules {
            continuing,
            keep_stop_token: decoding.stop.keep,
            settle: turn.settle,
            skip_special_tokens: decoding.skip_special_tokens,
            kept_special_tokens: prepared.kept_special_tokens,
        },
        decoding,
    };
    Ok((ready, prepared.reading))
}

/// How many tokens the prompt of a conversation has.
///
/// # Errors
/// When the template refuses the messages, or the prompt cannot fit.
pub async fn count_tokens(app: &App, served: &Served, conversation: Conversation) -> Result<usize, ApiError> {
    let _place = app.admission.enter(1)?;
    let prepared = prepare(app, served, conversation, None).await?;
    Ok(prepared.ids.len())
}

async fn prepare(
    app: &App,
    served: &Served,
    conversation: Conversation,
    truncation: Option<Truncation>,
) -> Result<Prepared, ApiError> {
    let (model, speech, limits) = (served.text.clone(), served.speech.clone(), served.limits.clone());
    let work = move || {
        let limits = Some(&limits).filter(|_| truncation.is_none());
        let mut prepared = render_and_encode(&model, &speech, limits, conversation)?;
        if let Some(truncation) = truncation {
            prepared.ids = truncation.cut(prepared.ids);
        }
        Ok(prepared)
    };
    app.workers.run(work).await?
}

/// A conversation that is ready to be answered.
#[derive(Clone, Debug)]
struct Prepared {
    /// The prompt.
    ids: Vec<u32>,
    /// Its characters.
    characters: usize,
    /// How answers are read.
    reading: Reading,
    /// What makes the model call, when it must.
    structure: Option<Structured>,
    /// Special tokens that the reading needs in the text.
    kept_special_tokens: Arc<[u32]>,
}

/// Renders and tokenises; with `limits` a text that cannot fit is refused early. For a worker: it takes time in proportion to the text.
///
/// # Errors
/// When the template refuses the messages, or the prompt cannot fit.
fn render_and_encode(
    model: &ModelText,
    speech: &Speech,
    limits: Option<&Limits>,
    conversation: Conversation,
) -> Result<Prepared, ApiError> {
    let tools = conversation.tools.clone();
    let tell_reasoning = conversation.include_reasoning;
    let continued = conversation
        .continue_final_message
        .then(|| conversation.messages.last().map(text_of).unwrap_or_default());
    let rendered = render(model, conversation)?;
    let ids = encode(model, &rendered, limits)?;
    let reasoning = speech.reasoning.map(|format| {
        let begin = match &continued {
            Some(text) => format.begin_within(text),
            None => format.begin(&rendered.text),
        };
        (format, begin)
    });
    let key = if speech.tools.name() == "llama3_json" {
        "parameters"
    } else {
        "arguments"
    };
    let structure = tools
        .as_ref()
        .and_then(|tools| forced::structure(tools, reasoning, key));
    let called = tools.as_ref().is_some_and(|tools| !tools.told().is_empty());
    Ok(Prepared {
        ids,
        characters: rendered.text.chars().count(),
        reading: Reading::new(speech, tools.as_ref(), reasoning, tell_reasoning),
        structure,
        kept_special_tokens: if called {
            speech.call_tokens.clone()
        } else {
            speech.reasoning_tokens.clone()
        },
    })
}
