//! Runs the launcher's binary with the fakes of `tests/fakes` and reads what they wrote.

use std::collections::HashSet;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use tempfile::TempDir;

/// How long a process that should end may still be seen.
const GONE_PATIENCE: Duration = Duration::from_secs(30);

pub struct Launcher {
    command: Command,
    folder: TempDir,
    running: Option<Running>,
}

struct Running {
    child: Child,
    stdout: BufReader<ChildStdout>,
    seen: String,
}

pub struct End {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Launcher {
    /// With these flags beside those every test needs, and a local model.
    pub fn new(flags: &[&str]) -> Self {
        let mut launcher = Self::bare(&[]);
        let model = launcher.folder.path().join("model");
        std::fs::create_dir(&model).unwrap();
        std::fs::write(model.join("config.json"), "{}").unwrap();
        launcher.command.arg("--model-id").arg(&model);
        launcher.serve(flags)
    }

    pub fn with_model(model_id: &str, flags: &[&str]) -> Self {
        let mut launcher = Self::bare(&[]);
        launcher.command.args(["--model-id", model_id]);
        launcher.serve(flags)
    }

    fn serve(mut self, flags: &[&str]) -> Self {
        self.command.env("HOSTNAME", "127.0.0.1");
        if !flags.contains(&"--port") {
            self.command.args(["--port", "0"]);
        }
        self.command.args(flags);
        self
    }

    /// With these flags alone, in an environment that holds nothing else.
    pub fn bare(flags: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let fakes = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fakes");
        let mut command = Command::new(env!("CARGO_BIN_EXE_shardline-launcher"));
        command
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap())
            .env("TMPDIR", folder.path())
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .env("FAKE_DIARY", folder.path().join("diary"))
            .env("SHARDLINE_ROUTER_PROGRAM", fakes.join("router"))
            .env("SHARDLINE_SHARD_PROGRAM", fakes.join("server"))
            .args(flags)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        std::fs::write(folder.path().join("diary"), "").unwrap();
        Self {
            command,
            folder,
            running: None,
        }
    }

    /// Tells a fake how to behave.
    pub fn behave(self, who: &str, how: &str) -> Self {
        self.variable(&format!("FAKE_{who}"), how)
    }

    pub fn variable(mut self, name: &str, value: &str) -> Self {
        self.command.env(name, value);
        self
    }

    pub fn start(mut self) -> Self {
        let mut child = self.command.spawn().unwrap();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        self.running = Some(Running {
            child,
            stdout,
            seen: String::new(),
        });
        self
    }

    /// Reads the log up to the first line that holds `text`, and returns that line.
    pub fn wait_for(&mut self, text: &str) -> String {
        let running = self.running.as_mut().unwrap();
        loop {
            let mut line = String::new();
            if running.stdout.read_line(&mut line).unwrap() == 0 {
                let mut stderr = String::new();
                running
                    .child
                    .stderr
                    .take()
                    .unwrap()
                    .read_to_string(&mut stderr)
                    .unwrap();
                panic!("no `{text}` in the log:\n{}\n{stderr}", running.seen);
            }
            running.seen.push_str(&line);
            if line.contains(text) {
                return line.trim_end().to_owned();
            }
        }
    }

    pub fn signal(&self, signal: Signal) {
        let pid = self.running.as_ref().unwrap().child.id();
        kill(Pid::from_raw(pid.try_into().unwrap()), signal).unwrap();
    }

    /// Waits for its end.
    pub fn wait(&mut self) -> End {
        let running = self.running.as_mut().unwrap();
        running.stdout.read_to_string(&mut running.seen).unwrap();
        let mut stderr = String::new();
        running
            .child
            .stderr
            .take()
            .unwrap()
            .read_to_string(&mut stderr)
            .unwrap();
        End {
            code: running.child.wait().unwrap().code(),
            stdout: running.seen.clone(),
            stderr,
        }
    }

    /// The port the router was given.
    pub fn port(&self) -> String {
        let argv = self.argv("router");
        argv[argv.iter().position(|word| word == "--port").unwrap() + 1].clone()
    }

    fn diary(&self) -> Vec<Value> {
        let text = std::fs::read_to_string(self.diary_path()).unwrap();
        text.lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }

    fn diary_path(&self) -> PathBuf {
        self.folder.path().join("diary")
    }

    /// What happened, in order: "router start", "shard-0 serving", …
    pub fn story(&self) -> Vec<String> {
        let text = |entry: &Value, key| entry[key].as_str().unwrap().to_owned();
        self.diary()
            .iter()
            .map(|entry| format!("{} {}", text(entry, "who"), text(entry, "what")))
            .collect()
    }

    /// What the router was told.
    pub fn orders(&self) -> Vec<Value> {
        self.diary()
            .into_iter()
            .filter(|entry| entry["what"] == "order")
            .map(|entry| entry["order"].clone())
            .collect()
    }

    /// Sends a signal to a child's latest process.
    pub fn signal_child(&self, who: &str, signal: Signal) {
        let mut entries = self.diary().into_iter().rev();
        let start = entries
            .find(|entry| entry["who"] == who && entry["what"] == "start")
            .unwrap();
        let pid = start["pid"].as_i64().unwrap();
        kill(Pid::from_raw(pid.try_into().unwrap()), signal).unwrap();
    }

    /// A child's first entry.
    pub fn started(&self, who: &str) -> Value {
        let mut entries = self.diary().into_iter();
        entries
            .find(|entry| entry["who"] == who && entry["what"] == "start")
            .unwrap()
    }

    pub fn argv(&self, who: &str) -> Vec<String> {
        serde_json::from_value(self.started(who)["argv"].clone()).unwrap()
    }

    pub fn environment(&self, who: &str) -> serde_json::Map<String, Value> {
        self.started(who)["environment"].as_object().unwrap().clone()
    }

    /// Fails unless every child ends, and soon.
    pub fn assert_nothing_left(&self) {
        let started = self.diary().into_iter().filter(|entry| entry["what"] == "start");
        let pids: HashSet<i64> = started.map(|entry| entry["pid"].as_i64().unwrap()).collect();
        let deadline = Instant::now() + GONE_PATIENCE;
        while let Some(pid) = pids.iter().find(|pid| lives(**pid)) {
            assert!(Instant::now() < deadline, "process {pid} is left");
            std::thread::yield_now();
        }
    }
}

impl Drop for Launcher {
    fn drop(&mut self) {
        if let Some(running) = &mut self.running {
            let _ = running.child.kill();
            let _ = running.child.wait();
        }
    }
}

/// Whether a process runs; one that is dead and only waits for its parent does not.
fn lives(pid: i64) -> bool {
    if kill(Pid::from_raw(pid.try_into().unwrap()), None) == Err(Errno::ESRCH) {
        return false;
    }
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(')')
        .is_some_and(|(_, rest)| !rest.trim_start().starts_with(['Z', 'X']))
}

/// Where the story tells this; fails when it does not.
pub fn position(story: &[String], entry: &str) -> usize {
    story
        .iter()
        .position(|told| told == entry)
        .unwrap_or_else(|| panic!("no `{entry}` in {story:?}"))
}
