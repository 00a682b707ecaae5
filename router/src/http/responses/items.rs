//! The items of an answer while they are said, for whole answers and for streams alike.

use serde_json::Value;
use shardline_text::Tokenizer;

use crate::http::conversation::{HeardCall, HeardPart, Reader, Reading, Said};
use crate::http::ids::Ids;
use crate::http::openai::logprobs::{ChatLogprobs, ChatToken};
use crate::http::openai::names::TokenNames;
use crate::http::responses::shapes::{self, status};
use crate::http::responses::spoken::Spoken;
use crate::http::running::Running;
use crate::session::{ChoiceEvent, End, Settled, TextToken};

/// The item at hand.
#[derive(Debug)]
pub struct Open {
    /// What was said of it.
    pub part: HeardPart,
    /// Without the prefix that tells its kind.
    pub id: String,
    /// Log-probabilities of a text's tokens; empty unless they are to be told.
    pub logprobs: Vec<ChatToken>,
}

/// What happens to it.
#[derive(Debug)]
pub enum Change<'a> {
    /// It begins.
    Begin,
    /// More of its text or arguments.
    More {
        /// The piece.
        text: &'a str,
        /// Of the piece's tokens.
        logprobs: &'a [ChatToken],
    },
    /// It is over, and this is what it came to.
    End(&'a Value),
}

/// Where ids and the names of tokens come from.
#[derive(Clone, Copy, Debug)]
pub struct Sources<'a> {
    /// Of items and calls.
    pub ids: &'a Ids,
    /// Of the model.
    pub tokenizer: &'a Tokenizer,
}

impl<'a> Sources<'a> {
    /// A request's.
    #[must_use]
    pub fn of(running: &'a Running) -> Self {
        Self {
            ids: &running.app().ids,
            tokenizer: running.tokenizer(),
        }
    }
}

/// An answer from its first token to its end.
#[derive(Debug)]
pub struct Items {
    reader: Reader,
    open: Option<Open>,
    done: Vec<Value>,
    /// How many alternatives are told with each of the text's tokens; `None`: not even those.
    top: Option<u32>,
    spoken: Spoken,
}

impl Items {
    /// Before the first token.
    #[must_use]
    pub fn new(reading: &Reading, top: Option<u32>) -> Self {
        Self {
            reader: reading.reader(),
            open: None,
            done: Vec::new(),
            top,
            spoken: Spoken::default(),
        }
    }

    /// Takes what happens, and gives the end when it is one. `watch` is told the place of each item
    /// and what happens to it.
    pub fn take(
        &mut self,
        event: ChoiceEvent,
        sources: Sources<'_>,
        watch: &mut impl FnMut(usize, &Open, Change<'_>),
    ) -> Option<End> {
        let thought = self.reader.is_reasoning();
        match event {
            ChoiceEvent::Started { .. } | ChoiceEvent::Prompt(_) => None,
            ChoiceEvent::Token(TextToken { text, settled, .. }) => {
                let said = self.reader.token(&text, sources.ids);
                let tokens = self.spoken(&text, settled, thought, &said);
                self.say(said, &tokens, sources, watch);
                None
            }
            ChoiceEvent::Finished { end, text, settled } => {
                let mut said = self.reader.text(&text, sources.ids);
                said.extend(self.reader.finish(sources.ids));
                let tokens = self.spoken(&text, settled, thought, &said);
                self.say(said, &tokens, sources, watch);
                self.close(status(&end), watch);
                Some(end)
            }
        }
    }

    fn spoken(&mut self, text: &str, settled: Vec<Settled>, thought: bool, said: &[Said]) -> Vec<Settled> {
        match self.top {
            None => Vec::new(),
            Some(_) => self.spoken.take(text, settled, thought, said),
        }
    }

    /// `tokens`: of the first text in `said`.
    fn say(
        &mut self,
        said: Vec<Said>,
        tokens: &[Settled],
        sources: Sources<'_>,
        watch: &mut impl FnMut(usize, &Open, Change<'_>),
    ) {
        let mut logprobs = named(tokens, sources.tokenizer, self.top.unwrap_or(0));
        for said in said {
            match said {
                Said::Reasoning(text) => {
                    if !matches!(self.part(), Some(HeardPart::Reasoning(_))) {
                        self.begin(HeardPart::Reasoning(String::new()), sources.ids, watch);
                    }
                    self.more(&text, Vec::new(), watch);
                }
                Said::Text(text) => {
                    if !matches!(self.part(), Some(HeardPart::Text(_))) {
                        self.begin(HeardPart::Text(String::new()), sources.ids, watch);
                    }
                    self.more(&text, std::mem::take(&mut logprobs), watch);
                }
                Said::Call { id, name, .. } => {
                    let call = HeardCall {
                        id,
                        name,
                        arguments: String::new(),
                    };
                    self.begin(HeardPart::Call(call), sources.ids, watch);
                }
                Said::Arguments { text, .. } => self.more(&text, Vec::new(), watch),
                Said::CallEnd => self.close("completed", watch),
            }
        }
    }

    /// All items, and how many tokens the reasoning took.
    #[must_use]
    pub fn done(&mut self) -> (Vec<Value>, u32) {
        (std::mem::take(&mut self.done), self.reader.reasoning_tokens())
    }

    fn part(&self) -> Option<&HeardPart> {
        self.open.as_ref().map(|open| &open.part)
    }

    fn begin(&mut self, part: HeardPart, ids: &Ids, watch: &mut impl FnMut(usize, &Open, Change<'_>)) {
        self.close("completed", watch);
        let open = Open {
            part,
            id: ids.text(),
            logprobs: Vec::new(),
        };
        watch(self.done.len(), &open, Change::Begin);
        self.open = Some(open);
    }

    fn more(
        &mut self,
        text: &str,
        logprobs: Vec<ChatToken>,
        watch: &mut impl FnMut(usize, &Open, Change<'_>),
    ) {
        let Some(open) = &mut self.open else { return };
        match &mut open.part {
            HeardPart::Reasoning(all) | HeardPart::Text(all) => all.push_str(text),
            HeardPart::Call(call) => call.arguments.push_str(text),
        }
        let change = Change::More {
            text,
            logprobs: &logprobs,
        };
        watch(self.done.len(), open, change);
        open.logprobs.extend(logprobs);
    }

    fn close(&mut self, status: &str, watch: &mut impl FnMut(usize, &Open, Change<'_>)) {
        let Some(open) = self.open.take() else { return };
        let item = shapes::item(&open, status);
        watch(self.done.len(), &open, Change::End(&item));
        self.done.push(item);
    }
}

fn named(tokens: &[Settled], tokenizer: &Tokenizer, top: u32) -> Vec<ChatToken> {
    let names = TokenNames {
        tokenizer,
        as_ids: false,
    };
    let mut told = ChatLogprobs::default();
    told.extend(names, tokens, top);
    told.content
}
