//! Grammars as the router writes them for answers with reasoning, calls and structures, followed text by
//! text. `answers/` holds them; the router's tests write them.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::path::Path;
use std::sync::mpsc;

use shardline_grammar::{Grammars, Handle, Limits, MaskRows, Refusal, Source, Vocabulary};

/// Tokens beside bytes, those without a leading mark being text; the router's tests name the same ids.
const TOKENS: [&str; 9] = [
    "<end>",
    "[TOOL_CALLS]",
    "[ARGS]",
    "<|python_tag|>",
    "=<think>",
    "=</think>",
    "<｜tool▁calls▁begin｜>",
    "<｜tool▁call▁begin｜>",
    "<｜tool▁sep｜>",
];
const END: u32 = 256;

fn grammars() -> Grammars {
    let mut words: Vec<Vec<u8>> = (0..=255).map(|byte| vec![byte]).collect();
    words.extend(TOKENS.iter().map(|token| match token.strip_prefix('=') {
        Some(text) => text.as_bytes().to_vec(),
        None => [b"\xFF", token.as_bytes()].concat(),
    }));
    let vocabulary = Vocabulary::new(words, vec![END]).unwrap();
    Grammars::start(&vocabulary, Limits::with_threads(1)).unwrap()
}

fn tokens(text: &str) -> Vec<u32> {
    let mut ids = Vec::new();
    let mut rest = text;
    while let Some(byte) = rest.bytes().next() {
        let token = TOKENS
            .iter()
            .zip(256..)
            .find_map(|(token, id)| Some((rest.strip_prefix(token.trim_start_matches('='))?, id)));
        match token {
            Some((behind, id)) => {
                ids.push(id);
                rest = behind;
            }
            None => {
                let length = rest.chars().next().unwrap().len_utf8();
                ids.extend(rest.bytes().take(length).map(u32::from));
                rest = &rest[length..];
                assert!(length > 1 || byte < 128);
            }
        }
    }
    ids
}

fn grammar(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/answers/{name}.snap"));
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    text.splitn(3, "---\n").nth(2).unwrap().to_owned()
}

fn compile(grammars: &Grammars, source: &str) -> Result<(), Refusal> {
    let (sender, receiver) = mpsc::sync_channel(1);
    grammars.compile(Source::new("lark", source).unwrap(), move |told| {
        sender.send(told).unwrap();
    });
    receiver.recv().unwrap()
}

fn may_come(grammars: &Grammars, handle: Handle, generated: usize, token: u32) -> bool {
    let width = grammars.mask_words();
    let mut words = vec![0; width];
    grammars.fill(&[(handle, generated as u32)], MaskRows::new(&mut words, width));
    words[token as usize / 32] >> (token % 32) & 1 == 1
}

/// How a text fares.
#[derive(Debug, PartialEq, Eq)]
enum Fate {
    /// It is a whole answer.
    Whole,
    /// It is the beginning of one.
    Beginning,
    /// It cannot come; so much of it can.
    Stopped(String),
}

fn follow(grammars: &Grammars, source: &str, text: &str) -> Fate {
    let handle = grammars.admit(Source::new("lark", source).unwrap(), Vec::new());
    let ids = tokens(text);
    let mut written = Vec::new();
    for (count, token) in ids.iter().enumerate() {
        if !may_come(grammars, handle, count, *token) {
            return Fate::Stopped(String::from_utf8_lossy(&written).into_owned());
        }
        grammars.advance([(handle, *token)]);
        match u8::try_from(*token) {
            Ok(byte) => written.push(byte),
            Err(_) => written.extend(TOKENS[*token as usize - 256].trim_start_matches('=').bytes()),
        }
    }
    if may_come(grammars, handle, ids.len(), END) {
        Fate::Whole
    } else {
        Fate::Beginning
    }
}

/// `whole`: answers. `stopped`: texts, each with what of it cannot come behind a bar.
fn check(name: &str, whole: &[&str], stopped: &[&str]) {
    let grammars = grammars();
    let source = grammar(name);
    assert_eq!(compile(&grammars, &source), Ok(()), "{name}");
    for text in whole {
        assert_eq!(follow(&grammars, &source, text), Fate::Whole, "{name}: {text}");
    }
    for text in stopped {
        let (before, behind) = text.split_once('¦').unwrap();
        let fate = follow(&grammars, &source, &format!("{before}{behind}"));
        assert_eq!(fate, Fate::Stopped(before.to_owned()), "{name}: {text}");
    }
}

const GOOD: &str = r#"{"name": "get_weather", "arguments": {"city": "Bern", "days": 2}}"#;
const OPEN: &str = r#"{"name": "now", "arguments": {"any": [1]}}"#;

#[test]
fn forced_calls_come_whatever_was_thought() {
    check(
        "required",
        &[&format!("[{GOOD}]"), &format!("[{GOOD}, {GOOD}]")],
        &["¦Hello", "[{\"name\": \"¦x", &format!("[{GOOD}]¦ ")],
    );
    check(
        "required_one_after_thought",
        &[&format!("ab</think>\n\n[{GOOD}]")],
        &[
            "abc¦d</think>",
            &format!("ab</think>[{GOOD}¦, "),
            "ab¦<end>",
            "ab</think>¦<end>",
        ],
    );
    check(
        "named_within_thought",
        &["Hm.</think>\n{\"city\": \"a\"}"],
        &["Hm.</think>¦x"],
    );
    check(
        "named_after_thought",
        &["<think>Hm.</think>{\"city\": \"a\"}", "{\"city\": \"a\"}"],
        &["¦x", "<think>¦<end>"],
    );
    check(
        "required_after_words",
        &[
            &format!("Here is my thought process: [1] Here is my response: [{GOOD}]"),
            &format!("[{GOOD}]"),
        ],
        &["Here is my ¦answer"],
    );
}

#[test]
fn strict_calls_keep_their_schemas_within_text() {
    let call = |json: &str| format!("<tool_call>\n{json}\n</tool_call>");
    let (good, open) = (call(GOOD), call(OPEN));
    check(
        "strict_hermes",
        &[
            "Hello <tool",
            &good,
            &format!("Hm. {good}\n{open} Well."),
            &format!("<tool_call>[{GOOD}, {OPEN}]</tool_call>"),
        ],
        &[
            "Hello <tool_call>¦Hello",
            r#"<tool_call>{"name": "get_weather", "arguments": {"¦place": 1}}"#,
            r#"<tool_call>{"name": "get_weather", "arguments": {"city": ¦1}}"#,
            r#"<tool_call>{"name": "¦other", "#,
            &format!("{good} so {}¦x", "<tool_call>"),
            &format!("<tool_call>{GOOD}¦<end>"),
        ],
    );
    check(
        "strict_after_thought",
        &[
            &format!("<think>a <tool_call> b</think>{good}"),
            &good,
            "Hi",
            "<think>x</think>\n\nHi",
        ],
        &["<think>x</think>Hi <tool_call>¦x", "<think>x¦<end>"],
    );
    let named = |between: &str, behind: &str| format!("get_weather{between}{{\"city\": \"Bern\"}}{behind}");
    let v3 = "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>";
    check(
        "strict_deepseek_v3",
        &[
            "Hi",
            &format!("{v3}{}", named("\n```json\n", "\n```<｜tool▁call▁end｜>")),
        ],
        &[
            &format!("Hm {v3}¦x"),
            &format!("{v3}get_weather\n```json\n{{\"¦x"),
        ],
    );
    let v31 = "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>";
    let one = format!(
        "<｜tool▁call▁begin｜>{}",
        named("<｜tool▁sep｜>", "<｜tool▁call▁end｜>")
    );
    check(
        "strict_deepseek_v31",
        &[
            "Hi",
            &format!("<｜tool▁calls▁begin｜>{one}{one}<｜tool▁calls▁end｜>"),
        ],
        &[
            &format!("{v31}¦x"),
            &format!("{v31}get_weather<｜tool▁sep｜>{{\"¦x"),
        ],
    );
    let kimi = "<|tool_calls_section_begin|><|tool_call_begin|>functions.";
    let numbered = named(":0<|tool_call_argument_begin|>", "<|tool_call_end|>");
    check(
        "strict_kimi_k2",
        &["Hi", &format!("{kimi}{numbered}<|tool_calls_section_end|>")],
        &[
            &format!("{kimi}¦x"),
            &format!("{kimi}get_weather:0<|tool_call_argument_begin|>¦x"),
        ],
    );
}

#[test]
fn strict_calls_may_begin_without_a_marker() {
    let llama = |json: &str| json.replace("arguments", "parameters");
    let (good, open) = (llama(GOOD), llama(OPEN));
    check(
        "strict_llama3_json",
        &[
            "Hi {\"name\": \"get_weather\"}",
            "{\"a\": {\"name\": \"other\"}}",
            &good,
            &format!("{good}; {open}"),
            &format!("Hm. <|python_tag|>{good}"),
        ],
        &[
            "{\"name\": \"get_weather\", \"parameters\": {\"¦x",
            "{\"a\": 1, \"name\": \"now¦\"",
            "<|python_tag|>¦x",
            &format!("{good} ¦Hello"),
        ],
    );
    check(
        "strict_json",
        &["Hi", "[1]", GOOD, &format!("[{GOOD}, {OPEN}]")],
        &[
            r#"{"name": "get_weather", "arguments": {"city": ¦1"#,
            r#"[{"name": "get_weather", "arguments": {"city": ¦1"#,
        ],
    );
    check(
        "strict_mistral",
        &[
            "Hi",
            &format!("[TOOL_CALLS][{GOOD}]"),
            "Hm[TOOL_CALLS]now[ARGS]{}",
            r#"[TOOL_CALLS]now[ARGS]{}[TOOL_CALLS]get_weather[ARGS]{"city": "a"}"#,
        ],
        &[
            "[TOOL_CALLS]¦x",
            r#"[TOOL_CALLS]get_weather[ARGS]{"¦x"#,
            "[TOOL_CALLS]now[ARGS]{}¦Hello",
        ],
    );
    check(
        "strict_granite",
        &[
            "Hi",
            &format!("<|tool_call|>[{GOOD}]"),
            &format!("<tool_call>{GOOD}"),
        ],
        &["<|tool_call|>¦x", "<tool_call>[¦x"],
    );
}

#[test]
fn an_answer_is_a_call_or_keeps_the_structure() {
    let answer = r#"{"answer": "yes"}"#;
    check(
        "calls_or_schema_hermes",
        &[
            answer,
            &format!("<tool_call>{GOOD}</tool_call>\n<tool_call>{OPEN}</tool_call>"),
        ],
        &[
            "¦Hello",
            "{\"¦name",
            r#"<tool_call>{"name": "get_weather", "arguments": {"¦x"#,
        ],
    );
    check(
        "calls_or_schema_llama3_json",
        &[
            answer,
            r#"{"name": "get_weather", "parameters": {"city": "a", "days": 1}}"#,
        ],
        &[
            "¦Hello",
            r#"{"name": "get_weather", "parameters": {"city": "a", "days": ¦"x"#,
            "{\"¦x",
        ],
    );
    check(
        "calls_or_schema_mistral",
        &[
            answer,
            &format!("[TOOL_CALLS][{GOOD}]"),
            "[TOOL_CALLS]now[ARGS]{}",
        ],
        &["¦Hello", "[TOOL_CALLS]¦x"],
    );
    check(
        "calls_or_schema_deepseek_v31",
        &[
            answer,
            "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>now<｜tool▁sep｜>{}<｜tool▁call▁end｜><｜tool▁calls▁end｜>",
        ],
        &["¦Hello"],
    );
    check(
        "calls_or_schema_pythonic",
        &[answer, "[now()]", "[get_weather(city='a')]"],
        &["[¦x", "¦Hello"],
    );
    check(
        "calls_or_schema_qwen3_coder",
        &[
            answer,
            "<tool_call>\n<function=now>\n</function>\n</tool_call>",
            "<function=now>",
        ],
        &["¦Hello"],
    );
    check(
        "calls_or_regex_after_thought",
        &[
            "x</think>a/12",
            &format!("x</think>\n<tool_call>{OPEN}</tool_call>"),
        ],
        &[
            "x</think>a/¦b",
            &format!("</think><tool_call>{OPEN}</tool_call>¦<tool_call>"),
        ],
    );
}

#[test]
fn reasoning_comes_before_a_structure_and_ends_in_time() {
    let answer = r#"{"answer": "yes"}"#;
    check(
        "schema_after_thought",
        &[answer, &format!("<think>Hm. {{</think>\n\n{answer}")],
        &["¦Hello", "<think>x</think>¦Hello", "<think>¦<end>"],
    );
    check(
        "schema_within_thought",
        &[&format!("Hm.</think>{answer}")],
        &["Hm.</think>¦Hello"],
    );
    check(
        "budget",
        &[
            "<think>1234</think>Any [TOOL_CALLS] thing",
            "Anything",
            "<think></think>",
        ],
        &["<think>1234¦5", "Any ¦<think>", "<think>12¦<end>"],
    );
    check(
        "budget_within_thought",
        &["1</think>x", "1234</think>x"],
        &["1234¦5"],
    );
    check("budget_of_none", &["</think>x"], &["¦1"]);
}

#[test]
fn bad_words_never_come_whole() {
    let long = "b a ".repeat(500);
    check(
        "bad_words",
        &["", "a", "ba x", "aa[ARGS]d", "acb", "aac", "ba", &long],
        &["xa¦b", "aa¦b", "xaa¦d", "ba¦c", "aaa¦d", "baa¦d", "bba¦c"],
    );
}
