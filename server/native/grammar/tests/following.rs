//! Grammars followed over a small vocabulary: bytes, some words, and an end.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::sync::mpsc;

use proptest::prelude::*;
use shardline_grammar::{Grammars, Handle, Limits, MaskRows, Refusal, RowState, Source, Vocabulary};

const END: u32 = 256;
const WORDS: [&str; 6] = ["true", "{\"", "\":", "ab", "abab", " \n"];

fn vocabulary() -> Vocabulary {
    let mut words: Vec<Vec<u8>> = (0..=255).map(|byte| vec![byte]).collect();
    words.push(b"\xFF<end>".to_vec());
    words.extend(WORDS.iter().map(|word| word.as_bytes().to_vec()));
    // A token that the tokenizer does not have.
    words.push(Vec::new());
    Vocabulary::new(words, vec![END, 9_999]).unwrap()
}

fn grammars() -> Grammars {
    Grammars::start(&vocabulary(), Limits::with_threads(2)).unwrap()
}

fn compile(grammars: &Grammars, kind: &str, text: &str) -> Result<(), Refusal> {
    let (sender, receiver) = mpsc::sync_channel(1);
    grammars.compile(Source::new(kind, text).unwrap(), move |told| {
        sender.send(told).unwrap()
    });
    receiver.recv().unwrap()
}

/// Allowed tokens after `generated` ones.
fn allowed(grammars: &Grammars, handle: Handle, generated: u32) -> (Vec<u32>, RowState) {
    let width = grammars.mask_words();
    let mut words = vec![0; width];
    let states = grammars.fill(&[(handle, generated)], MaskRows::new(&mut words, width));
    let is_set = |id: &u32| words[*id as usize / 32] >> (id % 32) & 1 == 1;
    ((0..vocabulary().vocab_size()).filter(is_set).collect(), states[0])
}

/// Tokens of a text, longest first.
fn tokens(text: &str) -> Vec<u32> {
    let mut tokens = Vec::new();
    let mut rest = text.as_bytes();
    while let Some(byte) = rest.first() {
        let words = WORDS
            .iter()
            .enumerate()
            .filter(|(_, word)| rest.starts_with(word.as_bytes()));
        let (token, length) = match words.max_by_key(|(_, word)| word.len()) {
            Some((index, word)) => (257 + index as u32, word.len()),
            None => (u32::from(*byte), 1),
        };
        tokens.push(token);
        rest = &rest[length..];
    }
    tokens
}

#[test]
fn the_text_is_followed_to_its_end() {
    let grammars = grammars();
    let handle = grammars.admit(Source::new("regex", "ab(ab)?").unwrap(), Vec::new());
    assert_eq!(
        allowed(&grammars, handle, 0),
        (vec![97, 260, 261], RowState::Open)
    );
    grammars.advance([(handle, 260)]);
    assert_eq!(
        allowed(&grammars, handle, 1),
        (vec![97, END, 260], RowState::Open)
    );
    grammars.advance([(handle, 260)]);
    assert_eq!(allowed(&grammars, handle, 2), (vec![END], RowState::Complete));
    // A step sent ahead samples once more, and what it samples is nobody's.
    grammars.advance([(handle, END)]);
    assert_eq!(allowed(&grammars, handle, 3), (vec![END], RowState::Complete));
    grammars.advance([(handle, END)]);
    assert_eq!(allowed(&grammars, handle, 4), (vec![END], RowState::Complete));
}

#[test]
fn digits_are_those_of_ascii() {
    let grammars = grammars();
    let handle = grammars.admit(Source::new("regex", r"\d").unwrap(), Vec::new());
    assert_eq!(allowed(&grammars, handle, 0).0, (48..58).collect::<Vec<u32>>());
}

#[test]
fn a_sequence_that_comes_back_stands_where_it_stood() {
    let grammars = grammars();
    let source = Source::new(
        "json_schema",
        r#"{"type":"object","required":["a"],"properties":{"a":{"type":"boolean"}}}"#,
    );
    let source = source.unwrap();
    let text = tokens("{\"a\":true");
    let first = grammars.admit(source.clone(), Vec::new());
    for (count, token) in text.iter().enumerate() {
        let (may_come, _) = allowed(&grammars, first, count as u32);
        assert!(may_come.contains(token), "{token} of {text:?}");
        grammars.advance([(first, *token)]);
    }
    let again = grammars.admit(source, text.clone());
    let count = text.len() as u32;
    assert_eq!(allowed(&grammars, again, count), allowed(&grammars, first, count));
}

#[test]
fn a_token_that_may_not_come_ends_its_own_sequence_alone() {
    let grammars = grammars();
    let source = Source::new("regex", "ab+").unwrap();
    let (good, bad) = (
        grammars.admit(source.clone(), Vec::new()),
        grammars.admit(source, Vec::new()),
    );
    grammars.advance([(bad, 120), (good, 97), (9_999, 1)]);
    let width = grammars.mask_words();
    let mut words = vec![0; 2 * width];
    let states = grammars.fill(&[(bad, 1), (good, 1)], MaskRows::new(&mut words, width));
    assert_eq!(states, [RowState::Failed, RowState::Open]);
    assert!(words[..width].iter().all(|word| *word == u32::MAX));
    assert_eq!(
        words[width..].iter().map(|word| word.count_ones()).sum::<u32>(),
        1
    );
    grammars.release(bad);
    assert_eq!(allowed(&grammars, bad, 1).1, RowState::Failed);
    grammars.reset();
    assert_eq!(allowed(&grammars, good, 1).1, RowState::Failed);
}

/// Walks texts side by side, a token of each at a time; gives how each stands at its end.
fn walk(grammars: &Grammars, source: &Source, texts: &[&str]) -> Vec<(Vec<u32>, RowState)> {
    let handles: Vec<Handle> = texts
        .iter()
        .map(|_| grammars.admit(source.clone(), Vec::new()))
        .collect();
    let longest = texts.iter().map(|text| text.len()).max().unwrap();
    for position in 0..longest {
        for (handle, text) in handles.iter().zip(texts) {
            if let Some(byte) = text.as_bytes().get(position) {
                let token = u32::from(*byte);
                let (may_come, state) = allowed(grammars, *handle, position as u32);
                assert!(
                    state != RowState::Failed && may_come.contains(&token),
                    "{position} of {text}"
                );
                grammars.advance([(*handle, token)]);
            }
        }
    }
    let ends = handles.iter().zip(texts);
    ends.map(|(handle, text)| allowed(grammars, *handle, text.len() as u32))
        .collect()
}

#[test]
fn sequences_with_one_lexer_stand_where_each_would_alone() {
    let source = Source::new("regex", "(ab|ba|c{2,5}){1,9}").unwrap();
    let texts = ["abba", "cc", "ccccc", "ab", "baccc", "a", "ccab", "c"];
    let limits = Limits {
        lanes: 1,
        ..Limits::with_threads(1)
    };
    let together = walk(&Grammars::start(&vocabulary(), limits).unwrap(), &source, &texts);
    for (text, stands) in texts.iter().zip(together) {
        let alone = walk(&Grammars::start(&vocabulary(), limits).unwrap(), &source, &[text]);
        assert_eq!(alone, [stands], "{text}");
    }
}

#[test]
fn a_lexer_that_is_used_up_is_left() {
    let source = Source::new("regex", "(a{60}|b{60}|c{60}|d{60}|e{60})!").unwrap();
    let texts: Vec<String> = "abcde".chars().map(|c| c.to_string().repeat(60)).collect();
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    // States for two of the texts, so that one lexer does not serve all five.
    let limits = Limits {
        lanes: 1,
        lexer_states: 140,
        ..Limits::with_threads(1)
    };
    let grammars = Grammars::start(&vocabulary(), limits).unwrap();
    let exclamation = (vec![u32::from(b'!')], RowState::Open);
    assert_eq!(walk(&grammars, &source, &texts), vec![exclamation.clone(); 5]);
    // Newcomers get a lexer that is not used up.
    assert_eq!(walk(&grammars, &source, &texts[..1]), [exclamation]);
}

#[test]
fn waits_end_when_the_threads_do() {
    let grammars = grammars();
    let handle = grammars.admit(Source::new("regex", "a+").unwrap(), Vec::new());
    assert_eq!(allowed(&grammars, handle, 0).1, RowState::Open);
    let waited = std::thread::scope(|scope| {
        let waiting = scope.spawn(|| allowed(&grammars, handle, 1).1);
        grammars.close();
        waiting.join().unwrap()
    });
    assert_eq!(waited, RowState::Failed);
}

#[test]
fn what_cannot_be_followed_is_refused_by_its_kind() {
    let grammars = grammars();
    let chain = |rules: usize| {
        let rules: String = (0..rules).map(|n| format!("r{n}: \"a\" r{}\n", n + 1)).collect();
        format!("start: r0\n{rules}")
    };
    let schema = |text: &str| ("json_schema", text.to_owned());
    let regex = |text: &str| ("regex", text.to_owned());
    let lark = |text: &str| ("lark", text.to_owned());
    let any_of =
        |count: usize| vec![r#"{"anyOf":[{"minimum":1},{"maximum":9},{"minLength":2}]}"#; count].join(",");
    let properties: Vec<String> = (0..2_000).map(|n| format!("\"p{n}\":{{}}")).collect();
    for (kind, text) in [
        schema(r#"{"$ref":"http://127.0.0.1:9/schema"}"#),
        schema(r#"{"$ref":"file:///etc/passwd"}"#),
        schema(r#"{"type":"array","minItems":18446744073709551616}"#),
        schema(r#"{"type":"array","uniqueItems":true}"#),
        schema("not JSON"),
        regex("(?<=a)b"),
        regex("("),
        lark("start: nowhere"),
    ] {
        let refused = compile(&grammars, kind, &text);
        assert!(
            matches!(refused, Err(Refusal::Invalid(_))),
            "{text:.80}: {refused:?}"
        );
    }
    for (kind, text) in [
        schema("false"),
        schema(r##"{"$ref":"#/$defs/a","$defs":{"a":{"$ref":"#/$defs/b"},"b":{"$ref":"#/$defs/a"}}}"##),
        schema(r#"{"type":"integer","minimum":5,"maximum":3}"#),
        schema(r#"{"type":"object","required":["a"],"properties":{"a":{"enum":[]}}}"#),
        lark("start: start"),
        lark("start: a\na: b\nb: a \"x\""),
    ] {
        let refused = compile(&grammars, kind, &text);
        assert!(
            matches!(refused, Err(Refusal::Unsatisfiable(_))),
            "{text}: {refused:?}"
        );
    }
    for (kind, text) in [
        schema(&format!(r#"{{"allOf":[{}]}}"#, any_of(12))),
        schema(&format!(r#"{{"properties":{{{}}}}}"#, properties.join(","))),
        regex(&format!("{}a{}", "(".repeat(20_000), ")".repeat(20_000))),
        lark(&format!(
            "start: {}\"a\"{}",
            "(".repeat(10_000),
            ")".repeat(10_000)
        )),
        ("lark", "x".repeat(600 << 10)),
    ] {
        let refused = compile(&grammars, kind, &text);
        assert!(
            matches!(refused, Err(Refusal::TooComplex(_))),
            "{text:.80}: {refused:?}"
        );
    }
    // How much this costs depends on the vocabulary; here it is little.
    let (kind, text) = regex("(.{0,9999}){0,9999}");
    let compiled = compile(&grammars, kind, &text);
    assert!(
        matches!(compiled, Ok(()) | Err(Refusal::TooComplex(_))),
        "{compiled:?}"
    );
    for (kind, text) in [
        regex("(a+)+$"),
        schema(r#"{"type":"array","items":{"type":"integer"},"minItems":1000000000}"#),
        schema(r##"{"type":"object","properties":{"c":{"type":"array","items":{"$ref":"#"}}}}"##),
        lark(&format!("{}r5000: \"b\"", chain(5_000))),
    ] {
        assert_eq!(compile(&grammars, kind, &text), Ok(()), "{text:.80}");
    }
}

#[test]
fn a_stream_of_new_grammars_leaves_a_bounded_cache() {
    let limits = Limits {
        cached_grammars: 8,
        ..Limits::with_threads(1)
    };
    let grammars = Grammars::start(&vocabulary(), limits).unwrap();
    for number in 0..40 {
        let schema = format!(r#"{{"const":{number}}}"#);
        assert_eq!(compile(&grammars, "json_schema", &schema), Ok(()));
        assert!(grammars.kept().0 <= 8);
    }
    let bytes = grammars.kept().1;
    let large = format!(r#"{{"enum":["{}"]}}"#, "x".repeat(1_000));
    let limits = Limits {
        cached_bytes: bytes,
        ..limits
    };
    let grammars = Grammars::start(&vocabulary(), limits).unwrap();
    for number in 0..12 {
        assert_eq!(
            compile(
                &grammars,
                "json_schema",
                &format!("{large}{}", " ".repeat(number))
            ),
            Ok(())
        );
        assert!(grammars.kept().1 <= bytes, "{:?}", grammars.kept());
    }
}

#[test]
fn a_full_queue_refuses_what_may_wait_and_takes_what_is_needed() {
    let limits = Limits {
        waiting_compilations: 0,
        ..Limits::with_threads(1)
    };
    let grammars = Grammars::start(&vocabulary(), limits).unwrap();
    assert_eq!(compile(&grammars, "regex", "a"), Err(Refusal::Busy));
    let handle = grammars.admit(Source::new("regex", "a").unwrap(), Vec::new());
    assert_eq!(allowed(&grammars, handle, 0), (vec![97], RowState::Open));
    assert_eq!(compile(&grammars, "regex", "a"), Ok(()));
}

/// JSON values that the schema of the test below allows.
fn values() -> impl Strategy<Value = serde_json::Value> {
    let leaf = prop_oneof![
        Just(serde_json::Value::Null),
        any::<bool>().prop_map(Into::into),
        (-1_000_i64..1_000).prop_map(Into::into),
        "[a-z\"\\\\ é]{0,6}".prop_map(Into::into),
    ];
    leaf.prop_recursive(3, 12, 3, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..3).prop_map(Into::into),
            proptest::collection::vec(("[a-z]{1,3}", inner), 0..3)
                .prop_map(|fields| fields.into_iter().collect::<serde_json::Map<_, _>>().into()),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Tokens that are allowed as a class are exactly those that are allowed one by one.
    #[test]
    fn words_are_allowed_while_they_fit(most in 1_usize..45, before in 0_usize..45, capitals: bool) {
        let words = ["the", " of", "Hello", "it's", "é", "0 1 2", "internationally", "thirty-four"];
        let long = ["n".repeat(31), " x".repeat(20)];
        let words: Vec<&str> = words.into_iter().chain(long.iter().map(String::as_str)).collect();
        let mut bytes: Vec<Vec<u8>> = words.iter().map(|word| word.as_bytes().to_vec()).collect();
        bytes.extend([b"a".to_vec(), b"\xFF<end>".to_vec()]);
        let (a, end) = (words.len() as u32, words.len() as u32 + 1);
        let vocabulary = Vocabulary::new(bytes, vec![end]).unwrap();
        let grammars = Grammars::start(&vocabulary, Limits::with_threads(1)).unwrap();
        let class = if capitals { "[a-zA-Z0-9 ]" } else { "[a-z0-9 ]" };
        let before = before.min(most);
        let source = Source::new("regex", &format!("{class}{{1,{most}}}")).unwrap();
        let handle = grammars.admit(source, vec![a; before]);
        let mut mask = vec![0; grammars.mask_words()];
        let width = mask.len();
        grammars.fill(&[(handle, before as u32)], MaskRows::new(&mut mask, width));
        for (id, word) in words.iter().enumerate() {
            let fits = word.len() <= most - before
                && word.bytes().all(|byte| byte == b' ' || byte.is_ascii_alphanumeric())
                && (capitals || !word.bytes().any(|byte| byte.is_ascii_uppercase()));
            prop_assert_eq!(mask[id / 32] >> (id % 32) & 1 == 1, fits, "{:?} of {} after {}", word, most, before);
        }
    }

    /// What is valid is never forbidden, and its end is allowed where it is complete.
    #[test]
    fn every_json_text_can_be_followed(value in values(), pretty: bool) {
        let grammars = Grammars::start(&vocabulary(), Limits::with_threads(1)).unwrap();
        let text = if pretty { serde_json::to_string_pretty(&value) } else { serde_json::to_string(&value) };
        let tokens = tokens(&text.unwrap());
        let handle = grammars.admit(Source::new("json_schema", "{}").unwrap(), Vec::new());
        for (count, token) in tokens.iter().enumerate() {
            let (may_come, _) = allowed(&grammars, handle, count as u32);
            prop_assert!(may_come.contains(token), "token {} at {} of {:?}", token, count, value);
            grammars.advance([(handle, *token)]);
        }
        let (may_come, state) = allowed(&grammars, handle, tokens.len() as u32);
        prop_assert!(may_come.contains(&END));
        prop_assert_ne!(state, RowState::Failed);
    }
}

#[test]
fn schemas_within_a_grammar_have_the_bounds_of_others() {
    let grammars = grammars();
    let alternatives: Vec<_> = (0..8).map(|_| r#"{"anyOf":[{},{},{},{},{},{},{},{}]}"#).collect();
    let explosion = format!("{{\"allOf\":[{}]}}", alternatives.join(","));
    for source in [
        format!("start: %json {explosion}"),
        format!("start: \"%json\" | a\na: %json\n{{\"properties\":{{\"b\":{explosion}}}}}"),
        format!("start: %lark {{\nstart: %json {explosion}\n}}"),
    ] {
        assert!(
            matches!(compile(&grammars, "lark", &source), Err(Refusal::TooComplex(_))),
            "{source}"
        );
    }
    assert_eq!(
        compile(&grammars, "lark", "start: \"%json {\" %json {\"type\":\"null\"}"),
        Ok(())
    );
}
