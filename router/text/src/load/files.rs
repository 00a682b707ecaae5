//! Reading files with a limit.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use crate::error::{LoadError, shorten};

/// Most bytes of tokenizer.json; the largest known have 35 MB.
pub(super) const MAX_TOKENIZER_BYTES: u64 = 256 << 20;
/// Most bytes of the small files (tokenizer_config.json with 100,000 added tokens has 20 MB).
pub(super) const MAX_CONFIG_BYTES: u64 = 64 << 20;
/// Most entries of a folder that are looked at.
const MAX_ENTRIES: usize = 100_000;

fn io(path: &Path) -> impl FnOnce(std::io::Error) -> LoadError {
    let path = path.to_owned();
    move |source| LoadError::Io { path, source }
}

/// The bytes of a file of at most `limit` bytes.
pub(super) fn read(path: &Path, limit: u64) -> Result<Vec<u8>, LoadError> {
    let file = File::open(path).map_err(io(path))?;
    let bytes = file.metadata().map_err(io(path))?.len();
    if bytes > limit {
        return Err(LoadError::TooLarge {
            path: path.to_owned(),
            bytes,
            limit,
        });
    }
    let mut content = Vec::with_capacity(bytes as usize);
    // What grows while it is read is cut at the limit.
    file.take(limit).read_to_end(&mut content).map_err(io(path))?;
    Ok(content)
}

/// The text of a file.
pub(super) fn read_text(path: &Path, limit: u64) -> Result<String, LoadError> {
    String::from_utf8(read(path, limit)?).map_err(|_| LoadError::NotUtf8 {
        path: path.to_owned(),
    })
}

/// The text of a file that may be missing.
pub(super) fn read_text_if_there(path: &Path, limit: u64) -> Result<Option<String>, LoadError> {
    if path.is_file() {
        read_text(path, limit).map(Some)
    } else {
        Ok(None)
    }
}

/// A JSON object from a file that may be missing.
pub(super) fn read_object_if_there(path: &Path) -> Result<Option<JsonFile>, LoadError> {
    if path.is_file() {
        read_object(path).map(Some)
    } else {
        Ok(None)
    }
}

/// A JSON object from a file.
pub(super) fn read_object(path: &Path) -> Result<JsonFile, LoadError> {
    let content = read(path, MAX_CONFIG_BYTES)?;
    // serde_json refuses more than 128 levels.
    let fields = serde_json::from_slice(&content).map_err(|source| LoadError::Json {
        path: path.to_owned(),
        source,
    })?;
    Ok(JsonFile {
        path: path.to_owned(),
        fields,
    })
}

/// The one `.gguf` file of a folder.
pub(super) fn only_gguf(folder: &Path) -> Result<Option<PathBuf>, LoadError> {
    let mut found = None;
    for entry in std::fs::read_dir(folder).map_err(io(folder))?.take(MAX_ENTRIES) {
        let path = entry.map_err(io(folder))?.path();
        if path
            .extension()
            .is_some_and(|extension| extension.eq_ignore_ascii_case("gguf"))
            && found.replace(path).is_some()
        {
            return Ok(None);
        }
    }
    Ok(found)
}

/// A JSON object with the file it came from, for errors.
#[derive(Debug)]
pub(super) struct JsonFile {
    pub(super) path: PathBuf,
    pub(super) fields: Map<String, Value>,
}

impl JsonFile {
    /// A field as `convert` reads it. Missing and null are `None`, anything else an error.
    pub(super) fn field<T>(
        &self,
        field: &'static str,
        expected: &'static str,
        convert: impl Fn(&Value) -> Option<T>,
    ) -> Result<Option<T>, LoadError> {
        match self.fields.get(field) {
            None | Some(Value::Null) => Ok(None),
            Some(value) => convert(value).map(Some).ok_or_else(|| LoadError::Field {
                path: self.path.clone(),
                field,
                expected,
                given: shorten(&value.to_string(), 80),
            }),
        }
    }

    /// A field that is a count.
    pub(super) fn count(&self, field: &'static str) -> Result<Option<u32>, LoadError> {
        self.field(field, "an integer from 0 to 4294967295", |value| {
            value.as_u64().and_then(|number| u32::try_from(number).ok())
        })
    }

    /// A field that is a finite number.
    pub(super) fn number(&self, field: &'static str) -> Result<Option<f32>, LoadError> {
        self.field(field, "a number", |value| {
            value
                .as_f64()
                .map(|number| number as f32)
                .filter(|n| n.is_finite())
        })
    }

    /// A field that is one token id, or a list of them.
    pub(super) fn token_ids(&self, field: &'static str) -> Result<Option<Vec<u32>>, LoadError> {
        let id = |value: &Value| value.as_u64().and_then(|number| u32::try_from(number).ok());
        self.field(field, "a token id or a list of them", |value| match value {
            Value::Array(values) => values.iter().map(id).collect(),
            value => id(value).map(|id| vec![id]),
        })
    }

    /// A field that is a token's spelling: text, or an object with `content`.
    pub(super) fn token(&self, field: &'static str) -> Result<Option<String>, LoadError> {
        self.field(field, "a token's text", |value| match value {
            Value::String(text) => Some(text.clone()),
            Value::Object(token) => token.get("content")?.as_str().map(str::to_owned),
            _ => None,
        })
    }
}
