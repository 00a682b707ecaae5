//! The bytes of every token, in the form in which masks are computed.

use std::path::Path;
use std::sync::Arc;

use llguidance::toktrie::{ApproximateTokEnv, TokEnv, TokRxInfo, TokTrie};
use shardline_text::tokenizer::{Scheme, Tokenizer};
use shardline_text::{LoadError, ModelText, Overrides};

/// Why no grammar can be followed with a model's tokens.
#[derive(Debug, thiserror::Error)]
pub enum VocabularyError {
    /// The model's files tell no tokenizer.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// What a token stands for depends on its neighbours.
    #[error("the tokens of this tokenizer have no bytes of their own, so no grammar can be followed")]
    NoBytes,
    /// Nothing could end a text.
    #[error("the model has no end-of-text token below {vocab_size}, so no grammar could end")]
    NoEnd {
        /// Tokens of the model.
        vocab_size: u32,
    },
}

/// Tokens of a model as byte strings, and those that end a text.
#[derive(Clone)]
pub struct Vocabulary {
    environment: TokEnv,
    ends: Vec<u32>,
}

impl std::fmt::Debug for Vocabulary {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Vocabulary")
            .field("vocab_size", &self.vocab_size())
            .field("ends", &self.ends)
            .finish()
    }
}

impl Vocabulary {
    /// Reads a model folder or a `.gguf` file. `vocab_size`: of the model's logits, which may be
    /// more than the tokenizer's tokens.
    ///
    /// # Errors
    /// When the files hold no tokenizer, or one whose tokens have no bytes or no end.
    pub fn load(model_path: &Path, vocab_size: u32) -> Result<Self, VocabularyError> {
        let text = ModelText::load(model_path, &Overrides::default())?;
        let tokenizer = &text.tokenizer;
        if *tokenizer.scheme() == Scheme::Library {
            return Err(VocabularyError::NoBytes);
        }
        let mut ends = text.generation.eos_token_ids.clone();
        if ends.is_empty() {
            let eos = text.special_tokens.eos.as_deref();
            ends.extend(eos.and_then(|eos| tokenizer.token_id(eos)));
        }
        let words = (0..vocab_size).map(|id| word(tokenizer, id, &ends)).collect();
        Self::new(words, ends)
    }

    /// `words`: the bytes of each token, with a leading 0xFF those of tokens that are no text;
    /// empty: never sampled. `ends`: tokens that end a text.
    ///
    /// # Errors
    /// When nothing ends a text.
    pub fn new(words: Vec<Vec<u8>>, mut ends: Vec<u32>) -> Result<Self, VocabularyError> {
        let vocab_size = u32::try_from(words.len()).unwrap_or(u32::MAX);
        ends.retain(|id| *id < vocab_size);
        let Some(first) = ends.first() else {
            return Err(VocabularyError::NoEnd { vocab_size });
        };
        let trie = TokTrie::from(&TokRxInfo::new(vocab_size, *first), &words).with_eos_tokens(&ends);
        Ok(Self {
            environment: Arc::new(ApproximateTokEnv::new(trie)),
            ends,
        })
    }

    /// Masks have this many bits.
    #[must_use]
    pub fn vocab_size(&self) -> u32 {
        self.environment.tok_trie().vocab_size() as u32
    }

    /// Tokens that end a text.
    #[must_use]
    pub fn ends(&self) -> &[u32] {
        &self.ends
    }

    pub(crate) fn environment(&self) -> &TokEnv {
        &self.environment
    }
}

/// A token's bytes; those that are no text are marked.
fn word(tokenizer: &Tokenizer, id: u32, ends: &[u32]) -> Vec<u8> {
    let bytes = tokenizer.token_bytes(id);
    if bytes.is_empty() || !(tokenizer.is_special(id) || ends.contains(&id)) {
        return bytes;
    }
    let mut marked = vec![TokTrie::SPECIAL_TOKEN_MARKER];
    marked.extend_from_slice(&bytes);
    marked
}
