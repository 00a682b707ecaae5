//! Which tokens may come next: grammars compiled once, followed a token at a time, and their masks
//! computed in threads of their own while the model runs.
//!
//! ```text
//! Source ─▶ library (cache, one compilation each) ─▶ Template (lexers that sequences share)
//!                                                      ▼
//!                                                    Follower (a sequence's place in its grammar)
//!                                                      ▲ tokens sampled      ▼ mask of the next
//!                                                    Grammars::advance     Grammars::fill
//! ```
//!
//! The grammar engine is `llguidance`; what is here bounds it: bytes of a source, work of a
//! compilation, work of a mask, entries and bytes of the cache, and what waits. Nothing here knows
//! Python or the wire.

mod bounds;
mod compile;
mod follower;
mod grammars;
mod library;
mod limits;
mod mask;
mod queue;
mod source;
mod template;
mod vocabulary;

pub use compile::Refusal;
pub use grammars::{Grammars, Handle};
pub use limits::Limits;
pub use mask::{MaskRows, RowState, apply_mask};
pub use source::{Source, UnknownKind};
pub use vocabulary::{Vocabulary, VocabularyError};
