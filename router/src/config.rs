//! Every setting of the router: flags and environment, checked once, all problems told together.
//!
//! What does not belong here: a default that depends on the model (the engine knows it), and any
//! decision. A setting is declared once, in `flags`; the rest of the router sees `RouterConfig`.

mod flags;

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::RawFd;
use std::path::PathBuf;
use std::time::Duration;

pub use flags::Flags;
use shardline_parse::{ReasoningFormat, ToolFormat};
use shardline_text::GenerationSource;
use tracing_subscriber::EnvFilter;

use crate::engine::EngineConfig;
use crate::http::TlsFiles;

/// Longest path of a Unix socket, in bytes.
const MAX_SOCKET_PATH: usize = 107;

/// Most steps that may be out at once.
const MAX_OVERLAP_DEPTH: u32 = 4;

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

/// How the model's answers are taken apart.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Parsers {
    /// `--tool-call-parser`
    pub tools: ParserChoice<ToolFormat>,
    /// `--reasoning-parser`
    pub reasoning: ParserChoice<ReasoningFormat>,
}

/// Which parser.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ParserChoice<T> {
    /// The one that the model's chat template gives away.
    #[default]
    Automatic,
    /// None.
    Off,
    /// This one.
    Named(T),
}

impl<T> ParserChoice<T> {
    fn new(name: Option<&str>, named: fn(&str) -> Option<T>) -> Option<Self> {
        match name {
            None | Some("" | "auto") => Some(Self::Automatic),
            Some("none") => Some(Self::Off),
            Some(name) => named(name).map(Self::Named),
        }
    }
}

/// A text that no log shows.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Wraps a text.
    #[must_use]
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text, for comparing.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// A setting that cannot be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{flag} {given}: {rule}")]
pub struct Problem {
    /// Name of the flag.
    pub flag: &'static str,
    /// The value given.
    pub given: String,
    /// What it has to be.
    pub rule: String,
}

/// Everything that is wrong with the settings.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct Problems(pub Vec<Problem>);

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.0.iter().enumerate() {
            let gap = if index == 0 { "" } else { "\n" };
            write!(f, "{gap}error: {problem}")?;
        }
        Ok(())
    }
}

/// Gathers problems while the settings are looked at.
#[derive(Default)]
struct Check(Vec<Problem>);

impl Check {
    fn require(&mut self, holds: bool, flag: &'static str, given: impl ToString, rule: impl Into<String>) {
        if !holds {
            self.0.push(Problem {
                flag,
                given: given.to_string(),
                rule: rule.into(),
            });
        }
    }
}

impl RouterConfig {
    /// Checks the flags against their rules and each other.
    ///
    /// # Errors
    /// All problems there are.
    pub fn new(flags: Flags) -> Result<Self, Problems> {
        let mut check = Check::default();
        check_limits(&flags, &mut check);
        check_surroundings(&flags, &mut check);
        check_parsers(&flags, &mut check);
        if !check.0.is_empty() {
            return Err(Problems(check.0));
        }
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
                api_key: flags.api_key.filter(|key| !key.is_empty()).map(Secret),
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
                parsers: Parsers {
                    tools: ParserChoice::new(flags.tool_call_parser.as_deref(), ToolFormat::named)
                        .unwrap_or_default(),
                    reasoning: ParserChoice::new(flags.reasoning_parser.as_deref(), ReasoningFormat::named)
                        .unwrap_or_default(),
                },
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

fn check_limits(flags: &Flags, check: &mut Check) {
    let positive = [
        ("--num-shard", Some(flags.num_shard)),
        ("--max-concurrent-requests", Some(flags.max_concurrent_requests)),
        ("--max-input-tokens", flags.max_input_tokens),
        ("--max-batch-prefill-tokens", flags.max_batch_prefill_tokens),
        ("--max-batch-total-tokens", flags.max_batch_total_tokens),
        ("--max-batch-size", flags.max_batch_size),
        ("--max-best-of", Some(flags.max_best_of)),
        ("--max-client-batch-size", Some(flags.max_client_batch_size)),
        ("--validation-workers", Some(flags.validation_workers)),
    ];
    for (flag, value) in positive {
        let value = value.unwrap_or(1);
        check.require(value > 0, flag, value, "it must be at least 1");
    }
    check.require(
        flags.payload_limit > 0,
        "--payload-limit",
        flags.payload_limit,
        "it must be at least 1 byte",
    );
    let depth = flags.overlap_depth;
    let rule = format!("it must be 1 to {MAX_OVERLAP_DEPTH}");
    check.require(
        (1..=MAX_OVERLAP_DEPTH).contains(&depth),
        "--overlap-depth",
        depth,
        rule,
    );
    check.require(
        flags.step_timeout > 0,
        "--step-timeout",
        flags.step_timeout,
        "it must be at least 1 second",
    );
    let Some(total) = flags.max_total_tokens else {
        return;
    };
    check.require(
        total >= 2,
        "--max-total-tokens",
        total,
        "it must be at least 2, for a prompt and an answer",
    );
    if let Some(input) = flags.max_input_tokens {
        let rule = format!("it must be less than --max-total-tokens, which is {total}");
        check.require(input < total, "--max-input-tokens", input, rule);
    }
    if let Some(batch) = flags.max_batch_total_tokens {
        let rule = format!("it must be at least --max-total-tokens, which is {total}");
        check.require(batch >= total, "--max-batch-total-tokens", batch, rule);
    }
}

fn check_parsers(flags: &Flags, check: &mut Check) {
    let tools = flags.tool_call_parser.as_deref();
    let names: Vec<&str> = ToolFormat::names().collect();
    check.require(
        ParserChoice::new(tools, ToolFormat::named).is_some(),
        "--tool-call-parser",
        tools.unwrap_or_default(),
        format!("it must be auto, none or one of {}", names.join(", ")),
    );
    let reasoning = flags.reasoning_parser.as_deref();
    let names: Vec<&str> = ReasoningFormat::names().collect();
    check.require(
        ParserChoice::new(reasoning, ReasoningFormat::named).is_some(),
        "--reasoning-parser",
        reasoning.unwrap_or_default(),
        format!("it must be auto, none or one of {}", names.join(", ")),
    );
}

fn check_surroundings(flags: &Flags, check: &mut Check) {
    if let Some(descriptor) = flags.control_fd {
        check.require(
            descriptor > 2,
            "--control-fd",
            descriptor,
            "it must be a pipe above the standard streams",
        );
    }
    check.require(
        !flags.model_id.is_empty(),
        "--model-id",
        "\"\"",
        "it must name the served model",
    );
    let prefix = flags.shard_uds_path.as_os_str();
    let longest = prefix.len() + format!("-{}", flags.num_shard).len();
    let rule = format!("the sockets' paths may have {MAX_SOCKET_PATH} bytes, these have {longest}");
    check.require(
        longest <= MAX_SOCKET_PATH,
        "--shard-uds-path",
        prefix.to_string_lossy(),
        rule,
    );
    if let GenerationSource::File(path) = generation(&flags.generation_config) {
        check.require(
            path.exists(),
            "--generation-config",
            &flags.generation_config,
            "it must be auto, none, vllm, or the path of a generation_config.json or of a folder with one",
        );
    }
    let level = &flags.log_level;
    check.require(
        EnvFilter::builder().parse(level).is_ok(),
        "--log-level",
        level,
        "it must be off, error, warn, info, debug, trace, or a list such as info,shardline_router=debug",
    );
    for origin in &flags.cors_allow_origin {
        check.require(
            is_origin(origin),
            "--cors-allow-origin",
            origin,
            "it must be `*` or a scheme with a host, such as https://app.example",
        );
    }
    let given = |path: &Option<PathBuf>| {
        path.as_ref()
            .map_or("(absent)".into(), |path| path.display().to_string())
    };
    check.require(
        flags.tls_cert.is_some() == flags.tls_key.is_some(),
        "--tls-key",
        given(&flags.tls_key),
        format!(
            "it goes together with --tls-cert, which is {}",
            given(&flags.tls_cert)
        ),
    );
    check.require(
        flags
            .prometheus_port
            .is_none_or(|port| port != flags.port || port == 0),
        "--prometheus-port",
        flags.prometheus_port.unwrap_or_default(),
        "it must be another port than --port",
    );
    if let Some(key) = &flags.api_key {
        // What a header cannot hold could never be matched.
        let visible = key.bytes().all(|byte| byte.is_ascii_graphic() || byte == b' ');
        check.require(
            visible,
            "--api-key",
            "(hidden)",
            "it must be made of visible ASCII characters",
        );
    }
}

/// What a browser may send as `Origin`.
fn is_origin(text: &str) -> bool {
    let host = text
        .split_once("://")
        .filter(|(scheme, _)| !scheme.is_empty())
        .map(|(_, host)| host);
    let visible =
        |host: &str| !host.is_empty() && host.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'/');
    text == "*" || host.is_some_and(visible)
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
mod tests {
    use super::*;
    use clap::Parser;

    fn config(words: &[&str]) -> Result<RouterConfig, Problems> {
        let needed = [
            "shardline-router",
            "--model-id",
            "org/model",
            "--shard-uds-path",
            "/run/shard",
        ];
        RouterConfig::new(Flags::try_parse_from(needed.iter().chain(words)).unwrap())
    }

    #[test]
    fn defaults_are_those_of_the_interface() {
        let config = config(&[]).unwrap();
        assert_eq!(config.address.to_string(), "0.0.0.0:3000");
        assert_eq!(config.grace, Duration::from_secs(90));
        assert_eq!(config.http.payload_limit, 2_000_000);
        assert_eq!(config.engine, EngineConfig::new("/run/shard", 1));
    }

    #[test]
    fn all_problems_are_told_together() {
        let words = [
            "--max-total-tokens=10",
            "--max-input-tokens=10",
            "--max-batch-total-tokens=9",
            "--overlap-depth=5",
            "--log-level=shout=loud",
            "--control-fd=1",
        ];
        let Problems(problems) = config(&words).unwrap_err();
        let flags: Vec<_> = problems.iter().map(|problem| problem.flag).collect();
        let expected = [
            "--overlap-depth",
            "--max-input-tokens",
            "--max-batch-total-tokens",
            "--control-fd",
            "--log-level",
        ];
        assert_eq!(flags, expected);
        assert_eq!(
            problems[1].to_string(),
            "--max-input-tokens 10: it must be less than --max-total-tokens, which is 10"
        );
    }

    #[test]
    fn a_socket_path_that_no_system_takes_is_refused() {
        let long = format!("--shard-uds-path=/{}", "x".repeat(110));
        let parsed = Flags::try_parse_from(["r", "--model-id", "m", &long]).unwrap();
        assert_eq!(
            RouterConfig::new(parsed).unwrap_err().0[0].flag,
            "--shard-uds-path"
        );
    }

    #[test]
    fn sampling_defaults_come_from_where_the_flag_says() {
        let here = env!("CARGO_MANIFEST_DIR");
        let path = format!("--generation-config={here}");
        for (words, expected) in [
            (&[][..], GenerationSource::Model),
            (&["--generation-config=auto"], GenerationSource::Model),
            (&["--generation-config=none"], GenerationSource::Neutral),
            (&["--generation-config=vllm"], GenerationSource::Neutral),
            (&[path.as_str()], GenerationSource::File(here.into())),
        ] {
            assert_eq!(config(words).unwrap().generation, expected);
        }
        let Problems(problems) = config(&["--generation-config=Auto"]).unwrap_err();
        assert_eq!(problems[0].flag, "--generation-config");
    }

    #[test]
    fn the_key_is_in_no_log() {
        let config = config(&["--api-key", "sesame"]).unwrap();
        assert!(!format!("{config:?}").contains("sesame"));
        assert_eq!(config.http.api_key.unwrap().reveal(), "sesame");
    }

    #[test]
    fn origins_and_certificates_are_checked() {
        for (words, flag) in [
            (
                ["--cors-allow-origin=app.example", "--port=1"],
                "--cors-allow-origin",
            ),
            (
                ["--cors-allow-origin=https://a/b", "--port=1"],
                "--cors-allow-origin",
            ),
            (["--tls-cert=a.pem", "--port=1"], "--tls-key"),
            (["--prometheus-port=1", "--port=1"], "--prometheus-port"),
        ] {
            let Problems(problems) = config(&words).unwrap_err();
            let flags: Vec<_> = problems.iter().map(|problem| problem.flag).collect();
            assert_eq!(flags, [flag]);
        }
        let both = config(&[
            "--cors-allow-origin=https://a",
            "--cors-allow-origin=*",
            "--tls-cert=a",
            "--tls-key=b",
        ]);
        assert!(both.unwrap().http.tls.is_some());
    }

    #[test]
    fn hosts_are_addresses_or_all() {
        for (given, expected) in [
            ("127.0.0.1", "127.0.0.1"),
            ("[::1]", "::1"),
            ("::", "::"),
            ("web", "0.0.0.0"),
        ] {
            assert_eq!(listen_address(given).to_string(), expected);
        }
    }
}
