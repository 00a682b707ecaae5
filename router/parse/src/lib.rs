//! What a model says, taken apart: its reasoning, its text, and the calls of tools in it.
//!
//! Models spell calls in their own ways (`format` lists them). A parser reads text as it comes,
//! one character after the other, and keeps no more of it than what may still become a marker. So
//! an answer gives the same events however it was split into pieces, and reading it costs time in
//! proportion to its length.
//!
//! Nothing is lost: what turns out to be no call comes back as text, letter by letter. Nothing is
//! evaluated. No I/O, no clock, no async.

mod event;
mod format;
mod frames;
mod markers;
mod output;
mod read;
mod reasoning;
mod spelling;
mod tools;

pub use event::Event;
pub use format::{CallIds, ToolFormat};
pub use output::{Calls, OutputParser};
pub use reasoning::{Begin, ReasoningFormat};
pub use spelling::{Named, Spelling, Written};
pub use tools::ToolSet;
