//! The demo model's GGUF.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use shardline_text::EncodeOptions;

#[test]
fn the_demo_model_answers_for_its_facts() {
    let model = support::demo();
    assert_eq!(model.tokenizer.vocab_size(), 49_152);
    assert_eq!(model.generation.eos_token_ids, [2]);
    assert_eq!(model.facts.max_positions(), Some(8_192));
    assert_eq!(model.facts.model_type.as_deref(), Some("llama"));
    let ids = model
        .tokenizer
        .encode("Hello, world! 2024", EncodeOptions::default())
        .unwrap();
    assert_eq!(model.tokenizer.decode(&ids, true), "Hello, world! 2024");
}
