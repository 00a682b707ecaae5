//! Outputs of models with what they mean, and the promise that how they are split changes nothing.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "helpers of tests fail their test"
)]

mod outputs;
mod support;

use outputs::GOLDENS;
use proptest::prelude::*;
use support::{Golden, parse};

#[test]
fn outputs_mean_what_they_should() {
    let mut wrong = Vec::new();
    for golden in GOLDENS {
        let found = parse(golden, [golden.text]);
        if found != golden.expected.trim() {
            wrong.push(format!(
                "{} {}\n{}\n--- gives\n{found}\n--- expected\n{}",
                golden.format, golden.reasoning, golden.text, golden.expected
            ));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n======\n"));
}

#[test]
fn every_split_in_two_gives_the_same() {
    for golden in GOLDENS {
        for (at, _) in golden.text.char_indices() {
            let (head, tail) = golden.text.split_at(at);
            let found = parse(golden, [head, tail]);
            assert_eq!(found, golden.expected.trim(), "{golden:?} at {at}");
        }
    }
}

#[test]
fn letter_by_letter_gives_the_same() {
    for golden in GOLDENS {
        let letters = golden.text.char_indices();
        let letters = letters.map(|(at, letter)| &golden.text[at..at + letter.len_utf8()]);
        assert_eq!(parse(golden, letters), golden.expected.trim(), "{golden:?}");
    }
}

/// Cuts a text at some of its characters.
fn pieces<'a>(text: &'a str, cuts: &[bool]) -> Vec<&'a str> {
    let mut pieces = Vec::new();
    let mut from = 0;
    for ((at, _), cut) in text.char_indices().zip(cuts.iter().cycle()) {
        if *cut {
            pieces.push(&text[from..at]);
            from = at;
        }
    }
    pieces.push(&text[from..]);
    pieces
}

/// Everything visible that events tell of, markers and JSON's own signs aside.
fn letters(text: &str) -> String {
    text.chars().filter(char::is_ascii_digit).collect()
}

proptest! {
    #[test]
    fn every_split_of_every_golden_gives_the_same(
        index in 0..GOLDENS.len(),
        cuts in prop::collection::vec(any::<bool>(), 1..60),
    ) {
        let golden = &GOLDENS[index];
        prop_assert_eq!(parse(golden, pieces(golden.text, &cuts)), golden.expected.trim());
    }

    /// The end of the answer may be anywhere, and so may a slip of the model.
    #[test]
    fn damaged_outputs_give_the_same_however_they_are_split(
        index in 0..GOLDENS.len(),
        other in 0..GOLDENS.len(),
        from in 0_usize..80,
        to in 0_usize..200,
        cuts in prop::collection::vec(any::<bool>(), 1..60),
    ) {
        let golden = &GOLDENS[index];
        let tail: String = GOLDENS[other].text.chars().skip(from).collect();
        let text: String = golden.text.chars().take(to).chain(tail.chars()).collect();
        let whole = parse(golden, [text.as_str()]);
        prop_assert_eq!(parse(golden, pieces(&text, &cuts)), whole);
    }

    /// Text that holds no marker at all comes back as it was.
    #[test]
    fn plain_text_stays_as_it_is(index in 0..GOLDENS.len(), text in "[a-z \\n.,]{0,60}") {
        let golden = &GOLDENS[index];
        prop_assume!(!golden.reasoning.starts_with('+') && !golden.format.starts_with('='));
        let expected = if text.is_empty() { String::new() } else { format!("t {text:?}") };
        prop_assert_eq!(parse(golden, [text.as_str()]), expected);
    }

    /// Digits are in no marker and in no escape of these texts: none may be lost.
    #[test]
    fn what_is_no_call_comes_back(
        format in prop::sample::select(vec!["hermes", "mistral", "deepseek_v31", "json", "pythonic"]),
        parts in prop::collection::vec(
            prop::sample::select(vec![
                "<tool_call>", "</tool_call>", "[TOOL_CALLS]", "<｜tool▁call▁begin｜>", "{", "}", "[", "]",
                "(", ")", "\"", "name", ":", ",", " ", "1", "2", "3",
            ]),
            0..40,
        ),
    ) {
        let golden = Golden { format, reasoning: "", text: "", expected: "" };
        let text = parts.concat();
        let found = parse(&golden, [text.as_str()]);
        if !found.contains("c \"") {
            prop_assert_eq!(letters(&found), letters(&text));
        }
    }
}

#[test]
fn long_answers_cost_time_in_proportion() {
    // A parser that reads its text again and again would need hours for this.
    let golden = GOLDENS[0];
    let body = "x\\n<tool<to</tool_cal ".repeat(50_000);
    for text in [
        body.clone(),
        format!("<tool_call>{{\"name\":\"now\",\"arguments\":{{\"a\":\"{body}\"}}}}</tool_call>"),
        "<tool_call>{\"arguments\":{".repeat(20_000),
        "<tool_call>[".repeat(20_000),
        format!("<tool_call>{}", " ".repeat(1_000_000)),
    ] {
        let letters = text.char_indices();
        let letters = letters.map(|(at, letter)| &text[at..at + letter.len_utf8()]);
        assert!(!parse(&golden, letters).is_empty());
    }
}
