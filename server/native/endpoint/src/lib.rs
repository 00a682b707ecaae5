//! The shard's end of the wire: a tonic server of `shardline.v1.Shard` on a Unix socket, in a thread
//! of its own, that hands checked steps to a runner which blocks for them.
//!
//! ```text
//! client ──Execute──▶ service ─▶ decode ─▶ session (bounded queue) ─▶ Endpoint::next   (runner)
//!        ◀─────────── response stream ◀────────────── Endpoint::send                    (runner)
//! ```
//!
//! A [`Frame`] that reaches the runner is valid: its arrays have the right lengths, its ids and
//! numbers are in their ranges, and its rows name living sequences. Nothing here knows Python.

mod arrays;
mod decode;
mod endpoint;
mod frame;
mod grammar;
mod invalid;
mod respond;
mod sampling;
mod service;
mod session;
mod socket;

pub use endpoint::{Endpoint, EndpointError};
pub use frame::{Command, CommandKind, Frame, Grammar, NewSequence, Rows, Sampling};
pub use grammar::{Compilation, CompileGrammar, GrammarRefusal};
pub use invalid::InvalidStep;
pub use respond::{CommandResult, InvalidOutcome, Outcome, PromptLogprobs, Timings};
pub use session::{FRAME_QUEUE_CAPACITY, Next, RESPONSE_QUEUE_CAPACITY, SendResult};
pub use shardline_proto::MAX_MESSAGE_BYTES;
pub use shardline_proto::v1::{InfoResponse, KvGroup, Phase, StartPhase, StartTimings};
pub use socket::SocketError;
