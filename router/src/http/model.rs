//! What is served: its name, and its text side once that is loaded.

use std::sync::{Arc, OnceLock};

pub use shardline_text::GenerationDefaults;
use shardline_text::ModelText;

use crate::http::error::ApiError;

/// Names that mean the base model beside its own and none.
const ALIASES: [&str; 3] = ["", "tgi", "dummy"];

/// The name under which the model is served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServedName {
    id: String,
}

impl ServedName {
    /// `--model-id`.
    #[must_use]
    pub fn new(id: &str) -> Self {
        Self { id: id.to_owned() }
    }

    /// As `/v1/models` lists it.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Whether a request may name it so.
    ///
    /// # Errors
    /// `UnknownModel`.
    pub fn check(&self, given: Option<&str>) -> Result<(), ApiError> {
        match given {
            None => Ok(()),
            Some(name) if name == self.id || ALIASES.contains(&name) => Ok(()),
            Some(name) => Err(ApiError::UnknownModel {
                model: name.chars().take(200).collect(),
            }),
        }
    }
}

/// The model's text side, filled once by whoever loads it.
#[derive(Clone, Debug, Default)]
pub struct ModelSlot {
    text: Arc<OnceLock<Arc<ModelText>>>,
}

impl ModelSlot {
    /// Fills it; a second filling is left out, as requests may be at work with the first.
    pub fn fill(&self, text: Arc<ModelText>) {
        let _ = self.text.set(text);
    }

    /// What it was filled with.
    #[must_use]
    pub fn get(&self) -> Option<Arc<ModelText>> {
        self.text.get().cloned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_base_model_has_few_names() {
        let name = ServedName::new("org/model");
        for given in [None, Some(""), Some("tgi"), Some("dummy"), Some("org/model")] {
            assert_eq!(name.check(given), Ok(()), "{given:?}");
        }
        for given in ["org/Model", "gpt-4", "TGI"] {
            let error = name.check(Some(given)).unwrap_err();
            assert_eq!(error.to_string(), format!("The model `{given}` does not exist."));
        }
    }
}
