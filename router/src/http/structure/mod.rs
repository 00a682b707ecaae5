//! What an answer must look like: a JSON schema, a regular expression, one of some texts, a grammar.
//!
//! Every route names it in fields of its own (`types`); the rules are the same (`validate`). What
//! comes out is a [`Structure`], which a route may also make itself.

mod closed;
mod lark;
mod types;
mod validate;

use std::sync::Arc;

pub use lark::{json_expression, quoted};
pub use types::{GrammarField, StructureFields};
pub use validate::{native, of_schema, openai};

use crate::engine::api::Grammar;

/// Most bytes of a structure's source: beyond, compiling it would take longer than a client waits.
pub const MAX_SOURCE_BYTES: usize = 512 * 1024;

/// What an answer must look like.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Structure {
    /// JSON that a schema allows, the schema as JSON text.
    JsonSchema(String),
    /// Any JSON object.
    JsonObject,
    /// Text that a regular expression matches as a whole.
    Regex(String),
    /// One of these texts, of which none is empty.
    Choice(Vec<String>),
    /// A grammar in Lark's notation, from its rule `start`.
    Lark(String),
}

impl Structure {
    /// What the engine understands.
    #[must_use]
    pub fn grammar(&self) -> Grammar {
        match self {
            Self::JsonSchema(schema) => Grammar::JsonSchema(Arc::from(schema.as_str())),
            Self::JsonObject => Grammar::JsonSchema(Arc::from(r#"{"type":"object"}"#)),
            Self::Regex(regex) => Grammar::Regex(Arc::from(regex.as_str())),
            Self::Choice(_) => Grammar::Lark(Arc::from(format!("start: {}", self.expression()))),
            Self::Lark(source) => Grammar::Lark(Arc::from(source.as_str())),
        }
    }
}

/// A structure, and the field that asked for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Structured {
    /// The field's path, which an error names.
    pub param: &'static str,
    /// What it asks for.
    pub structure: Structure,
}

impl Structured {
    /// Both together.
    #[must_use]
    pub fn new(param: &'static str, structure: Structure) -> Self {
        Self { param, structure }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn choices_become_alternatives_with_their_quotes_kept() {
        let texts = ["yes".to_owned(), "say \"no\"\n".to_owned()];
        let expected = r#"start: ("yes" | "say \"no\"\n")"#;
        assert_eq!(
            Structure::Choice(texts.into()).grammar(),
            Grammar::Lark(Arc::from(expected))
        );
    }
}
