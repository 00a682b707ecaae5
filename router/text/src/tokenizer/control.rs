//! Which tokens a user's text must never become, and where their spellings stand in a text.

use aho_corasick::{AhoCorasick, MatchKind};
use tokenizers::AddedToken;

use super::TokenizeError;

/// The control tokens of a tokenizer: those declared special, and those that a chat template writes.
#[derive(Clone, Debug)]
pub struct ControlTokens {
    spellings: Vec<String>,
    ids: Vec<u32>,
    search: Option<AhoCorasick>,
}

/// A stretch of a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stretch<'a> {
    /// Its text, not empty.
    pub text: &'a str,
    /// Whether it is exactly the spelling of a control token.
    pub control: bool,
}

impl ControlTokens {
    pub(super) fn new<'a>(
        added: impl Iterator<Item = (&'a u32, &'a AddedToken)>,
        template_sources: &[&str],
    ) -> Result<Self, TokenizeError> {
        let mut tokens: Vec<(String, u32)> = added
            .filter(|(_, token)| !token.content.trim().is_empty())
            .filter(|(_, token)| {
                token.special || template_sources.iter().any(|text| text.contains(&token.content))
            })
            .map(|(id, token)| (token.content.clone(), *id))
            .collect();
        tokens.sort_by_key(|(_, id)| *id);
        let (spellings, ids): (Vec<String>, Vec<u32>) = tokens.into_iter().unzip();
        let search = if spellings.is_empty() {
            None
        } else {
            let automaton = AhoCorasick::builder()
                .match_kind(MatchKind::LeftmostLongest)
                .build(&spellings)
                .map_err(|error| TokenizeError::Library {
                    cause: error.to_string(),
                })?;
            Some(automaton)
        };
        Ok(Self {
            spellings,
            ids,
            search,
        })
    }

    /// Cuts a text at the spellings of control tokens. The stretches join to the text.
    pub fn stretches<'a>(&self, text: &'a str) -> Vec<Stretch<'a>> {
        let mut stretches = Vec::new();
        let mut start = 0;
        for found in self.search.iter().flat_map(|search| search.find_iter(text)) {
            if found.start() > start {
                stretches.push(Stretch {
                    text: &text[start..found.start()],
                    control: false,
                });
            }
            stretches.push(Stretch {
                text: &text[found.range()],
                control: true,
            });
            start = found.end();
        }
        if start < text.len() {
            stretches.push(Stretch {
                text: &text[start..],
                control: false,
            });
        }
        stretches
    }

    /// Whether a text holds the spelling of a control token.
    pub fn occur_in(&self, text: &str) -> bool {
        self.search.as_ref().is_some_and(|search| search.is_match(text))
    }

    /// Whether a text ends with the beginning of a control token, so that text behind it could
    /// complete it.
    pub fn may_continue(&self, text: &str) -> bool {
        self.spellings.iter().any(|spelling| {
            spelling
                .char_indices()
                .skip(1)
                .any(|(end, _)| text.ends_with(&spelling[..end]))
        })
    }

    /// Whether a text begins with the end of a control token, so that it could complete text
    /// before it.
    pub fn may_complete(&self, text: &str) -> bool {
        self.spellings.iter().any(|spelling| {
            spelling
                .char_indices()
                .skip(1)
                .any(|(start, _)| text.starts_with(&spelling[start..]))
        })
    }

    /// Whether `id` is a control token.
    pub fn contains(&self, id: u32) -> bool {
        self.ids.binary_search(&id).is_ok()
    }
}
