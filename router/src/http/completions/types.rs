//! The body of `POST /v1/completions`, as clients send it.

use std::borrow::Cow;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Deserialize;
use serde::de::{Deserializer, Error, SeqAccess, Unexpected, Visitor};

use crate::http::numbers::Integer;
use crate::http::openai::types::{AnswerFields, InertFields, PromptFields, SamplingFields};
use crate::http::structure::StructureFields;
use crate::http::unbuilt::Unbuilt;

/// Fields that only this route has.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(expecting = "an object")]
pub struct CompletionFields {
    /// Needed, not empty.
    pub prompt: Option<Prompt>,
    /// What stands behind the gap that the answer fills; for models that learnt to fill gaps.
    pub suffix: Option<String>,
    /// Tokens to generate.
    pub max_tokens: Option<Integer>,
    /// Its newer name, from the chat route.
    pub max_completion_tokens: Option<Integer>,
    /// Return each token's log-probability and those of this many most likely ones; -1 is as many
    /// as there are.
    pub logprobs: Option<Integer>,
    /// Put the prompt before the answer; with `logprobs` its tokens are told too.
    pub echo: Option<bool>,
    /// Sequences to generate for each prompt, of which the `n` most likely are answered.
    pub best_of: Option<Integer>,
    /// Whether the tokenizer adds BOS.
    pub add_special_tokens: Option<bool>,
}

/// Everything that the body may hold.
pub type Body = (
    CompletionFields,
    AnswerFields,
    PromptFields,
    SamplingFields,
    StructureFields,
    InertFields,
);

/// Fields of this route that are known and not built.
pub const UNBUILT: &[Unbuilt] = &[
    Unbuilt::always("prompt_embeds").or("send `prompt`"),
    Unbuilt::always("thinking_token_budget").or("use /v1/chat/completions"),
];

/// A prompt in one of its four forms.
#[derive(Clone, Debug, PartialEq)]
pub enum Prompt {
    /// One text.
    Text(String),
    /// Several texts.
    Texts(Vec<String>),
    /// One list of token ids.
    Tokens(Vec<Integer>),
    /// Several lists of token ids.
    TokenLists(Vec<Vec<Integer>>),
}

impl JsonSchema for Prompt {
    fn schema_name() -> Cow<'static, str> {
        "Prompt".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"anyOf": [
            {"type": "string"},
            {"type": "array", "items": {"type": "string"}},
            {"type": "array", "items": {"type": "integer"}},
            {"type": "array", "items": {"type": "array", "items": {"type": "integer"}}},
        ]})
    }
}

impl<'de> Deserialize<'de> for Prompt {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(PromptVisitor)
    }
}

struct PromptVisitor;

impl<'de> Visitor<'de> for PromptVisitor {
    type Value = Prompt;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string, a list of strings, a list of token ids, or a list of such lists")
    }

    fn visit_str<E>(self, value: &str) -> Result<Prompt, E> {
        Ok(Prompt::Text(value.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Prompt, A::Error> {
        // The first entry says which list it is; the others must be like it.
        Ok(match seq.next_element()? {
            None => Prompt::Texts(Vec::new()),
            Some(Entry::Text(first)) => Prompt::Texts(rest(first, seq)?),
            Some(Entry::Token(first)) => Prompt::Tokens(rest(first, seq)?),
            Some(Entry::Tokens(first)) => Prompt::TokenLists(rest(first, seq)?),
        })
    }
}

fn rest<'de, T: Deserialize<'de>, A: SeqAccess<'de>>(first: T, mut seq: A) -> Result<Vec<T>, A::Error> {
    let mut all = vec![first];
    while let Some(entry) = seq.next_element()? {
        all.push(entry);
    }
    Ok(all)
}

/// The first entry of a list.
enum Entry {
    Text(String),
    Token(Integer),
    Tokens(Vec<Integer>),
}

impl<'de> Deserialize<'de> for Entry {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(EntryVisitor)
    }
}

struct EntryVisitor;

impl<'de> Visitor<'de> for EntryVisitor {
    type Value = Entry;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string, a token id, or a list of token ids")
    }

    fn visit_str<E>(self, value: &str) -> Result<Entry, E> {
        Ok(Entry::Text(value.to_owned()))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Entry, E> {
        Ok(Entry::Token(Integer(value.into())))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Entry, E> {
        Ok(Entry::Token(Integer(value.into())))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Entry, E> {
        Err(E::invalid_type(Unexpected::Float(value), &self))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Entry, A::Error> {
        let mut all = Vec::new();
        while let Some(id) = seq.next_element()? {
            all.push(id);
        }
        Ok(Entry::Tokens(all))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Option<Prompt> {
        serde_json::from_str(text).ok()
    }

    #[test]
    fn all_four_forms_are_told_apart() {
        let id = Integer;
        assert_eq!(parse(r#""a""#), Some(Prompt::Text("a".to_owned())));
        assert_eq!(
            parse(r#"["a","b"]"#),
            Some(Prompt::Texts(vec!["a".to_owned(), "b".to_owned()]))
        );
        assert_eq!(parse("[1,-2]"), Some(Prompt::Tokens(vec![id(1), id(-2)])));
        assert_eq!(
            parse("[[1],[2,3]]"),
            Some(Prompt::TokenLists(vec![vec![id(1)], vec![id(2), id(3)]]))
        );
        assert_eq!(parse("[]"), Some(Prompt::Texts(Vec::new())));
        assert_eq!(parse("[[]]"), Some(Prompt::TokenLists(vec![Vec::new()])));
    }

    #[test]
    fn mixed_and_foreign_forms_are_refused() {
        for text in [
            r#"["a",1]"#,
            "[1,\"a\"]",
            "[[1],2]",
            "[1,[2]]",
            "[1.5]",
            "7",
            "{}",
            "[null]",
            "[[\"a\"]]",
            "true",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
