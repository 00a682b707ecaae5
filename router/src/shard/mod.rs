//! The gRPC client of one shard group. The only place of the router that knows the wire.
//!
//! It knows no scheduler: a step comes as numbers into a `StepBuilder` and goes out as numbers of
//! a `StepOutcome`.

mod codec;
mod connect;
mod decode;
mod error;
mod grammar;
mod group;
mod info;
mod rank;
mod step;

pub use connect::{Phase, Start};
pub use decode::{OutcomeRow, PromptLogprobs, RowStatus, StepOutcome};
pub use error::GroupError;
pub use grammar::{Grammar, GrammarCompiler, Verdict};
pub use group::{GroupOptions, ShardGroup};
pub use info::GroupInfo;
pub use step::{NewSequence, Sampling, StepBuilder};
