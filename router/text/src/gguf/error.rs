//! What is wrong with a GGUF file: the key, the limit and the given value.

/// What is wrong with a GGUF file.
#[derive(Debug, thiserror::Error)]
pub enum GgufError {
    /// The operating system refused.
    #[error("cannot read the metadata: {0}")]
    Io(#[from] std::io::Error),
    /// Not a GGUF file at all.
    #[error("this is not a GGUF file (it begins with {found:02x?}, not with \"GGUF\")")]
    NotGguf {
        /// Its first four bytes.
        found: [u8; 4],
    },
    /// A version or byte order that we do not read.
    #[error(
        "GGUF version {version:#x} is not supported; versions 2 and 3, little-endian, are: convert the file again"
    )]
    Version {
        /// What the header says.
        version: u32,
    },
    /// The file ends, or the metadata limit is reached, inside a value.
    #[error("the file ends within `{key}`: {needed} bytes are needed, {left} are left")]
    Truncated {
        /// The key being read, or "header".
        key: String,
        /// Bytes the value claims.
        needed: u64,
        /// Bytes there are.
        left: u64,
    },
    /// A count or length above its limit.
    #[error("`{key}` claims {given} {what}, more than the {limit} that are read")]
    Limit {
        /// The key being read, or "header".
        key: String,
        /// What was counted.
        what: &'static str,
        /// What the file says.
        given: u64,
        /// The most we read.
        limit: u64,
    },
    /// A type number that the format does not have.
    #[error("`{key}` has the unknown value type {given}")]
    ValueType {
        /// The key.
        key: String,
        /// The number.
        given: u32,
    },
    /// Text that is not UTF-8.
    #[error("`{key}` holds text that is not UTF-8")]
    Utf8 {
        /// The key, or "a key".
        key: String,
    },
    /// The same key twice.
    #[error("`{key}` stands in the file twice")]
    Duplicate {
        /// The key.
        key: String,
    },
    /// A key we need is not there.
    #[error("the file has no `{key}`, which is needed to build its tokenizer")]
    Missing {
        /// The key.
        key: &'static str,
    },
    /// A key has another kind of value, or one out of range.
    #[error("`{key}` must be {expected}, given: {given}")]
    Field {
        /// The key.
        key: &'static str,
        /// What is allowed.
        expected: &'static str,
        /// What stands there.
        given: String,
    },
    /// A tokenizer of a kind that we do not build.
    #[error(
        "tokenizers of the kind `{key}` = \"{given}\" are not supported from GGUF; supported: {supported}. \
             Use the model's safetensors folder, which has a tokenizer.json"
    )]
    Unsupported {
        /// The key that says the kind.
        key: &'static str,
        /// The kind.
        given: String,
        /// What works.
        supported: String,
    },
    /// Vocabulary and merges do not fit together.
    #[error("the tokenizer in the file cannot be built: {cause}")]
    Tokenizer {
        /// The tokenizer library's words.
        cause: String,
    },
}
