//! How byte-level vocabularies split text before merging, by the names that GGUF files use.

use serde_json::{Value, json};

/// One rule.
#[derive(Clone, Copy, Debug)]
pub(super) struct PreRule {
    /// The names in `tokenizer.ggml.pre`.
    names: &'static [&'static str],
    split: Split,
    /// A word that is a token as a whole is not merged.
    pub(super) ignore_merges: bool,
    /// Text is composed (NFC) first.
    pub(super) compose: bool,
}

#[derive(Clone, Copy, Debug)]
enum Split {
    /// The byte level's own pattern (GPT-2).
    Gpt2,
    /// Digits one by one, then the byte level's own pattern.
    DigitsThenGpt2,
    /// A pattern whose matches are the words.
    Pattern(&'static str),
}

const LLAMA3: &str = concat!(
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}",
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
);

const QWEN2: &str = concat!(
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}",
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
);

const RULES: [PreRule; 4] = [
    PreRule {
        names: &["default", "gpt-2", "gpt2"],
        split: Split::Gpt2,
        ignore_merges: false,
        compose: false,
    },
    PreRule {
        names: &["smollm", "starcoder", "refact"],
        split: Split::DigitsThenGpt2,
        ignore_merges: false,
        compose: false,
    },
    PreRule {
        names: &["llama-bpe", "llama3", "llama-v3"],
        split: Split::Pattern(LLAMA3),
        ignore_merges: true,
        compose: false,
    },
    PreRule {
        names: &["qwen2", "deepseek-r1-qwen"],
        split: Split::Pattern(QWEN2),
        ignore_merges: false,
        compose: true,
    },
];

/// The rule of that name.
pub(super) fn named(name: &str) -> Option<PreRule> {
    RULES.into_iter().find(|rule| rule.names.contains(&name))
}

/// All names, for an error.
pub(super) fn names() -> String {
    RULES
        .iter()
        .flat_map(|rule| rule.names)
        .copied()
        .collect::<Vec<_>>()
        .join(", ")
}

impl PreRule {
    /// The rule as tokenizer.json writes it.
    pub(super) fn description(&self) -> Value {
        let byte_level = |use_regex: bool| json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": use_regex});
        match self.split {
            Split::Gpt2 => byte_level(true),
            Split::DigitsThenGpt2 => json!({"type": "Sequence", "pretokenizers": [
                {"type": "Digits", "individual_digits": true}, byte_level(true)]}),
            Split::Pattern(pattern) => json!({"type": "Sequence", "pretokenizers": [
                {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": false},
                byte_level(false)]}),
        }
    }
}
