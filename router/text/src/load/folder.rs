//! A model folder: tokenizer.json and the small files beside it.

use std::path::Path;
use std::sync::Arc;

use serde_json::Value;

use super::facts::{ModelFacts, model_max_length};
use super::files::{self, JsonFile, MAX_CONFIG_BYTES, MAX_TOKENIZER_BYTES};
use super::generation::GenerationDefaults;
use super::{ModelText, Overrides, SpecialTokens};
use crate::error::LoadError;
use crate::template::{ChatTemplates, TemplateSource, TemplateVariables};
use crate::tokenizer::Tokenizer;

/// Most templates a model may have.
const MAX_TEMPLATES: usize = 64;

pub(super) fn load(folder: &Path, overrides: &Overrides) -> Result<ModelText, LoadError> {
    let tokenizer_config = files::read_object_if_there(&folder.join("tokenizer_config.json"))?;
    let special_tokens_map = files::read_object_if_there(&folder.join("special_tokens_map.json"))?;
    let overriding = read_override(overrides)?;
    let mut sources = overriding
        .as_ref()
        .map(templates_of)
        .transpose()?
        .unwrap_or_default();
    if sources.is_empty() {
        sources = folder_templates(folder, tokenizer_config.as_ref())?;
    }
    let special_files = [
        overriding.as_ref(),
        tokenizer_config.as_ref(),
        special_tokens_map.as_ref(),
    ];
    let special_tokens = special_tokens(&special_files)?;
    let tokenizer_path = folder.join("tokenizer.json");
    let bytes = files::read(&tokenizer_path, MAX_TOKENIZER_BYTES)?;
    let texts: Vec<&str> = sources.iter().map(|source| source.text.as_str()).collect();
    let tokenizer = Tokenizer::from_json(&bytes, &texts).map_err(|source| LoadError::Tokenizer {
        path: tokenizer_path,
        source,
    })?;
    let config = files::read_object_if_there(&folder.join("config.json"))?;
    let mut facts = config
        .as_ref()
        .map(ModelFacts::from_config)
        .transpose()?
        .unwrap_or_default();
    facts.model_max_length = tokenizer_config
        .as_ref()
        .map(model_max_length)
        .transpose()?
        .flatten();
    let mut generation = files::read_object_if_there(&folder.join("generation_config.json"))?
        .as_ref()
        .map(GenerationDefaults::read)
        .transpose()?
        .unwrap_or_default();
    add_eos(&mut generation, config.as_ref(), &special_tokens, &tokenizer)?;
    let templates = compile(sources, &special_tokens)?;
    Ok(ModelText {
        tokenizer: Arc::new(tokenizer),
        templates,
        generation,
        facts,
        special_tokens,
    })
}

/// The file that `--tokenizer-config-path` names.
pub(super) fn read_override(overrides: &Overrides) -> Result<Option<JsonFile>, LoadError> {
    overrides
        .tokenizer_config_path
        .as_deref()
        .map(files::read_object)
        .transpose()
}

/// Compiles what was found, if anything.
pub(super) fn compile(
    sources: Vec<TemplateSource>,
    special_tokens: &SpecialTokens,
) -> Result<Option<ChatTemplates>, LoadError> {
    let Some(path) = sources.first().map(|source| source.path.clone()) else {
        return Ok(None);
    };
    let variables = TemplateVariables {
        bos_token: special_tokens.bos.clone(),
        eos_token: special_tokens.eos.clone(),
        unk_token: special_tokens.unk.clone(),
        pad_token: special_tokens.pad.clone(),
    };
    ChatTemplates::compile(sources, variables)
        .map(Some)
        .map_err(|source| LoadError::Template { path, source })
}

/// Without generation_config.json, config.json and then the tokenizer say what ends a text. The
/// tokenizer's EOS always does: a model that was tuned for chat may end with it alone.
fn add_eos(
    generation: &mut GenerationDefaults,
    config: Option<&JsonFile>,
    special_tokens: &SpecialTokens,
    tokenizer: &Tokenizer,
) -> Result<(), LoadError> {
    if generation.eos_token_ids.is_empty() {
        let ids = config
            .map(|config| config.token_ids("eos_token_id"))
            .transpose()?
            .flatten();
        ids.unwrap_or_default()
            .into_iter()
            .for_each(|id| generation.add_eos(id));
    }
    if let Some(id) = special_tokens
        .eos
        .as_deref()
        .and_then(|eos| tokenizer.token_id(eos))
    {
        generation.add_eos(id);
    }
    Ok(())
}

/// The first of the files that says it decides each token.
fn special_tokens(sources: &[Option<&JsonFile>]) -> Result<SpecialTokens, LoadError> {
    let first = |field| {
        for file in sources.iter().flatten() {
            if let Some(token) = file.token(field)? {
                return Ok::<_, LoadError>(Some(token));
            }
        }
        Ok(None)
    };
    Ok(SpecialTokens {
        bos: first("bos_token")?,
        eos: first("eos_token")?,
        unk: first("unk_token")?,
        pad: first("pad_token")?,
    })
}

/// chat_template.jinja comes before chat_template.json, and that before tokenizer_config.json;
/// further named ones stand in additional_chat_templates/.
fn folder_templates(folder: &Path, config: Option<&JsonFile>) -> Result<Vec<TemplateSource>, LoadError> {
    let jinja = folder.join("chat_template.jinja");
    let mut sources = match files::read_text_if_there(&jinja, MAX_CONFIG_BYTES)? {
        Some(text) => vec![TemplateSource {
            name: "default".to_owned(),
            text,
            path: jinja,
        }],
        None => match files::read_object_if_there(&folder.join("chat_template.json"))? {
            Some(file) => templates_of(&file)?,
            None => config.map(templates_of).transpose()?.unwrap_or_default(),
        },
    };
    let more = folder.join("additional_chat_templates");
    if more.is_dir() {
        let entries = std::fs::read_dir(&more).map_err(|source| LoadError::Io {
            path: more.clone(),
            source,
        })?;
        let mut paths: Vec<_> = entries
            .filter_map(|entry| entry.ok().map(|entry| entry.path()))
            .collect();
        paths.sort();
        for path in paths.into_iter().take(MAX_TEMPLATES) {
            let (Some(name), true) = (
                path.file_stem(),
                path.extension().is_some_and(|end| end == "jinja"),
            ) else {
                continue;
            };
            let name = name.to_string_lossy().into_owned();
            sources.push(TemplateSource {
                name,
                text: files::read_text(&path, MAX_CONFIG_BYTES)?,
                path,
            });
        }
    }
    Ok(sources)
}

/// `chat_template`: one text, or a list of {name, template}.
pub(super) fn templates_of(file: &JsonFile) -> Result<Vec<TemplateSource>, LoadError> {
    let source = |name: &str, text: &str| TemplateSource {
        name: name.to_owned(),
        text: text.to_owned(),
        path: file.path.clone(),
    };
    let expected = "a template's text, or a list of at most 64 objects with `name` and `template`";
    let templates = file.field("chat_template", expected, |value| match value {
        Value::String(text) => Some(vec![source("default", text)]),
        Value::Array(list) if list.len() <= MAX_TEMPLATES => list
            .iter()
            .map(|entry| {
                Some(source(
                    entry.get("name")?.as_str()?,
                    entry.get("template")?.as_str()?,
                ))
            })
            .collect(),
        _ => None,
    })?;
    Ok(templates.unwrap_or_default())
}
