//! One sequence's events with its tokens turned into text.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::Stream;
use shardline_text::{StopHit, TextSpan, TextStep, TextStream};

use crate::engine::Generation;
use crate::engine::api::{Finish, GeneratedToken, GenerationEvent, PromptToken};

/// What the session knows of a sequence beside its tokens.
#[derive(Clone, Debug)]
pub struct ChoiceRules {
    /// Tokens that end the sequence, sorted.
    pub stop_tokens: Arc<[u32]>,
    /// Generated tokens before which none of them does.
    pub min_new_tokens: u32,
    /// Generated tokens at which the sequence ends.
    pub max_new_tokens: u32,
    /// Whether the text of the stop token that ends the sequence belongs to the text.
    pub keep_stop_token: bool,
    /// Whether tokens are told together with the text they stand for (`TextToken::settled`).
    pub settle: bool,
    /// Whether only the prompt is of interest: the sequence ends before its first token.
    pub prompt_only: bool,
}

/// One sequence.
#[derive(Debug)]
pub struct Choice {
    /// `None` once it ended, so that dropping it has cancelled the sequence.
    generation: Option<Generation>,
    text: TextStream,
    rules: ChoiceRules,
    generated: u32,
    /// Tokens whose text is not given out entirely.
    unsettled: VecDeque<GeneratedToken>,
    /// The last token, which is told together with the end.
    held: Option<TextToken>,
    /// What is told next.
    end: Option<End>,
}

/// What happens to a sequence.
#[derive(Clone, Debug, PartialEq)]
pub enum ChoiceEvent {
    /// It entered the batch.
    Started {
        /// Prompt tokens from the prefix cache.
        cached_tokens: u32,
        /// Time in the queue.
        queued: Duration,
    },
    /// Log-probabilities of the prompt's tokens, before the first token.
    Prompt(Vec<PromptToken>),
    /// One token.
    Token(TextToken),
    /// The end; nothing follows.
    Finished {
        /// Why.
        end: End,
        /// Text that was held back until now; empty unless the end came as a surprise.
        text: String,
        /// See `TextToken::settled`.
        settled: Vec<Settled>,
    },
}

/// A token and the text that it makes ready.
#[derive(Clone, Debug, PartialEq)]
pub struct TextToken {
    /// The token.
    pub token: GeneratedToken,
    /// Text to give out now, which is not always the token's own: a part of a character, or of what
    /// may be a stop string, waits for what follows.
    pub text: String,
    /// Tokens whose text is now given out entirely; empty unless `ChoiceRules::settle`.
    pub settled: Vec<Settled>,
    /// Whether `Finished` is the next event and nothing has failed.
    pub last: bool,
}

/// A token and the part of the text that it stands for.
#[derive(Clone, Debug, PartialEq)]
pub struct Settled {
    /// The token.
    pub token: GeneratedToken,
    /// Characters of the choice's text.
    pub span: TextSpan,
}

/// Why a text ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// One of the stop tokens.
    StopToken(u32),
    /// A stop string.
    StopString(StopHit),
    /// As many tokens as were allowed.
    Length,
    /// Not as it should.
    Failed(Finish),
}

impl Choice {
    /// Follows a sequence; `text` is at its beginning.
    #[must_use]
    pub fn new(generation: Generation, text: TextStream, rules: ChoiceRules) -> Self {
        Self {
            generation: Some(generation),
            text,
            rules,
            generated: 0,
            unsettled: VecDeque::new(),
            held: None,
            end: None,
        }
    }

    /// The next event. Not to be called after `Finished`.
    pub(super) fn poll_event(&mut self, context: &mut Context<'_>) -> Poll<ChoiceEvent> {
        loop {
            if let Some(end) = self.end.take() {
                self.generation = None;
                return Poll::Ready(ChoiceEvent::Finished {
                    end,
                    text: String::new(),
                    settled: Vec::new(),
                });
            }
            let Some(generation) = &mut self.generation else {
                return Poll::Pending;
            };
            let Poll::Ready(event) = Pin::new(generation).poll_next(context) else {
                return Poll::Pending;
            };
            let event = match event {
                Some(GenerationEvent::Started {
                    cached_tokens,
                    queued,
                }) => Some(ChoiceEvent::Started {
                    cached_tokens,
                    queued,
                }),
                Some(GenerationEvent::Prompt(tokens)) => Some(ChoiceEvent::Prompt(tokens)),
                // The engine cannot compute a prompt without drawing what follows it.
                Some(GenerationEvent::Token(_)) if self.rules.prompt_only => {
                    Some(self.take_finish(Finish::Length))
                }
                Some(GenerationEvent::Token(token)) => self.take_token(token),
                Some(GenerationEvent::Finished(finish)) => Some(self.take_finish(finish)),
                None => Some(self.take_finish(Finish::Cancelled)),
            };
            if let Some(event) = event {
                return Poll::Ready(event);
            }
        }
    }

    /// `None`: the token waits for the end that follows it at once.
    fn take_token(&mut self, token: GeneratedToken) -> Option<ChoiceEvent> {
        self.generated = self.generated.saturating_add(1);
        let stops = self.generated >= self.rules.min_new_tokens.max(1)
            && self.rules.stop_tokens.binary_search(&token.id).is_ok();
        if self.rules.settle {
            self.unsettled.push_back(token.clone());
        }
        let step = if stops && !self.rules.keep_stop_token {
            self.text.push_silent()
        } else {
            self.text.push(token.id)
        };
        let mut event = TextToken {
            token,
            text: String::new(),
            settled: Vec::new(),
            last: false,
        };
        if let Some(hit) = self.join(step, &mut event) {
            event.last = true;
            self.end = Some(End::StopString(hit));
            // Cancels the sequence: its blocks are free within a step.
            self.generation = None;
            return Some(ChoiceEvent::Token(event));
        }
        if stops || self.generated >= self.rules.max_new_tokens {
            self.held = Some(event);
            return None;
        }
        Some(ChoiceEvent::Token(event))
    }

    fn take_finish(&mut self, finish: Finish) -> ChoiceEvent {
        self.generation = None;
        let mut end = match finish {
            Finish::Stop(token) => End::StopToken(token),
            Finish::Length => End::Length,
            finish => End::Failed(finish),
        };
        let held = self.held.take();
        let step = self.text.finish();
        match held {
            Some(mut event) => {
                if let Some(hit) = self.join(step, &mut event) {
                    end = End::StopString(hit);
                }
                event.last = !matches!(end, End::Failed(_));
                self.end = Some(end);
                ChoiceEvent::Token(event)
            }
            None => {
                let TextStep { text, stop, settled } = step;
                if let (Some(hit), false) = (stop, matches!(end, End::Failed(_))) {
                    end = End::StopString(hit);
                }
                ChoiceEvent::Finished {
                    end,
                    text,
                    settled: self.settle(settled),
                }
            }
        }
    }

    fn join(&mut self, step: TextStep, event: &mut TextToken) -> Option<StopHit> {
        if event.text.is_empty() {
            event.text = step.text;
        } else {
            event.text.push_str(&step.text);
        }
        event.settled.extend(self.settle(step.settled));
        step.stop
    }

    fn settle(&mut self, spans: Vec<TextSpan>) -> Vec<Settled> {
        if !self.rules.settle {
            return Vec::new();
        }
        spans
            .into_iter()
            .zip(std::iter::from_fn(|| self.unsettled.pop_front()))
            .map(|(span, token)| Settled { token, span })
            .collect()
    }
}
