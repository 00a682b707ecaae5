//! Messages as a prompt, and answers as what they mean: what every route shares that takes a
//! conversation.
//!
//! `types` (what may be sent), `validate`, `tools`, `choice` and `budget` (the rules, once), `render`
//! (the chat template, then the tokenizer; `described` where the template knows no tools), `shorten`
//! (what is left out when the prompt does not fit), `speech` (how the model marks calls and reasoning;
//! `marks` as its tokens), `grammar` (what the answer must follow), `reading` (an answer's text taken
//! apart).

mod budget;
mod choice;
mod described;
mod grammar;
mod heard;
mod marks;
mod prepare;
mod reading;
mod render;
mod shorten;
mod speech;
mod tools;
mod types;
mod validate;

pub use budget::Budget;
pub use choice::{Chosen, ToolChoice, allowed};
pub use heard::{Answered, Heard, HeardCall, HeardPart, Listener, hear};
pub use prepare::{Begun, TooLong, Turn, count_tokens, ready};
pub use reading::{Reader, Reading, Said};
pub use render::{encode, render};
pub use speech::Speech;
pub use tools::{Tool, Tools};
pub use types::{ConversationFields, Message};
pub use validate::{Conversation, Opening, set_effort, set_verbosity, validate, wrong_type};
