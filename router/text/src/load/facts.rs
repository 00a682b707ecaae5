//! What kind of model it is, and its sizes.

use serde_json::Value;

use super::files::JsonFile;
use crate::error::LoadError;

/// Facts of a model that the router needs before the shards are ready.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ModelFacts {
    /// "llama", "qwen2", …; `None` without a config.json.
    pub model_type: Option<String>,
    /// Longest sequence the model's positions allow, in tokens.
    pub max_position_embeddings: Option<u32>,
    /// `model_max_length` of the tokenizer, in tokens; absurdly large values mean none.
    pub model_max_length: Option<u32>,
    /// Token ids the model's embedding has, which may be more than the tokenizer's.
    pub vocab_size: Option<u32>,
}

impl ModelFacts {
    /// Reads config.json; models with several parts keep the text model's numbers in `text_config`.
    pub(super) fn from_config(config: &JsonFile) -> Result<Self, LoadError> {
        let own = Self::read(config)?;
        let Some(Value::Object(fields)) = config.fields.get("text_config") else {
            return Ok(own);
        };
        let text = Self::read(&JsonFile {
            path: config.path.clone(),
            fields: fields.clone(),
        })?;
        Ok(Self {
            model_type: own.model_type.or(text.model_type),
            max_position_embeddings: own.max_position_embeddings.or(text.max_position_embeddings),
            model_max_length: None,
            vocab_size: own.vocab_size.or(text.vocab_size),
        })
    }

    fn read(config: &JsonFile) -> Result<Self, LoadError> {
        Ok(Self {
            model_type: config.field("model_type", "text", |value| value.as_str().map(str::to_owned))?,
            max_position_embeddings: config.count("max_position_embeddings")?,
            model_max_length: None,
            vocab_size: config.count("vocab_size")?,
        })
    }

    /// Longest sequence that tokenizer and positions allow, when either says so.
    pub fn max_positions(&self) -> Option<u32> {
        match (self.max_position_embeddings, self.model_max_length) {
            (Some(positions), Some(length)) => Some(positions.min(length)),
            (positions, length) => positions.or(length),
        }
    }
}

/// `model_max_length`: many files hold 1e30 for "none".
pub(super) fn model_max_length(config: &JsonFile) -> Result<Option<u32>, LoadError> {
    let length = config.field("model_max_length", "a number", Value::as_f64)?;
    Ok(length
        .filter(|length| *length >= 1.0 && *length <= f64::from(u32::MAX))
        .map(|length| length as u32))
}
