//! From a conversation to a prompt's token ids, and to how its answer is read.

use std::sync::Arc;

use shardline_text::ModelText;

use crate::http::conversation::described::text_of;
use crate::http::conversation::forced;
use crate::http::conversation::reading::Reading;
use crate::http::conversation::render::{encode, render};
use crate::http::conversation::speech::Speech;
use crate::http::conversation::validate::Conversation;
use crate::http::decoding::Limits;
use crate::http::error::ApiError;
use crate::http::structure::Structured;

/// A conversation that is ready to be answered.
#[derive(Clone, Debug)]
pub struct Prepared {
    /// The prompt.
    pub ids: Vec<u32>,
    /// Its characters.
    pub characters: usize,
    /// How answers are read.
    pub reading: Reading,
    /// What makes the model call, when it must.
    pub structure: Option<Structured>,
    /// Special tokens that the reading needs in the text.
    pub kept_special_tokens: Arc<[u32]>,
}

/// Renders and tokenises; with `limits` a text that cannot fit is refused early. For a worker: it takes time in proportion to the text.
///
/// # Errors
/// When the template refuses the messages, or the prompt cannot fit.
pub fn prepare(
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
