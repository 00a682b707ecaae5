//! Routes with their descriptions.

use std::sync::Arc;

use axum::Router;
use axum::middleware::from_fn_with_state;
use axum::routing::{MethodRouter, get};
use bytes::Bytes;

use crate::http::api::document::{Entry, document};
use crate::http::api::operation::Operation;
use crate::http::api::page;
use crate::http::app::App;
use crate::http::{answer, auth};

/// The table in the making.
#[derive(Debug, Default)]
pub struct Routes {
    entries: Vec<Entry>,
    open: Router<Arc<App>>,
    guarded: Router<Arc<App>>,
}

impl Routes {
    /// A route for everybody.
    #[must_use]
    pub fn open(mut self, operation: Operation, handler: MethodRouter<Arc<App>>) -> Self {
        self.open = self.open.route(operation.path, handler);
        self.entries.push((operation, false));
        self
    }

    /// A route for those who have the key.
    #[must_use]
    pub fn guarded(mut self, operation: Operation, handler: MethodRouter<Arc<App>>) -> Self {
        self.guarded = self.guarded.route(operation.path, handler);
        self.entries.push((operation, true));
        self
    }

    /// The guarded routes without their guard, for a route that hands on what it guards itself.
    pub fn inner(&self, app: &Arc<App>) -> Router {
        self.guarded.clone().with_state(app.clone())
    }

    /// All routes, with those of the document.
    pub fn finish(mut self, app: &Arc<App>) -> Router<Arc<App>> {
        let page = Operation::get("/docs", "This document, for people").text("text/html");
        self = self.guarded(page, get(page::route));
        let itself = Operation::get("/api-doc/openapi.json", "This document").answers::<serde_json::Value>();
        self.entries.push((itself.clone(), true));
        // Made once: nothing in it changes while the server runs.
        let text = Bytes::from(document(&self.entries).to_string());
        let serve = move || std::future::ready(answer::json(text.to_vec()));
        let guard = from_fn_with_state(app.clone(), auth::require_key);
        let guarded = self.guarded.route(itself.path, get(serve));
        self.open.merge(guarded.route_layer(guard))
    }
}
