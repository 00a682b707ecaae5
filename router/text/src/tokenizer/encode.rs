//! Encoding: whole texts, texts with offsets, and texts in which control tokens stay text.

use tokenizers::tokenizer::{
    Model, NormalizedString, Normalizer, OffsetType, PreTokenizedString, PreTokenizer,
};

use super::{TokenizeError, Tokenizer};

/// How a text is encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EncodeOptions {
    /// Add what the model's tokenizer puts around a text (BOS, EOS).
    pub add_special_tokens: bool,
    /// Whether "<|im_end|>" in the text becomes the control token (as in a raw completion prompt)
    /// or stays text.
    pub control_tokens: bool,
}

impl Default for EncodeOptions {
    fn default() -> Self {
        Self {
            add_special_tokens: true,
            control_tokens: true,
        }
    }
}

/// A token and the part of the text it stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OffsetToken {
    /// The token.
    pub id: u32,
    /// `text[start..stop]`; the spelling of a token that stands for no text (BOS).
    pub text: String,
    /// First character, counted in Unicode scalar values.
    pub start: u32,
    /// One past the last character.
    pub stop: u32,
}

impl Tokenizer {
    /// The token ids of a text.
    pub fn encode(&self, text: &str, options: EncodeOptions) -> Result<Vec<u32>, TokenizeError> {
        if options.control_tokens || !self.control.occur_in(text) {
            let encoding = self
                .inner
                .encode_fast(text, options.add_special_tokens)
                .map_err(TokenizeError::library)?;
            return Ok(encoding.get_ids().to_vec());
        }
        let stretches = self.control.stretches(text);
        let mut ids = if options.add_special_tokens {
            self.special_before.clone()
        } else {
            Vec::new()
        };
        self.encode_stretches(
            stretches.iter().map(|stretch| (stretch.text, stretch.control)),
            false,
            &mut ids,
        )?;
        if options.add_special_tokens {
            ids.extend_from_slice(&self.special_behind);
        }
        Ok(ids)
    }

    /// Ids of a text between what the model's tokenizer puts around one (BOS, EOS).
    pub fn surround(&self, ids: Vec<u32>) -> Vec<u32> {
        if self.special_before.is_empty() && self.special_behind.is_empty() {
            return ids;
        }
        [&self.special_before, &ids, &self.special_behind]
            .into_iter()
            .flatten()
            .copied()
            .collect()
    }

    /// The tokens of a text with the characters they stand for.
    pub fn encode_with_offsets(
        &self,
        text: &str,
        add_special_tokens: bool,
    ) -> Result<Vec<OffsetToken>, TokenizeError> {
        let encoding = self
            .inner
            .encode_char_offsets(text, add_special_tokens)
            .map_err(TokenizeError::library)?;
        // Byte position of every character, and of the end.
        let positions: Vec<usize> = text
            .char_indices()
            .map(|(at, _)| at)
            .chain([text.len()])
            .collect();
        let last = positions.len() - 1;
        let tokens = encoding.get_ids().iter().zip(encoding.get_offsets());
        Ok(tokens
            .map(|(id, (start, stop))| {
                let (start, stop) = ((*start).min(last), (*stop).min(last));
                let text = match start < stop {
                    true => text[positions[start]..positions[stop]].to_owned(),
                    false => self.token_text(*id),
                };
                OffsetToken {
                    id: *id,
                    text,
                    start: start as u32,
                    stop: stop as u32,
                }
            })
            .collect())
    }

    /// Encodes the stretches of one text, without special tokens around it. Those with `true` stay
    /// text whatever they spell. `inside`: other text stands before the first one.
    pub(crate) fn encode_stretches<'a>(
        &self,
        stretches: impl Iterator<Item = (&'a str, bool)>,
        inside: bool,
        ids: &mut Vec<u32>,
    ) -> Result<(), TokenizeError> {
        for (index, (text, plain)) in stretches.filter(|(text, _)| !text.is_empty()).enumerate() {
            let inside = inside || index > 0;
            let mut encoded = self.encode_stretch(text, plain, inside)?;
            if plain && encoded.iter().any(|id| self.control.contains(*id)) {
                encoded = self.encode_characters(text, inside)?;
            }
            ids.extend_from_slice(&encoded);
        }
        Ok(())
    }

    /// One stretch. Tokenizers that put a space before a text must not do so inside one: there the
    /// stretch is encoded behind a newline, whose tokens are taken off again.
    fn encode_stretch(&self, text: &str, plain: bool, inside: bool) -> Result<Vec<u32>, TokenizeError> {
        let encode = |text: &str| {
            if plain {
                self.encode_plain(text)
            } else {
                self.encode_parsed(text)
            }
        };
        if inside && !self.newline_at_start.is_empty() {
            let ids = encode(&format!("\n{text}"))?;
            if let Some(rest) = ids.strip_prefix(self.newline_at_start.as_slice()) {
                return Ok(rest.to_vec());
            }
        }
        encode(text)
    }

    /// Character by character, for a vocabulary whose merges would build a control token.
    fn encode_characters(&self, text: &str, inside: bool) -> Result<Vec<u32>, TokenizeError> {
        let mut ids = Vec::new();
        for (index, character) in text.chars().enumerate() {
            let mut buffer = [0; 4];
            ids.extend(self.encode_stretch(character.encode_utf8(&mut buffer), true, inside || index > 0)?);
        }
        if ids.iter().any(|id| self.control.contains(*id)) {
            return Err(TokenizeError::NotPlain {
                text: text.to_owned(),
            });
        }
        Ok(ids)
    }

    fn encode_parsed(&self, text: &str) -> Result<Vec<u32>, TokenizeError> {
        let encoding = self
            .inner
            .encode_fast(text, false)
            .map_err(TokenizeError::library)?;
        Ok(encoding.get_ids().to_vec())
    }

    /// Normalizer, pre-tokenizer and model alone: added tokens are not looked for.
    fn encode_plain(&self, text: &str) -> Result<Vec<u32>, TokenizeError> {
        let mut normalized = NormalizedString::from(text);
        if let Some(normalizer) = self.inner.get_normalizer() {
            normalizer
                .normalize(&mut normalized)
                .map_err(TokenizeError::library)?;
        }
        let mut words = PreTokenizedString::from(normalized);
        if let Some(pre_tokenizer) = self.inner.get_pre_tokenizer() {
            pre_tokenizer
                .pre_tokenize(&mut words)
                .map_err(TokenizeError::library)?;
        }
        let model = self.inner.get_model();
        words
            .tokenize(|word| model.tokenize(word.get()))
            .map_err(TokenizeError::library)?;
        let encoding = words
            .into_encoding(None, 0, OffsetType::None)
            .map_err(TokenizeError::library)?;
        Ok(encoding.get_ids().to_vec())
    }

    /// Learns from the tokenizer what it puts around a text.
    pub(super) fn probe(&mut self) -> Result<(), TokenizeError> {
        let bare = self.encode_parsed("a")?;
        let whole = self
            .inner
            .encode_fast("a", true)
            .map_err(TokenizeError::library)?
            .get_ids()
            .to_vec();
        if let Some(at) = whole.windows(bare.len().max(1)).position(|window| window == bare) {
            self.special_before = whole[..at].to_vec();
            self.special_behind = whole[at + bare.len()..].to_vec();
        }
        if bare
            .first()
            .is_some_and(|id| self.token_text(*id).starts_with(' '))
        {
            self.newline_at_start = self.encode_parsed("\n")?;
        }
        Ok(())
    }
}
