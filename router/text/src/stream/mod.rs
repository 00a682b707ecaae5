//! Tokens in, text out, one token at a time.

mod detokenizer;
mod stop;
mod text_stream;
mod utf8;

pub use detokenizer::Detokenizer;
pub(crate) use detokenizer::DetokenizerState;
pub use stop::{StopError, StopHit, StopMatcher, StopStrings};
pub use text_stream::{StreamOptions, TextSpan, TextStep, TextStream};
