//! Streams of tokens: the pieces of text always join to the whole.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::sync::Arc;
use std::sync::LazyLock;

use proptest::prelude::*;
use shardline_text::stream::StreamOptions;
use shardline_text::{Detokenizer, EncodeOptions, StopStrings, TextStream, Tokenizer};
use support::{demo, golden_model};

static DEMO: LazyLock<Arc<Tokenizer>> = LazyLock::new(|| demo().tokenizer);
static SENTENCEPIECE: LazyLock<Arc<Tokenizer>> =
    LazyLock::new(|| golden_model("sentencepiece.gguf").tokenizer);
/// A tokenizer whose decoder only the library knows.
static WORD_PIECE: LazyLock<Arc<Tokenizer>> = LazyLock::new(|| {
    let json = serde_json::json!({
        "version": "1.0", "truncation": null, "padding": null, "added_tokens": [], "normalizer": null,
        "pre_tokenizer": {"type": "Whitespace"}, "post_processor": null,
        "decoder": {"type": "WordPiece", "prefix": "##", "cleanup": false},
        "model": {"type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##",
                  "max_input_chars_per_word": 100,
                  "vocab": {"[UNK]": 0, "un": 1, "##able": 2, "##s": 3, "é": 4, "word": 5, ".": 6}},
    });
    Arc::new(Tokenizer::from_json(json.to_string().as_bytes(), &[]).unwrap())
});

fn tokenizer() -> impl Strategy<Value = Arc<Tokenizer>> {
    prop_oneof![
        Just(()).prop_map(|()| DEMO.clone()),
        Just(()).prop_map(|()| SENTENCEPIECE.clone()),
        Just(()).prop_map(|()| WORD_PIECE.clone()),
    ]
}

/// Any tokens, and tokens of texts with characters of several bytes.
fn tokens() -> impl Strategy<Value = (Arc<Tokenizer>, Vec<u32>)> {
    tokenizer().prop_flat_map(|tokenizer| {
        let any = prop::collection::vec(0..tokenizer.vocab_size() + 3, 0..40);
        // Of a sentencepiece vocabulary the first tokens are the bytes.
        let low = prop::collection::vec(0..tokenizer.vocab_size().min(262), 0..40);
        let encoder = tokenizer.clone();
        let of_text = "(\\PC|[你好😀é👍🏽▁ ]){0,20}".prop_map(move |text| {
            encoder
                .encode(
                    &text,
                    EncodeOptions {
                        add_special_tokens: false,
                        control_tokens: true,
                    },
                )
                .unwrap()
        });
        (Just(tokenizer), prop_oneof![any, low, of_text])
    })
}

fn options(stop: &[String]) -> StreamOptions {
    StreamOptions {
        skip_special_tokens: true,
        continuing: false,
        stop: StopStrings::new(stop).unwrap(),
        include_stop_string: false,
        min_tokens: 0,
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn pieces_join_to_the_decoded_text((tokenizer, ids) in tokens(), skip in any::<bool>()) {
        let mut detokenizer = Detokenizer::new(tokenizer.clone(), skip, false);
        let mut text = String::new();
        for (at, id) in ids.iter().enumerate() {
            let before = text.clone();
            detokenizer.push(*id, &mut text);
            prop_assert!(text.starts_with(&before));
            // What is out already does not depend on what comes.
            prop_assert!(tokenizer.decode(&ids[..=at], skip).starts_with(&text));
        }
        detokenizer.finish(&mut text);
        prop_assert_eq!(&text, &tokenizer.decode(&ids, skip));
    }

    /// Texts come back whole, so decoding is right and not merely consistent.
    #[test]
    fn encoded_text_comes_back(text in "(\\PC|[ \\n你好😀é]){0,30}") {
        let bare = EncodeOptions { add_special_tokens: false, control_tokens: true };
        let ids = DEMO.encode(&text, bare).unwrap();
        prop_assert_eq!(DEMO.decode(&ids, false), text.clone());
        prop_assert!(ids.len() >= DEMO.fewest_tokens(text.len()));
        // Sentencepiece writes a space as "▁" and cannot tell the two apart.
        let ids = SENTENCEPIECE.encode(&text, bare).unwrap();
        prop_assert_eq!(SENTENCEPIECE.decode(&ids, false), text.replace('▁', " "));
        prop_assert!(ids.len() >= SENTENCEPIECE.fewest_tokens(text.len()));
    }

    /// A stream with stop strings gives the whole-text search's result, and spans that fit it.
    #[test]
    fn stop_strings_end_the_text_and_spans_cover_it(
        (tokenizer, ids) in tokens(),
        stop in prop::collection::vec("[ae你 .s\u{FFFD}]{1,2}", 0..3),
    ) {
        let whole = tokenizer.decode(&ids, true);
        let first_end = (1..=whole.len())
            .filter(|end| whole.is_char_boundary(*end))
            .find(|end| stop.iter().any(|stop| whole[..*end].ends_with(stop.as_str())));
        let expected = first_end.map_or(whole.as_str(), |end| {
            let longest = stop.iter().filter(|stop| whole[..end].ends_with(stop.as_str())).map(String::len).max();
            &whole[..end - longest.unwrap_or(0)]
        });
        let mut stream = TextStream::new(tokenizer.clone(), options(&stop));
        let (mut text, mut spans, mut stopped, mut pushed) = (String::new(), Vec::new(), false, 0);
        for id in &ids {
            let step = stream.push(*id);
            pushed += 1;
            text.push_str(&step.text);
            spans.extend(step.settled);
            let characters = text.chars().count() as u32;
            prop_assert_eq!(stream.released_characters(), characters);
            prop_assert!(spans.iter().all(|span| span.end <= characters));
            stopped = step.stop.is_some();
            if stopped {
                break;
            }
        }
        if !stopped {
            let step = stream.finish();
            text.push_str(&step.text);
            spans.extend(step.settled);
            stopped = step.stop.is_some();
        }
        prop_assert_eq!(&text, expected);
        prop_assert_eq!(stopped, first_end.is_some());
        // Every token has its span, in order, and together they cover the text.
        prop_assert_eq!(spans.len(), pushed);
        let mut at = 0;
        for span in spans {
            prop_assert_eq!(span.start, at);
            prop_assert!(span.end >= span.start);
            at = span.end;
        }
        prop_assert_eq!(at as usize, text.chars().count());
    }
}

#[test]
fn half_an_emoji_is_held_until_it_is_whole() {
    let bare = EncodeOptions {
        add_special_tokens: false,
        control_tokens: true,
    };
    let ids = DEMO.encode("🦖", bare).unwrap();
    assert!(ids.len() > 1);
    let mut stream = TextStream::new(DEMO.clone(), options(&[]));
    let (last, first) = ids.split_last().unwrap();
    for id in first {
        let step = stream.push(*id);
        assert_eq!((step.text.as_str(), step.settled.len()), ("", 0));
    }
    let step = stream.push(*last);
    assert_eq!((step.text.as_str(), step.settled.len()), ("🦖", ids.len()));
}

#[test]
fn a_continued_text_keeps_its_leading_space() {
    let bare = EncodeOptions {
        add_special_tokens: false,
        control_tokens: true,
    };
    let ids = SENTENCEPIECE.encode("the Paris", bare).unwrap();
    let text = |continuing| {
        let mut detokenizer = Detokenizer::new(SENTENCEPIECE.clone(), true, continuing);
        let mut text = String::new();
        ids.iter().for_each(|id| detokenizer.push(*id, &mut text));
        detokenizer.finish(&mut text);
        text
    };
    assert_eq!(text(true), " the Paris");
    assert_eq!(text(false), "the Paris");
}

#[test]
fn text_of_the_first_min_tokens_is_not_searched() {
    let bare = EncodeOptions {
        add_special_tokens: false,
        control_tokens: true,
    };
    let ids = DEMO.encode("a.a.a.", bare).unwrap();
    let stop = vec![".".to_owned()];
    let mut stream = TextStream::new(
        DEMO.clone(),
        StreamOptions {
            min_tokens: 2,
            ..options(&stop)
        },
    );
    let mut text = String::new();
    for id in ids {
        let step = stream.push(id);
        text.push_str(&step.text);
        if let Some(hit) = step.stop {
            assert_eq!(hit.index, 0);
            break;
        }
    }
    assert_eq!(text, "a.a");
}

#[test]
fn a_long_text_is_known_to_be_long_before_it_is_encoded() {
    assert!(DEMO.fewest_tokens(2 << 20) > 8_192);
    assert!(SENTENCEPIECE.fewest_tokens(2 << 20) > 8_192);
    assert_eq!(WORD_PIECE.fewest_tokens(2 << 20), 0);
}

#[test]
fn a_tokens_own_text_and_bytes() {
    let bare = EncodeOptions {
        add_special_tokens: false,
        control_tokens: true,
    };
    let ids = DEMO.encode("a 🦖", bare).unwrap();
    let bytes: Vec<u8> = ids.iter().flat_map(|id| DEMO.token_bytes(*id)).collect();
    assert_eq!(bytes, "a 🦖".as_bytes());
    assert_eq!(DEMO.token_text(2), "<|im_end|>");
    assert!(DEMO.is_special(2));
    assert_eq!(DEMO.token_text(u32::MAX), "");
    assert!(!DEMO.is_special(u32::MAX));
}
