//! `POST /tokenize`, `/detokenize` and `/chat_tokenize`
//!
//! They need the tokenizer alone, so they answer while the weights load.

mod convert;
mod types;
mod validate;

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::response::Response;
use serde::Serialize;
use shardline_text::ModelText;

use crate::http::answer::{self, Handled};
use crate::http::api::Operation;
use crate::http::app::App;
use crate::http::error::ApiError;
use crate::http::problem::Dialect;

/// What the document says of `POST /tokenize`.
pub fn describe() -> Operation {
    Operation::post::<types::Body>("/tokenize", "The tokens of a text or a conversation")
        .answers::<types::Tokenized>()
}

/// What the document says of `POST /detokenize`.
pub fn describe_detokenize() -> Operation {
    Operation::post::<types::DetokenizeBody>("/detokenize", "The text of tokens")
        .requires(&["tokens"])
        .answers::<types::Detokenized>()
}

/// What the document says of `POST /chat_tokenize`.
pub fn describe_chat() -> Operation {
    Operation::post::<types::ChatBody>(
        "/chat_tokenize",
        "The prompt that a conversation makes, and its tokens",
    )
    .requires(&["messages"])
    .answers::<types::ChatTokenized>()
}

/// `POST /tokenize`
pub async fn route(State(app): State<Arc<App>>, request: Request) -> Response {
    respond(tokenize(&app, request).await)
}

/// `POST /detokenize`
pub async fn route_detokenize(State(app): State<Arc<App>>, request: Request) -> Response {
    respond(detokenize(&app, request).await)
}

/// `POST /chat_tokenize`
pub async fn route_chat(State(app): State<Arc<App>>, request: Request) -> Response {
    respond(chat_tokenize(&app, request).await)
}

fn respond(handled: Handled) -> Response {
    handled.unwrap_or_else(|error| error.respond(Dialect::Native))
}

async fn tokenize(app: &Arc<App>, request: Request) -> Handled {
    let model = model(app)?;
    let body = answer::read(app, request).await?;
    let request = validate::tokenize(&body, &app.name)?;
    let ignored = request.ignored.clone();
    let most = app.engine.info().map(|info| info.max_total_tokens);
    let mut response = work(app, move || convert::tokenize(&model, request, most)).await?;
    ignored.put(response.headers_mut());
    Ok(response)
}

async fn chat_tokenize(app: &Arc<App>, request: Request) -> Handled {
    let model = model(app)?;
    let body = answer::read(app, request).await?;
    let conversation = validate::chat_tokenize(&body, &app.name)?;
    work(app, move || convert::chat_tokenize(&model, conversation)).await
}

async fn detokenize(app: &Arc<App>, request: Request) -> Handled {
    let model = model(app)?;
    let body = answer::read(app, request).await?;
    // A model may have room for more tokens than its tokenizer knows; those have no text.
    let of_engine = app.engine.info().map_or(0, |info| info.vocab_size);
    let vocab_size = model.tokenizer.vocab_size().max(of_engine);
    let request = validate::detokenize(&body, &app.name, vocab_size)?;
    let ignored = request.ignored.clone();
    let decode = move || {
        Ok(types::Detokenized {
            prompt: model
                .tokenizer
                .decode(&request.tokens, request.skip_special_tokens),
        })
    };
    let mut response = work(app, decode).await?;
    ignored.put(response.headers_mut());
    Ok(response)
}

fn model(app: &App) -> Result<Arc<ModelText>, ApiError> {
    app.model.get().ok_or_else(|| ApiError::NotReady {
        state: app.engine.state(),
    })
}

/// Takes a place and a turn, works, and spells the answer.
async fn work<T: Serialize + Send + 'static>(
    app: &App,
    work: impl FnOnce() -> Result<T, ApiError> + Send + 'static,
) -> Handled {
    let _place = app.admission.enter(1)?;
    let spelled = move || {
        serde_json::to_vec(&work()?).map_err(|error| ApiError::Internal {
            cause: error.to_string(),
        })
    };
    Ok(answer::json(app.workers.run(spelled).await??))
}
