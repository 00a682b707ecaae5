//! `GET /info`

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use schemars::JsonSchema;
use serde::{Serialize, Serializer};

use crate::http::answer;
use crate::http::api::Operation;
use crate::http::app::App;

#[derive(Serialize, JsonSchema)]
struct Info<'a> {
    model_id: &'a str,
    model_sha: Option<&'a str>,
    model_pipeline_tag: Option<&'static str>,
    max_concurrent_requests: u32,
    max_best_of: u32,
    max_stop_sequences: u32,
    /// Null, like all that follows from the model, while it loads.
    max_input_tokens: Option<u32>,
    max_total_tokens: Option<u32>,
    validation_workers: usize,
    max_client_batch_size: u32,
    router: &'static str,
    version: &'static str,
    sha: Option<&'static str>,
    docker_label: Option<&'static str>,
    model_type: Option<&'a str>,
    model_dtype: Option<&'a str>,
    model_device_type: Option<&'a str>,
    attention_backend: Option<&'a str>,
    num_shard: Option<u32>,
    max_batch_prefill_tokens: Option<u32>,
    max_batch_total_tokens: Option<u32>,
    block_size: Option<u32>,
    /// Seconds of each phase of the shard's start.
    #[schemars(with = "Option<BTreeMap<String, f64>>")]
    start_s: Option<Phases<'a>>,
}

struct Phases<'a>(&'a [(String, u32)]);

impl Serialize for Phases<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let phases = self.0.iter().map(|(name, ms)| (name, f64::from(*ms) / 1e3));
        serializer.collect_map(phases)
    }
}

/// What the document says of the route.
pub fn describe() -> Operation {
    Operation::get("/info", "What is served and within which limits").answers::<Info>()
}

/// What is served and within which limits. No secrets, no paths of the machine.
pub async fn route(State(app): State<Arc<App>>) -> Response {
    let settings = &app.settings;
    let engine = app.engine.info();
    let engine = engine.as_deref();
    let info = Info {
        model_id: &settings.model_id,
        model_sha: settings.model_sha.as_deref(),
        model_pipeline_tag: Some("text-generation"),
        max_concurrent_requests: settings.max_concurrent_requests,
        max_best_of: settings.max_best_of,
        max_stop_sequences: settings.max_stop_sequences,
        max_input_tokens: engine.map(|info| info.max_input_tokens),
        max_total_tokens: engine.map(|info| info.max_total_tokens),
        validation_workers: settings.validation_workers,
        max_client_batch_size: settings.max_client_batch_size,
        router: "shardline-router",
        version: env!("CARGO_PKG_VERSION"),
        sha: None,
        docker_label: None,
        model_type: engine.map(|info| info.model_type.as_str()),
        model_dtype: engine.map(|info| info.dtype.as_str()),
        model_device_type: engine.map(|info| info.device.as_str()),
        attention_backend: engine.map(|info| info.attention_backend.as_str()),
        num_shard: engine.map(|info| info.num_shard),
        max_batch_prefill_tokens: engine.map(|info| info.max_step_tokens),
        max_batch_total_tokens: engine.map(|info| info.kv_cache_tokens),
        block_size: engine.map(|info| info.block_size),
        start_s: engine.map(|info| Phases(&info.start_ms)),
    };
    answer::json(serde_json::to_vec(&info).unwrap_or_default())
}
