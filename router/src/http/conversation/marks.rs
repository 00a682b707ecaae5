//! Markers as the model's tokens: a grammar has to name a special token by its id, since the bytes of
//! such a token are no text.

use std::collections::HashMap;
use std::sync::Arc;

use shardline_parse::{ReasoningFormat, Spelling};
use shardline_text::Tokenizer;

use crate::http::structure::quoted;

/// A part of a marker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Piece {
    /// A special token.
    Token(u32),
    /// Text, whichever tokens write it.
    Text(String),
}

impl Piece {
    /// As a grammar has it.
    pub(super) fn atom(&self) -> String {
        match self {
            Self::Token(id) => format!("<[{id}]>"),
            Self::Text(text) => quoted(text),
        }
    }
}

/// The markers of a model.
#[derive(Clone, Debug, Default)]
pub(super) struct Marks {
    pieces: HashMap<&'static str, Vec<Piece>>,
    /// Markers that are one token, special or not.
    tokens: HashMap<&'static str, u32>,
    /// Tokens that end an answer.
    pub(super) ends: Arc<[u32]>,
}

impl Marks {
    /// Looks the markers of calls and reasoning up.
    pub(super) fn new(
        tokenizer: &Tokenizer,
        spelling: &Spelling,
        reasoning: Option<ReasoningFormat>,
        ends: &[u32],
    ) -> Self {
        let tags = reasoning.iter().flat_map(ReasoningFormat::markers);
        let texts: Vec<_> = spelling.texts().chain(tags).collect();
        Self {
            pieces: texts.iter().map(|text| (*text, split(tokenizer, text))).collect(),
            tokens: texts
                .iter()
                .filter_map(|text| Some((*text, tokenizer.token_id(text)?)))
                .collect(),
            ends: ends.into(),
        }
    }

    /// A marker, part by part.
    pub(super) fn pieces(&self, marker: &str) -> Vec<Piece> {
        let known = self.pieces.get(marker).cloned();
        known.unwrap_or_else(|| vec![Piece::Text(marker.to_owned())])
    }

    /// The token that a marker is.
    pub(super) fn token(&self, marker: &str) -> Option<u32> {
        self.tokens.get(marker).copied()
    }
}

/// A text cut at its special tokens.
fn split(tokenizer: &Tokenizer, text: &str) -> Vec<Piece> {
    let mut pieces = Vec::new();
    for stretch in tokenizer.control_tokens().stretches(text) {
        let token = tokenizer.token_id(stretch.text).filter(|_| stretch.control);
        match (token.filter(|id| tokenizer.is_special(*id)), pieces.last_mut()) {
            (Some(id), _) => pieces.push(Piece::Token(id)),
            (None, Some(Piece::Text(before))) => before.push_str(stretch.text),
            (None, _) => pieces.push(Piece::Text(stretch.text.to_owned())),
        }
    }
    pieces
}

#[cfg(test)]
impl Marks {
    /// Of a model with these tokens, each special or not.
    pub(super) fn of(
        tokens: &[(&'static str, u32, bool)],
        spelling: &Spelling,
        reasoning: Option<ReasoningFormat>,
        ends: &[u32],
    ) -> Self {
        let tags = reasoning.iter().flat_map(ReasoningFormat::markers);
        let split = |text: &'static str| {
            let mut pieces = vec![Piece::Text(text.to_owned())];
            for (token, id, _) in tokens.iter().filter(|(.., special)| *special) {
                let cut = |piece: Piece| match piece {
                    Piece::Text(text) if text.contains(token) => {
                        let (before, behind) = text.split_once(token).unwrap();
                        let text = |text: &str| Piece::Text(text.to_owned());
                        vec![text(before), Piece::Token(*id), text(behind)]
                    }
                    piece => vec![piece],
                };
                pieces = pieces.into_iter().flat_map(cut).collect();
            }
            pieces.retain(|piece| *piece != Piece::Text(String::new()));
            pieces
        };
        Self {
            pieces: spelling
                .texts()
                .chain(tags)
                .map(|text| (text, split(text)))
                .collect(),
            tokens: tokens.iter().map(|(text, id, _)| (*text, *id)).collect(),
            ends: ends.into(),
        }
    }
}
