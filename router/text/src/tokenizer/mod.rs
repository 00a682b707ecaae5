//! Text to token ids and back.
//!
//! One `Tokenizer` serves all threads: nothing is cloned or locked per call.

mod align;
mod bound;
mod control;
mod encode;
pub(crate) mod from_gguf;
mod pieces;
mod pre_rules;
mod scheme;

use std::collections::HashSet;

pub use control::ControlTokens;
pub use encode::{EncodeOptions, OffsetToken};
pub use pieces::TokenPieces;
pub use scheme::{Scheme, StartRule};

/// Why text could not be encoded, or a tokenizer not be built.
#[derive(Debug, thiserror::Error)]
pub enum TokenizeError {
    /// The tokenizer library refused, in its words.
    #[error("{cause}")]
    Library {
        /// Its words.
        cause: String,
    },
    /// The tokenizer gives a control token for text that must stay text.
    #[error("this tokenizer cannot express {text:?} as plain text")]
    NotPlain {
        /// The text.
        text: String,
    },
    /// Token ids beyond what a tokenizer may have.
    #[error("the tokenizer has the token id {id}, ids up to {limit} are supported")]
    VocabularyTooLarge {
        /// The largest id.
        id: u32,
        /// The largest id that is supported.
        limit: u32,
    },
}

impl TokenizeError {
    fn library(error: tokenizers::Error) -> Self {
        TokenizeError::Library {
            cause: error.to_string(),
        }
    }
}

/// Largest token id: tables are indexed by it. The largest vocabularies have 300,000 tokens.
const MAX_TOKEN_ID: u32 = (1 << 22) - 1;

/// A tokenizer with its control tokens and the bytes of every token.
pub struct Tokenizer {
    inner: tokenizers::Tokenizer,
    control: ControlTokens,
    pieces: TokenPieces,
    scheme: Scheme,
    special: HashSet<u32>,
    /// Ids that encoding with special tokens puts before (BOS) and behind a text.
    special_before: Vec<u32>,
    special_behind: Vec<u32>,
    /// Most bytes of text that one token can stand for, when known.
    longest_token: Option<usize>,
    /// Ids of "\n" at the beginning of a text, when the tokenizer adds a space there; else empty.
    newline_at_start: Vec<u32>,
}

impl std::fmt::Debug for Tokenizer {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Tokenizer")
            .field("vocab_size", &self.vocab_size())
            .field("scheme", &self.scheme)
            .finish_non_exhaustive()
    }
}

impl Tokenizer {
    /// Wraps a tokenizer of the library. Added tokens that occur in `template_sources` count as
    /// control tokens beside those that are declared special.
    pub fn new(mut inner: tokenizers::Tokenizer, template_sources: &[&str]) -> Result<Self, TokenizeError> {
        // Truncation and padding of a training set-up have no place in a server.
        inner.with_truncation(None).map_err(TokenizeError::library)?;
        inner.with_padding(None);
        let scheme = Scheme::of(&inner);
        let vocabulary = inner.get_vocab(true);
        if let Some(id) = vocabulary.values().copied().max().filter(|id| *id > MAX_TOKEN_ID) {
            return Err(TokenizeError::VocabularyTooLarge {
                id,
                limit: MAX_TOKEN_ID,
            });
        }
        let added = inner.get_added_tokens_decoder();
        let pieces = TokenPieces::new(&vocabulary, |id| added.contains_key(&id), &scheme);
        let special = added
            .iter()
            .filter(|(_, token)| token.special)
            .map(|(id, _)| *id)
            .collect();
        let control = ControlTokens::new(added.iter(), template_sources)?;
        let longest_token = bound::longest_token(&inner, &scheme, &pieces);
        let mut tokenizer = Self {
            longest_token,
            inner,
            control,
            pieces,
            scheme,
            special,
            special_before: Vec::new(),
            special_behind: Vec::new(),
            newline_at_start: Vec::new(),
        };
        tokenizer.probe()?;
        Ok(tokenizer)
    }

    /// Reads the bytes of a `tokenizer.json`.
    pub fn from_json(bytes: &[u8], template_sources: &[&str]) -> Result<Self, TokenizeError> {
        let inner = tokenizers::Tokenizer::from_bytes(bytes).map_err(TokenizeError::library)?;
        Self::new(inner, template_sources)
    }

    /// Token ids are in `[0, vocab_size)`; some of them may have no text.
    pub fn vocab_size(&self) -> u32 {
        self.pieces.len()
    }

    /// The fewest tokens that a text of this many bytes can have; 0 when nothing is known. A text
    /// for which this is too many need not be encoded to be refused.
    pub fn fewest_tokens(&self, text_bytes: usize) -> usize {
        self.longest_token
            .map_or(0, |longest| text_bytes.div_ceil(longest))
    }

    /// Whether `id` is a special token, which `skip_special_tokens` leaves out.
    pub fn is_special(&self, id: u32) -> bool {
        self.special.contains(&id)
    }

    /// The id of a token by its exact spelling ("<|im_end|>").
    pub fn token_id(&self, token: &str) -> Option<u32> {
        self.inner.token_to_id(token)
    }

    /// The spelling of a special or added token, as the template may use it.
    pub fn token_spelling(&self, id: u32) -> Option<String> {
        self.inner.id_to_token(id)
    }

    /// The text of one token alone; a part of a character shows as U+FFFD. Empty for unknown ids.
    pub fn token_text(&self, id: u32) -> String {
        match self.scheme {
            Scheme::Library => self.inner.decode(&[id], false).unwrap_or_default(),
            _ => String::from_utf8_lossy(self.pieces.bytes(id)).into_owned(),
        }
    }

    /// The bytes of one token alone, which may be a part of a character. Empty for unknown ids.
    pub fn token_bytes(&self, id: u32) -> Vec<u8> {
        match self.scheme {
            Scheme::Library => self.token_text(id).into_bytes(),
            _ => self.pieces.bytes(id).to_vec(),
        }
    }

    /// The text of all of `ids`; equal to what a `Detokenizer` yields for them at the start of a text.
    pub fn decode(&self, ids: &[u32], skip_special_tokens: bool) -> String {
        let mut text = String::new();
        let mut state = crate::stream::DetokenizerState::new(skip_special_tokens, false);
        for id in ids {
            state.push(self, *id, &mut text);
        }
        state.finish(self, &mut text);
        text
    }

    /// The tokens that text of a user must never become.
    pub fn control_tokens(&self) -> &ControlTokens {
        &self.control
    }

    /// How the texts of tokens join to a text.
    pub fn scheme(&self) -> &Scheme {
        &self.scheme
    }

    pub(crate) fn piece(&self, id: u32) -> &[u8] {
        self.pieces.bytes(id)
    }

    pub(crate) fn library_decode(&self, ids: &[u32]) -> String {
        self.inner.decode(ids, false).unwrap_or_default()
    }
}
