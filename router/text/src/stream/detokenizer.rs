//! Token ids in, text out: never half a character, never one lost.

use std::sync::Arc;

use super::utf8::Utf8Stream;
use crate::tokenizer::{Scheme, StartRule, Tokenizer};

/// Tokens a tokenizer of the library kind may hold back before its text is given out as it is.
const LIBRARY_WINDOW: usize = 16;

/// Turns the tokens of one sequence into text as they come. The pieces, with the one of `finish`,
/// join to `Tokenizer::decode` of all tokens, however many come at a time.
#[derive(Clone, Debug)]
pub struct Detokenizer {
    tokenizer: Arc<Tokenizer>,
    state: DetokenizerState,
}

impl Detokenizer {
    /// With `continuing` the text goes on from a prompt, and a space at its beginning is kept.
    pub fn new(tokenizer: Arc<Tokenizer>, skip_special_tokens: bool, continuing: bool) -> Self {
        Self {
            tokenizer,
            state: DetokenizerState::new(skip_special_tokens, continuing),
        }
    }

    /// With these special tokens in the text although the others are left out.
    #[must_use]
    pub fn keeping(mut self, special_tokens: Arc<[u32]>) -> Self {
        self.state.kept = special_tokens;
        self
    }

    /// Appends to `text` what the token adds to it; nothing while a character is incomplete.
    pub fn push(&mut self, id: u32, text: &mut String) {
        self.state.push(&self.tokenizer, id, text);
    }

    /// Appends what is still held: U+FFFD for a character that was never completed.
    pub fn finish(&mut self, text: &mut String) {
        self.state.finish(&self.tokenizer, text);
    }

    /// Whether bytes of a character are held that is not complete.
    pub fn holds_bytes(&self) -> bool {
        self.state.utf8.held() > 0 || self.state.window_read < self.state.window.len()
    }

    /// The tokenizer.
    pub fn tokenizer(&self) -> &Tokenizer {
        &self.tokenizer
    }
}

/// The state of a detokenizer; the tokenizer is an argument.
#[derive(Clone, Debug)]
pub(crate) struct DetokenizerState {
    skip_special_tokens: bool,
    /// Special tokens that are not left out.
    kept: Arc<[u32]>,
    /// Whether nothing of the text has been decoded, so that its beginning loses a space.
    at_start: bool,
    /// Spaces taken off so far.
    stripped: usize,
    utf8: Utf8Stream,
    /// Library scheme only: the last tokens, of which the first `window_read` are given out.
    window: Vec<u32>,
    window_read: usize,
}

impl DetokenizerState {
    pub(crate) fn new(skip_special_tokens: bool, continuing: bool) -> Self {
        Self {
            skip_special_tokens,
            kept: Arc::default(),
            at_start: !continuing,
            stripped: 0,
            utf8: Utf8Stream::default(),
            window: Vec::new(),
            window_read: 0,
        }
    }

    pub(crate) fn push(&mut self, tokenizer: &Tokenizer, id: u32, text: &mut String) {
        if self.skip_special_tokens && tokenizer.is_special(id) && !self.kept.contains(&id) {
            return;
        }
        match tokenizer.scheme() {
            Scheme::ByteLevel => self.utf8.push(tokenizer.piece(id), text),
            Scheme::SentencePiece { start, .. } if self.at_start => {
                let piece = self.strip(tokenizer.piece(id), *start);
                self.utf8.push(piece, text);
            }
            Scheme::SentencePiece { .. } => self.utf8.push(tokenizer.piece(id), text),
            Scheme::Library => self.push_window(tokenizer, id, text),
        }
    }

    pub(crate) fn finish(&mut self, tokenizer: &Tokenizer, text: &mut String) {
        self.utf8.finish(text);
        if self.window_read < self.window.len() {
            self.release_window(tokenizer, text);
        }
    }

    /// The piece without the spaces that the beginning of a text loses.
    fn strip<'a>(&mut self, piece: &'a [u8], rule: StartRule) -> &'a [u8] {
        let limit = match rule {
            StartRule::Spaces(count) => count - self.stripped.min(count),
            StartRule::SpacesOfFirstToken => usize::MAX,
        };
        let spaces = piece.iter().take_while(|byte| **byte == b' ').count().min(limit);
        self.stripped += spaces;
        let ended = match rule {
            StartRule::Spaces(count) => spaces < piece.len() || self.stripped >= count,
            StartRule::SpacesOfFirstToken => true,
        };
        self.at_start = !ended;
        &piece[spaces..]
    }

    /// The library knows only whole texts: the text of a token is the difference between the
    /// window's text with and without it.
    fn push_window(&mut self, tokenizer: &Tokenizer, id: u32, text: &mut String) {
        self.window.push(id);
        let all = tokenizer.library_decode(&self.window);
        let held = self.window.len() - self.window_read;
        if !all.ends_with(char::REPLACEMENT_CHARACTER) || held >= LIBRARY_WINDOW {
            self.release_window(tokenizer, text);
        }
    }

    fn release_window(&mut self, tokenizer: &Tokenizer, text: &mut String) {
        let before = tokenizer.library_decode(&self.window[..self.window_read]);
        let all = tokenizer.library_decode(&self.window);
        text.push_str(all.strip_prefix(before.as_str()).unwrap_or_default());
        self.window.drain(..self.window_read);
        self.window_read = self.window.len();
    }
}
