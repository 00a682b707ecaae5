//! The control pipe: a child reads orders from it, and its end means that the launcher is gone.

use std::io::{self, PipeReader, PipeWriter, Write};
use std::path::Path;

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use serde::Serialize;

/// Longest text of a message; with its frame a line stays below what a pipe takes in one piece.
const TEXT_LIMIT: usize = 3000;

/// One line to the router.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub enum Message<'a> {
    /// What is going on before there is a model.
    Phase {
        /// `download` or `starting`
        phase: &'a str,
        /// One sentence for a person.
        message: &'a str,
    },
    /// Where the model's files are.
    ModelPath {
        /// A folder or a `.gguf` file.
        model_path: &'a Path,
    },
    /// Finish what runs and end.
    Drain {
        /// Always true.
        drain: bool,
    },
    /// The shards' processes are dead, and new ones start.
    Replaced {
        /// Which group of them it is now.
        replaced: u64,
        /// Why the last one is dead.
        cause: &'a str,
    },
    /// It is over.
    Failed {
        /// One sentence for a person.
        failed: &'a str,
    },
}

/// The launcher's end of a control pipe. No other process holds one: it is closed on exec.
#[derive(Debug)]
pub struct Control(PipeWriter);

impl Control {
    /// A pipe; the reading end is for the child.
    pub fn pipe() -> io::Result<(Self, PipeReader)> {
        let (reader, writer) = io::pipe()?;
        // A child that does not read must never block the launcher.
        fcntl(&writer, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
        Ok((Self(writer), reader))
    }

    /// Sends one line, whole or not at all.
    pub fn send(&mut self, message: &Message<'_>) -> io::Result<()> {
        let mut line = serde_json::to_vec(message)?;
        line.push(b'\n');
        self.0.write_all(&line)
    }
}

/// The text, cut to what a message may carry.
pub fn bounded(text: &str) -> &str {
    let mut end = text.len().min(TEXT_LIMIT);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader};

    use super::*;

    #[test]
    fn messages_are_lines_of_json() {
        let (mut control, reader) = Control::pipe().unwrap();
        control
            .send(&Message::Phase {
                phase: "download",
                message: "1 of 2 files",
            })
            .unwrap();
        control
            .send(&Message::ModelPath {
                model_path: Path::new("/models/one"),
            })
            .unwrap();
        control
            .send(&Message::Replaced {
                replaced: 2,
                cause: "shard-1 was killed",
            })
            .unwrap();
        control.send(&Message::Drain { drain: true }).unwrap();
        control
            .send(&Message::Failed {
                failed: "shard-0 ended",
            })
            .unwrap();
        drop(control);
        let lines: Vec<String> = BufReader::new(reader).lines().map(Result::unwrap).collect();
        assert_eq!(
            lines,
            [
                r#"{"phase":"download","message":"1 of 2 files"}"#,
                r#"{"model_path":"/models/one"}"#,
                r#"{"replaced":2,"cause":"shard-1 was killed"}"#,
                r#"{"drain":true}"#,
                r#"{"failed":"shard-0 ended"}"#,
            ]
        );
    }

    #[test]
    fn a_reader_that_sleeps_gets_an_error_and_no_half_line() {
        let (mut control, _reader) = Control::pipe().unwrap();
        let message = Message::Failed {
            failed: &"x".repeat(TEXT_LIMIT),
        };
        let refused = std::iter::repeat_with(|| control.send(&message))
            .take(100)
            .find_map(Result::err);
        assert_eq!(refused.map(|error| error.kind()), Some(io::ErrorKind::WouldBlock));
    }

    #[test]
    fn text_is_cut_between_characters() {
        assert_eq!(bounded("short"), "short");
        assert_eq!(bounded(&"ä".repeat(TEXT_LIMIT)).len(), TEXT_LIMIT);
        assert_eq!(
            bounded(&format!("x{}", "ä".repeat(TEXT_LIMIT))).len(),
            TEXT_LIMIT - 1
        );
    }
}
