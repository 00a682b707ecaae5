//! A `.gguf` file: everything stands in its metadata.

use std::fs::File;
use std::io::BufReader;
use std::path::Path;
use std::sync::Arc;

use super::facts::ModelFacts;
use super::generation::GenerationDefaults;
use super::{ModelText, Overrides, SpecialTokens, folder};
use crate::error::LoadError;
use crate::gguf::{self, GgufError, Metadata};
use crate::template::TemplateSource;
use crate::tokenizer::{Tokenizer, from_gguf};

/// Metadata keys of tokens that end a text: end of sequence, of a turn, of a message.
const END_TOKENS: [&str; 3] = [
    "tokenizer.ggml.eos_token_id",
    "tokenizer.ggml.eot_token_id",
    "tokenizer.ggml.eom_token_id",
];

pub(super) fn load(path: &Path, overrides: &Overrides) -> Result<ModelText, LoadError> {
    let refused = |source: GgufError| LoadError::Gguf {
        path: path.to_owned(),
        source,
    };
    let metadata = read(path)?;
    let mut special_tokens = special_tokens(&metadata).map_err(refused)?;
    let overriding = folder::read_override(overrides)?;
    let mut sources = overriding
        .as_ref()
        .map(folder::templates_of)
        .transpose()?
        .unwrap_or_default();
    if sources.is_empty() {
        sources = templates(&metadata, path).map_err(refused)?;
    }
    let inner = from_gguf::build(&metadata).map_err(refused)?;
    let texts: Vec<&str> = sources.iter().map(|source| source.text.as_str()).collect();
    let tokenizer = Tokenizer::new(inner, &texts).map_err(|source| LoadError::Tokenizer {
        path: path.to_owned(),
        source,
    })?;
    let mut generation = GenerationDefaults::default();
    for key in END_TOKENS {
        if let Some(id) = metadata.number(key).map_err(refused)? {
            generation.add_eos(id);
        }
    }
    if let Some(file) = &overriding {
        special_tokens.bos = file.token("bos_token")?.or(special_tokens.bos);
        special_tokens.eos = file.token("eos_token")?.or(special_tokens.eos);
        if let Some(id) = special_tokens
            .eos
            .as_deref()
            .and_then(|eos| tokenizer.token_id(eos))
        {
            generation.add_eos(id);
        }
    }
    let facts = facts(&metadata).map_err(refused)?;
    let templates = folder::compile(sources, &special_tokens)?;
    Ok(ModelText {
        tokenizer: Arc::new(tokenizer),
        templates,
        generation,
        facts,
        special_tokens,
    })
}

fn read(path: &Path) -> Result<Metadata, LoadError> {
    let io = |source| LoadError::Io {
        path: path.to_owned(),
        source,
    };
    let file = File::open(path).map_err(io)?;
    let bytes = file.metadata().map_err(io)?.len();
    let wanted = |key: &str| key.starts_with("tokenizer.");
    gguf::read_metadata(BufReader::with_capacity(1 << 16, file), bytes, wanted).map_err(|source| {
        LoadError::Gguf {
            path: path.to_owned(),
            source,
        }
    })
}

fn special_tokens(metadata: &Metadata) -> Result<SpecialTokens, GgufError> {
    let tokens = metadata.texts("tokenizer.ggml.tokens")?.unwrap_or_default();
    let spelling = |key: &'static str| match metadata.number(key)? {
        None => Ok(None),
        Some(id) => match tokens.get(id as usize) {
            Some(token) => Ok(Some(token.clone())),
            None => Err(GgufError::Field {
                key,
                expected: "an id of the vocabulary",
                given: id.to_string(),
            }),
        },
    };
    Ok(SpecialTokens {
        bos: spelling("tokenizer.ggml.bos_token_id")?,
        eos: spelling("tokenizer.ggml.eos_token_id")?,
        unk: spelling("tokenizer.ggml.unknown_token_id")?,
        pad: spelling("tokenizer.ggml.padding_token_id")?,
    })
}

/// `tokenizer.chat_template`, and `tokenizer.chat_template.NAME` for further ones.
fn templates(metadata: &Metadata, path: &Path) -> Result<Vec<TemplateSource>, GgufError> {
    let mut sources = Vec::new();
    if let Some(text) = metadata.text("tokenizer.chat_template")? {
        sources.push(TemplateSource {
            name: "default".to_owned(),
            text: text.to_owned(),
            path: path.to_owned(),
        });
    }
    for name in metadata.texts("tokenizer.chat_templates")?.unwrap_or_default() {
        let key = format!("tokenizer.chat_template.{name}");
        if let Some(text) = metadata.get(&key).and_then(|value| value.as_str()) {
            sources.push(TemplateSource {
                name: name.clone(),
                text: text.to_owned(),
                path: path.to_owned(),
            });
        }
    }
    Ok(sources)
}

fn facts(metadata: &Metadata) -> Result<ModelFacts, GgufError> {
    let Some(architecture) = metadata.text("general.architecture")? else {
        return Ok(ModelFacts::default());
    };
    let count = |name: &str| {
        let value = metadata
            .get(&format!("{architecture}.{name}"))
            .and_then(|value| value.as_u64());
        value.and_then(|number| u32::try_from(number).ok())
    };
    let tokens = metadata.texts("tokenizer.ggml.tokens")?.unwrap_or_default();
    Ok(ModelFacts {
        model_type: Some(architecture.to_owned()),
        max_position_embeddings: count("context_length"),
        model_max_length: None,
        // The reader limits arrays to 2^22 items.
        vocab_size: count("vocab_size").or(Some(tokens.len() as u32)),
    })
}
