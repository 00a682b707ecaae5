//! Fields that chat and completions share, as clients send them.
//!
//! Everything is optional and null is absent. Rules are in `validate`.

use std::borrow::Cow;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Deserialize;
use serde::de::{Deserializer, SeqAccess, Visitor};
use serde_json::{Map, Value};

use crate::http::fields::{Inside, names};
use crate::http::numbers::{Integer, Number};
use crate::http::unbuilt::{Harmless, Unbuilt};

/// How to draw tokens and when to end.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(expecting = "an object")]
pub struct SamplingFields {
    /// 0 is greedy.
    pub temperature: Option<Number>,
    /// 1 is off.
    pub top_p: Option<Number>,
    /// 0 and -1 are off.
    pub top_k: Option<Integer>,
    /// 0 is off.
    pub min_p: Option<Number>,
    /// 1 is off.
    pub typical_p: Option<Number>,
    /// 1 is off.
    pub repetition_penalty: Option<Number>,
    /// 0 is off.
    pub frequency_penalty: Option<Number>,
    /// 0 is off.
    pub presence_penalty: Option<Number>,
    /// -1 is none.
    pub seed: Option<Integer>,
    /// Strings at which the text ends.
    pub stop: Option<OneOrMany>,
    /// Tokens at which the text ends.
    pub stop_token_ids: Option<Vec<Integer>>,
    /// Keep the stop string in the text.
    pub include_stop_str_in_output: Option<bool>,
    /// Go on at EOS.
    pub ignore_eos: Option<bool>,
    /// Tokens before which nothing ends the text.
    pub min_tokens: Option<Integer>,
    /// Token id to bias.
    pub logit_bias: Option<LogitBias>,
    /// The only tokens to draw.
    pub allowed_token_ids: Option<Vec<Integer>>,
    /// Answers a prompt.
    pub n: Option<Integer>,
    /// Cached blocks are shared between requests of equal salt.
    pub cache_salt: Option<String>,
    /// Words that are not drawn, with and without a space before them.
    pub bad_words: Option<Vec<String>>,
    /// Lower runs earlier.
    pub priority: Option<Integer>,
    /// Leave special tokens out of the text; `true`.
    pub skip_special_tokens: Option<bool>,
}

/// What is done with the prompt.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(expecting = "an object")]
pub struct PromptFields {
    /// Tell the prompt's log-probabilities and those of this many most likely tokens; -1 is as many
    /// as there are.
    pub prompt_logprobs: Option<Integer>,
    /// Keep so many of the prompt's tokens; -1 is as many as fit.
    pub truncate_prompt_tokens: Option<Integer>,
    /// Where the prompt is cut: `left` keeps its end, `right` its beginning.
    pub truncation_side: Option<String>,
}

/// Which model, and in which form the answer comes.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(expecting = "an object")]
pub struct AnswerFields {
    /// Absent, empty, `tgi`, `dummy` and the own name are the base model.
    pub model: Option<String>,
    /// Server-sent events.
    pub stream: Option<bool>,
    /// Only with `stream`.
    pub stream_options: Option<StreamOptions>,
    /// Tell the token ids of prompt and answer.
    pub return_token_ids: Option<bool>,
    /// Write `token_id:7` where a token's text would stand.
    pub return_tokens_as_token_ids: Option<bool>,
    /// The id of the answer behind its prefix, unless the header `x-request-id` says it.
    pub request_id: Option<String>,
}

/// Fields that are taken and change nothing: what they ask for has no meaning on a server of one's
/// own.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(expecting = "an object")]
#[allow(dead_code, reason = "only their types are checked")]
pub struct InertFields {
    /// The end user.
    user: Option<String>,
    /// The end user, too.
    safety_identifier: Option<String>,
    /// Notes of the client's.
    metadata: Option<Map<String, Value>>,
    /// Whether the provider keeps the answer.
    store: Option<bool>,
    /// What the provider charges.
    service_tier: Option<String>,
    /// A hint for routing; the prefix cache works without.
    prompt_cache_key: Option<String>,
    /// How long the provider keeps a prompt.
    prompt_cache_retention: Option<String>,
    /// Where the provider caches; here every full block of a prompt is cached.
    prompt_cache_options: Option<Map<String, Value>>,
}

/// See `AnswerFields`.
#[derive(Clone, Copy, Debug, Default, Deserialize, JsonSchema)]
#[serde(expecting = "an object")]
pub struct StreamOptions {
    /// A last chunk with `usage`.
    pub include_usage: Option<bool>,
    /// `usage` in every chunk.
    pub continuous_usage_stats: Option<bool>,
    /// Random text that hides the length of what is said; nothing is added, whatever it says.
    #[allow(dead_code, reason = "only its type is checked")]
    pub include_obfuscation: Option<bool>,
}

/// Objects within the bodies of both routes whose fields are looked over too.
pub fn inside() -> [Inside; 1] {
    [("stream_options", names::<StreamOptions>())]
}

/// Fields of both routes that are known and not built.
pub const UNBUILT: &[Unbuilt] = &[
    Unbuilt::unless("use_beam_search", &[Harmless::Bool(false)]),
    Unbuilt::unless("length_penalty", &[Harmless::Number(1.0)]),
    // Either value asks for nothing: the text of tokens is joined without spaces of our own.
    Unbuilt::unless(
        "spaces_between_special_tokens",
        &[Harmless::Bool(true), Harmless::Bool(false)],
    ),
    Unbuilt::unless("watermark", &[Harmless::Bool(false)]),
    Unbuilt::always("kv_transfer_params"),
    Unbuilt::unless("vllm_xargs", &[Harmless::EmptyObject]),
    Unbuilt::always("repetition_detection"),
    Unbuilt::unless("logits_processors", &[Harmless::EmptyList]),
];

/// A string, or a list of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OneOrMany(pub Vec<String>);

impl JsonSchema for OneOrMany {
    fn schema_name() -> Cow<'static, str> {
        "OneOrMany".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]})
    }
}

impl<'de> Deserialize<'de> for OneOrMany {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct OneOrManyVisitor;

        impl<'de> Visitor<'de> for OneOrManyVisitor {
            type Value = OneOrMany;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string or a list of strings")
            }

            fn visit_str<E>(self, value: &str) -> Result<OneOrMany, E> {
                Ok(OneOrMany(vec![value.to_owned()]))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<OneOrMany, A::Error> {
                let mut all = Vec::new();
                while let Some(text) = seq.next_element()? {
                    all.push(text);
                }
                Ok(OneOrMany(all))
            }
        }

        deserializer.deserialize_any(OneOrManyVisitor)
    }
}

/// An object from token id, written as a string, to bias.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LogitBias(pub Vec<(String, Number)>);

impl JsonSchema for LogitBias {
    fn schema_name() -> Cow<'static, str> {
        "LogitBias".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "object", "additionalProperties": {"type": "number"}})
    }
}

impl<'de> Deserialize<'de> for LogitBias {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct BiasVisitor;

        impl<'de> Visitor<'de> for BiasVisitor {
            type Value = LogitBias;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object from token id to bias")
            }

            fn visit_map<A: serde::de::MapAccess<'de>>(self, mut map: A) -> Result<LogitBias, A::Error> {
                let mut all = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    all.push(entry);
                }
                Ok(LogitBias(all))
            }
        }

        deserializer.deserialize_map(BiasVisitor)
    }
}
