//! What a model's files say about text: tokenizer, templates, defaults, facts.

mod facts;
mod files;
mod folder;
mod from_gguf;
mod generation;

use std::path::{Path, PathBuf};
use std::sync::Arc;

pub use facts::ModelFacts;
pub use generation::GenerationDefaults;

use crate::error::LoadError;
use crate::template::{ChatRequest, ChatTemplates, RenderedChat, TemplateError};
use crate::tokenizer::{TokenizeError, Tokenizer};

/// What a flag puts in the place of the model's own files.
#[derive(Clone, Debug, Default)]
pub struct Overrides {
    /// A file of the shape of tokenizer_config.json: its chat template, BOS and EOS replace the model's.
    pub tokenizer_config_path: Option<PathBuf>,
    /// Where sampling defaults come from.
    pub generation: GenerationSource,
}

/// Where sampling defaults come from. The tokens that end a text are facts of the model and stay.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum GenerationSource {
    /// The model's own files.
    #[default]
    Model,
    /// Nowhere: what a request leaves out is neutral.
    Neutral,
    /// A file of the shape of generation_config.json, or a folder with one.
    File(PathBuf),
}

/// The spellings of the tokens that templates may write.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SpecialTokens {
    /// `bos_token`.
    pub bos: Option<String>,
    /// `eos_token`.
    pub eos: Option<String>,
    /// `unk_token`.
    pub unk: Option<String>,
    /// `pad_token`.
    pub pad: Option<String>,
}

/// Everything about text that a model's files say.
#[derive(Debug)]
pub struct ModelText {
    /// Text to ids and back.
    pub tokenizer: Arc<Tokenizer>,
    /// `None`: the model has no chat template; chat requests cannot be answered.
    pub templates: Option<ChatTemplates>,
    /// What generation_config.json (or the GGUF) recommends.
    pub generation: GenerationDefaults,
    /// Sizes and the model's type.
    pub facts: ModelFacts,
    /// Spellings of BOS, EOS, …
    pub special_tokens: SpecialTokens,
}

impl ModelText {
    /// Reads a model folder, or a `.gguf` file.
    pub fn load(path: &Path, overrides: &Overrides) -> Result<Self, LoadError> {
        let mut text = Self::load_own(path, overrides)?;
        text.generation.replace(&overrides.generation)?;
        Ok(text)
    }

    fn load_own(path: &Path, overrides: &Overrides) -> Result<Self, LoadError> {
        if path.is_dir() {
            if path.join("tokenizer.json").is_file() {
                return folder::load(path, overrides);
            }
            let gguf = files::only_gguf(path)?.ok_or_else(|| LoadError::NoTokenizer {
                path: path.to_owned(),
            })?;
            return from_gguf::load(&gguf, overrides);
        }
        if path.is_file()
            && path
                .extension()
                .is_some_and(|extension| extension.eq_ignore_ascii_case("gguf"))
        {
            return from_gguf::load(path, overrides);
        }
        Err(LoadError::NotAModel {
            path: path.to_owned(),
        })
    }

    /// Turns messages into a prompt.
    pub fn render_chat(&self, request: &ChatRequest) -> Result<RenderedChat, TemplateError> {
        let templates = self.templates.as_ref().ok_or(TemplateError::NoTemplate)?;
        templates.render(request, self.tokenizer.control_tokens())
    }

    /// The token ids of a rendered prompt. Text of users never becomes a control token.
    pub fn encode_chat(&self, chat: &RenderedChat) -> Result<Vec<u32>, TokenizeError> {
        self.tokenizer.encode_chat(chat)
    }
}
