//! A gap between the prompt and `suffix`, which the answer fills.

use std::sync::Arc;

use shardline_text::{FillMarks, ModelText};

use crate::http::app::{App, Served};
use crate::http::error::ApiError;
use crate::http::prompt::{self, Origin};

/// What stands behind the gap, and how the model is told of it.
#[derive(Clone, Debug)]
pub struct Gap {
    marks: FillMarks,
    behind: Vec<u32>,
    characters: usize,
}

impl Gap {
    /// With `suffix` behind it.
    ///
    /// # Errors
    /// When the model has no marks for gaps, or `suffix` cannot fit.
    pub async fn new(app: &App, served: &Served, suffix: &str) -> Result<Self, ApiError> {
        let Some(marks) = FillMarks::of(&served.text.tokenizer) else {
            let fix = "this model has no tokens that mark a gap (such as `<fim_prefix>`); leave it out";
            return Err(ApiError::unsupported("suffix", fix));
        };
        prompt::check_bytes(&served.text, suffix, &served.limits, Origin::Completion)?;
        let (model, text) = (served.text.clone(), Arc::<str>::from(suffix));
        Ok(Self {
            marks,
            behind: app.workers.run(move || encode(&model, &text, true)).await??,
            characters: suffix.chars().count(),
        })
    }

    /// Tokens that end the answer, beside EOS.
    pub fn ends(&self) -> &[u32] {
        self.marks.ends()
    }

    /// Characters of the text behind it.
    pub fn characters(&self) -> usize {
        self.characters
    }

    /// The prompt whose text before the gap has these tokens.
    pub fn prompt(&self, model: &ModelText, before: &[u32], add_special_tokens: bool) -> Vec<u32> {
        let ids = self.marks.prompt(before, &self.behind);
        if add_special_tokens {
            model.tokenizer.surround(ids)
        } else {
            ids
        }
    }
}

/// Tokenises a text before or behind a gap.
///
/// # Errors
/// When it cannot be tokenised.
pub fn encode(model: &ModelText, text: &str, behind: bool) -> Result<Vec<u32>, ApiError> {
    model
        .tokenizer
        .encode_around_gap(text, behind)
        .map_err(|error| prompt::not_encoded(&error))
}
