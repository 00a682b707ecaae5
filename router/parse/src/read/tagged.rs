//! A call in tags: `<function=name><parameter=key>value</parameter>…</function>`. Values are
//! written as they are, so the tool's schema decides which of them are text.

use std::sync::Arc;

use super::{MAX_NAME_BYTES, ReadCall, Step, escape, in_name, quote};
use crate::markers::Markers;
use crate::tools::{Kind, ToolSet};

const FUNCTION: &str = "<function=";
const TAGS: [&str; 2] = ["<parameter=", "</function>"];
/// A line break before the closing tag belongs to the tag.
const VALUE_ENDS: [&str; 2] = ["\n</parameter>", "</parameter>"];

/// Reads the call from `<` on.
#[derive(Debug)]
pub(crate) struct TaggedCall {
    tools: Arc<ToolSet>,
    state: State,
    name: String,
    sure: bool,
    empty: bool,
    arguments: String,
    unread: String,
}

#[derive(Debug)]
enum State {
    /// Within `<function=`.
    Opening(String),
    Name,
    /// Between parameters.
    Between(Markers),
    Key(String),
    Value {
        markers: Markers,
        kind: Kind,
        /// Whether nothing of the value has come: a line break in front is left out.
        at_start: bool,
        /// The value, when it has to be whole before it can be told.
        whole: String,
    },
}

impl TaggedCall {
    pub(crate) fn new(tools: Arc<ToolSet>) -> Self {
        Self {
            tools,
            state: State::Opening(String::new()),
            name: String::new(),
            sure: false,
            empty: true,
            arguments: String::new(),
            unread: String::new(),
        }
    }

    fn between(&mut self) -> Step {
        self.state = State::Between(Markers::new(TAGS.to_vec()));
        Step::More
    }

    fn end(&mut self, step: Step) -> Step {
        self.arguments.push_str(if self.empty { "{}" } else { "}" });
        step
    }

    fn begin_value(&mut self, key: &str) -> Step {
        self.arguments.push_str(if self.empty { "{" } else { ", " });
        self.empty = false;
        quote(key, &mut self.arguments);
        self.arguments.push_str(": ");
        let kind = self.tools.kind(&self.name, key);
        if kind == Kind::Text {
            self.arguments.push('"');
        }
        self.state = State::Value {
            markers: Markers::new(VALUE_ENDS.to_vec()),
            kind,
            at_start: true,
            whole: String::new(),
        };
        Step::More
    }

    fn value_step(&mut self, character: char) -> Step {
        let State::Value {
            markers,
            kind,
            at_start,
            whole,
        } = &mut self.state
        else {
            return Step::Refused;
        };
        let mut free = String::new();
        let ended = markers.step(character, &mut free).is_some();
        for character in free.chars() {
            if std::mem::replace(at_start, false) && character == '\n' {
                continue;
            }
            match kind {
                Kind::Text => escape(character, &mut self.arguments),
                _ => whole.push(character),
            }
        }
        if !ended {
            return Step::More;
        }
        match kind {
            Kind::Text => self.arguments.push('"'),
            kind => put_value(whole, *kind, &mut self.arguments),
        }
        self.between()
    }
}

/// A value that is JSON, or a word that Python has for it, stays so; all else is text.
fn put_value(value: &str, kind: Kind, out: &mut String) {
    let trimmed = value.trim();
    let word = match trimmed {
        "True" => "true",
        "False" => "false",
        "None" => "null",
        other => other,
    };
    let is_json = serde_json::from_str::<serde_json::Value>(word).is_ok();
    // What stands between quotes is text, and the quotes are a part of it.
    let is_text = kind == Kind::Open && word.starts_with('"');
    if is_json && !is_text {
        out.push_str(word);
    } else {
        quote(value, out);
    }
}

impl ReadCall for TaggedCall {
    fn step(&mut self, character: char) -> Step {
        match &mut self.state {
            State::Opening(seen) => {
                seen.push(character);
                if seen == FUNCTION {
                    self.state = State::Name;
                } else if !FUNCTION.starts_with(seen.as_str()) {
                    return Step::Refused;
                }
                Step::More
            }
            State::Name => {
                if character == '>' && !self.name.is_empty() {
                    self.sure = true;
                    return self.between();
                }
                if !in_name(character) || self.name.len() > MAX_NAME_BYTES {
                    return Step::Refused;
                }
                self.name.push(character);
                Step::More
            }
            State::Between(markers) => {
                let mut free = String::new();
                let found = markers.step(character, &mut free);
                if free.chars().any(|character| !character.is_whitespace()) {
                    markers.finish(&mut free);
                    // The character at hand is the caller's.
                    free.pop();
                    self.unread = free;
                    return self.end(Step::DoneBefore);
                }
                match found {
                    Some(0) => {
                        self.state = State::Key(String::new());
                        Step::More
                    }
                    Some(_) => self.end(Step::Done),
                    None => Step::More,
                }
            }
            State::Key(key) if character == '>' => {
                let key = std::mem::take(key);
                self.begin_value(key.trim())
            }
            State::Key(key) => {
                if key.len() > MAX_NAME_BYTES || character == '<' {
                    return Step::Refused;
                }
                key.push(character);
                Step::More
            }
            State::Value { .. } => self.value_step(character),
        }
    }

    fn name(&self) -> Option<&str> {
        self.sure.then_some(self.name.as_str())
    }

    fn arguments(&mut self) -> &mut String {
        &mut self.arguments
    }

    fn unread(&mut self) -> String {
        std::mem::take(&mut self.unread)
    }
}
