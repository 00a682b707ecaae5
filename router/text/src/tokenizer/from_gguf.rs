//! The tokenizer that a GGUF file's metadata describes.

use serde_json::json;
use tokenizers::models::bpe::{BPE, Vocab};
use tokenizers::{AddedToken, DecoderWrapper, NormalizerWrapper, PostProcessorWrapper, PreTokenizerWrapper};

use crate::gguf::{GgufError, Metadata};

const MODEL: &str = "tokenizer.ggml.model";
const PRE: &str = "tokenizer.ggml.pre";
const TOKENS: &str = "tokenizer.ggml.tokens";
const TYPES: &str = "tokenizer.ggml.token_type";
const MERGES: &str = "tokenizer.ggml.merges";
const SCORES: &str = "tokenizer.ggml.scores";

/// Values of `tokenizer.ggml.token_type`.
mod token_type {
    pub const UNKNOWN: i64 = 2;
    pub const CONTROL: i64 = 3;
    pub const USER_DEFINED: i64 = 4;
    pub const UNUSED: i64 = 5;
    pub const BYTE: i64 = 6;
}

/// Longest token, in characters, that may be merged from two others.
const MAX_MERGED_CHARACTERS: usize = 256;

/// Builds the tokenizer.
pub fn build(metadata: &Metadata) -> Result<tokenizers::Tokenizer, GgufError> {
    let model = metadata.text(MODEL)?.ok_or(GgufError::Missing { key: MODEL })?;
    let parts = Parts::read(metadata)?;
    let mut tokenizer = match model {
        "gpt2" => byte_level(metadata, &parts)?,
        "llama" => sentencepiece(metadata, &parts)?,
        other => {
            return Err(GgufError::Unsupported {
                key: MODEL,
                given: other.to_owned(),
                supported: "gpt2, llama".to_owned(),
            });
        }
    };
    add_tokens(&mut tokenizer, &parts)?;
    let add_bos = metadata
        .flag("tokenizer.ggml.add_bos_token")?
        .unwrap_or(model == "llama");
    let add_eos = metadata.flag("tokenizer.ggml.add_eos_token")?.unwrap_or(false);
    surround(&mut tokenizer, metadata, &parts, add_bos, add_eos)?;
    Ok(tokenizer)
}

/// The vocabulary.
struct Parts<'a> {
    tokens: &'a [String],
    /// Empty when the file gives none.
    types: &'a [i64],
}

impl<'a> Parts<'a> {
    fn read(metadata: &'a Metadata) -> Result<Self, GgufError> {
        let tokens = metadata
            .texts(TOKENS)?
            .ok_or(GgufError::Missing { key: TOKENS })?;
        let types = metadata.integers(TYPES)?.unwrap_or_default();
        if !types.is_empty() && types.len() != tokens.len() {
            let given = format!("{} types for {} tokens", types.len(), tokens.len());
            return Err(GgufError::Field {
                key: TYPES,
                expected: "as many as there are tokens",
                given,
            });
        }
        Ok(Self { tokens, types })
    }

    fn vocabulary(&self) -> Vocab {
        self.tokens.iter().cloned().zip(0u32..).collect()
    }

    fn of_type(&self, wanted: i64) -> impl Iterator<Item = &'a String> {
        self.tokens
            .iter()
            .zip(self.types)
            .filter(move |(_, kind)| **kind == wanted)
            .map(|(token, _)| token)
    }

    fn token(&self, metadata: &Metadata, key: &'static str) -> Result<Option<(u32, &'a str)>, GgufError> {
        let Some(id) = metadata.number(key)? else {
            return Ok(None);
        };
        match self.tokens.get(id as usize) {
            Some(token) => Ok(Some((id, token))),
            None => Err(GgufError::Field {
                key,
                expected: "an id of the vocabulary",
                given: id.to_string(),
            }),
        }
    }
}

fn library(error: impl std::fmt::Display) -> GgufError {
    GgufError::Tokenizer {
        cause: error.to_string(),
    }
}

fn pre_tokenizer(description: serde_json::Value) -> Result<PreTokenizerWrapper, GgufError> {
    serde_json::from_value(description).map_err(library)
}

fn normalizer(description: serde_json::Value) -> Result<NormalizerWrapper, GgufError> {
    serde_json::from_value(description).map_err(library)
}

fn decoder(description: serde_json::Value) -> Result<DecoderWrapper, GgufError> {
    serde_json::from_value(description).map_err(library)
}

fn byte_level(metadata: &Metadata, parts: &Parts) -> Result<tokenizers::Tokenizer, GgufError> {
    let given = metadata.text(PRE)?.unwrap_or("default");
    let rule = super::pre_rules::named(given).ok_or_else(|| GgufError::Unsupported {
        key: PRE,
        given: given.to_owned(),
        supported: super::pre_rules::names(),
    })?;
    let lines = metadata
        .texts(MERGES)?
        .ok_or(GgufError::Missing { key: MERGES })?;
    let merges = lines
        .iter()
        .map(|line| split_merge(line))
        .collect::<Result<Vec<_>, _>>()?;
    let model = BPE::builder()
        .vocab_and_merges(parts.vocabulary(), merges)
        .ignore_merges(rule.ignore_merges)
        .build()
        .map_err(library)?;
    let mut tokenizer = tokenizers::Tokenizer::new(model);
    tokenizer.with_pre_tokenizer(Some(pre_tokenizer(rule.description())?));
    if rule.compose {
        tokenizer
            .with_normalizer(Some(normalizer(json!({"type": "NFC"}))?))
            .map_err(library)?;
    }
    let byte_level =
        json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": false, "use_regex": false});
    tokenizer.with_decoder(Some(decoder(byte_level)?));
    Ok(tokenizer)
}

/// "left right": the one space that does not begin a token.
fn split_merge(line: &str) -> Result<(String, String), GgufError> {
    let parts = line
        .char_indices()
        .skip(1)
        .find(|(_, character)| *character == ' ');
    match parts {
        Some((at, _)) if at + 1 < line.len() => Ok((line[..at].to_owned(), line[at + 1..].to_owned())),
        _ => Err(GgufError::Field {
            key: MERGES,
            expected: "pairs of tokens with a space between",
            given: crate::error::shorten(line, 40),
        }),
    }
}

/// Sentencepiece BPE: two neighbours whose join is a token merge, the join with the best score first.
fn sentencepiece(metadata: &Metadata, parts: &Parts) -> Result<tokenizers::Tokenizer, GgufError> {
    let scores = metadata
        .floats(SCORES)?
        .ok_or(GgufError::Missing { key: SCORES })?;
    if scores.len() != parts.tokens.len() {
        let given = format!("{} scores for {} tokens", scores.len(), parts.tokens.len());
        return Err(GgufError::Field {
            key: SCORES,
            expected: "as many as there are tokens",
            given,
        });
    }
    let vocabulary = parts.vocabulary();
    let byte_fallback = (0..=255u8).all(|byte| vocabulary.contains_key(&format!("<0x{byte:02X}>")));
    let mut builder = BPE::builder()
        .vocab_and_merges(vocabulary, scored_merges(parts, scores))
        .fuse_unk(true)
        .byte_fallback(byte_fallback);
    if let Some((_, unknown)) = parts.token(metadata, "tokenizer.ggml.unknown_token_id")? {
        builder = builder.unk_token(unknown.to_owned());
    }
    let mut tokenizer = tokenizers::Tokenizer::new(builder.build().map_err(library)?);
    let prefix = metadata.flag("tokenizer.ggml.add_space_prefix")?.unwrap_or(true);
    let spaces = json!({"type": "Replace", "pattern": {"String": " "}, "content": "▁"});
    let steps = if prefix {
        json!([{"type": "Prepend", "prepend": "▁"}, spaces])
    } else {
        json!([spaces])
    };
    let steps = normalizer(json!({"type": "Sequence", "normalizers": steps}))?;
    tokenizer.with_normalizer(Some(steps)).map_err(library)?;
    let steps = json!({"type": "Sequence", "decoders": [
        {"type": "Replace", "pattern": {"String": "▁"}, "content": " "},
        {"type": "ByteFallback"},
        {"type": "Fuse"},
        {"type": "Strip", "content": " ", "start": i32::from(prefix), "stop": 0},
    ]});
    tokenizer.with_decoder(Some(decoder(steps)?));
    Ok(tokenizer)
}

/// All pairs of tokens whose join is a token. Control, byte and unused tokens take no part, so
/// that no text ever merges into one.
fn scored_merges(parts: &Parts, scores: &[f32]) -> Vec<(String, String)> {
    let mergeable = |id: u32| {
        !matches!(
            parts.types.get(id as usize),
            Some(&(token_type::UNKNOWN | token_type::CONTROL | token_type::UNUSED | token_type::BYTE))
        )
    };
    let ids: std::collections::HashMap<&str, u32> = parts
        .tokens
        .iter()
        .map(String::as_str)
        .zip(0u32..)
        .filter(|(_, id)| mergeable(*id))
        .collect();
    let mut merges: Vec<(u32, u32, u32)> = Vec::new();
    for (token, id) in &ids {
        if token.chars().count() > MAX_MERGED_CHARACTERS {
            continue;
        }
        for (at, _) in token.char_indices().skip(1) {
            if let (Some(left), Some(right)) = (ids.get(&token[..at]), ids.get(&token[at..])) {
                merges.push((*id, *left, *right));
            }
        }
    }
    let score = |id: u32| scores[id as usize];
    merges.sort_by(|a, b| score(b.0).total_cmp(&score(a.0)).then(a.cmp(b)));
    let spelling = |id: u32| parts.tokens[id as usize].clone();
    merges
        .into_iter()
        .map(|(_, left, right)| (spelling(left), spelling(right)))
        .collect()
}

fn add_tokens(tokenizer: &mut tokenizers::Tokenizer, parts: &Parts) -> Result<(), GgufError> {
    let added = |token: &String, special| AddedToken::from(token.clone(), special).normalized(false);
    let control = parts.of_type(token_type::CONTROL).map(|token| added(token, true));
    tokenizer.add_special_tokens(control).map_err(library)?;
    let user_defined = parts
        .of_type(token_type::USER_DEFINED)
        .map(|token| added(token, false));
    tokenizer.add_tokens(user_defined).map_err(library)?;
    Ok(())
}

/// What encoding with special tokens puts around a text.
fn surround(
    tokenizer: &mut tokenizers::Tokenizer,
    metadata: &Metadata,
    parts: &Parts,
    add_bos: bool,
    add_eos: bool,
) -> Result<(), GgufError> {
    let bos = if add_bos {
        parts.token(metadata, "tokenizer.ggml.bos_token_id")?
    } else {
        None
    };
    let eos = if add_eos {
        parts.token(metadata, "tokenizer.ggml.eos_token_id")?
    } else {
        None
    };
    if bos.is_none() && eos.is_none() {
        return Ok(());
    }
    let piece = |token: Option<(u32, &str)>| {
        token.map(|(_, text)| json!({"SpecialToken": {"id": text, "type_id": 0}}))
    };
    let sequence = |id: &str, type_id: u32| Some(json!({"Sequence": {"id": id, "type_id": type_id}}));
    let single: Vec<_> = [piece(bos), sequence("A", 0), piece(eos)]
        .into_iter()
        .flatten()
        .collect();
    let pair: Vec<_> = [
        piece(bos),
        sequence("A", 0),
        piece(bos),
        sequence("B", 1),
        piece(eos),
    ]
    .into_iter()
    .flatten()
    .collect();
    let special: serde_json::Map<_, _> = [bos, eos]
        .into_iter()
        .flatten()
        .map(|(id, text)| {
            (
                text.to_owned(),
                json!({"id": text, "ids": [id], "tokens": [text]}),
            )
        })
        .collect();
    let description =
        json!({"type": "TemplateProcessing", "single": single, "pair": pair, "special_tokens": special});
    let processor: PostProcessorWrapper = serde_json::from_value(description).map_err(library)?;
    tokenizer.with_post_processor(Some(processor));
    Ok(())
}
