//! A call as a name, a separator, and the arguments as JSON: `name<sep>{…}`.

use super::json_value::{JsonValue, ValueStep};
use super::{MAX_NAME_BYTES, ReadCall, Step, in_name};
use crate::markers::Markers;

/// How the name is written.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Header {
    /// What stands between name and arguments; the arguments' `{` ends the name too.
    pub(crate) separators: &'static [&'static str],
    /// The name within what stands before the separator.
    pub(crate) name: fn(&str) -> &str,
}

/// Reads the call from the first character of its name on.
#[derive(Clone, Debug)]
pub(crate) struct NamedCall {
    header: Header,
    markers: Markers,
    state: State,
    written: String,
    name: Option<String>,
    arguments: String,
}

#[derive(Clone, Copy, Debug)]
enum State {
    Name,
    /// Before the arguments.
    Gap,
    Arguments(JsonValue),
}

impl NamedCall {
    pub(crate) fn new(header: Header) -> Self {
        Self {
            header,
            markers: Markers::new(header.separators.to_vec()),
            state: State::Name,
            written: String::new(),
            name: None,
            arguments: String::new(),
        }
    }

    /// Takes the name out of what is written.
    fn name_ends(&mut self) -> bool {
        let name = (self.header.name)(self.written.trim());
        let is_name = !name.is_empty() && name.chars().all(in_name);
        self.name = is_name.then(|| name.to_owned());
        self.state = State::Gap;
        is_name
    }
}

impl ReadCall for NamedCall {
    fn step(&mut self, character: char) -> Step {
        match &mut self.state {
            State::Name if character == '{' => {
                self.markers.finish(&mut self.written);
                if self.name_ends() {
                    return self.step(character);
                }
                Step::Refused
            }
            State::Name => {
                let found = self.markers.step(character, &mut self.written);
                let too_long = self.written.len() > MAX_NAME_BYTES;
                if too_long || (found.is_some() && !self.name_ends()) {
                    return Step::Refused;
                }
                Step::More
            }
            State::Gap if character == '{' => {
                self.state = State::Arguments(JsonValue::default());
                self.step(character)
            }
            State::Gap if character.is_whitespace() => Step::More,
            State::Gap => Step::Refused,
            State::Arguments(value) => match value.step(character) {
                ValueStep::Inside => {
                    self.arguments.push(character);
                    Step::More
                }
                ValueStep::Last => {
                    self.arguments.push(character);
                    Step::Done
                }
                ValueStep::Past => Step::DoneBefore,
                ValueStep::Broken => Step::Refused,
            },
        }
    }

    fn name(&self) -> Option<&str> {
        // A separator alone proves nothing.
        self.name
            .as_deref()
            .filter(|_| matches!(self.state, State::Arguments(_)))
    }

    fn arguments(&mut self) -> &mut String {
        &mut self.arguments
    }
}
