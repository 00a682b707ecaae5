//! A call as a JSON object: `{"name": …, "arguments": {…}}`.

use super::json_text::JsonText;
use super::json_value::{JsonValue, ValueStep};
use super::{ReadCall, Step};

/// Keys of the name, and of the arguments, in the spellings that models use.
const NAME: [&str; 3] = ["name", "tool_name", "tool"];
const ARGUMENTS: [&str; 3] = ["arguments", "parameters", "args"];
/// The key of an object that holds both, or of the name itself.
const FUNCTION: &str = "function";

/// Reads the object in any order of its keys. Further keys are left out.
#[derive(Clone, Debug, Default)]
pub(crate) struct JsonCall {
    state: State,
    name: Option<String>,
    /// Whether the arguments have begun, or the object is whole: the name alone proves nothing.
    sure: bool,
    has_arguments: bool,
    /// Within `"function": {…}`.
    nested: bool,
    arguments: String,
}

#[derive(Clone, Debug, Default)]
enum State {
    /// Before `{`.
    #[default]
    Start,
    /// Before a key, or the object's end.
    Key,
    InKey(JsonText, String),
    /// Before `:`.
    Colon(Role),
    /// Before a value.
    Value(Role),
    InName(JsonText, String),
    InArguments(JsonValue),
    /// Arguments as a string that holds JSON.
    InArgumentText(JsonText),
    InOther(JsonValue),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    Name,
    Arguments,
    Function,
    Other,
}

impl ReadCall for JsonCall {
    fn step(&mut self, character: char) -> Step {
        match &mut self.state {
            State::Start if character == '{' => self.go(State::Key),
            State::Start => Step::Refused,
            State::Key => self.key(character),
            State::InKey(text, key) => {
                if text.step(character, key) {
                    let role = role(key);
                    return self.go(State::Colon(role));
                }
                Step::More
            }
            State::Colon(role) => match character {
                ':' => {
                    let role = *role;
                    self.go(State::Value(role))
                }
                _ if character.is_whitespace() => Step::More,
                _ => Step::Refused,
            },
            State::Value(_) if character.is_whitespace() => Step::More,
            State::Value(role) => {
                let role = *role;
                self.value(role, character)
            }
            State::InName(text, name) => {
                if text.step(character, name) {
                    let name = std::mem::take(name);
                    self.name.get_or_insert(name);
                    self.sure |= self.has_arguments;
                    return self.go(State::Key);
                }
                Step::More
            }
            State::InArguments(_) | State::InOther(_) => self.inside(character),
            State::InArgumentText(text) => {
                if text.step(character, &mut self.arguments) {
                    return self.go(State::Key);
                }
                Step::More
            }
        }
    }

    fn name(&self) -> Option<&str> {
        self.name.as_deref().filter(|_| self.sure)
    }

    fn arguments(&mut self) -> &mut String {
        &mut self.arguments
    }
}

impl JsonCall {
    fn go(&mut self, state: State) -> Step {
        self.state = state;
        Step::More
    }

    fn key(&mut self, character: char) -> Step {
        match character {
            '"' => self.go(State::InKey(JsonText::default(), String::new())),
            '}' if self.nested => {
                self.nested = false;
                Step::More
            }
            '}' if self.name.as_ref().is_some_and(|name| !name.is_empty()) => {
                self.sure = true;
                Step::Done
            }
            ',' => Step::More,
            _ if character.is_whitespace() => Step::More,
            _ => Step::Refused,
        }
    }

    fn value(&mut self, role: Role, character: char) -> Step {
        match (role, character) {
            (Role::Name, '"') | (Role::Function, '"') => {
                self.go(State::InName(JsonText::default(), String::new()))
            }
            (Role::Name, _) => Step::Refused,
            (Role::Function, '{') if !self.nested => {
                self.nested = true;
                self.go(State::Key)
            }
            (Role::Arguments, _) if !self.has_arguments => {
                self.has_arguments = true;
                self.sure = self.name.as_ref().is_some_and(|name| !name.is_empty());
                if character == '"' {
                    return self.go(State::InArgumentText(JsonText::default()));
                }
                // `null` is no object, and says as much as an empty one.
                if character == 'n' {
                    self.arguments.push_str("{}");
                    self.state = State::InOther(JsonValue::default());
                } else {
                    self.state = State::InArguments(JsonValue::default());
                }
                self.inside(character)
            }
            _ => {
                self.state = State::InOther(JsonValue::default());
                self.inside(character)
            }
        }
    }

    /// Within a value that ends by itself.
    fn inside(&mut self, character: char) -> Step {
        let (value, told) = match &mut self.state {
            State::InArguments(value) => (value, true),
            State::InOther(value) => (value, false),
            _ => return Step::Refused,
        };
        let step = value.step(character);
        if told && matches!(step, ValueStep::Inside | ValueStep::Last) {
            self.arguments.push(character);
        }
        match step {
            ValueStep::Inside => Step::More,
            ValueStep::Last => self.go(State::Key),
            ValueStep::Past => {
                self.state = State::Key;
                self.key(character)
            }
            ValueStep::Broken => Step::Refused,
        }
    }
}

fn role(key: &str) -> Role {
    if NAME.contains(&key) {
        Role::Name
    } else if ARGUMENTS.contains(&key) {
        Role::Arguments
    } else if key == FUNCTION {
        Role::Function
    } else {
        Role::Other
    }
}
