//! The launcher's control pipe: one JSON object a line, and its end means that the launcher is gone.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::os::fd::{FromRawFd, OwnedFd, RawFd};
use std::path::PathBuf;

use serde::Deserialize;
use tokio::sync::mpsc;

/// Longest line; the launcher's are far shorter.
const MAX_LINE_BYTES: u64 = 64 << 10;

/// Orders that may wait.
const QUEUE_ORDERS: usize = 64;

/// What the launcher says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Order {
    /// What is going on before there is a model.
    Phase {
        /// `download`
        phase: String,
        /// One sentence for a person.
        message: String,
    },
    /// Where the model's files are.
    ModelPath(PathBuf),
    /// Finish what runs and end.
    Drain,
    /// It is over, with its cause.
    Failed(String),
    /// The shards' processes are dead, and new ones start.
    Replaced {
        /// Which group it is now; the first is 1.
        group: u64,
        /// Why the last one is dead.
        cause: String,
    },
    /// The launcher is gone: end at once.
    Gone,
}

/// A line as it travels; exactly one of the fields (and the message of a phase or the cause of new
/// shards) is there.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Line {
    phase: Option<String>,
    message: String,
    model_path: Option<PathBuf>,
    drain: bool,
    failed: Option<String>,
    replaced: Option<u64>,
    cause: String,
}

/// Reads one line; `None` for what this version does not know, which a later launcher may send.
fn parse(line: &[u8]) -> Option<Order> {
    let line: Line = serde_json::from_slice(line).ok()?;
    match line {
        Line {
            failed: Some(cause), ..
        } => Some(Order::Failed(cause)),
        Line {
            replaced: Some(group),
            cause,
            ..
        } => Some(Order::Replaced { group, cause }),
        Line { drain: true, .. } => Some(Order::Drain),
        Line {
            model_path: Some(path),
            ..
        } => Some(Order::ModelPath(path)),
        Line {
            phase: Some(phase),
            message,
            ..
        } => Some(Order::Phase { phase, message }),
        Line { .. } => None,
    }
}

/// Reads orders to the end of the pipe, then says `Gone`.
fn read(pipe: impl Read, orders: &mpsc::Sender<Order>) {
    let mut pipe = BufReader::new(pipe);
    let mut line = Vec::new();
    loop {
        line.clear();
        let ended = match pipe.by_ref().take(MAX_LINE_BYTES).read_until(b'\n', &mut line) {
            Ok(bytes) => bytes == 0,
            Err(error) => {
                tracing::warn!(%error, "cannot read the control pipe");
                true
            }
        };
        let order = if ended { Some(Order::Gone) } else { parse(&line) };
        let Some(order) = order else {
            tracing::warn!(line = %String::from_utf8_lossy(&line).trim_end(), "unknown order on the control pipe");
            continue;
        };
        if orders.blocking_send(order).is_err() || ended {
            return;
        }
    }
}

/// Reads the pipe on a thread of its own.
///
/// # Errors
/// When the system gives no thread.
pub fn listen(descriptor: RawFd) -> io::Result<mpsc::Receiver<Order>> {
    // SAFETY: the launcher hands this descriptor to this process for this purpose alone, and this
    // function is called once with it.
    let pipe = File::from(unsafe { OwnedFd::from_raw_fd(descriptor) });
    listen_to(pipe)
}

fn listen_to(pipe: impl Read + Send + 'static) -> io::Result<mpsc::Receiver<Order>> {
    let (orders, receiver) = mpsc::channel(QUEUE_ORDERS);
    std::thread::Builder::new()
        .name("control".to_owned())
        .spawn(move || read(pipe, &orders))?;
    Ok(receiver)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[tokio::test]
    async fn orders_come_in_turn_and_the_end_is_one() {
        let (reader, mut writer) = io::pipe().unwrap();
        let mut orders = listen_to(reader).unwrap();
        let lines = concat!(
            "{\"phase\":\"download\",\"message\":\"1 of 2\"}\n",
            "{\"from\":\"the future\"}\n",
            "no JSON\n",
            "{\"model_path\":\"/models/one\"}\n",
            "{\"replaced\":2,\"cause\":\"shard-1 was killed\"}\n",
            "{\"drain\":true}\n",
            "{\"failed\":\"shard-0 ended\"}\n",
        );
        writer.write_all(lines.as_bytes()).unwrap();
        drop(writer);
        let mut all = Vec::new();
        while let Some(order) = orders.recv().await {
            all.push(order);
        }
        let expected = [
            Order::Phase {
                phase: "download".to_owned(),
                message: "1 of 2".to_owned(),
            },
            Order::ModelPath("/models/one".into()),
            Order::Replaced {
                group: 2,
                cause: "shard-1 was killed".to_owned(),
            },
            Order::Drain,
            Order::Failed("shard-0 ended".to_owned()),
            Order::Gone,
        ];
        assert_eq!(all, expected);
    }

    #[test]
    fn a_line_without_end_is_not_kept() {
        let (orders, mut receiver) = mpsc::channel(QUEUE_ORDERS);
        read(&vec![b'x'; 3 * MAX_LINE_BYTES as usize][..], &orders);
        assert_eq!(receiver.try_recv(), Ok(Order::Gone));
    }
}
