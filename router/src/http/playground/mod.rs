//! `GET /ui`: a page to chat with the model and to see its tokens, their probabilities and the
//! engine at work. It speaks to the public routes alone, with the key that is typed into it.
//!
//! The files of `page/` are served as they are; there is nothing to build. A test keeps the list
//! below and the folder the same.

use axum::Router;
use axum::body::Body;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use http::{HeaderName, HeaderValue, StatusCode, header};

/// A file of the page.
struct File {
    /// Its route.
    path: &'static str,
    kind: &'static str,
    text: &'static str,
}

const HTML: &str = "text/html; charset=utf-8";
const STYLE: &str = "text/css; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";
const IMAGE: &str = "image/svg+xml";

macro_rules! files {
    ($($path:literal $kind:ident $name:literal),* $(,)?) => {
        [$(File { path: $path, kind: $kind, text: include_str!(concat!("page/", $name)) }),*]
    };
}

const FILES: [File; 11] = files![
    "/ui" HTML "index.html",
    "/ui/style.css" STYLE "style.css",
    "/ui/icon.svg" IMAGE "icon.svg",
    "/ui/main.js" SCRIPT "main.js",
    "/ui/dom.js" SCRIPT "dom.js",
    "/ui/api.js" SCRIPT "api.js",
    "/ui/conversation.js" SCRIPT "conversation.js",
    "/ui/answer.js" SCRIPT "answer.js",
    "/ui/tokens.js" SCRIPT "tokens.js",
    "/ui/inspector.js" SCRIPT "inspector.js",
    "/ui/engine.js" SCRIPT "engine.js",
];

/// The page loads and calls nothing but this server, is in nobody's frame, and turns no text into
/// markup.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; \
    connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; \
    require-trusted-types-for 'script'; trusted-types 'none'";

const HEADERS: [(HeaderName, &str); 5] = [
    (header::CONTENT_SECURITY_POLICY, POLICY),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::REFERRER_POLICY, "no-referrer"),
    (
        HeaderName::from_static("cross-origin-opener-policy"),
        "same-origin",
    ),
    (header::CACHE_CONTROL, "no-cache"),
];

/// The routes of the page; none when it is switched off.
pub fn router<S: Clone + Send + Sync + 'static>(on: bool) -> Router<S> {
    if !on {
        return Router::new();
    }
    let page = Router::new().route("/ui/", get(without_slash));
    FILES.iter().fold(page, |page, file| {
        page.route(file.path, get(move || std::future::ready(serve(file))))
    })
}

fn serve(file: &File) -> Response {
    let mut response = Body::from(file.text).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(file.kind));
    headers.extend(HEADERS.map(|(name, value)| (name, HeaderValue::from_static(value))));
    response
}

/// The page's own links begin at `/ui`. The way there is relative: a proxy may have put the server
/// under a path of its own.
async fn without_slash() -> Response {
    (StatusCode::PERMANENT_REDIRECT, [(header::LOCATION, "../ui")]).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_file_of_the_folder_is_served_and_no_other() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/src/http/playground/page");
        let there: BTreeSet<_> = std::fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        let served: BTreeSet<_> = FILES
            .iter()
            .map(|file| file.path.strip_prefix("/ui/").unwrap_or("index.html").to_owned())
            .collect();
        assert_eq!(there, served);
    }

    #[test]
    fn nothing_comes_from_elsewhere_and_no_text_becomes_markup() {
        for file in &FILES {
            let text = file.text.replace("http://www.w3.org/2000/svg", "");
            for word in [
                "//cdn",
                "http:",
                "https:",
                "innerHTML",
                "outerHTML",
                "insertAdjacentHTML",
                "document.write",
                "eval(",
                "localStorage",
                "sessionStorage",
                "document.cookie",
                "style=\"",
                "onclick=",
            ] {
                assert!(!text.contains(word), "{} has {word}", file.path);
            }
        }
    }
}
