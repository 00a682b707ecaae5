//! `POST /tokenize`

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::response::Response;
use serde::{Deserialize, Serialize};
use shardline_text::OffsetToken;

use crate::http::answer::{self, Handled};
use crate::http::app::App;
use crate::http::error::{ApiError, Rule};
use crate::http::problem::Dialect;

/// The body. Parameters of a generation may stand beside it and are not looked at.
#[derive(Deserialize)]
struct Fields {
    inputs: Option<String>,
    add_special_tokens: Option<bool>,
}

#[derive(Serialize)]
struct Token {
    id: u32,
    text: String,
    start: u32,
    stop: u32,
}

impl From<OffsetToken> for Token {
    fn from(token: OffsetToken) -> Self {
        Self {
            id: token.id,
            text: token.text,
            start: token.start,
            stop: token.stop,
        }
    }
}

/// Tokens of a text with the characters they stand for.
pub async fn route(State(app): State<Arc<App>>, request: Request) -> Response {
    match handle(&app, request).await {
        Ok(response) => response,
        Err(error) => error.respond(Dialect::Native),
    }
}

/// Needs the tokenizer alone, so it answers while the weights load.
async fn handle(app: &App, request: Request) -> Handled {
    let model = app.model.get().ok_or_else(|| ApiError::NotReady {
        state: app.engine.state(),
    })?;
    let place = app.admission.enter(1)?;
    let body = answer::read(app, request).await?;
    let fields: Fields = body.parse()?;
    let inputs = fields.inputs.ok_or_else(|| ApiError::missing("inputs"))?;
    if inputs.is_empty() {
        return Err(ApiError::invalid(
            "inputs",
            Rule::Missing,
            "`inputs` cannot be empty",
        ));
    }
    let add_special_tokens = fields.add_special_tokens.unwrap_or(true);
    let encode = move || {
        let tokens = model.tokenizer.encode_with_offsets(&inputs, add_special_tokens);
        tokens.map(|tokens| serde_json::to_vec(&tokens.into_iter().map(Token::from).collect::<Vec<_>>()))
    };
    let internal = || ApiError::Internal {
        cause: "the tokenizer failed on this text".to_owned(),
    };
    let text = app
        .workers
        .run(encode)
        .await?
        .map_err(|_| internal())?
        .map_err(|_| internal())?;
    drop(place);
    Ok(answer::json(text))
}
