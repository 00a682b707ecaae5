//! The rules of the settings.

use std::path::PathBuf;

use shardline_text::GenerationSource;
use tracing_subscriber::EnvFilter;

use crate::config::problems::{Check, Problems};
use crate::config::{Flags, generation, parsers};

/// Longest path of a Unix socket, in bytes.
const MAX_SOCKET_PATH: usize = 107;

/// Most steps that may be out at once.
const MAX_OVERLAP_DEPTH: u32 = 4;

/// Checks the flags against their rules and each other.
///
/// # Errors
/// All problems there are.
pub(super) fn check(flags: &Flags) -> Result<(), Problems> {
    let mut check = Check::default();
    limits(flags, &mut check);
    surroundings(flags, &mut check);
    doors(flags, &mut check);
    parsers::check(flags, &mut check);
    check.finish()
}

/// The numbers, and how they go together.
fn limits(flags: &Flags, check: &mut Check) {
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

/// What is outside the process, and what others must be able to read.
fn surroundings(flags: &Flags, check: &mut Check) {
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
}

/// Who may come in, and how.
fn doors(flags: &Flags, check: &mut Check) {
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
