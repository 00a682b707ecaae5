//! The answer of `POST /v1/responses` in one piece.

use crate::http::error::ApiError;
use crate::http::responses::items::{Items, Sources};
use crate::http::responses::shapes::{Envelope, Progress};
use crate::http::running::Running;
use crate::session::End;

/// Runs the request to its end and spells what it came to.
///
/// # Errors
/// When it fails: a part of an answer is none.
pub async fn collect(
    running: &mut Running,
    envelope: &Envelope,
    mut items: Items,
) -> Result<Vec<u8>, ApiError> {
    while let Some((_, event)) = running.next().await {
        match items.take(event, Sources::of(running), &mut |_, _, _| {}) {
            None => {}
            Some(End::Failed(finish)) => return Err(running.fail(&finish)),
            Some(end) => return spell(running, envelope, items, &end),
        }
    }
    Err(ApiError::Incomplete {
        cause: "it ended before its end".to_owned(),
    })
}

fn spell(running: &Running, envelope: &Envelope, mut items: Items, end: &End) -> Result<Vec<u8>, ApiError> {
    let (output, reasoning_tokens) = items.done();
    let progress = Progress::Over {
        end,
        accounts: running.accounts(),
        reasoning_tokens,
    };
    serde_json::to_vec(&envelope.response(output, progress)).map_err(|error| ApiError::Internal {
        cause: error.to_string(),
    })
}
