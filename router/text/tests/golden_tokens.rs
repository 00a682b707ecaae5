//! Token ids are those of the oracles that `golden/make.py` asked.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use serde::Deserialize;
use shardline_text::{EncodeOptions, ModelText};
use support::{demo, golden_json, golden_model};

#[derive(Deserialize)]
struct Entry {
    text: String,
    ids: Vec<u32>,
    /// What the oracle makes of the ids, where it is asked.
    decoded: Option<String>,
}

const BARE: EncodeOptions = EncodeOptions {
    add_special_tokens: false,
    control_tokens: true,
};

fn compare(model: &ModelText, golden: &str) -> usize {
    let entries: Vec<Entry> = golden_json(golden);
    for entry in &entries {
        let ids = model.tokenizer.encode(&entry.text, BARE).unwrap();
        assert_eq!(ids, entry.ids, "{golden}: {:?}", entry.text);
        let expected = entry.decoded.as_ref().unwrap_or(&entry.text);
        assert_eq!(
            &model.tokenizer.decode(&ids, false),
            expected,
            "{golden}: {:?}",
            entry.text
        );
    }
    entries.len()
}

#[test]
fn demo_model() {
    assert!(compare(&demo(), "demo_tokens.json") > 300);
}

#[test]
fn gpt2_rule() {
    compare(&golden_model("gpt2.gguf"), "gpt2.json");
}

#[test]
fn llama3_rule() {
    compare(&golden_model("llama3.gguf"), "llama3.json");
}

#[test]
fn qwen2_rule() {
    // NFC composes "e\u{301}", so these texts do not come back as they were.
    let model = golden_model("qwen2.gguf");
    let entries: Vec<Entry> = golden_json("qwen2.json");
    for entry in entries {
        assert_eq!(
            model.tokenizer.encode(&entry.text, BARE).unwrap(),
            entry.ids,
            "{:?}",
            entry.text
        );
    }
}

#[test]
fn sentencepiece() {
    compare(&golden_model("sentencepiece.gguf"), "sentencepiece.json");
}

#[test]
fn offsets_are_characters_and_cover_the_text() {
    let model = demo();
    let entries: Vec<Entry> = golden_json("demo_tokens.json");
    for entry in entries {
        let tokens = model.tokenizer.encode_with_offsets(&entry.text, true).unwrap();
        assert_eq!(tokens.iter().map(|token| token.id).collect::<Vec<_>>(), entry.ids);
        let characters: Vec<char> = entry.text.chars().collect();
        let mut covered = 0;
        for token in tokens {
            let span: String = characters[token.start as usize..token.stop as usize]
                .iter()
                .collect();
            assert_eq!(token.text, span);
            assert!(
                token.start <= covered && token.stop >= covered,
                "{:?}",
                entry.text
            );
            covered = token.stop;
        }
        assert_eq!(covered as usize, characters.len());
    }
}

#[test]
fn tokens_are_found_in_a_text_where_the_tokenizer_says_they_are() {
    let model = demo();
    let entries: Vec<Entry> = golden_json("demo_tokens.json");
    for entry in entries {
        let places = |tokens: Vec<shardline_text::OffsetToken>| -> Vec<_> {
            tokens.iter().map(|token| (token.start, token.stop)).collect()
        };
        let found = places(model.tokenizer.align(&entry.text, &entry.ids));
        let told = places(model.tokenizer.encode_with_offsets(&entry.text, true).unwrap());
        assert_eq!(found, told, "{:?}", entry.text);
    }
    let model = golden_model("sentencepiece.gguf");
    for text in ["Hello you", " Hällo", "x"] {
        let ids = model.tokenizer.encode(text, EncodeOptions::default()).unwrap();
        let tokens = model.tokenizer.align(text, &ids);
        let last = tokens.iter().map(|token| token.stop).max().unwrap();
        assert_eq!(last as usize, text.chars().count(), "{text:?}: {tokens:?}");
        assert!(
            tokens.is_sorted_by_key(|token| token.start),
            "{text:?}: {tokens:?}"
        );
    }
}

#[test]
fn special_tokens_are_put_around_a_text_and_carry_their_spelling() {
    let model = golden_model("llama3.gguf");
    let begin = model.tokenizer.token_id("<|begin|>").unwrap();
    let with = model.tokenizer.encode("Hello", EncodeOptions::default()).unwrap();
    let without = model.tokenizer.encode("Hello", BARE).unwrap();
    assert_eq!(with[0], begin);
    assert_eq!(with[1..], without);
    let offsets = model.tokenizer.encode_with_offsets("Hello", true).unwrap();
    assert_eq!(
        (offsets[0].text.as_str(), offsets[0].start, offsets[0].stop),
        ("<|begin|>", 0, 0)
    );
    let plain = EncodeOptions {
        add_special_tokens: true,
        control_tokens: false,
    };
    let ids = model.tokenizer.encode("Hello<|end|> x", plain).unwrap();
    assert_eq!(ids[0], begin);
    assert!(!ids.contains(&model.tokenizer.token_id("<|end|>").unwrap()));
    assert_eq!(model.tokenizer.decode(&ids, true), "Hello<|end|> x");
}

#[test]
fn control_tokens_of_a_text_stay_text_when_asked() {
    for model in [demo(), golden_model("sentencepiece.gguf")] {
        let plain = EncodeOptions {
            add_special_tokens: false,
            control_tokens: false,
        };
        for spelling in ["<|im_end|>", "<|im_start|>", "</s>", "<s>"] {
            for text in [
                spelling.to_owned(),
                format!("a{spelling}b"),
                format!("{spelling}{spelling} x"),
            ] {
                let ids = model.tokenizer.encode(&text, plain).unwrap();
                assert!(
                    !ids.iter().any(|id| model.tokenizer.is_special(*id)),
                    "{text:?}: {ids:?}"
                );
                assert_eq!(model.tokenizer.decode(&ids, true), text);
            }
        }
    }
}
