//! What the HTTP side is told at start, and never again.

use std::time::Duration;

use crate::access::Keys;
use crate::config::{Parsers, RouterConfig};

/// The HTTP side's part of the configuration, checked already.
#[derive(Clone, Debug)]
pub struct HttpSettings {
    /// `--model-id`, the name under which the model is served.
    pub model_id: String,
    /// `--revision`, or the commit it stands for.
    pub model_sha: Option<String>,
    /// Who may ask.
    pub keys: Keys,
    /// `--cors-allow-origin`; empty: any.
    pub cors_allow_origin: Vec<String>,
    /// `--payload-limit`, bytes of a body.
    pub payload_limit: usize,
    /// `--max-concurrent-requests`, sequences that run and wait.
    pub max_concurrent_requests: u32,
    /// `--validation-workers`, texts that are tokenised at once.
    pub validation_workers: usize,
    /// `--max-best-of` of a native request.
    pub max_best_of: u32,
    /// `--max-stop-sequences` of a request.
    pub max_stop_sequences: u32,
    /// Whether structured output is served; not with `--disable-grammar-support`.
    pub grammar_support: bool,
    /// `--max-top-n-tokens` of a native request.
    pub max_top_n_tokens: u32,
    /// `--max-client-batch-size`, prompts of one completion request.
    pub max_client_batch_size: u32,
    /// `COMPUTE_TYPE`, the `x-compute-type` header; `None`: shards and device of the engine.
    pub compute_type: Option<String>,
    /// How the model's answers are taken apart.
    pub parsers: Parsers,
    /// Whether there is a page at `/ui`; `--disable-ui` turns it off.
    pub playground: bool,
    /// Limits of the transport.
    pub transport: TransportLimits,
}

impl HttpSettings {
    /// The HTTP side's share of the router's settings.
    #[must_use]
    pub fn new(config: &RouterConfig, keys: Keys) -> Self {
        let http = &config.http;
        Self {
            model_id: config.model_id.clone(),
            model_sha: config.revision.clone(),
            keys,
            cors_allow_origin: http.cors_allow_origin.clone(),
            payload_limit: http.payload_limit,
            max_concurrent_requests: config.engine.max_concurrent_requests,
            validation_workers: http.validation_workers,
            max_best_of: http.max_best_of,
            max_stop_sequences: http.max_stop_sequences,
            grammar_support: http.grammar_support,
            max_top_n_tokens: http.max_top_n_tokens,
            max_client_batch_size: http.max_client_batch_size,
            compute_type: http.compute_type.clone(),
            parsers: http.parsers,
            playground: http.playground,
            transport: TransportLimits::default(),
        }
    }
}

/// What a connection may cost.
#[derive(Clone, Copy, Debug)]
pub struct TransportLimits {
    /// Connections at once.
    pub connections: usize,
    /// Header lines of a request.
    pub headers: usize,
    /// Bytes of all header lines.
    pub header_bytes: usize,
    /// Requests at once on one HTTP/2 connection.
    pub http2_streams: u32,
    /// Until a new connection has sent the header lines of its first request.
    pub header_timeout: Duration,
    /// The same for each further one, idleness included.
    pub idle_timeout: Duration,
    /// Until all of a body is there.
    pub body_timeout: Duration,
    /// How long a client may read nothing of an answer.
    pub stall_timeout: Duration,
}

/// Files that are no connections: shards, logs, the model's own.
const OTHER_FILES: usize = 128;

impl TransportLimits {
    /// The usual limits, with no more connections than a process of so many open files can have.
    #[must_use]
    pub fn within(open_files: usize) -> Self {
        let usual = Self::default();
        Self {
            connections: usual
                .connections
                .min(open_files.saturating_sub(OTHER_FILES))
                .max(1),
            ..usual
        }
    }
}

impl Default for TransportLimits {
    fn default() -> Self {
        Self {
            connections: 16_384,
            headers: 100,
            header_bytes: 64 * 1024,
            http2_streams: 256,
            header_timeout: Duration::from_secs(15),
            idle_timeout: Duration::from_secs(75),
            body_timeout: Duration::from_secs(60),
            stall_timeout: Duration::from_secs(60),
        }
    }
}
