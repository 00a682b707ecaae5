//! `POST /v1/responses`: OpenAI's newer interface, without anything kept between requests.

mod convert;
mod input;
mod items;
mod shapes;
mod spoken;
mod stream;
mod types;
mod validate;
mod whole;

use std::sync::Arc;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use axum::extract::{Request, State};
use axum::response::Response;

use crate::http::answer::{self, Handled};
use crate::http::api::Operation;
use crate::http::app::App;
use crate::http::conversation::Begun;
use crate::http::problem::Dialect;
use crate::http::sse::EventBody;
use crate::http::start::start;
use crate::http::timing;

/// What the document says of the route.
pub fn describe() -> Operation {
    Operation::post::<types::Body>(
        "/v1/responses",
        "Answer a list of items, in OpenAI's newer interface",
    )
    .requires(&["input"])
    .answers::<serde_json::Value>()
    .streams()
}

/// The route.
pub async fn route(State(app): State<Arc<App>>, request: Request) -> Response {
    answer::generation(&app, Dialect::OpenAi, handle(&app, request)).await
}

async fn handle(app: &Arc<App>, request: Request) -> Handled {
    let began = Instant::now();
    let (served, body) = answer::admit(app, request).await?;
    let mut request = answer::checked(app, &served, body, validate::validate).await?;
    let (streamed, top) = (request.stream, request.top_logprobs);
    let created_at = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs());
    let envelope = shapes::Envelope {
        id: format!("resp_{}", app.ids.text()),
        created_at,
        model: app.name.id().to_owned(),
        echo: std::mem::take(&mut request.echo),
    };
    let Begun {
        ready,
        reading,
        ignored,
    } = convert::convert(app, &served, request, began).await?;
    let items = items::Items::new(&reading, top);
    let mut running = start(app, &served, ready).await?;
    let (mut response, headers) = if streamed {
        let headers = timing::first(&running);
        let events = EventBody::open(running, stream::Events::new(envelope, items)).await?;
        (answer::events(events), headers)
    } else {
        let body = whole::collect(&mut running, &envelope, items).await?;
        (answer::json(body), timing::whole(&running))
    };
    response.headers_mut().extend(headers);
    ignored.put(response.headers_mut());
    Ok(response)
}
