//! One child: started with its control pipe, its lines passed on, ended in order.

use std::collections::VecDeque;
use std::io;
use std::os::fd::AsRawFd;
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::sys::prctl;
use nix::sys::signal::{Signal, killpg};
use nix::unistd::{Pid, getppid};
use tokio::process::{Child, ChildStdout, Command};
use tokio::task::JoinSet;

use crate::console::Console;
use crate::control::{Control, Message};
use crate::lines::Lines;
use crate::plan::{ProcessSpec, Role};

/// How long a child gets to end once it is told to and has nothing more to finish.
pub const STOP_PATIENCE: Duration = Duration::from_secs(5);
/// Lines that are kept of what a child said last.
const LAST_WORDS: usize = 15;
/// How long a dead child's pipes may stay open, held by a process it started.
const PIPE_PATIENCE: Duration = Duration::from_secs(1);

/// A child that cannot be started.
#[derive(Debug, thiserror::Error)]
#[error("cannot start {role} ({program}): {cause}")]
pub struct CannotStart {
    role: Role,
    program: String,
    cause: io::Error,
}

/// A running child, or one whose end has been noticed.
#[derive(Debug)]
pub struct Process {
    /// What it does.
    pub role: Role,
    child: Child,
    /// Its process group, which has its own id.
    group: Option<Pid>,
    control: Option<Control>,
    relays: JoinSet<()>,
    last_words: Arc<Mutex<VecDeque<String>>>,
}

impl Process {
    /// Starts a child whose both outputs are passed on to the console.
    pub fn start(spec: &ProcessSpec, console: &Console) -> Result<Self, CannotStart> {
        let mut process = Self::start_quiet(spec, console)?;
        if let Some(pipe) = process.take_stdout() {
            process.relay(pipe, console);
        }
        Ok(process)
    }

    /// Starts a child whose standard output belongs to the caller.
    pub fn start_quiet(spec: &ProcessSpec, console: &Console) -> Result<Self, CannotStart> {
        let fail = |cause| CannotStart {
            role: spec.role,
            program: spec.program.display().to_string(),
            cause,
        };
        let (control, child) = spawn(spec).map_err(fail)?;
        let mut process = Self {
            role: spec.role,
            group: child
                .id()
                .and_then(|id| i32::try_from(id).ok())
                .map(Pid::from_raw),
            child,
            control: Some(control),
            relays: JoinSet::new(),
            last_words: Arc::default(),
        };
        if let Some(pipe) = process.child.stderr.take() {
            process.relay(pipe, console);
        }
        Ok(process)
    }

    /// The pipe of its standard output, once.
    pub fn take_stdout(&mut self) -> Option<ChildStdout> {
        self.child.stdout.take()
    }

    fn relay(&mut self, pipe: impl tokio::io::AsyncRead + Unpin + Send + 'static, console: &Console) {
        let (role, console, last_words) = (self.role, console.clone(), Arc::clone(&self.last_words));
        self.relays.spawn(async move {
            let mut lines = Lines::of(pipe);
            while let Some(line) = lines.next().await {
                console.relay(role, &line);
                let mut last_words = last_words.lock().unwrap_or_else(PoisonError::into_inner);
                if last_words.len() == LAST_WORDS {
                    last_words.pop_front();
                }
                last_words.push_back(line);
            }
        });
    }

    /// Sends a control line; an error when the child does not read or is gone.
    pub fn send(&mut self, message: &Message<'_>) -> io::Result<()> {
        match &mut self.control {
            Some(control) => control.send(message),
            None => Err(io::ErrorKind::BrokenPipe.into()),
        }
    }

    /// Waits for its end; may be dropped and called again.
    pub async fn wait(&mut self) -> ExitStatus {
        // It fails only for a child that someone else has waited for: gone, and nothing more is known.
        self.child.wait().await.unwrap_or_default()
    }

    /// Whether its end has been noticed.
    pub fn has_ended(&self) -> bool {
        self.child.id().is_none()
    }

    /// Sends a signal to the child and all it started.
    pub fn signal(&self, signal: Signal) {
        if let Some(group) = self.group {
            // It may be gone already.
            let _ = killpg(group, signal);
        }
    }

    /// Ends it: SIGTERM and the end of its control pipe, SIGKILL after `patience`.
    pub async fn stop(&mut self, patience: Duration) {
        if !self.has_ended() {
            self.signal(Signal::SIGTERM);
            self.control = None;
            if tokio::time::timeout(patience, self.wait()).await.is_err() {
                tracing::warn!(
                    "{} did not end within {} s: killed",
                    self.role,
                    patience.as_secs()
                );
            }
        }
        self.kill().await;
    }

    /// Kills the child and whatever it left behind, and waits for its last lines.
    pub async fn kill(&mut self) {
        self.signal(Signal::SIGKILL);
        self.wait().await;
        self.finish_relays().await;
    }

    async fn finish_relays(&mut self) {
        let all = async { while self.relays.join_next().await.is_some() {} };
        if tokio::time::timeout(PIPE_PATIENCE, all).await.is_err() {
            self.relays.abort_all();
        }
    }

    /// What it said last, oldest line first. To be called after its end.
    pub async fn last_words(&mut self) -> Vec<String> {
        self.finish_relays().await;
        self.last_words
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .iter()
            .cloned()
            .collect()
    }
}

/// Starts the program in a process group of its own, so that Ctrl-C on a terminal reaches the launcher
/// alone. It dies with the launcher twice over: its control pipe ends, and the kernel kills it.
fn spawn(spec: &ProcessSpec) -> io::Result<(Control, Child)> {
    let (control, reader) = Control::pipe()?;
    let control_fd = reader.as_raw_fd();
    let launcher = nix::unistd::getpid();
    let mut command = Command::new(&spec.program);
    spec.removed_environment.iter().for_each(|name| {
        command.env_remove(name);
    });
    command
        .args(&spec.arguments)
        .args(["--control-fd", &control_fd.to_string()])
        .envs(&spec.environment)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .kill_on_drop(true);
    let in_child = move || {
        prctl::set_pdeathsig(Signal::SIGKILL)?;
        if getppid() != launcher {
            return Err(Errno::ESRCH.into());
        }
        // SAFETY: `reader` lives in this closure, so its descriptor is open here.
        fcntl(&reader, FcntlArg::F_SETFD(FdFlag::empty()))?;
        Ok(())
    };
    // SAFETY: between fork and exec the closure makes system calls alone; it takes no lock and allocates nothing.
    unsafe { command.pre_exec(in_child) };
    Ok((control, command.spawn()?))
}

/// How a process ended, as the end of a sentence: "ended with exit code 1".
pub fn describe_end(status: ExitStatus) -> String {
    use std::os::unix::process::ExitStatusExt;
    match (status.code(), status.signal().map(Signal::try_from)) {
        (Some(code), _) => format!("ended with exit code {code}"),
        (None, Some(Ok(signal))) => format!("was killed by {signal}"),
        (None, _) => "was killed".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    /// A shell that says when it is ready, then waits.
    fn shell(script: &str) -> (Process, Console) {
        let console = Console::new(false);
        let spec = ProcessSpec {
            role: Role::Shard(0),
            program: "/bin/sh".into(),
            arguments: ["-c", script].map(Into::into).to_vec(),
            environment: BTreeMap::new(),
            removed_environment: Vec::new(),
        };
        (Process::start_quiet(&spec, &console).unwrap(), console)
    }

    async fn wait_for_line(process: &mut Process) {
        let mut lines = Lines::of(process.take_stdout().unwrap());
        assert_eq!(lines.next().await.as_deref(), Some("ready"));
    }

    #[tokio::test]
    async fn who_does_not_end_is_killed_with_all_it_started() {
        let (mut process, _console) = shell("trap '' TERM; sleep 600 & trap '' TERM; echo ready; wait");
        wait_for_line(&mut process).await;
        process.stop(Duration::from_millis(20)).await;
        assert!(process.has_ended());
        assert_eq!(describe_end(process.wait().await), "was killed by SIGKILL");
        let group = process.group.unwrap();
        // What is left of the group are at most dead processes that nobody has waited for.
        while killpg(group, None).is_ok() && lives(group) {
            std::thread::yield_now();
        }
    }

    fn lives(group: Pid) -> bool {
        let processes = std::fs::read_dir("/proc").unwrap().flatten();
        processes
            .map(|entry| std::fs::read_to_string(entry.path().join("stat")).unwrap_or_default())
            .any(|stat| {
                let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or("").split_whitespace().collect();
                fields.get(2) == Some(&group.to_string().as_str()) && fields[0] != "Z"
            })
    }

    #[tokio::test]
    async fn the_last_words_are_the_last_lines() {
        let (mut process, _console) = shell("for i in $(seq 40); do echo line $i >&2; done; exit 9");
        assert_eq!(describe_end(process.wait().await), "ended with exit code 9");
        let words = process.last_words().await;
        assert_eq!(words.len(), LAST_WORDS);
        assert_eq!(
            (words[0].as_str(), words[LAST_WORDS - 1].as_str()),
            ("line 26", "line 40")
        );
    }

    #[tokio::test]
    async fn a_program_that_is_not_there_is_named() {
        let spec = ProcessSpec {
            role: Role::Router,
            program: "/no/such/program".into(),
            arguments: Vec::new(),
            environment: BTreeMap::new(),
            removed_environment: Vec::new(),
        };
        let error = Process::start(&spec, &Console::new(false))
            .unwrap_err()
            .to_string();
        assert!(
            error.starts_with("cannot start router (/no/such/program): No such file"),
            "{error}"
        );
    }
}
