//! Why a model's text side could not be loaded: always the file, the limit and the way out.

use std::path::PathBuf;

use crate::gguf::GgufError;
use crate::template::TemplateError;
use crate::tokenizer::TokenizeError;

/// Why `ModelText::load` failed.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The folder holds no tokenizer we can read.
    #[error("{path} holds no tokenizer.json and no single .gguf file; a fast tokenizer is needed: convert it with \
             `transformers.AutoTokenizer.from_pretrained(…).save_pretrained(…)`", path = path.display())]
    NoTokenizer {
        /// The model's folder.
        path: PathBuf,
    },
    /// Neither a folder nor a file that ends in `.gguf`.
    #[error("{path} is neither a model folder nor a .gguf file", path = path.display())]
    NotAModel {
        /// What was given.
        path: PathBuf,
    },
    /// The operating system refused.
    #[error("cannot read {path}: {source}", path = path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Larger than any honest file of its kind.
    #[error("{path} has {bytes} bytes, more than the {limit} that are read", path = path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// Its size.
        bytes: u64,
        /// The most we read.
        limit: u64,
    },
    /// Not UTF-8 where text is needed.
    #[error("{path} is not UTF-8 text", path = path.display())]
    NotUtf8 {
        /// The file.
        path: PathBuf,
    },
    /// Not JSON, or nested too deeply.
    #[error("{path} is not the JSON that is expected: {source}", path = path.display())]
    Json {
        /// The file.
        path: PathBuf,
        /// Line, column and cause.
        source: serde_json::Error,
    },
    /// A field has a value that cannot be used.
    #[error("{path}: `{field}` must be {expected}, given: {given}", path = path.display())]
    Field {
        /// The file.
        path: PathBuf,
        /// The field.
        field: &'static str,
        /// What is allowed.
        expected: &'static str,
        /// What stands there, shortened.
        given: String,
    },
    /// tokenizer.json was refused by the tokenizer library.
    #[error("{path} describes no tokenizer that can be used: {source}", path = path.display())]
    Tokenizer {
        /// The file.
        path: PathBuf,
        /// The library's words.
        source: TokenizeError,
    },
    /// The GGUF file is damaged, hostile or of an unknown kind.
    #[error("{path}: {source}", path = path.display())]
    Gguf {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: GgufError,
    },
    /// The chat template does not compile.
    #[error("{path}: chat template: {source}", path = path.display())]
    Template {
        /// The file the template came from.
        path: PathBuf,
        /// What is wrong with it.
        source: TemplateError,
    },
}

/// At most `limit` characters of a value, for an error message.
pub(crate) fn shorten(value: &str, limit: usize) -> String {
    match value.char_indices().nth(limit) {
        Some((end, _)) => format!("{}…", &value[..end]),
        None => value.to_owned(),
    }
}
