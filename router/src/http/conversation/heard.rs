//! An answer in one piece: everything that was said, gathered.

use crate::http::conversation::reading::{Reader, Said};
use crate::http::ids::Ids;

/// What an answer came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Heard {
    /// The model's reasoning.
    pub reasoning: String,
    /// What it said.
    pub text: String,
    /// What it called.
    pub calls: Vec<HeardCall>,
}

/// A call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeardCall {
    /// Nobody else's.
    pub id: String,
    /// The tool.
    pub name: String,
    /// JSON text, whole unless the answer was cut off.
    pub arguments: String,
}

impl Heard {
    /// Takes what was said next.
    pub fn take(&mut self, said: Vec<Said>) {
        for part in said {
            match part {
                Said::Reasoning(text) => self.reasoning.push_str(&text),
                Said::Text(text) => self.text.push_str(&text),
                Said::Call { id, name, .. } => self.calls.push(HeardCall {
                    id,
                    name,
                    arguments: String::new(),
                }),
                Said::Arguments { text, .. } => {
                    if let Some(call) = self.calls.last_mut() {
                        call.arguments.push_str(&text);
                    }
                }
                Said::CallEnd => {}
            }
        }
    }
}

/// Reads one answer to its end.
#[derive(Debug)]
pub struct Listener {
    reader: Reader,
    heard: Heard,
}

impl Listener {
    /// With a reader at the beginning of an answer.
    #[must_use]
    pub fn new(reader: Reader) -> Self {
        Self {
            reader,
            heard: Heard::default(),
        }
    }

    /// Takes the text of a token.
    pub fn token(&mut self, text: &str, ids: &Ids) {
        let said = self.reader.token(text, ids);
        self.heard.take(said);
    }

    /// Takes the rest of the text.
    pub fn end(&mut self, text: &str, ids: &Ids) {
        let said = self.reader.text(text, ids);
        self.heard.take(said);
        let said = self.reader.finish(ids);
        self.heard.take(said);
    }

    /// What was said, and how many tokens the reasoning took.
    #[must_use]
    pub fn heard(self) -> (Heard, u32) {
        (self.heard, self.reader.reasoning_tokens())
    }
}
