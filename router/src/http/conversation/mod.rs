//! Messages as a prompt: what every route shares that takes a conversation.
//!
//! `types` (what may be sent), `validate` (the rules, once), `render` (the chat template, then the
//! tokenizer).

mod render;
mod types;
mod validate;

pub use render::{encode, render};
pub use validate::{Conversation, validate};
