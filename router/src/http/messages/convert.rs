//! From a checked request to a prompt that may run.

use std::time::Instant;

use serde_json::Value;

use crate::http::app::{App, Served};
use crate::http::conversation::{self, Begun, Conversation, Opening, TooLong, Turn};
use crate::http::error::ApiError;
use crate::http::messages::blocks;
use crate::http::messages::validate::{Dialogue, MessagesRequest};
use crate::http::prompt::Origin;

/// See `conversation::ready`.
///
/// # Errors
/// When there is no room, the template refuses the messages, or the prompt does not fit.
pub async fn convert(
    app: &App,
    served: &Served,
    request: MessagesRequest,
    began: Instant,
) -> Result<Begun, ApiError> {
    let turn = Turn {
        conversation: conversation(request.dialogue)?,
        decoding: request.decoding,
        origin: Origin::Chat,
        too_long: TooLong::Refuse,
        settle: false,
        ignored: request.ignored,
    };
    conversation::ready(app, served, turn, began).await
}

/// The prompt; where the last message is the model's own, the answer goes on with it.
///
/// # Errors
/// When a call is forced into an answer that is continued.
pub fn conversation(dialogue: Dialogue) -> Result<Conversation, ApiError> {
    let opening = match dialogue.messages.last() {
        Some(message) if message.own => Opening::Continued,
        _ => Opening::Fresh,
    };
    let mut variables = dialogue.template_variables;
    if let Some(thinks) = dialogue.thinks {
        // Templates know the switch by one of these names.
        for switch in ["enable_thinking", "thinking"] {
            variables.entry(switch).or_insert(Value::Bool(thinks));
        }
    }
    let messages = blocks::for_template(dialogue.system, dialogue.messages);
    let conversation =
        Conversation::new(messages, dialogue.tools, variables, opening)?.within(dialogue.budget);
    Ok(if dialogue.tells_thinking {
        conversation
    } else {
        conversation.without_reasoning()
    })
}
