//! `POST /generate`, `/generate_stream` and `/`

mod convert;
mod shapes;
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
use crate::http::decoding::Decoding;
use crate::http::problem::Dialect;
use crate::http::sse::EventBody;
use crate::http::start::start;
use crate::http::timing;

/// What the three routes differ in.
#[derive(Clone, Copy, Debug)]
struct Route {
    /// Streams whatever the body says.
    streams: bool,
    /// Follows the body's `stream`, puts the prompt before the text, and answers with a list.
    compatible: bool,
}

/// What the document says of `POST /generate`.
pub fn describe() -> Operation {
    Operation::post::<types::Body>("/generate", "Go on from a text")
        .requires(&["inputs"])
        .answers::<shapes::Generated>()
}

/// What the document says of `POST /generate_stream`.
pub fn describe_stream() -> Operation {
    Operation::post::<types::Body>("/generate_stream", "Go on from a text, token by token")
        .requires(&["inputs"])
        .streams()
}

/// What the document says of `POST /`.
pub fn describe_compatible() -> Operation {
    Operation::post::<types::Body>("/", "Go on from a text; `stream` says in which form")
        .requires(&["inputs"])
        .answers::<[shapes::Generated; 1]>()
        .streams()
}

/// `POST /generate`
pub async fn route(State(app): State<Arc<App>>, request: Request) -> Response {
    let route = Route {
        streams: false,
        compatible: false,
    };
    answer::generation(&app, Dialect::Native, handle(&app, request, route)).await
}

/// `POST /generate_stream`
pub async fn route_stream(State(app): State<Arc<App>>, request: Request) -> Response {
    let route = Route {
        streams: true,
        compatible: false,
    };
    answer::generation(&app, Dialect::Native, handle(&app, request, route)).await
}

/// `POST /`
pub async fn route_compatible(State(app): State<Arc<App>>, request: Request) -> Response {
    let route = Route {
        streams: false,
        compatible: true,
    };
    answer::generation(&app, Dialect::Native, handle(&app, request, route)).await
}

async fn handle(app: &Arc<App>, request: Request, route: Route) -> Handled {
    let began = Instant::now();
    let (served, body) = answer::admit(app, request).await?;
    let validate = if route.streams {
        validate::validate_stream
    } else {
        validate::validate
    };
    let mut request = answer::checked(app, &served, body, validate).await?;
    draw_seeds(app, &mut request.decoding);
    let ready = convert::convert(app, &served, &request, began).await?;
    let mut running = start(app, &served, ready).await?;
    let answer = stream::Answer::new(&request, route.compatible);
    let follows = route.streams || (route.compatible && request.stream);
    let (mut response, headers) = if follows {
        let headers = timing::first(&running);
        let events = EventBody::open(running, stream::Events::new(answer)).await?;
        (answer::events(events), headers)
    } else {
        let body = whole::collect(&mut running, &answer, route.compatible).await?;
        (answer::json(body), timing::whole(&running))
    };
    response.headers_mut().extend(headers);
    request.ignored.put(response.headers_mut());
    Ok(response)
}

/// Drawn here, not behind, as the answer tells them: each sequence could be had alone by its own.
fn draw_seeds(app: &App, decoding: &mut Decoding) {
    if decoding.choices > 1 {
        decoding.choice_seeds = (0..decoding.choices).map(|_| app.ids.number()).collect();
    } else {
        decoding.seed.get_or_insert_with(|| app.ids.number());
    }
}
