//! Readers of one call each, in the ways that models spell it. What stands around calls is the
//! business of `frames`.

mod json_call;
mod json_text;
mod json_value;
mod named;
mod python;
mod python_value;
mod tagged;

pub(crate) use json_call::JsonCall;
pub(crate) use json_value::{JsonValue, ValueStep};
pub(crate) use named::{Header, NamedCall};
pub(crate) use python::PythonCall;
pub(crate) use tagged::TaggedCall;

/// What a character did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// The call goes on.
    More,
    /// The call is whole; the character belongs to it.
    Done,
    /// The call is whole without the character.
    DoneBefore,
    /// This is no call, or a broken one; the character does not belong to it.
    Refused,
}

/// Reads one call.
pub(crate) trait ReadCall: std::fmt::Debug + Send {
    /// Takes a character. Not to be called after anything but `More`.
    fn step(&mut self, character: char) -> Step;

    /// The tool's name, once it is sure that this is a call.
    fn name(&self) -> Option<&str>;

    /// The JSON text of the arguments as far as it is known, for the caller to take.
    fn arguments(&mut self) -> &mut String;

    /// Characters before the last one that turned out to stand behind the call.
    fn unread(&mut self) -> String {
        String::new()
    }
}

/// Longest name, in bytes, that is read as one where no quotes enclose it.
const MAX_NAME_BYTES: usize = 256;

/// Whether a character may stand in the name of a tool that no quotes enclose.
pub(crate) fn in_name(character: char) -> bool {
    character.is_alphanumeric() || "_-.:/".contains(character)
}

/// Appends a character as it stands within a JSON string.
fn escape(character: char, out: &mut String) {
    match character {
        '"' => out.push_str("\\\""),
        '\\' => out.push_str("\\\\"),
        '\n' => out.push_str("\\n"),
        '\r' => out.push_str("\\r"),
        '\t' => out.push_str("\\t"),
        '\0'..='\u{1f}' => out.push_str(&format!("\\u{:04x}", u32::from(character))),
        _ => out.push(character),
    }
}

/// Appends a text as a JSON string.
fn quote(text: &str, out: &mut String) {
    out.push('"');
    text.chars().for_each(|character| escape(character, out));
    out.push('"');
}
