//! A grammar before it is compiled.

use std::sync::Arc;

/// A grammar's text in one of the notations.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Source {
    /// JSON that a schema allows; the schema as JSON text.
    JsonSchema(Arc<str>),
    /// Text that a regular expression matches as a whole.
    Regex(Arc<str>),
    /// Text of a grammar's rule `start`, in Lark's notation.
    Lark(Arc<str>),
}

/// A notation that is not among those known.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("grammars of the kind {0:?} are not known; json_schema, regex and lark are")]
pub struct UnknownKind(pub String);

impl Source {
    /// From the name of the notation, as on the wire.
    ///
    /// # Errors
    /// When there is no such notation.
    pub fn new(kind: &str, text: &str) -> Result<Self, UnknownKind> {
        let text = Arc::from(text);
        match kind {
            "json_schema" => Ok(Self::JsonSchema(text)),
            "regex" => Ok(Self::Regex(text)),
            "lark" => Ok(Self::Lark(text)),
            _ => Err(UnknownKind(kind.to_owned())),
        }
    }

    /// The text.
    #[must_use]
    pub fn text(&self) -> &str {
        match self {
            Self::JsonSchema(text) | Self::Regex(text) | Self::Lark(text) => text,
        }
    }
}
