//! What the HTTP side is told at start, and never again.

use std::fmt;
use std::time::Duration;

use subtle::ConstantTimeEq;

use crate::config::{Parsers, RouterConfig};

/// The HTTP side's part of the configuration, checked already.
#[derive(Clone, Debug)]
pub struct HttpSettings {
    /// `--model-id`, the name under which the model is served.
    pub model_id: String,
    /// `--revision`, or the commit it stands for.
    pub model_sha: Option<String>,
    /// `--api-key`; without one everybody is served.
    pub api_key: Option<ApiKey>,
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
    /// `--max-top-n-tokens` of a native request.
    pub max_top_n_tokens: u32,
    /// `--max-client-batch-size`, prompts of one completion request.
    pub max_client_batch_size: u32,
    /// `COMPUTE_TYPE`, the `x-compute-type` header; `None`: shards and device of the engine.
    pub compute_type: Option<String>,
    /// How the model's answers are taken apart.
    pub parsers: Parsers,
    /// Limits of the transport.
    pub transport: TransportLimits,
}

impl HttpSettings {
    /// The HTTP side's share of the router's settings.
    #[must_use]
    pub fn new(config: &RouterConfig) -> Self {
        let http = &config.http;
        Self {
            model_id: config.model_id.clone(),
            model_sha: config.revision.clone(),
            api_key: http.api_key.as_ref().and_then(|key| ApiKey::new(key.reveal())),
            cors_allow_origin: http.cors_allow_origin.clone(),
            payload_limit: http.payload_limit,
            max_concurrent_requests: config.engine.max_concurrent_requests,
            validation_workers: http.validation_workers,
            max_best_of: http.max_best_of,
            max_stop_sequences: http.max_stop_sequences,
            max_top_n_tokens: http.max_top_n_tokens,
            max_client_batch_size: http.max_client_batch_size,
            compute_type: http.compute_type.clone(),
            parsers: http.parsers,
            transport: TransportLimits::default(),
        }
    }
}

/// What a connection may cost before it has sent a request.
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
    /// Time for the header lines, and an idle connection's life.
    pub header_timeout: Duration,
    /// Time for the body.
    pub body_timeout: Duration,
}

impl Default for TransportLimits {
    fn default() -> Self {
        Self {
            connections: 16_384,
            headers: 100,
            header_bytes: 64 * 1024,
            http2_streams: 256,
            header_timeout: Duration::from_secs(75),
            body_timeout: Duration::from_secs(60),
        }
    }
}

/// A secret that no log shows and whose comparison takes the same time for every guess of a length.
#[derive(Clone)]
pub struct ApiKey(Box<str>);

impl ApiKey {
    /// The key; `None` when there is nothing in it.
    #[must_use]
    pub fn new(key: &str) -> Option<Self> {
        if key.is_empty() {
            None
        } else {
            Some(Self(key.into()))
        }
    }

    /// Whether a client's guess is the key.
    #[must_use]
    pub fn matches(&self, guess: &[u8]) -> bool {
        self.0.as_bytes().ct_eq(guess).into()
    }
}

impl fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ApiKey(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_keeps_its_case_and_its_secret() {
        let key = ApiKey::new("Sesame").unwrap();
        assert!(key.matches(b"Sesame"));
        assert!(!key.matches(b"sesame"));
        assert!(!key.matches(b""));
        assert_eq!(format!("{key:?}"), "ApiKey(…)");
        assert!(ApiKey::new("").is_none());
    }
}
