//! A router process with a mock shard, a control pipe and a client.

use std::io::{BufRead, BufReader, PipeWriter, Read, Write, pipe};
use std::net::TcpStream;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};

use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::json;
use shardline_mock_shard::{MockOptions, MockShard, TokenSource};
use tempfile::TempDir;

/// A private folder with a model of three tokens.
pub struct Place(TempDir);

impl Place {
    pub fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let byte_level =
            json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": false});
        let tokenizer = json!({
            "version": "1.0", "truncation": null, "padding": null, "normalizer": null, "post_processor": null,
            "added_tokens": [], "pre_tokenizer": byte_level, "decoder": byte_level,
            "model": {"type": "BPE", "vocab": {"a": 0, "b": 1, "c": 2}, "merges": []},
        });
        std::fs::create_dir(folder.path().join("model")).unwrap();
        std::fs::write(folder.path().join("model/tokenizer.json"), tokenizer.to_string()).unwrap();
        Self(folder)
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub fn shard(&self) -> MockShard {
        let tokens = TokenSource::Cycle(vec![0, 1, 2]);
        MockShard::start(MockOptions {
            vocab_size: 3,
            tokens,
            ..MockOptions::new(self.path("shard"))
        })
        .unwrap()
    }
}

/// A running `shardline-router`; killed when it is dropped.
pub struct Router {
    child: Child,
    log: BufReader<std::process::ChildStdout>,
    pub control: Option<PipeWriter>,
    pub address: String,
}

impl Router {
    /// The command with what every test needs.
    pub fn command(place: &Place) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_shardline-router"));
        command
            .args(["--model-id", "tiny", "--hostname", "127.0.0.1", "--json-output"])
            .arg("--shard-uds-path")
            .arg(place.path("shard"))
            .env("PORT", "0")
            .env_remove("API_KEY")
            .stdout(Stdio::piped());
        command
    }

    /// Starts it with a control pipe and waits until it listens.
    pub fn start(place: &Place, arguments: &[&str]) -> Self {
        let (reader, writer) = pipe().unwrap();
        fcntl(&reader, FcntlArg::F_SETFD(FdFlag::empty())).unwrap();
        let descriptor = reader.as_raw_fd().to_string();
        let command = &mut Self::command(place);
        let mut router = Self::spawn(command.args(arguments).args(["--control-fd", &descriptor]));
        router.control = Some(writer);
        router
    }

    /// Starts it and waits until it listens.
    pub fn spawn(command: &mut Command) -> Self {
        let mut child = command.spawn().unwrap();
        let log = BufReader::new(child.stdout.take().unwrap());
        let mut router = Self {
            child,
            log,
            control: None,
            address: String::new(),
        };
        let line = router.log_until("listening");
        router.address = serde_json::from_str::<serde_json::Value>(&line).unwrap()["address"]
            .as_str()
            .unwrap()
            .to_owned();
        router
    }

    /// Reads the log up to a line that holds `text`, and gives the line.
    pub fn log_until(&mut self, text: &str) -> String {
        let mut line = String::new();
        while !line.contains(text) {
            line.clear();
            assert!(
                self.log.read_line(&mut line).unwrap() > 0,
                "the log ended without {text:?}"
            );
        }
        line
    }

    pub fn order(&mut self, order: &serde_json::Value) {
        self.control
            .as_mut()
            .unwrap()
            .write_all(format!("{order}\n").as_bytes())
            .unwrap();
    }

    pub fn tell_model(&mut self, path: &Path) {
        self.order(&json!({ "model_path": path }));
    }

    /// Waits until `/health` answers as asked, and gives its body.
    pub fn health_until(&self, reached: impl Fn(u16, &str) -> bool) -> String {
        loop {
            let (status, body) = self.request("GET", "/health", "");
            if reached(status, &body) {
                return body;
            }
            std::thread::yield_now();
        }
    }

    pub fn is_ready(&self) {
        self.health_until(|status, _| status == 200);
    }

    /// Asks for a stream of `max_tokens` and gives the connection.
    pub fn stream(&self, max_tokens: u32) -> TcpStream {
        let body = json!({"model": "tiny", "prompt": [0, 1], "max_tokens": max_tokens, "stream": true});
        self.send("POST", "/v1/completions", &body.to_string())
    }

    fn send(&self, method: &str, path: &str, body: &str) -> TcpStream {
        let mut connection = TcpStream::connect(&self.address).unwrap();
        let head = format!(
            "{method} {path} HTTP/1.1\r\nhost: tiny\r\nconnection: close\r\ncontent-type: application/json\r\n\
             content-length: {}\r\n\r\n{body}",
            body.len()
        );
        connection.write_all(head.as_bytes()).unwrap();
        connection
    }

    pub fn request(&self, method: &str, path: &str, body: &str) -> (u16, String) {
        let mut answer = String::new();
        self.send(method, path, body).read_to_string(&mut answer).unwrap();
        let status = answer
            .split(' ')
            .nth(1)
            .and_then(|status| status.parse().ok())
            .unwrap_or(0);
        let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body);
        (status, body.to_owned())
    }

    pub fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.child.id().cast_signed()), signal).unwrap();
    }

    pub fn wait(mut self) -> ExitStatus {
        self.child.wait().unwrap()
    }
}

impl Drop for Router {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
