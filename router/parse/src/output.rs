//! A model's answer, from its first character to its last.

use std::sync::Arc;

use crate::event::{Event, Sink};
use crate::format::ToolFormat;
use crate::frames::Frames;
use crate::read::{JsonValue, ValueStep};
use crate::reasoning::{Begin, Part, Reasoning, ReasoningFormat};
use crate::tools::ToolSet;

/// What may stand in an answer beside text.
#[derive(Clone, Debug, Default)]
pub enum Calls {
    /// No calls: text is text.
    #[default]
    None,
    /// Calls in the model's own way.
    Format(ToolFormat, Arc<ToolSet>),
    /// The whole text is the arguments of this tool.
    Named(String),
}

/// Takes an answer apart while it comes. However the text is split into pieces, the events say the
/// same when those of one kind that follow each other are joined.
#[derive(Debug)]
pub struct OutputParser {
    reasoning: Option<Reasoning>,
    answer: Answer,
    sink: Sink,
}

#[derive(Debug)]
enum Answer {
    Text,
    Frames(Frames),
    Named(Named),
}

/// The whole text is one call's arguments.
#[derive(Debug)]
struct Named {
    /// Until the call has begun.
    name: Option<String>,
    value: JsonValue,
    over: bool,
}

impl OutputParser {
    /// At the beginning of an answer. Without a reasoning format all of it is the answer.
    #[must_use]
    pub fn new(reasoning: Option<(ReasoningFormat, Begin)>, calls: Calls) -> Self {
        let mut sink = Sink::default();
        if matches!(reasoning, Some((_, Begin::Inside))) {
            sink.part();
        }
        Self {
            reasoning: reasoning.map(|(format, begin)| Reasoning::new(format, begin)),
            answer: match calls {
                Calls::None => Answer::Text,
                Calls::Format(format, tools) => Answer::Frames(Frames::new(format.shape(), tools)),
                Calls::Named(name) => Answer::Named(Named {
                    name: Some(name),
                    value: JsonValue::default(),
                    over: false,
                }),
            },
            sink,
        }
    }

    /// Takes a piece of the answer.
    pub fn push(&mut self, text: &str) -> Vec<Event> {
        for character in text.chars() {
            let Some(reasoning) = &mut self.reasoning else {
                self.answer.step(character, &mut self.sink);
                continue;
            };
            let fresh = !self.sink.spoke() && self.answer.at_rest();
            let (answer, sink) = (&mut self.answer, &mut self.sink);
            reasoning.step(character, fresh, |part, text| tell(part, text, answer, sink));
        }
        self.sink.take()
    }

    /// The answer is over: what was held back is what it looks like.
    pub fn finish(&mut self) -> Vec<Event> {
        if let Some(reasoning) = &mut self.reasoning {
            let (answer, sink) = (&mut self.answer, &mut self.sink);
            reasoning.finish(|part, text| tell(part, text, answer, sink));
        }
        if let Answer::Frames(frames) = &mut self.answer {
            frames.finish(&mut self.sink);
        }
        self.sink.finish();
        self.sink.take()
    }

    /// Whether what comes next belongs to the reasoning.
    #[must_use]
    pub fn is_reasoning(&self) -> bool {
        self.reasoning.as_ref().is_some_and(Reasoning::inside)
    }
}

fn tell(part: Part, text: &str, answer: &mut Answer, sink: &mut Sink) {
    for character in text.chars() {
        match part {
            Part::Reasoning => sink.reasoning(character),
            Part::Answer => answer.step(character, sink),
        }
    }
}

impl Answer {
    fn step(&mut self, character: char, sink: &mut Sink) {
        match self {
            Self::Text => sink.text(character.encode_utf8(&mut [0; 4])),
            Self::Frames(frames) => frames.step(character, sink),
            Self::Named(named) => named.step(character, sink),
        }
    }

    fn at_rest(&self) -> bool {
        match self {
            Self::Frames(frames) => frames.at_rest(),
            Self::Named(named) => named.name.is_some() || named.over,
            Self::Text => true,
        }
    }
}

impl Named {
    fn step(&mut self, character: char, sink: &mut Sink) {
        if self.over {
            return sink.text(character.encode_utf8(&mut [0; 4]));
        }
        if let Some(name) = &self.name {
            if character.is_whitespace() {
                return;
            }
            sink.call(name);
            self.name = None;
        }
        match self.value.step(character) {
            ValueStep::Past => {
                self.over = true;
                sink.call_end();
                self.step(character, sink);
            }
            step => {
                sink.arguments(&mut character.to_string());
                if step == ValueStep::Last {
                    self.over = true;
                    sink.call_end();
                }
            }
        }
    }
}
