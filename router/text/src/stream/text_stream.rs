//! One sequence's text: detokeniser and stop strings together, with the place of every token.

use std::collections::VecDeque;
use std::sync::Arc;

use super::detokenizer::Detokenizer;
use super::stop::{StopHit, StopMatcher, StopStrings};
use crate::tokenizer::Tokenizer;

/// How a sequence's tokens become text.
#[derive(Clone, Debug)]
pub struct StreamOptions {
    /// Leave special tokens out of the text.
    pub skip_special_tokens: bool,
    /// The text goes on from a prompt: a space at its beginning is kept.
    pub continuing: bool,
    /// Stop strings.
    pub stop: StopStrings,
    /// Whether the text ends behind the stop string, or before it.
    pub include_stop_string: bool,
    /// Text of the first this many tokens is not searched.
    pub min_tokens: u32,
}

/// The part of the text that a token stands for, in Unicode scalar values. A token that completes
/// no character has an empty span; the one that does has the whole character.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TextSpan {
    /// First character.
    pub start: u32,
    /// One past the last character.
    pub end: u32,
}

/// What a token brought.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TextStep {
    /// Text to give out now; possibly empty.
    pub text: String,
    /// The text's end: a stop string was found.
    pub stop: Option<StopHit>,
    /// Tokens, in the order of pushes, whose text is now given out entirely.
    pub settled: Vec<TextSpan>,
}

/// Tokens in; text, stop and the tokens' places out. Pieces of text join to the decoded text up
/// to the stop string.
#[derive(Clone, Debug)]
pub struct TextStream {
    detokenizer: Detokenizer,
    matcher: StopMatcher,
    min_tokens: u32,
    tokens: u32,
    /// Characters decoded, and characters given out.
    decoded: u32,
    released: u32,
    /// Spans of tokens that are not settled.
    pending: VecDeque<TextSpan>,
}

impl TextStream {
    /// Begins a sequence.
    pub fn new(tokenizer: Arc<Tokenizer>, options: StreamOptions) -> Self {
        Self {
            detokenizer: Detokenizer::new(tokenizer, options.skip_special_tokens, options.continuing),
            matcher: StopMatcher::new(options.stop, options.include_stop_string),
            min_tokens: options.min_tokens,
            tokens: 0,
            decoded: 0,
            released: 0,
            pending: VecDeque::new(),
        }
    }

    /// With these special tokens in the text although the others are left out.
    #[must_use]
    pub fn keeping(mut self, special_tokens: Arc<[u32]>) -> Self {
        self.detokenizer = self.detokenizer.keeping(special_tokens);
        self
    }

    /// Takes one token. After a stop no more may be pushed.
    pub fn push(&mut self, id: u32) -> TextStep {
        let mut piece = String::new();
        self.detokenizer.push(id, &mut piece);
        self.tokens = self.tokens.saturating_add(1);
        self.place(&piece);
        let mut text = String::new();
        let stop = if self.tokens <= self.min_tokens {
            text = piece;
            None
        } else {
            self.matcher.push(&piece, &mut text)
        };
        self.step(text, stop)
    }

    /// Takes a token that ends the sequence and is not part of its text (EOS).
    pub fn push_silent(&mut self) -> TextStep {
        self.place("");
        self.step(String::new(), None)
    }

    /// The sequence is over without a stop string: gives out all that is held.
    pub fn finish(&mut self) -> TextStep {
        let mut rest = String::new();
        self.detokenizer.finish(&mut rest);
        if let (Some(last), true) = (self.pending.back_mut(), !rest.is_empty()) {
            last.end += count(&rest);
        }
        self.decoded += count(&rest);
        let mut text = String::new();
        let stop = self.matcher.push(&rest, &mut text);
        if stop.is_none() {
            self.matcher.finish(&mut text);
        }
        self.step(text, stop)
    }

    /// Characters given out so far.
    pub fn released_characters(&self) -> u32 {
        self.released
    }

    fn place(&mut self, piece: &str) {
        let start = self.decoded;
        self.decoded += count(piece);
        self.pending.push_back(TextSpan {
            start,
            end: self.decoded,
        });
    }

    fn step(&mut self, text: String, stop: Option<StopHit>) -> TextStep {
        self.released += count(&text);
        let (released, over) = (self.released, stop.is_some());
        let holds_bytes = !over && self.detokenizer.holds_bytes();
        let mut settled = Vec::new();
        while let Some(span) = self.pending.front().copied() {
            // Tokens at the end of the text may belong to a character that is still to come.
            let open = holds_bytes && span.end == self.decoded;
            if !over && (span.end > released || open) {
                break;
            }
            self.pending.pop_front();
            settled.push(TextSpan {
                start: span.start.min(released),
                end: span.end.min(released),
            });
        }
        TextStep { text, stop, settled }
    }
}

fn count(text: &str) -> u32 {
    // A sequence's text has less than 2^32 characters: its tokens are limited to a few million.
    text.chars().count() as u32
}
