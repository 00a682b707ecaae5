//! From a checked request to a prompt that may run.

use std::time::Instant;

use crate::http::app::{App, Served};
use crate::http::conversation::{self, Begun, Conversation, Opening, TooLong, Turn};
use crate::http::error::ApiError;
use crate::http::prompt::Origin;
use crate::http::responses::input;
use crate::http::responses::validate::ResponsesRequest;

/// See `conversation::ready`.
///
/// # Errors
/// When there is no room, the template refuses the messages, or the prompt does not fit.
pub async fn convert(
    app: &App,
    served: &Served,
    request: ResponsesRequest,
    began: Instant,
) -> Result<Begun, ApiError> {
    let messages = input::for_template(request.instructions, request.items);
    let conversation = Conversation::new(
        messages,
        request.tools,
        request.template_variables,
        Opening::Fresh,
    )?
    .within(request.budget);
    let turn = Turn {
        conversation,
        decoding: request.decoding,
        origin: Origin::Responses,
        too_long: if request.shortened {
            TooLong::Shorten
        } else {
            TooLong::Refuse
        },
        settle: request.top_logprobs.is_some(),
        ignored: request.ignored,
    };
    conversation::ready(app, served, turn, began).await
}
