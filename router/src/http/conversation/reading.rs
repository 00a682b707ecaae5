//! An answer's text as what it means: reasoning, text, calls with their ids.

use shardline_parse::{Begin, ToolFormat, ToolSet};
use shardline_parse::{CallIds, Calls, Event, OutputParser, ReasoningFormat};

use std::sync::Arc;

use crate::http::conversation::choice::ToolChoice;
use crate::http::conversation::speech::Speech;
use crate::http::conversation::tools::Tools;
use crate::http::ids::Ids;

/// How the answers of a request are read.
#[derive(Clone, Debug)]
pub struct Reading {
    reasoning: Option<(ReasoningFormat, Begin)>,
    calls: Calls,
    ids: CallIds,
    /// Whether calls behind the first one are told.
    parallel: bool,
    /// Whether reasoning is told.
    tell_reasoning: bool,
}

/// A part of an answer. Parts of one kind that follow each other belong together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Said {
    /// The model thinks.
    Reasoning(String),
    /// The model speaks.
    Text(String),
    /// A call begins.
    Call {
        /// Its place among the calls.
        index: usize,
        /// Nobody else's.
        id: String,
        /// The tool.
        name: String,
    },
    /// A piece of the JSON text of a call's arguments.
    Arguments {
        /// Of which call.
        index: usize,
        /// The piece.
        text: String,
    },
    /// The call is whole.
    CallEnd,
}

impl Reading {
    pub(super) fn new(
        speech: &Speech,
        tools: Option<&Tools>,
        reasoning: Option<(ReasoningFormat, Begin)>,
        tell_reasoning: bool,
    ) -> Self {
        let set = |tools: &Tools| {
            let tools = tools.list.iter();
            Arc::new(ToolSet::new(
                tools.map(|tool| (tool.name().to_owned(), tool.parameters().clone())),
            ))
        };
        let calls = match tools.map(|tools| (&tools.choice, tools)) {
            Some((ToolChoice::Auto, tools)) if speech.reads_calls => Calls::Format(speech.tools, set(tools)),
            Some((ToolChoice::Required, tools)) => Calls::Format(ToolFormat::json(), set(tools)),
            Some((ToolChoice::Named(name), _)) => Calls::Named(name.clone()),
            _ => Calls::None,
        };
        Self {
            reasoning,
            calls,
            ids: speech.ids(),
            parallel: tools.is_none_or(|tools| tools.parallel),
            tell_reasoning,
        }
    }

    /// Whether text is nothing but text.
    #[must_use]
    pub fn is_plain(&self) -> bool {
        self.reasoning.is_none() && matches!(self.calls, Calls::None)
    }

    /// Whether the model reasons aloud.
    #[must_use]
    pub fn reasons(&self) -> bool {
        self.reasoning.is_some()
    }

    /// Whether the client named the tool, so that an answer is a call by no choice of the model's.
    #[must_use]
    pub fn is_named(&self) -> bool {
        matches!(self.calls, Calls::Named(_))
    }

    /// At the beginning of an answer.
    #[must_use]
    pub fn reader(&self) -> Reader {
        Reader {
            parser: OutputParser::new(self.reasoning, self.calls.clone()),
            ids: self.ids,
            most: if self.parallel { usize::MAX } else { 1 },
            tell_reasoning: self.tell_reasoning,
            calls: 0,
            muted: false,
            reasoning_tokens: 0,
        }
    }
}

/// Reads one answer.
#[derive(Debug)]
pub struct Reader {
    parser: OutputParser,
    ids: CallIds,
    /// Calls that are told at most.
    most: usize,
    tell_reasoning: bool,
    calls: usize,
    /// Whether the call at hand is one too many.
    muted: bool,
    reasoning_tokens: u32,
}

impl Reader {
    /// Takes the text of a token.
    pub fn token(&mut self, text: &str, ids: &Ids) -> Vec<Said> {
        let before = self.parser.is_reasoning();
        let said = self.text(text, ids);
        self.reasoning_tokens += u32::from(before || self.parser.is_reasoning());
        said
    }

    /// Takes text that no token brought.
    pub fn text(&mut self, text: &str, ids: &Ids) -> Vec<Said> {
        let events = self.parser.push(text);
        self.told(events, ids)
    }

    /// The answer is over.
    pub fn finish(&mut self, ids: &Ids) -> Vec<Said> {
        let events = self.parser.finish();
        self.told(events, ids)
    }

    /// Whether the model is reasoning.
    #[must_use]
    pub fn is_reasoning(&self) -> bool {
        self.parser.is_reasoning()
    }

    /// Calls so far.
    #[must_use]
    pub fn calls(&self) -> usize {
        self.calls
    }

    /// Tokens of the reasoning so far, its tags among them.
    #[must_use]
    pub fn reasoning_tokens(&self) -> u32 {
        self.reasoning_tokens
    }

    fn told(&mut self, events: Vec<Event>, ids: &Ids) -> Vec<Said> {
        events
            .into_iter()
            .filter_map(|event| self.tell(event, ids))
            .collect()
    }

    fn tell(&mut self, event: Event, ids: &Ids) -> Option<Said> {
        let index = self.calls.wrapping_sub(1);
        match event {
            Event::Reasoning(text) => self.tell_reasoning.then_some(Said::Reasoning(text)),
            Event::Text(text) => Some(Said::Text(text)),
            Event::Call { .. } if self.calls >= self.most => {
                self.muted = true;
                None
            }
            Event::Call { name } => {
                self.calls += 1;
                Some(Said::Call {
                    index: self.calls - 1,
                    id: call_id(self.ids, ids),
                    name,
                })
            }
            Event::Arguments(_) | Event::CallEnd if self.muted => None,
            Event::Arguments(text) => Some(Said::Arguments { index, text }),
            Event::CallEnd => Some(Said::CallEnd),
        }
    }
}

fn call_id(kind: CallIds, ids: &Ids) -> String {
    let mut id = ids.text();
    match kind {
        CallIds::Long => format!("call_{id}"),
        CallIds::Nine => {
            id.truncate(9);
            id
        }
    }
}
