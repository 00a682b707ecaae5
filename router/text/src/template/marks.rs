//! Keeps text of users text.
//!
//! A user may write "<|im_end|>". Rendered, it looks like the template's own control token. So,
//! when a message holds such text, the template runs twice: once on the messages as they are, which
//! gives the prompt, and once on messages where the dangerous places are marked with characters
//! that Unicode reserves for such use. Where both outputs say the same (white space aside, which
//! templates trim), the marks tell which parts of the prompt came from a user. Where they do not,
//! the template looked at the dangerous text, and the marked output, without its marks, is the
//! prompt: the template then treated that text as any other.

use serde_json::{Map, Value};

use super::request::{RenderedChat, Segment};
use crate::tokenizer::ControlTokens;

/// Before a user's control token.
const START: char = '\u{10FFFE}';
/// Behind a user's control token, and wherever text must not join with its neighbour.
const BREAK: char = '\u{10FFFF}';

/// Whether a character is one of the marks.
pub(super) fn is_mark(character: char) -> bool {
    matches!(character, START | BREAK)
}

/// Whether any text in `values` could become a control token, alone or with text beside it.
pub(super) fn needed<'a>(mut values: impl Iterator<Item = &'a Value>, control: &ControlTokens) -> bool {
    values.any(|value| any_text(value, &|text| is_dangerous(text, control)))
}

fn any_text(value: &Value, test: &impl Fn(&str) -> bool) -> bool {
    match value {
        Value::String(text) => test(text),
        Value::Array(values) => values.iter().any(|value| any_text(value, test)),
        Value::Object(fields) => fields
            .iter()
            .any(|(key, value)| test(key) || (!is_name(key, value) && any_text(value, test))),
        _ => false,
    }
}

fn is_dangerous(text: &str, control: &ControlTokens) -> bool {
    control.occur_in(text) || control.may_continue(text) || control.may_complete(text)
}

/// Roles and types are words that templates compare and build markers from.
fn is_name(key: &str, value: &Value) -> bool {
    let word = |text: &str| {
        text.chars()
            .all(|character| character.is_ascii_alphanumeric() || "_-".contains(character))
    };
    matches!(key, "role" | "type") && value.as_str().is_some_and(word)
}

/// Marks the dangerous places of all texts in `value`.
pub(super) fn mark(value: &Value, control: &ControlTokens) -> Value {
    match value {
        Value::String(text) => Value::String(mark_text(text, control)),
        Value::Array(values) => Value::Array(values.iter().map(|value| mark(value, control)).collect()),
        Value::Object(fields) => Value::Object(mark_fields(fields, control)),
        other => other.clone(),
    }
}

/// Marks the dangerous places of all keys and values.
pub(super) fn mark_fields(fields: &Map<String, Value>, control: &ControlTokens) -> Map<String, Value> {
    let field = |(key, value): (&String, &Value)| {
        let marked = if is_name(key, value) {
            value.clone()
        } else {
            mark(value, control)
        };
        (mark_text(key, control), marked)
    };
    fields.iter().map(field).collect()
}

fn mark_text(text: &str, control: &ControlTokens) -> String {
    let text = without_marks(text);
    if !is_dangerous(&text, control) {
        return text;
    }
    let mut marked = String::with_capacity(text.len() + 16);
    if control.may_complete(&text) {
        marked.push(BREAK);
    }
    for stretch in control.stretches(&text) {
        if stretch.control {
            marked.push(START);
        }
        marked.push_str(stretch.text);
        if stretch.control {
            marked.push(BREAK);
        }
    }
    if control.may_continue(&text) {
        marked.push(BREAK);
    }
    marked
}

/// A user's own reserved characters, which must not pass for marks, as U+FFFD.
fn without_marks(text: &str) -> String {
    text.chars()
        .map(|character| {
            if is_mark(character) {
                char::REPLACEMENT_CHARACTER
            } else {
                character
            }
        })
        .collect()
}

/// The prompt from the plain and the marked output.
pub(super) fn transfer(plain: &str, marked: &str, control: &ControlTokens) -> RenderedChat {
    let parts = split(marked, control);
    let comparable = without_marks(plain);
    let same = visible(&comparable).eq(parts.iter().flat_map(|part| visible(&part.text)));
    RenderedChat {
        segments: if same { cut_alike(plain, &parts) } else { parts },
    }
}

fn visible(text: &str) -> impl Iterator<Item = char> + '_ {
    text.chars().filter(|character| !character.is_whitespace())
}

/// Cuts marked output at its marks.
fn split(marked: &str, control: &ControlTokens) -> Vec<Segment> {
    let mut segments = Vec::new();
    let mut rest = marked;
    let mut after_start = false;
    loop {
        let found = rest.char_indices().find(|(_, character)| is_mark(*character));
        let end = found.map_or(rest.len(), |(at, _)| at);
        let text = &rest[..end];
        if !text.is_empty() {
            let whole_token = || matches!(control.stretches(text).as_slice(), [stretch] if stretch.control);
            let closed = matches!(found, Some((_, BREAK)));
            segments.push(Segment {
                text: text.to_owned(),
                plain: after_start && closed && whole_token(),
            });
        }
        let Some((_, mark)) = found else { return segments };
        after_start = mark == START;
        rest = &rest[end + mark.len_utf8()..];
    }
}

/// Cuts `plain` into segments with the same visible characters as `parts`. White space goes to the
/// segment before it, unless that one is a user's control token.
fn cut_alike(plain: &str, parts: &[Segment]) -> Vec<Segment> {
    let mut segments = Vec::with_capacity(parts.len());
    let mut rest = plain;
    for (index, part) in parts.iter().enumerate() {
        let last = index + 1 == parts.len();
        let end = if last {
            rest.len()
        } else {
            end_of(rest, visible(&part.text).count(), !part.plain)
        };
        let (text, behind) = rest.split_at(end);
        if !text.is_empty() {
            segments.push(Segment {
                text: text.to_owned(),
                plain: part.plain,
            });
        }
        rest = behind;
    }
    segments
}

/// Where `count` visible characters, and the white space behind them if wanted, end.
fn end_of(text: &str, count: usize, with_space: bool) -> usize {
    let mut left = count;
    for (at, character) in text.char_indices() {
        if left == 0 && (!with_space || !character.is_whitespace()) {
            return at;
        }
        if !character.is_whitespace() {
            left -= 1;
        }
    }
    text.len()
}
