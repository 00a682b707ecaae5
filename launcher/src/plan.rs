//! Which processes run with which arguments: pure, from checked settings to process specifications.
//!
//! Every argument a child gets is written here or handed on from [`crate::parse`]; nothing else
//! builds a command line.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::devices::Devices;
use crate::model::{DEMO, ModelSource};
use crate::settings::Settings;

/// Environment names that carry a hub token: only the download may see them.
const HUB_TOKENS: [&str; 3] = ["HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HF_API_TOKEN"];

/// The programs that the launcher starts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Programs {
    /// `shardline-router`
    pub router: PathBuf,
    /// `shardline-server`
    pub shard: PathBuf,
}

/// What had to be found out about the machine before processes can be planned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Choices {
    /// The router's port, never 0.
    pub port: u16,
    /// Prefix of the shards' sockets.
    pub socket_prefix: PathBuf,
    /// Where torch's processes meet.
    pub master_port: u16,
}

/// What a process does in the group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// Speaks HTTP.
    Router,
    /// Runs the model; its rank.
    Shard(u32),
    /// Finds or fetches the model's files and ends.
    Download,
}

impl fmt::Display for Role {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Router => out.write_str("router"),
            Self::Shard(rank) => write!(out, "shard-{rank}"),
            Self::Download => out.write_str("download"),
        }
    }
}

/// How to start one process. `--control-fd N` is added when its pipe is made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProcessSpec {
    /// What it does.
    pub role: Role,
    /// The program's path.
    pub program: PathBuf,
    /// argv after the program's name.
    pub arguments: Vec<OsString>,
    /// Added to the inherited environment.
    pub environment: BTreeMap<&'static str, OsString>,
    /// Taken out of it first.
    pub removed_environment: Vec<OsString>,
}

/// All processes of one server.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The router; it starts first and at once.
    pub router: ProcessSpec,
    /// What tells the model's path, where it is not known yet.
    pub download: Option<ProcessSpec>,
    /// The shards, given the model's path.
    shard: ProcessSpec,
    num_shard: u32,
}

impl Plan {
    /// Plans the processes.
    pub fn new(settings: &Settings, devices: &Devices, programs: &Programs, choices: &Choices) -> Self {
        Self {
            router: router(settings, programs, choices),
            download: download(settings, programs),
            shard: shard(settings, devices, programs, choices),
            num_shard: settings.num_shard,
        }
    }

    /// The shards of a model that lies at `model_path`. `download`: how long it took to get it there,
    /// for their report of the start.
    pub fn shards(&self, model_path: &Path, download: Option<Duration>) -> Vec<ProcessSpec> {
        (0..self.num_shard)
            .map(|rank| {
                let mut spec = self.shard.clone();
                spec.role = Role::Shard(rank);
                let mut head = Arguments::default();
                head.word("serve")
                    .word(model_path)
                    .pair("--rank", rank.to_string())
                    .optional("--download-s", download.map(|took| took.as_secs_f32()));
                spec.arguments.splice(..0, head.0);
                spec
            })
            .collect()
    }
}

/// The socket of one rank.
pub fn socket_of(prefix: &Path, rank: u32) -> PathBuf {
    let mut path = prefix.as_os_str().to_owned();
    path.push(format!("-{rank}"));
    path.into()
}

/// Where the router tells the launcher how it is. No longer than the socket of a rank.
pub fn health_socket_of(prefix: &Path) -> PathBuf {
    let mut path = prefix.as_os_str().to_owned();
    path.push("-h");
    path.into()
}

/// argv in the making.
#[derive(Default)]
struct Arguments(Vec<OsString>);

impl Arguments {
    fn word(&mut self, word: impl Into<OsString>) -> &mut Self {
        self.0.push(word.into());
        self
    }

    fn pair(&mut self, name: &str, value: impl Into<OsString>) -> &mut Self {
        self.word(name).word(value)
    }

    fn optional(&mut self, name: &str, value: Option<impl ToString>) -> &mut Self {
        match value {
            Some(value) => self.pair(name, value.to_string()),
            None => self,
        }
    }

    fn switch(&mut self, name: &str, on: bool) -> &mut Self {
        if on { self.word(name) } else { self }
    }

    fn handed_on(&mut self, words: &[OsString]) -> &mut Self {
        self.0.extend_from_slice(words);
        self
    }
}

fn router(settings: &Settings, programs: &Programs, choices: &Choices) -> ProcessSpec {
    let launch = &settings.flags.launch;
    let mut arguments = Arguments::default();
    arguments
        .pair("--hostname", settings.address.to_string())
        .pair("--port", choices.port.to_string())
        .pair("--shard-uds-path", &choices.socket_prefix)
        .pair("--health-uds-path", health_socket_of(&choices.socket_prefix))
        .pair("--num-shard", settings.num_shard.to_string())
        .pair("--model-id", &settings.model_id)
        .optional("--revision", launch.revision.as_ref());
    if let Some(path) = settings.model.local_path() {
        arguments.pair("--model-path", path);
    }
    // The limit has two names, so it is not handed on but written once.
    let handed_on = without_pair(&settings.router_arguments, "--max-input-tokens");
    arguments
        .optional("--max-input-tokens", settings.max_input_tokens)
        .switch("--json-output", launch.json_output)
        .handed_on(&handed_on);
    let mut environment = BTreeMap::from([("LOG_LEVEL", launch.log_level.clone().into())]);
    if let Some(key) = &launch.api_key {
        environment.insert("API_KEY", key.into());
    }
    let mut removed_environment = settings.spent_environment.clone();
    removed_environment.extend(HUB_TOKENS.map(OsString::from));
    ProcessSpec {
        role: Role::Router,
        program: programs.router.clone(),
        arguments: arguments.0,
        environment,
        removed_environment,
    }
}

fn download(settings: &Settings, programs: &Programs) -> Option<ProcessSpec> {
    let launch = &settings.flags.launch;
    let model = match settings.model {
        ModelSource::Local(_) => return None,
        ModelSource::Demo => DEMO,
        ModelSource::Hub => &settings.model_id,
    };
    let mut arguments = Arguments::default();
    arguments.word("download").word(model);
    if settings.model == ModelSource::Hub {
        arguments.optional("--revision", launch.revision.as_ref());
        if let Some(folder) = &launch.huggingface_hub_cache {
            arguments.pair("--huggingface-hub-cache", folder);
        }
    }
    Some(ProcessSpec {
        role: Role::Download,
        program: programs.shard.clone(),
        arguments: arguments.0,
        environment: BTreeMap::from([("LOG_LEVEL", launch.log_level.clone().into())]),
        removed_environment: settings.spent_environment.clone(),
    })
}

/// A shard without its rank and its model's path.
fn shard(settings: &Settings, devices: &Devices, programs: &Programs, choices: &Choices) -> ProcessSpec {
    let (launch, limits) = (&settings.flags.launch, &settings.flags.router);
    let mut arguments = Arguments::default();
    arguments
        .pair("--world-size", settings.num_shard.to_string())
        .pair("--shard-uds-path", &choices.socket_prefix)
        .pair("--master-addr", &launch.master_addr)
        .pair("--master-port", choices.master_port.to_string())
        .optional("--max-step-tokens", limits.max_batch_prefill_tokens)
        .optional("--max-sequences", limits.max_batch_size)
        .optional("--max-total-tokens", limits.max_total_tokens)
        .optional("--kv-cache-tokens", limits.max_batch_total_tokens)
        .switch("--json-output", launch.json_output)
        .handed_on(&settings.shard_arguments);
    let mut removed_environment = settings.spent_environment.clone();
    removed_environment.extend(HUB_TOKENS.map(OsString::from));
    ProcessSpec {
        role: Role::Shard(0),
        program: programs.shard.clone(),
        arguments: arguments.0,
        environment: shard_environment(settings, devices),
        removed_environment,
    }
}

/// Threads that wait asleep, and no more of them than the cores that fall to a shard: spinning
/// threads of several processes on the same cores slow each other down many times over. What the
/// user has set stays.
fn shard_environment(settings: &Settings, devices: &Devices) -> BTreeMap<&'static str, OsString> {
    let surroundings = &settings.flags.surroundings;
    let mut environment = BTreeMap::from([("LOG_LEVEL", settings.flags.launch.log_level.clone().into())]);
    if surroundings.omp_wait_policy.is_none() {
        environment.insert("OMP_WAIT_POLICY", "PASSIVE".into());
    }
    if surroundings.omp_num_threads.is_none() {
        let threads = (devices.cores / settings.num_shard).max(1);
        environment.insert("OMP_NUM_THREADS", threads.to_string().into());
    }
    environment
}

/// The words without one `NAME VALUE` pair.
fn without_pair(words: &[OsString], name: &str) -> Vec<OsString> {
    match words.iter().position(|word| word == name) {
        Some(at) => [&words[..at], &words[(at + 2).min(words.len())..]].concat(),
        None => words.to_vec(),
    }
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
