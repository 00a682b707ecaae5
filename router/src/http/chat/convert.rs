//! From a checked request to a prompt that may run.

use std::time::Instant;

use crate::http::app::{App, Served};
use crate::http::chat::validate::ChatRequest;
use crate::http::conversation::{self, Begun, TooLong, Turn};
use crate::http::error::ApiError;
use crate::http::prompt::Origin;

/// See `conversation::ready`.
///
/// # Errors
/// When there is no room, the template refuses the messages, or the prompt does not fit.
pub async fn convert(
    app: &App,
    served: &Served,
    request: ChatRequest,
    began: Instant,
) -> Result<Begun, ApiError> {
    let turn = Turn {
        settle: request.form.logprobs.wanted,
        conversation: request.conversation,
        origin: Origin::Chat,
        too_long: request.truncation.map_or(TooLong::Refuse, TooLong::Cut),
        decoding: request.decoding,
        ignored: request.ignored,
    };
    conversation::ready(app, served, turn, began).await
}
