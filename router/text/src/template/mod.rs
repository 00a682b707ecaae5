//! Chat templates: messages to a prompt.
//!
//! A template comes with the model and is not trusted: it sees plain data, can call only what
//! `environment` gives it, and its work, memory and output are bounded.

mod clock;
mod content;
mod environment;
mod error;
mod json;
mod marks;
mod methods;
mod render;
mod request;

pub use error::TemplateError;
pub use render::{ChatTemplates, TemplateSource, TemplateVariables};
pub use request::{ChatRequest, RenderedChat, Segment};
