//! `POST /v1/completions`

mod convert;
mod gap;
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
use crate::http::openai::answer::Answer;
use crate::http::openai::shapes::Envelope;
use crate::http::problem::Dialect;
use crate::http::request_id::RequestId;
use crate::http::sse::EventBody;
use crate::http::start::start;
use crate::http::timing;

/// What the document says of the route.
pub fn describe() -> Operation {
    Operation::post::<types::Body>("/v1/completions", "Go on from one or several texts")
        .requires(&["prompt"])
        .answers::<stream::Completion>()
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
    let request = answer::checked(app, &served, body, validate::validate).await?;
    let ready = convert::convert(app, &served, &request, began).await?;
    let id = id.or(request.request_id.clone());
    let envelope = Envelope::new("cmpl", id.text(), app.name.id());
    let echoing = stream::Echoing {
        answer: Answer::new(envelope, request.form, &ready.decoding, &ready.prompts),
        echo: convert::echo(&served, &request, &ready),
        n: request.n,
    };
    let mut running = start(app, &served, ready).await?;
    let (mut response, headers) = if request.form.stream {
        let headers = timing::first(&running);
        let events = EventBody::open(running, stream::Chunks::new(echoing)).await?;
        (answer::events(events), headers)
    } else {
        let body = stream::collect(&mut running, &echoing).await?;
        (answer::json(body), timing::whole(&running))
    };
    response.headers_mut().extend(headers);
    request.ignored.put(response.headers_mut());
    id.put(response.headers_mut());
    Ok(response)
}
