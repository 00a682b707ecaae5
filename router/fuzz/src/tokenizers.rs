//! Tokenizers of each kind that there is.

use std::path::Path;
use std::sync::{Arc, LazyLock};

use serde_json::json;
use shardline_text::{ModelText, Overrides, Tokenizer};

/// Byte-level, sentencepiece, and one that only its library can decode.
pub static ALL: LazyLock<[Arc<Tokenizer>; 3]> = LazyLock::new(|| {
    [
        golden("gpt2.gguf").tokenizer,
        golden("sentencepiece.gguf").tokenizer,
        word_piece(),
    ]
});

/// A small model of the text crate's own tests.
///
/// # Panics
/// When it is not there.
#[must_use]
pub fn golden(name: &str) -> ModelText {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../text/tests/golden");
    ModelText::load(&folder.join(name), &Overrides::default()).unwrap()
}

fn word_piece() -> Arc<Tokenizer> {
    let tokenizer = json!({
        "version": "1.0", "truncation": null, "padding": null, "added_tokens": [], "normalizer": null,
        "pre_tokenizer": {"type": "Whitespace"}, "post_processor": null,
        "decoder": {"type": "WordPiece", "prefix": "##", "cleanup": false},
        "model": {"type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##",
                  "max_input_chars_per_word": 100,
                  "vocab": {"[UNK]": 0, "un": 1, "##able": 2, "##s": 3, "é": 4, "word": 5, ".": 6}},
    });
    Arc::new(Tokenizer::from_json(tokenizer.to_string().as_bytes(), &[]).unwrap())
}
