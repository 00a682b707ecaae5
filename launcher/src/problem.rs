//! What can be wrong before anything is started, each in one sentence with what to do.

use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;

/// One reason why nothing was started.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// No such flag.
    #[error("{given} is not a flag{}", hint(.nearest))]
    UnknownFlag {
        /// As written on the command line.
        given: String,
        /// The flag that is spelled most alike.
        nearest: Option<String>,
    },
    /// A word that belongs to no flag.
    #[error("`{given}` belongs to no flag: every setting is written --name value")]
    StrayWord {
        /// As written on the command line.
        given: String,
    },
    /// A value that the flag does not take.
    #[error("{flag}: `{given}` is not a value it takes{reason}")]
    BadValue {
        /// The flag with its value's name.
        flag: String,
        /// As written.
        given: String,
        /// Why, with the values it takes.
        reason: String,
    },
    /// A flag without its value.
    #[error("{flag} needs a value")]
    MissingValue {
        /// The flag with its value's name.
        flag: String,
    },
    /// A flag that may be given once.
    #[error("{flag} is given more than once: keep one of them")]
    Repeated {
        /// The flag with its value's name.
        flag: String,
    },
    /// Whatever else the parser refuses.
    #[error("{0}")]
    Other(String),
    /// Not built yet.
    #[error("{flag} is not supported yet")]
    NotSupportedYet {
        /// The flag's name.
        flag: String,
    },
    /// Left out for good.
    #[error("{flag} is not supported: point a tunnel of your own at --port")]
    NotSupported {
        /// The flag's name.
        flag: String,
    },
    /// Nothing to serve.
    #[error(
        "--model-id is missing: name a folder, a .gguf file, a hub id such as owner/name, or `demo` for the packaged \
         model"
    )]
    NoModel,
    /// A path that is not there.
    #[error("--model-id: there is no file or folder {}: check the path", path.display())]
    NoSuchModel {
        /// The path as given.
        path: PathBuf,
    },
    /// Neither a path nor a hub id.
    #[error(
        "--model-id: `{given}` is neither a folder, a .gguf file nor a hub id: a hub id is written owner/name, of \
         letters, digits, `.`, `_` and `-`"
    )]
    NotAModel {
        /// As given.
        given: String,
    },
    /// A folder without anything to serve.
    #[error("{flag}: {} holds neither config.json nor one .gguf file: name a model's folder", path.display())]
    NoConfig {
        /// The flag that names the folder.
        flag: &'static str,
        /// The folder.
        path: PathBuf,
    },
    /// The same limit under both names.
    #[error("--max-input-tokens and --max-input-length are the same limit: give one of them")]
    BothInputLimits,
    /// No room for an answer.
    #[error(
        "--max-input-tokens is {input} and must be below --max-total-tokens, which is {total}: lower the one or raise \
         the other"
    )]
    InputNotBelowTotal {
        /// `--max-input-tokens`.
        input: u32,
        /// `--max-total-tokens`.
        total: u32,
    },
    /// A request may be larger than the batch.
    #[error("--max-batch-total-tokens is {batch} and must be at least --max-total-tokens, which is {total}")]
    BatchBelowTotal {
        /// `--max-batch-total-tokens`.
        batch: u32,
        /// `--max-total-tokens`.
        total: u32,
    },
    /// Sharded without enough devices.
    #[error("--sharded true needs 2 or more shards and {found} found: set --num-shard, or leave --sharded out", found = found(*.given, *.devices))]
    NotSharded {
        /// `--num-shard`.
        given: Option<u32>,
        /// Visible GPUs.
        devices: u32,
    },
    /// More shards than GPUs.
    #[error(
        "--num-shard is {shards} and only {devices} GPUs are visible ({variable}): each shard needs one of its own"
    )]
    TooFewDevices {
        /// Shards asked for.
        shards: u32,
        /// GPUs visible.
        devices: u32,
        /// The variable that limits them.
        variable: &'static str,
    },
    /// A socket's path that the system cannot bind.
    #[error(
        "--shard-uds-path: {} has {length} bytes with its rank and a socket's path may have {limit}: choose a shorter one",
        path.display()
    )]
    SocketPathTooLong {
        /// The longest socket path of the group.
        path: PathBuf,
        /// Its bytes.
        length: usize,
        /// Most bytes.
        limit: usize,
    },
    /// A socket that another server uses.
    #[error("--shard-uds-path: {} belongs to a running server: choose another path, or leave it out", path.display())]
    SocketInUse {
        /// The socket.
        path: PathBuf,
    },
    /// The folder of the sockets is not there.
    #[error("--shard-uds-path: there is no folder {}: make it, or leave the flag out", path.display())]
    NoSocketFolder {
        /// The folder.
        path: PathBuf,
    },
    /// The port is taken.
    #[error(
        "port {port} of {address} is in use: end the program that holds it, or choose another with --port"
    )]
    PortInUse {
        /// The address.
        address: IpAddr,
        /// The port.
        port: u16,
    },
    /// The address cannot be listened on.
    #[error("cannot listen on port {port} of {address}: {cause}; choose others with --hostname and --port")]
    CannotListen {
        /// The address.
        address: IpAddr,
        /// The port.
        port: u16,
        /// What the system said.
        cause: String,
    },
    /// A program that is not installed.
    #[error("the program {name} is neither beside {} nor on PATH: install the package shardline", beside.display())]
    NoProgram {
        /// Its name.
        name: &'static str,
        /// The launcher's own folder.
        beside: PathBuf,
    },
    /// No folder for the sockets.
    #[error("cannot make a private folder for the sockets in {}: {cause}; set TMPDIR or --shard-uds-path", path.display())]
    NoRunFolder {
        /// Where it was tried.
        path: PathBuf,
        /// What the system said.
        cause: String,
    },
    /// A log filter that cannot be read.
    #[error("--log-level: `{given}` is no level (error, warn, info, debug, trace) or filter: {cause}")]
    BadLogLevel {
        /// As given.
        given: String,
        /// What is wrong with it.
        cause: String,
    },
}

fn hint(nearest: &Option<String>) -> String {
    match nearest {
        Some(nearest) => format!("; the nearest is {nearest}"),
        None => "; --help lists them all".to_owned(),
    }
}

fn found(given: Option<u32>, devices: u32) -> String {
    match given {
        Some(shards) => format!("--num-shard {shards} was"),
        None if devices == 1 => "1 visible GPU was".to_owned(),
        None => format!("{devices} visible GPUs were"),
    }
}

/// All problems of a start, never empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problems(pub Vec<Problem>);

impl From<Problem> for Problems {
    fn from(problem: Problem) -> Self {
        Self(vec![problem])
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.as_slice() {
            [one] => write!(out, "error: {one}"),
            several => {
                write!(out, "error: {} things are wrong:", several.len())?;
                several
                    .iter()
                    .try_for_each(|problem| write!(out, "\n  - {problem}"))
            }
        }
    }
}

impl std::error::Error for Problems {}
