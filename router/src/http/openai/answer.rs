//! What chat and completion answers have in common: who answers whom, and how a choice ends.

use std::borrow::Cow;
use std::sync::Arc;

use bytes::BytesMut;
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::Serialize;
use shardline_text::Tokenizer;

use crate::http::decoding::Decoding;
use crate::http::openai::form::AnswerForm;
use crate::http::openai::names::TokenNames;
use crate::http::openai::shapes::{Envelope, StopReason, put_json};
use crate::http::prompt::Encoded;
use crate::session::End;

/// Of one request, whole or streamed.
#[derive(Debug)]
pub struct Answer {
    /// Id, time and model.
    pub envelope: Envelope,
    /// As asked for.
    pub form: AnswerForm,
    choices_per_prompt: usize,
    stop_strings: Vec<String>,
    stop_token_ids: Vec<u32>,
    /// Token ids of the prompts, when they are to be told.
    prompts: Vec<Arc<[u32]>>,
}

impl Answer {
    /// Of a request with these prompts.
    #[must_use]
    pub fn new(envelope: Envelope, form: AnswerForm, decoding: &Decoding, prompts: &[Encoded]) -> Self {
        let told = if form.token_ids { prompts } else { &[] };
        Self {
            envelope,
            form,
            choices_per_prompt: (decoding.choices as usize).max(1),
            stop_strings: decoding.stop.strings.clone(),
            stop_token_ids: decoding.stop_token_ids.clone(),
            prompts: told.iter().map(|prompt| prompt.ids.clone()).collect(),
        }
    }

    /// What tokens are called.
    #[must_use]
    pub fn names<'a>(&self, tokenizer: &'a Tokenizer) -> TokenNames<'a> {
        TokenNames {
            tokenizer,
            as_ids: self.form.tokens_as_ids,
        }
    }

    /// Choices that run for each prompt.
    #[must_use]
    pub fn choices_per_prompt(&self) -> usize {
        self.choices_per_prompt
    }

    /// Which prompt a choice belongs to.
    #[must_use]
    pub fn prompt_of(&self, choice: usize) -> usize {
        choice / self.choices_per_prompt
    }

    /// Token ids of a prompt, when they are to be told.
    #[must_use]
    pub fn prompt_ids(&self, prompt: usize) -> Option<TokenIds> {
        self.prompts.get(prompt).cloned().map(TokenIds)
    }

    /// Which stop string or token ended the text.
    #[must_use]
    pub fn stop_reason(&self, end: &End) -> Option<StopReason> {
        StopReason::of(end, &self.stop_strings, &self.stop_token_ids)
    }

    /// The fields at the end of a chunk's choice with how it ends, if it does, and the bracket behind it.
    pub fn put_choice_end(&self, out: &mut BytesMut, end: Option<(&End, &'static str)>, tokens: &[u32]) {
        match end {
            None => out.extend_from_slice(b",\"finish_reason\":null"),
            Some((end, reason)) => {
                out.extend_from_slice(b",\"finish_reason\":");
                put_json(out, reason);
                out.extend_from_slice(b",\"stop_reason\":");
                put_json(out, &self.stop_reason(end));
            }
        }
        if self.form.token_ids {
            out.extend_from_slice(b",\"token_ids\":");
            put_json(out, tokens);
        }
        out.extend_from_slice(b"}]");
    }
}

/// Token ids that are shared with the request they came from.
#[derive(Clone, Debug)]
pub struct TokenIds(Arc<[u32]>);

impl JsonSchema for TokenIds {
    fn schema_name() -> Cow<'static, str> {
        "TokenIds".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        Vec::<u32>::json_schema(generator)
    }
}

impl Serialize for TokenIds {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.as_ref().serialize(serializer)
    }
}
