//! `POST /v1/chat/completions`

mod convert;
mod stream;
mod types;
mod validate;
mod whole;

use std::sync::Arc;
use std::time::Instant;

use axum::extract::{Request, State};
use axum::response::Response;

use crate::http::answer::{self, Handled};
use crate::http::api::Operation;
use crate::http::app::App;
use crate::http::conversation::Begun;
use crate::http::openai::answer::Answer;
use crate::http::openai::shapes::Envelope;
use crate::http::problem::Dialect;
use crate::http::request_id::RequestId;
use crate::http::sse::EventBody;
use crate::http::start::start;
use crate::http::timing;

/// What the document says of the route.
pub fn describe() -> Operation {
    Operation::post::<types::Body>("/v1/chat/completions", "Answer a conversation")
        .requires(&["messages"])
        .answers::<whole::Completion>()
        .streams()
}

/// The route.
pub async fn route(State(app): State<Arc<App>>, request: Request) -> Response {
    answer::generation(&app, Dialect::OpenAi, handle(&app, request)).await
}

async fn handle(app: &Arc<App>, request: Request) -> Handled {
    let began = Instant::now();
    let id = RequestId::of(&request, &app.ids);
    let (served, body) = answer::admit(app, request).await?;
    let mut request = answer::checked(app, &served, body, validate::validate).await?;
    let (form, echo) = (request.form, std::mem::take(&mut request.echo));
    let id = id.or(request.request_id.take());
    let Begun {
        ready,
        reading,
        ignored,
    } = convert::convert(app, &served, request, began).await?;
    let envelope = Envelope::new("chatcmpl", id.text(), app.name.id());
    let answer = stream::Told {
        answer: Answer::new(envelope, form, &ready.decoding, &ready.prompts),
        echo,
        reading,
    };
    let mut running = start(app, &served, ready).await?;
    let (mut response, headers) = if form.stream {
        let headers = timing::first(&running);
        let events = EventBody::open(running, stream::Chunks::new(answer)).await?;
        (answer::events(events), headers)
    } else {
        let body = whole::collect(&mut running, &answer).await?;
        (answer::json(body), timing::whole(&running))
    };
    response.headers_mut().extend(headers);
    ignored.put(response.headers_mut());
    id.put(response.headers_mut());
    Ok(response)
}
