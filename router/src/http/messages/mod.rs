//! `POST /v1/messages` and `POST /v1/messages/count_tokens`: Anthropic's interface.

mod blocks;
mod convert;
mod format;
mod stream;
mod types;
mod validate;

use std::sync::Arc;
use std::time::Instant;

use axum::extract::{Request, State};
use axum::response::Response;

use crate::http::answer::{self, Handled};
use crate::http::api::Operation;
use crate::http::app::App;
use crate::http::conversation::{self, Begun};
use crate::http::problem::Dialect;
use crate::http::sse::EventBody;
use crate::http::start::start;
use crate::http::timing;

/// What the document says of `POST /v1/messages`.
pub fn describe() -> Operation {
    Operation::post::<types::Body>("/v1/messages", "Answer a conversation, in Anthropic's interface")
        .requires(&["model", "messages", "max_tokens"])
        .answers::<serde_json::Value>()
        .streams()
}

/// What the document says of `POST /v1/messages/count_tokens`.
pub fn describe_count() -> Operation {
    Operation::post::<types::Body>(
        "/v1/messages/count_tokens",
        "How many tokens a conversation's prompt has",
    )
    .requires(&["model", "messages"])
    .answers::<serde_json::Value>()
}

/// The route of an answer.
pub async fn route(State(app): State<Arc<App>>, request: Request) -> Response {
    answer::generation(&app, Dialect::Anthropic, handle(&app, request)).await
}

async fn handle(app: &Arc<App>, request: Request) -> Handled {
    let began = Instant::now();
    let (served, body) = answer::admit(app, request).await?;
    let request = answer::checked(app, &served, body, validate::validate).await?;
    let streamed = request.stream;
    let stop_sequences = request.decoding.stop.strings.clone();
    let Begun {
        ready,
        reading,
        ignored,
    } = convert::convert(app, &served, request, began).await?;
    let told = stream::Told {
        id: format!("msg_{}", app.ids.text()),
        model: app.name.id().to_owned(),
        reading,
        stop_sequences,
    };
    let mut running = start(app, &served, ready).await?;
    let (mut response, headers) = if streamed {
        let headers = timing::first(&running);
        let events = EventBody::open(running, stream::Events::new(told)).await?;
        (answer::events(events), headers)
    } else {
        let answered = conversation::hear(&mut running, &told.reading).await?;
        let body = stream::whole(&told, answered, running.accounts())?;
        (answer::json(body), timing::whole(&running))
    };
    response.headers_mut().extend(headers);
    ignored.put(response.headers_mut());
    Ok(response)
}

/// The route of a count.
pub async fn route_count(State(app): State<Arc<App>>, request: Request) -> Response {
    match count(&app, request).await {
        Ok(response) => response,
        Err(error) => error.respond(Dialect::Anthropic),
    }
}

async fn count(app: &Arc<App>, request: Request) -> Handled {
    let (served, body) = answer::admit(app, request).await?;
    let dialogue = answer::checked(app, &served, body, validate::validate_count).await?;
    let conversation = convert::conversation(dialogue)?;
    let tokens = conversation::count_tokens(app, &served, conversation).await?;
    Ok(answer::json(
        format!("{{\"input_tokens\":{tokens}}}").into_bytes(),
    ))
}
