//! Text in and out of token ids: tokenizer, chat templates, incremental detokeniser, stop strings,
//! prompts that fill a gap.
//!
//! Knows files and strings only: no HTTP, no async, no clock, no environment.

pub mod error;
pub mod fill;
pub mod gguf;
pub mod load;
pub mod stream;
pub mod template;
pub mod tokenizer;

pub use error::LoadError;
pub use fill::FillMarks;
pub use load::{GenerationDefaults, GenerationSource, ModelFacts, ModelText, Overrides};
pub use stream::{Detokenizer, StopError, StopHit, StopMatcher, StopStrings, TextSpan, TextStep, TextStream};
pub use template::{ChatRequest, ChatTemplates, RenderedChat, TemplateError};
pub use tokenizer::{EncodeOptions, OffsetToken, TokenizeError, Tokenizer};
