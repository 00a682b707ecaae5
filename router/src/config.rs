//! Every setting of the router: flags and environment, checked once, all problems told together.
//!
//! What does not belong here: a default that depends on the model (the engine knows it), and any
//! decision. A setting is declared once, in `flags`; its rule is in `checks`; the rest of the router
//! sees `RouterConfig`.

mod checks;
mod flags;
mod parsers;
mod problems;
mod secret;

use std::net::{IpAddr, SocketAddr};
use std::os::fd::RawFd;
use std::path::PathBuf;
use std::time::Duration;

use shardline_text::GenerationSource;

pub use flags::Flags;
pub use parsers::{ParserChoice, Parsers};
pub use problems::{Problem, Problems};
pub use secret::Secret;

use crate::engine::EngineConfig;
use crate::http::TlsFiles;

/// The router's settings. Frozen: nothing changes them after the start.
#[derive(Clone, Debug)]
pub struct RouterConfig {
    /// Where to listen.
    pub address: SocketAddr,
    /// The name under which the model is served.
    pub model_id: String,
    /// `--revision`.
    pub revision: Option<String>,
    /// The model's files, when they are known at the start.
    pub model_path: Option<PathBuf>,
    /// Replaces the model's own tokenizer_config.json.
    pub tokenizer_config_path: Option<PathBuf>,
    /// Where sampling defaults come from.
    pub generation: GenerationSource,
    /// Reading end of the launcher's control pipe.
    pub control_fd: Option<RawFd>,
    /// Where numbers are told without a key, beside the main port.
    pub metrics_address: Option<SocketAddr>,
    /// The launcher's socket for `/health`.
    pub health_socket: Option<PathBuf>,
    /// How long running requests may go on after a signal.
    pub grace: Duration,
    /// How to log.
    pub log: LogConfig,
    /// The engine's share.
    pub engine: EngineConfig,
    /// The HTTP side's share.
    pub http: HttpConfig,
}

/// How to log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogConfig {
    /// A `tracing` filter.
    pub level: String,
    /// One JSON object a line.
    pub json: bool,
}

/// What the HTTP side needs beside names and engine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpConfig {
    /// Clients must send it; `None`: everybody is served.
    pub api_key: Option<Secret>,
    /// More keys with their limits.
    pub api_keys_file: Option<PathBuf>,
    /// Certificate and its key; `None`: no TLS.
    pub tls: Option<TlsFiles>,
    /// Origins of browsers; empty: any.
    pub cors_allow_origin: Vec<String>,
    /// Largest body in bytes.
    pub payload_limit: usize,
    /// Texts that are tokenised at once.
    pub validation_workers: usize,
    /// Largest `best_of` of the native routes.
    pub max_best_of: u32,
    /// Most stop strings.
    pub max_stop_sequences: u32,
    /// Whether structured output is served.
    pub grammar_support: bool,
    /// Largest `top_n_tokens`.
    pub max_top_n_tokens: u32,
    /// Most prompts of a completion request.
    pub max_client_batch_size: u32,
    /// The `x-compute-type` header.
    pub compute_type: Option<String>,
    /// How the model's answers are taken apart.
    pub parsers: Parsers,
    /// Whether there is a page at `/ui`.
    pub playground: bool,
}

impl RouterConfig {
    /// Checks the flags against their rules and each other.
    ///
    /// # Errors
    /// All problems there are.
    pub fn new(flags: Flags) -> Result<Self, Problems> {
        checks::check(&flags)?;
        let parsers = Parsers::of(&flags);
        Ok(Self {
            address: SocketAddr::new(listen_address(&flags.hostname), flags.port),
            metrics_address: flags
                .prometheus_port
                .map(|port| SocketAddr::new(listen_address(&flags.hostname), port)),
            health_socket: flags.health_uds_path.clone(),
            engine: engine(&flags),
            model_id: flags.model_id,
            revision: flags.revision,
            model_path: flags.model_path,
            tokenizer_config_path: flags.tokenizer_config_path,
            generation: generation(&flags.generation_config),
            control_fd: flags.control_fd,
            grace: Duration::from_secs(flags.graceful_termination_timeout),
            log: LogConfig {
                level: flags.log_level,
                json: flags.json_output,
            },
            http: HttpConfig {
                api_key: flags.api_key.filter(|key| !key.is_empty()).map(Secret::new),
                api_keys_file: flags.api_keys_file,
                tls: flags
                    .tls_cert
                    .zip(flags.tls_key)
                    .map(|(certificate, key)| TlsFiles { certificate, key }),
                cors_allow_origin: flags.cors_allow_origin,
                payload_limit: usize::try_from(flags.payload_limit).unwrap_or(usize::MAX),
                validation_workers: flags.validation_workers as usize,
                max_best_of: flags.max_best_of,
                max_stop_sequences: flags.max_stop_sequences,
                grammar_support: !flags.disable_grammar_support,
                max_top_n_tokens: flags.max_top_n_tokens,
                max_client_batch_size: flags.max_client_batch_size,
                compute_type: flags.compute_type,
                parsers,
                playground: !flags.disable_ui,
            },
        })
    }
}

fn engine(flags: &Flags) -> EngineConfig {
    EngineConfig {
        max_concurrent_requests: flags.max_concurrent_requests,
        max_input_tokens: flags.max_input_tokens,
        max_total_tokens: flags.max_total_tokens,
        max_batch_prefill_tokens: flags.max_batch_prefill_tokens,
        max_batch_total_tokens: flags.max_batch_total_tokens,
        max_batch_size: flags.max_batch_size,
        prefix_caching: flags.prefix_caching,
        overlap_depth: flags.overlap_depth,
        recovery_grace: Duration::from_secs(flags.shard_recovery_timeout),
        supervised: flags.control_fd.is_some(),
        step_timeout: Duration::from_secs(flags.step_timeout),
        ..EngineConfig::new(&flags.shard_uds_path, flags.num_shard)
    }
}

fn generation(given: &str) -> GenerationSource {
    match given {
        "auto" => GenerationSource::Model,
        "none" | "vllm" => GenerationSource::Neutral,
        path => GenerationSource::File(path.into()),
    }
}

/// The address that a host's name stands for; one that is no address means all of them.
fn listen_address(hostname: &str) -> IpAddr {
    let bare = hostname.trim_start_matches('[').trim_end_matches(']');
    match bare.parse() {
        Ok(address) => address,
        Err(_) if hostname == "localhost" => IpAddr::from([127, 0, 0, 1]),
        Err(_) => IpAddr::from([0, 0, 0, 0]),
    }
}

#[cfg(test)]
mod tests;
