//! `POST /v1/chat/completions`

mod convert;
mod stream;
mod types;
mod validate;

use std::sync::Arc;
use std::time::Instant;

use axum::extract::{Request, State};
use axum::response::Response;

use crate::http::answer::{self, Handled};
use crate::http::app::App;
use crate::http::openai::answer::Answer;
use crate::http::openai::shapes::Envelope;
use crate::http::problem::Dialect;
use crate::http::sse::EventBody;
use crate::http::start::start;

/// The route.
pub async fn route(State(app): State<Arc<App>>, request: Request) -> Response {
    answer::generation(&app, Dialect::OpenAi, handle(&app, request)).await
}

async fn handle(app: &Arc<App>, request: Request) -> Handled {
    let began = Instant::now();
    let (served, body) = answer::admit(app, request).await?;
    let mut request = answer::checked(app, &served, body, validate::validate).await?;
    let (form, echo) = (request.form, std::mem::take(&mut request.echo));
    let ready = convert::convert(app, &served, request, began).await?;
    let envelope = Envelope::new("chatcmpl", &app.ids.text(), app.name.id());
    let answer = stream::Echoing {
        answer: Answer::new(envelope, form, &ready.decoding, &ready.prompts),
        echo,
    };
    let running = start(app, &served, ready).await?;
    if form.stream {
        let events = EventBody::open(running, stream::Chunks::new(answer)).await?;
        Ok(answer::events(events))
    } else {
        Ok(answer::json(stream::collect(running, &answer).await?))
    }
}
