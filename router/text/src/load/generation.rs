//! Sampling defaults of a model.

use super::GenerationSource;
use super::files::{self, JsonFile};
use crate::error::LoadError;

/// What generation_config.json recommends; `None` where it says nothing.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct GenerationDefaults {
    /// Tokens that end a text, without repeats; empty: none is known.
    pub eos_token_ids: Vec<u32>,
    /// Whether the model's makers sample (`true`) or take the likeliest token.
    pub do_sample: Option<bool>,
    /// 0 is greedy.
    pub temperature: Option<f32>,
    /// 1 is off.
    pub top_p: Option<f32>,
    /// 0 is off.
    pub top_k: Option<u32>,
    /// 0 is off.
    pub min_p: Option<f32>,
    /// 1 is off.
    pub typical_p: Option<f32>,
    /// 1 is off.
    pub repetition_penalty: Option<f32>,
    /// Generated tokens.
    pub max_new_tokens: Option<u32>,
}

impl GenerationDefaults {
    pub(super) fn read(config: &JsonFile) -> Result<Self, LoadError> {
        Ok(Self {
            eos_token_ids: config.token_ids("eos_token_id")?.unwrap_or_default(),
            do_sample: config.field("do_sample", "true or false", serde_json::Value::as_bool)?,
            temperature: config.number("temperature")?,
            top_p: config.number("top_p")?,
            top_k: config.count("top_k")?,
            min_p: config.number("min_p")?,
            typical_p: config.number("typical_p")?,
            repetition_penalty: config.number("repetition_penalty")?,
            max_new_tokens: config.count("max_new_tokens")?,
        })
    }

    /// Puts other defaults in the place of the model's.
    pub(super) fn replace(&mut self, source: &GenerationSource) -> Result<(), LoadError> {
        let mut other = match source {
            GenerationSource::Model => return Ok(()),
            GenerationSource::Neutral => Self::default(),
            GenerationSource::File(path) => {
                let path = if path.is_dir() {
                    path.join("generation_config.json")
                } else {
                    path.clone()
                };
                Self::read(&files::read_object(&path)?)?
            }
        };
        for id in &self.eos_token_ids {
            other.add_eos(*id);
        }
        *self = other;
        Ok(())
    }

    /// Adds a token that ends a text.
    pub(super) fn add_eos(&mut self, id: u32) {
        if !self.eos_token_ids.contains(&id) {
            self.eos_token_ids.push(id);
        }
    }
}
