//! Messages as a prompt, and answers as what they mean: what every route shares that takes a
//! conversation.
//!
//! `types` (what may be sent), `validate` and `tools` (the rules, once), `render` (the chat
//! template, then the tokenizer; `described` where the template knows no tools), `speech` (how the
//! model marks calls and reasoning), `forced` (the grammar that makes it call), `reading` (an
//! answer's text taken apart).

mod described;
mod forced;
mod heard;
mod prepare;
mod reading;
mod render;
mod speech;
mod tools;
mod types;
mod validate;

pub use heard::{Answered, Heard, HeardCall, HeardPart, Listener, hear};
pub use prepare::{Turn, count_tokens, ready};
pub use reading::{Reader, Reading, Said};
pub use render::{encode, render};
pub use speech::Speech;
pub use tools::{Tool, ToolChoice, Tools};
pub use types::{ConversationFields, Message};
pub use validate::{Conversation, Opening, set_effort, validate, wrong_type};
