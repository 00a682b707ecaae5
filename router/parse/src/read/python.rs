//! A call as Python writes it: `name(key=value, …)`.

use super::python_value::{PythonText, bare};
use super::{MAX_NAME_BYTES, ReadCall, Step, in_name, quote};

/// Reads the call from the first character of its name on.
#[derive(Clone, Debug, Default)]
pub(crate) struct PythonCall {
    state: State,
    name: String,
    sure: bool,
    /// Brackets that are open within a value.
    stack: Vec<Bracket>,
    /// A comma came: it counts when something follows.
    comma: bool,
    /// Whether a value stands behind the last comma, bracket or `=`.
    full: bool,
    empty: bool,
    arguments: String,
}

#[derive(Clone, Debug, Default)]
enum State {
    #[default]
    Name,
    /// Before a keyword or the end.
    Keyword,
    InKeyword(String),
    /// Before a value, a comma or a closing bracket.
    Value,
    InText(PythonText),
    InBare(String),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Bracket {
    List,
    /// Before or in a key, or behind the colon.
    Object {
        key: bool,
    },
}

impl ReadCall for PythonCall {
    fn step(&mut self, character: char) -> Step {
        match &mut self.state {
            State::Name => self.name_step(character),
            State::Keyword => self.keyword_step(character),
            State::InKeyword(keyword) => match character {
                '=' => {
                    let keyword = std::mem::take(keyword);
                    self.begin_argument(keyword.trim_end());
                    Step::More
                }
                _ if keyword.len() > MAX_NAME_BYTES => Step::Refused,
                _ if in_name(character) || character.is_whitespace() => {
                    keyword.push(character);
                    Step::More
                }
                _ => Step::Refused,
            },
            State::Value => self.value_step(character),
            State::InText(text) => {
                if text.step(character, &mut self.arguments) {
                    self.arguments.push('"');
                    self.state = State::Value;
                }
                Step::More
            }
            State::InBare(word) => {
                if character.is_whitespace() || ",)]}:([{=<".contains(character) {
                    let word = std::mem::take(word);
                    let key = self.in_key();
                    bare(&word, key, &mut self.arguments);
                    self.state = State::Value;
                    return self.value_step(character);
                }
                word.push(character);
                Step::More
            }
        }
    }

    fn name(&self) -> Option<&str> {
        self.sure.then_some(self.name.as_str())
    }

    fn arguments(&mut self) -> &mut String {
        &mut self.arguments
    }
}

impl PythonCall {
    fn name_step(&mut self, character: char) -> Step {
        if character == '(' && !self.name.is_empty() {
            self.sure = true;
            self.empty = true;
            self.arguments.push('{');
            self.state = State::Keyword;
            return Step::More;
        }
        if !in_name(character) || self.name.len() > MAX_NAME_BYTES {
            return Step::Refused;
        }
        self.name.push(character);
        Step::More
    }

    fn keyword_step(&mut self, character: char) -> Step {
        match character {
            ')' => {
                self.arguments.push('}');
                Step::Done
            }
            _ if character.is_whitespace() || character == ',' => Step::More,
            _ if in_name(character) => {
                self.state = State::InKeyword(character.to_string());
                Step::More
            }
            _ => Step::Refused,
        }
    }

    fn begin_argument(&mut self, keyword: &str) {
        if !std::mem::replace(&mut self.empty, false) {
            self.arguments.push_str(", ");
        }
        quote(keyword, &mut self.arguments);
        self.arguments.push_str(": ");
        (self.comma, self.full) = (false, false);
        self.state = State::Value;
    }

    fn in_key(&self) -> bool {
        matches!(self.stack.last(), Some(Bracket::Object { key: true }))
    }

    fn value_step(&mut self, character: char) -> Step {
        match character {
            _ if character.is_whitespace() => Step::More,
            ',' if self.full && self.stack.is_empty() => {
                self.state = State::Keyword;
                Step::More
            }
            ',' if self.full => {
                self.comma = true;
                self.full = false;
                if let Some(Bracket::Object { key }) = self.stack.last_mut() {
                    *key = true;
                }
                Step::More
            }
            ')' if self.full && self.stack.is_empty() => {
                self.arguments.push('}');
                Step::Done
            }
            ')' | ']' | '}' => self.close(character),
            ':' if self.full && self.in_key() => {
                if let Some(Bracket::Object { key }) = self.stack.last_mut() {
                    *key = false;
                }
                self.arguments.push_str(": ");
                self.full = false;
                Step::More
            }
            // Two values beside each other, or a sign that no value begins with.
            _ if self.full || ":=<>;,".contains(character) => Step::Refused,
            _ => self.begin_value(character),
        }
    }

    fn close(&mut self, character: char) -> Step {
        let closes = match self.stack.last() {
            Some(Bracket::List) => character != '}',
            Some(Bracket::Object { key }) => character == '}' && (self.full || *key),
            None => false,
        };
        if !closes {
            return Step::Refused;
        }
        self.arguments.push(match self.stack.pop() {
            Some(Bracket::Object { .. }) => '}',
            _ => ']',
        });
        (self.comma, self.full) = (false, true);
        Step::More
    }

    fn begin_value(&mut self, character: char) -> Step {
        if std::mem::replace(&mut self.comma, false) {
            self.arguments.push_str(", ");
        }
        match character {
            '[' | '(' | '{' if self.in_key() => return Step::Refused,
            '[' | '(' => {
                self.stack.push(Bracket::List);
                self.arguments.push('[');
            }
            '{' => {
                self.stack.push(Bracket::Object { key: true });
                self.arguments.push('{');
            }
            '"' | '\'' => {
                self.full = true;
                self.arguments.push('"');
                self.state = State::InText(PythonText::new(character));
            }
            _ => {
                self.full = true;
                self.state = State::InBare(character.to_string());
            }
        }
        Step::More
    }
}
