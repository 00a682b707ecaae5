//! The launcher's settings, checked as a whole: what [`crate::plan`] builds on.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use crate::devices::Devices;
use crate::flags::{Flags, listen_address};
use crate::model::ModelSource;
use crate::parse::Parsed;
use crate::problem::{Problem, Problems};

/// Longest path of a socket, in bytes: `sun_path` holds 108 with its closing zero.
pub const SOCKET_PATH_LIMIT: usize = 107;

/// Checked settings; made by [`Settings::check`] only.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The flags they came from.
    pub flags: Flags,
    /// `--model-id` as given.
    pub model_id: String,
    /// What it means.
    pub model: ModelSource,
    /// Shards in the group, at least 1.
    pub num_shard: u32,
    /// Where the router listens.
    pub address: IpAddr,
    /// Most prompt tokens of a request, by either name.
    pub max_input_tokens: Option<u32>,
    /// How long running requests get when the server ends.
    pub grace: Duration,
    /// What the router gets unchanged.
    pub router_arguments: Vec<std::ffi::OsString>,
    /// What the shards get unchanged.
    pub shard_arguments: Vec<std::ffi::OsString>,
    /// Environment names no child may see.
    pub spent_environment: Vec<std::ffi::OsString>,
    /// What a person should know before the start, a sentence each.
    pub notes: Vec<Note>,
}

/// A sentence logged at the start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Note {
    /// As it should be.
    Info(String),
    /// Not quite as asked.
    Warning(String),
}

impl Settings {
    /// Checks the flags against each other and the machine; reports everything that is wrong.
    pub fn check(parsed: Parsed, devices: &Devices) -> Result<Self, Problems> {
        let flags = parsed.flags;
        let mut problems = parsed.problems;
        let mut note = |problem| problems.push(problem);
        let model = keep(model(&flags), &mut note);
        let num_shard = keep(
            shard_count(flags.launch.sharded, flags.launch.num_shard, devices),
            &mut note,
        );
        let max_input_tokens = keep(input_limit(&flags), &mut note);
        limits(&flags, max_input_tokens.flatten()).for_each(&mut note);
        keep(socket_path(&flags, num_shard.unwrap_or(1)), &mut note);
        keep(log_level(&flags.launch.log_level), &mut note);
        let (address, _) = listen_address(&flags.launch.hostname);
        let notes = notes(&flags, &parsed.moot, model.as_ref().map(|(_, model)| model));
        match (model, num_shard, max_input_tokens) {
            (Some((model_id, model)), Some(num_shard), Some(max_input_tokens)) if problems.is_empty() => {
                Ok(Self {
                    model_id,
                    model,
                    num_shard,
                    address,
                    max_input_tokens,
                    grace: Duration::from_secs(flags.router.graceful_termination_timeout),
                    router_arguments: parsed.router_arguments,
                    shard_arguments: parsed.shard_arguments,
                    spent_environment: parsed.spent_environment,
                    notes,
                    flags,
                })
            }
            _ => Err(Problems(problems)),
        }
    }

    /// `--shard-uds-path`, made absolute.
    pub fn socket_prefix(&self) -> Option<PathBuf> {
        let path = self.flags.launch.shard_uds_path.as_deref()?;
        Some(std::path::absolute(path).unwrap_or_else(|_| path.to_owned()))
    }
}

fn keep<T>(result: Result<T, Problem>, note: &mut impl FnMut(Problem)) -> Option<T> {
    result.map_err(note).ok()
}

fn model(flags: &Flags) -> Result<(String, ModelSource), Problem> {
    let model_id = flags.launch.model_id.clone().ok_or(Problem::NoModel)?;
    let model = ModelSource::of(&model_id, flags.launch.weights_cache_override.as_deref())?;
    Ok((model_id, model))
}

/// The number of shards: `--num-shard`, else as many as GPUs are visible (`--sharded false`: 1), else 1.
pub fn shard_count(sharded: Option<bool>, num_shard: Option<u32>, devices: &Devices) -> Result<u32, Problem> {
    let visible = devices.gpu_count();
    let not_sharded = Problem::NotSharded {
        given: num_shard,
        devices: visible,
    };
    let count = match (sharded, num_shard) {
        (Some(true), None) if visible < 2 => return Err(not_sharded),
        (Some(true), Some(1)) => return Err(not_sharded),
        (_, Some(count)) => count,
        (Some(false), None) => 1,
        (Some(true) | None, None) => visible.max(1),
    };
    match devices.gpus {
        Some(gpus) if gpus.count > 0 && count > gpus.count => Err(Problem::TooFewDevices {
            shards: count,
            devices: gpus.count,
            variable: gpus.variable,
        }),
        _ => Ok(count),
    }
}

fn input_limit(flags: &Flags) -> Result<Option<u32>, Problem> {
    match (flags.router.max_input_tokens, flags.launch.max_input_length) {
        (Some(_), Some(_)) => Err(Problem::BothInputLimits),
        (limit, legacy) => Ok(limit.or(legacy)),
    }
}

fn limits(flags: &Flags, max_input_tokens: Option<u32>) -> impl Iterator<Item = Problem> {
    let total = flags.router.max_total_tokens;
    let input = max_input_tokens
        .zip(total)
        .filter(|(input, total)| input >= total);
    let batch = flags
        .router
        .max_batch_total_tokens
        .zip(total)
        .filter(|(batch, total)| batch < total);
    let input = input.map(|(input, total)| Problem::InputNotBelowTotal { input, total });
    let batch = batch.map(|(batch, total)| Problem::BatchBelowTotal { batch, total });
    input.into_iter().chain(batch)
}

fn socket_path(flags: &Flags, num_shard: u32) -> Result<(), Problem> {
    let Some(prefix) = &flags.launch.shard_uds_path else {
        return Ok(());
    };
    let prefix = std::path::absolute(prefix).unwrap_or_else(|_| prefix.clone());
    let path = crate::plan::socket_of(&prefix, num_shard - 1);
    let length = path.as_os_str().len();
    if length > SOCKET_PATH_LIMIT {
        return Err(Problem::SocketPathTooLong {
            path,
            length,
            limit: SOCKET_PATH_LIMIT,
        });
    }
    Ok(())
}

fn log_level(given: &str) -> Result<(), Problem> {
    match tracing_subscriber::EnvFilter::builder().parse(given) {
        Ok(_) => Ok(()),
        Err(cause) => Err(Problem::BadLogLevel {
            given: given.to_owned(),
            cause: cause.to_string(),
        }),
    }
}

fn notes(flags: &Flags, moot: &[String], model: Option<&ModelSource>) -> Vec<Note> {
    let mut notes = Vec::new();
    let hostname = &flags.launch.hostname;
    if listen_address(hostname).1 {
        notes.push(Note::Info(format!(
            "`{hostname}` is no IP address: listening on all addresses (0.0.0.0)"
        )));
    }
    if !moot.is_empty() {
        notes.push(Note::Warning(format!("without effect here: {}", moot.join(", "))));
    }
    if flags.launch.revision.is_some() && model.is_some_and(|model| *model != ModelSource::Hub) {
        notes.push(Note::Warning(
            "--revision is for models of the hub: without effect here".to_owned(),
        ));
    }
    notes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::devices::VisibleGpus;
    use crate::parse::{Asked, parse_without_environment};

    fn devices(gpus: Option<u32>) -> Devices {
        let gpus = gpus.map(|count| VisibleGpus {
            count,
            variable: "CUDA_VISIBLE_DEVICES",
        });
        Devices { cores: 8, gpus }
    }

    fn check(arguments: &str) -> Result<Settings, Problems> {
        let words = format!("shardline-launcher {arguments}");
        match parse_without_environment(words.split_whitespace().map(Into::into))? {
            Asked::Run(parsed) => Settings::check(*parsed, &devices(None)),
            Asked::Print(text) => panic!("{text}"),
        }
    }

    #[test]
    fn the_number_of_shards() {
        let cases = [
            (None, None, None, Ok(1)),
            (None, None, Some(4), Ok(4)),
            (None, None, Some(0), Ok(1)),
            (None, Some(3), None, Ok(3)),
            (None, Some(2), Some(4), Ok(2)),
            (Some(false), None, Some(4), Ok(1)),
            (Some(false), Some(2), Some(4), Ok(2)),
            (Some(true), None, Some(4), Ok(4)),
            (Some(true), Some(3), None, Ok(3)),
            (
                Some(true),
                None,
                None,
                Err(Problem::NotSharded {
                    given: None,
                    devices: 0,
                }),
            ),
            (
                Some(true),
                None,
                Some(1),
                Err(Problem::NotSharded {
                    given: None,
                    devices: 1,
                }),
            ),
            (
                Some(true),
                Some(1),
                Some(4),
                Err(Problem::NotSharded {
                    given: Some(1),
                    devices: 4,
                }),
            ),
            (
                None,
                Some(3),
                Some(2),
                Err(Problem::TooFewDevices {
                    shards: 3,
                    devices: 2,
                    variable: "CUDA_VISIBLE_DEVICES",
                }),
            ),
        ];
        for (sharded, num_shard, gpus, expected) in cases {
            assert_eq!(
                shard_count(sharded, num_shard, &devices(gpus)),
                expected,
                "sharded {sharded:?}, num_shard {num_shard:?}, GPUs {gpus:?}"
            );
        }
    }

    #[test]
    fn everything_wrong_is_told_together() {
        let problems = check(
            "--prot 80 --max-input-tokens 9 --max-input-length 9 --quantize awq --sharded true --port many \
             --max-total-tokens 100 --max-batch-total-tokens 50 --ngrok --log-level a=b=c",
        )
        .unwrap_err();
        insta::assert_snapshot!(problems);
    }

    #[test]
    fn limits_that_contradict_each_other() {
        let problems = check("--model-id demo --max-input-length 100 --max-total-tokens 100").unwrap_err();
        assert_eq!(
            problems.0,
            [Problem::InputNotBelowTotal {
                input: 100,
                total: 100
            }]
        );
        assert_eq!(
            check("--model-id demo --max-input-length 99")
                .unwrap()
                .max_input_tokens,
            Some(99)
        );
    }

    #[test]
    fn a_socket_path_counts_with_its_rank() {
        let longest = format!("/{}", "x".repeat(SOCKET_PATH_LIMIT - 3));
        assert!(
            check(&format!(
                "--model-id demo --num-shard 10 --shard-uds-path {longest}"
            ))
            .is_ok()
        );
        let problems = check(&format!(
            "--model-id demo --num-shard 11 --shard-uds-path {longest}"
        ))
        .unwrap_err();
        assert!(
            matches!(
                problems.0.as_slice(),
                [Problem::SocketPathTooLong { length: 108, .. }]
            ),
            "{problems}"
        );
    }

    #[test]
    fn a_containers_name_listens_everywhere_and_says_so() {
        let settings = check("--model-id demo --hostname 4f2a91c0de11").unwrap();
        assert_eq!(settings.address.to_string(), "0.0.0.0");
        assert!(matches!(&settings.notes[..], [Note::Info(text)] if text.contains("4f2a91c0de11")));
        assert_eq!(
            check("--model-id demo --hostname ::1")
                .unwrap()
                .address
                .to_string(),
            "::1"
        );
        assert_eq!(
            check("--model-id demo --hostname localhost")
                .unwrap()
                .address
                .to_string(),
            "127.0.0.1"
        );
    }

    #[test]
    fn moot_flags_are_named_in_one_warning() {
        let settings =
            check("--model-id demo --max-waiting-tokens 20 --waiting-served-ratio 0.3 --usage-stats off")
                .unwrap();
        let expected = "without effect here: --waiting-served-ratio, --max-waiting-tokens, --usage-stats";
        assert_eq!(settings.notes, [Note::Warning(expected.to_owned())]);
    }
}
