//! Filling in the middle with the tokenizers of real models.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use shardline_text::FillMarks;

use support::{demo, golden_model};

#[test]
fn a_model_without_marks_has_none() {
    assert_eq!(FillMarks::of(&demo().tokenizer), None);
}

#[test]
fn only_the_beginning_of_a_prompt_gets_the_tokenizers_space() {
    let tokenizer = golden_model("sentencepiece.gguf").tokenizer;
    let text = |behind| {
        let ids = tokenizer.encode_around_gap("return x", behind).unwrap();
        ids.iter().map(|id| tokenizer.token_text(*id)).collect::<String>()
    };
    assert_eq!(text(false), " return x");
    assert_eq!(text(true), "return x");
}
