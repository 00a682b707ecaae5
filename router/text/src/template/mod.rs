//! Chat templates: messages to a prompt.
//!
//! A template comes with the model and is not trusted: it sees plain data, can call only what
//! `environment` gives it, and its output, and the work and memory that the engine accounts for,
//! are bounded. The engine does not account for lists that are concatenated with themselves, or
//! put into themselves, dozens of times over; a template can only come from the operator's model or
//! flag, never from a request.

mod clock;
mod content;
mod environment;
mod error;
mod json;
mod marks;
mod methods;
mod probe;
mod render;
mod request;

pub use error::TemplateError;
pub use render::{ChatTemplates, TemplateSource, TemplateVariables};
pub use request::{ChatRequest, RenderedChat, Segment};
