//! An answer in one piece: everything that was said, gathered.

use crate::http::conversation::reading::{Reader, Reading, Said};
use crate::http::error::ApiError;
use crate::http::ids::Ids;
use crate::http::running::Running;
use crate::session::{ChoiceEvent, End};

/// What an answer came to, in the order in which it was said.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Heard {
    /// No two texts beside each other.
    pub parts: Vec<HeardPart>,
}

/// A part of an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HeardPart {
    /// The model's reasoning.
    Reasoning(String),
    /// What it said.
    Text(String),
    /// What it called.
    Call(HeardCall),
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
            match (part, self.parts.last_mut()) {
                (Said::Reasoning(more), Some(HeardPart::Reasoning(text)))
                | (Said::Text(more), Some(HeardPart::Text(text))) => text.push_str(&more),
                (Said::Arguments { text, .. }, Some(HeardPart::Call(call))) => call.arguments.push_str(&text),
                (Said::Reasoning(text), _) => self.parts.push(HeardPart::Reasoning(text)),
                (Said::Text(text), _) => self.parts.push(HeardPart::Text(text)),
                (Said::Call { id, name, .. }, _) => self.parts.push(HeardPart::Call(HeardCall {
                    id,
                    name,
                    arguments: String::new(),
                })),
                (Said::Arguments { .. } | Said::CallEnd, _) => {}
            }
        }
    }

    /// Reasoning, text and calls, each in its order.
    #[must_use]
    pub fn sorted(self) -> (String, String, Vec<HeardCall>) {
        let (mut reasoning, mut text, mut calls) = (String::new(), String::new(), Vec::new());
        for part in self.parts {
            match part {
                HeardPart::Reasoning(more) => reasoning.push_str(&more),
                HeardPart::Text(more) => text.push_str(&more),
                HeardPart::Call(call) => calls.push(call),
            }
        }
        (reasoning, text, calls)
    }
}

/// The one answer of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answered {
    /// What was said.
    pub heard: Heard,
    /// Why it ended.
    pub end: End,
    /// Tokens of the reasoning.
    pub reasoning_tokens: u32,
}

/// Runs a request with one choice to its end.
///
/// # Errors
/// When it fails: a part of an answer is none.
pub async fn hear(running: &mut Running, reading: &Reading) -> Result<Answered, ApiError> {
    let app = running.app().clone();
    let mut listener = Listener::new(reading.reader());
    while let Some((_, event)) = running.next().await {
        match event {
            ChoiceEvent::Started { .. } | ChoiceEvent::Prompt(_) => {}
            ChoiceEvent::Token(token) => listener.token(&token.text, &app.ids),
            ChoiceEvent::Finished {
                end: End::Failed(finish),
                ..
            } => return Err(running.fail(&finish)),
            ChoiceEvent::Finished { end, text, .. } => {
                listener.end(&text, &app.ids);
                let (heard, reasoning_tokens) = listener.heard();
                return Ok(Answered {
                    heard,
                    end,
                    reasoning_tokens,
                });
            }
        }
    }
    Err(ApiError::Incomplete {
        cause: "it ended before its end".to_owned(),
    })
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
