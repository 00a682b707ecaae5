//! Routes and methods that do not exist.

use axum::response::Response;
use http::{Method, Uri};

use crate::http::error::ApiError;
use crate::http::problem::Dialect;

/// No such route.
pub async fn route(uri: Uri) -> Response {
    let path = shorten(uri.path());
    ApiError::UnknownRoute { path }.respond(Dialect::of_path(uri.path()))
}

/// A route that takes another method. The `Allow` header comes from the table of routes.
pub async fn method(method: Method, uri: Uri) -> Response {
    let error = ApiError::Method {
        path: shorten(uri.path()),
        method: shorten(method.as_str()),
    };
    error.respond(Dialect::of_path(uri.path()))
}

/// Enough of what a client sent to recognise it.
fn shorten(text: &str) -> String {
    text.chars().take(200).collect()
}
