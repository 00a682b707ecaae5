//! What all requests share, and the table of routes. Nothing but wiring belongs here.

use std::sync::{Arc, OnceLock};

use axum::http::Method;
use axum::middleware::from_fn_with_state;
use axum::routing::{get, post};
use axum::{Extension, Router};
use shardline_text::ModelText;
use tower_http::cors::{AllowHeaders, AllowOrigin, CorsLayer, ExposeHeaders};

use crate::engine::EngineHandle;
use crate::http::admission::Admission;
use crate::http::api::Routes;
use crate::http::caller::Caller;
use crate::http::clouds::Inner;
use crate::http::conversation::Speech;
use crate::http::decoding::Limits;
use crate::http::error::ApiError;
use crate::http::ids::Ids;
use crate::http::intake::Intake;
use crate::http::metrics::Metrics;
use crate::http::model::{ModelSlot, ServedName};
use crate::http::settings::HttpSettings;
use crate::http::workers::Workers;
use crate::http::{
    chat, clouds, completions, fallback, generate, health, info, messages, models, playground, responses,
    scrape, status, tokenize, trace,
};

/// What all requests share.
#[derive(Debug)]
pub struct App {
    pub(super) settings: HttpSettings,
    pub(super) engine: EngineHandle,
    pub(super) model: ModelSlot,
    pub(super) name: ServedName,
    pub(super) admission: Admission,
    pub(super) workers: Workers,
    pub(super) metrics: Metrics,
    pub(super) ids: Ids,
    pub(super) intake: Intake,
    /// Known once the model is.
    speech: OnceLock<Arc<Speech>>,
}

/// The model, once it serves, and who asks for it.
#[derive(Clone, Debug)]
pub struct Served {
    /// Tokenizer, templates, defaults.
    pub text: Arc<ModelText>,
    /// How it marks calls and reasoning.
    pub speech: Arc<Speech>,
    /// For a request's numbers.
    pub limits: Limits,
    /// Who pays.
    pub caller: Caller,
}

impl App {
    /// Before the model is loaded: `model` is filled when its tokenizer is, and requests are
    /// refused until then.
    #[must_use]
    pub fn new(settings: HttpSettings, engine: EngineHandle, model: ModelSlot) -> Arc<Self> {
        Arc::new(Self {
            name: ServedName::new(&settings.model_id),
            admission: Admission::new(settings.max_concurrent_requests),
            workers: Workers::new(settings.validation_workers),
            metrics: Metrics::default(),
            ids: Ids::default(),
            speech: OnceLock::new(),
            intake: Intake::new(settings.payload_limit, settings.transport.body_timeout),
            settings,
            engine,
            model,
        })
    }

    /// The model, for nobody in particular.
    ///
    /// # Errors
    /// `NotReady` while it cannot take requests.
    pub(super) fn served(&self) -> Result<Served, ApiError> {
        match (self.engine.is_ready(), self.model.get(), self.engine.info()) {
            (true, Some(text), Some(info)) => {
                let limits = Limits::new(&self.settings, &info);
                let speech = self
                    .speech
                    .get_or_init(|| Arc::new(Speech::new(self.settings.parsers, &text)));
                Ok(Served {
                    speech: speech.clone(),
                    text,
                    limits,
                    caller: Caller::default(),
                })
            }
            _ => Err(ApiError::NotReady {
                state: self.engine.state(),
            }),
        }
    }

    /// The `x-compute-type` header: shards and device, unless it is set.
    pub(super) fn compute_type(&self) -> String {
        let of_engine = || {
            self.engine
                .info()
                .map(|info| format!("{}-{}", info.num_shard, info.device))
        };
        self.settings
            .compute_type
            .clone()
            .or_else(of_engine)
            .unwrap_or_default()
    }

    /// Numbers and health alone, for a port that only the operator reaches.
    pub fn metrics_router(self: &Arc<Self>) -> Router {
        self.health_router().merge(
            Router::new()
                .route("/metrics", get(scrape::route))
                .with_state(self.clone()),
        )
    }

    /// Health and the group of shards, for the launcher.
    pub fn launcher_router(self: &Arc<Self>) -> Router {
        self.health_router().merge(
            Router::new()
                .route("/group", get(health::group))
                .with_state(self.clone()),
        )
    }

    /// Health alone.
    pub fn health_router(self: &Arc<Self>) -> Router {
        Router::new()
            .route("/health", get(health::route))
            .with_state(self.clone())
    }

    /// The service of all routes. With a key needed, only health is told without one.
    pub fn router(self: &Arc<Self>) -> Router {
        table(self)
            .finish(self)
            .merge(playground::router(self.settings.playground))
            .method_not_allowed_fallback(fallback::method)
            .fallback(fallback::route)
            .layer(from_fn_with_state(self.clone(), trace::request_span))
            .layer(self.cors())
            .with_state(self.clone())
    }

    fn cors(&self) -> CorsLayer {
        let origins: Vec<_> = self
            .settings
            .cors_allow_origin
            .iter()
            .filter_map(|origin| origin.parse().ok())
            .collect();
        let any = self.settings.cors_allow_origin.is_empty()
            || self.settings.cors_allow_origin.iter().any(|origin| origin == "*");
        CorsLayer::new()
            .allow_methods([Method::GET, Method::POST])
            // A wildcard would leave out `Authorization`.
            .allow_headers(AllowHeaders::mirror_request())
            .expose_headers(ExposeHeaders::any())
            .allow_origin(if any {
                AllowOrigin::any()
            } else {
                AllowOrigin::list(origins)
            })
    }
}

/// Every route with its description.
fn table(app: &Arc<App>) -> Routes {
    let table = Routes::default()
        .open(health::describe("/"), get(health::route))
        .open(health::describe("/health"), get(health::route))
        .open(health::describe("/ping"), get(health::route))
        .guarded(info::describe(), get(info::route))
        .guarded(scrape::describe(), get(scrape::route))
        .guarded(chat::describe(), post(chat::route))
        .guarded(completions::describe(), post(completions::route))
        .guarded(messages::describe(), post(messages::route))
        .guarded(messages::describe_count(), post(messages::route_count))
        .guarded(responses::describe(), post(responses::route))
        .guarded(models::describe(), get(models::list))
        .guarded(models::describe_one(), get(models::one))
        .guarded(generate::describe(), post(generate::route))
        .guarded(generate::describe_stream(), post(generate::route_stream))
        .guarded(generate::describe_compatible(), post(generate::route_compatible))
        .guarded(tokenize::describe(), post(tokenize::route))
        .guarded(tokenize::describe_detokenize(), post(tokenize::route_detokenize))
        .guarded(tokenize::describe_chat(), post(tokenize::route_chat))
        .guarded(status::describe_version(), get(status::version))
        .guarded(status::describe_load(), get(status::load));
    // These hand on to the ones above.
    let inner = Extension(Inner(table.inner(app)));
    table
        .guarded(
            clouds::describe_invocations(),
            post(clouds::invocations).layer(inner.clone()),
        )
        .guarded(clouds::describe_vertex(), post(clouds::vertex).layer(inner))
}
