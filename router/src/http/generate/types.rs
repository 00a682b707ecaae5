//! The bodies of the native routes, as clients send them.

use schemars::JsonSchema;
use serde::Deserialize;

use crate::http::numbers::{Integer, Number};
use crate::http::openai::types::OneOrMany;
use crate::http::structure::GrammarField;
use crate::http::unbuilt::{Given, Harmless, Unbuilt};

/// `POST /generate`, `/generate_stream` and `/`.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(expecting = "an object")]
pub struct GenerateFields {
    /// Needed, not empty.
    pub inputs: Option<String>,
    /// How to go on from it.
    pub parameters: Option<Parameters>,
    /// Only `/` reads it.
    pub stream: Option<bool>,
}

/// Everything that the body may hold.
pub type Body = (GenerateFields,);

/// Everything about a generation but its text.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(expecting = "an object")]
pub struct Parameters {
    /// Draw tokens, or take the likeliest. Absent: yes without `parameters`, no with them.
    pub do_sample: Option<bool>,
    /// Strictly positive.
    pub temperature: Option<Number>,
    /// Strictly positive.
    pub top_k: Option<Integer>,
    /// In (0, 1].
    pub top_p: Option<Number>,
    /// In (0, 1].
    pub typical_p: Option<Number>,
    /// Strictly positive.
    pub repetition_penalty: Option<Number>,
    /// In [-2, 2].
    pub frequency_penalty: Option<Number>,
    /// Strictly positive; absent: as many as fit.
    pub max_new_tokens: Option<Integer>,
    /// Put the prompt before the text.
    pub return_full_text: Option<bool>,
    /// Strings at which the text ends.
    pub stop: Option<OneOrMany>,
    /// Keep so many of the prompt's last tokens.
    pub truncate: Option<Integer>,
    /// Tell tokens and the reason of the end.
    pub details: Option<bool>,
    /// Absent: random.
    pub seed: Option<Integer>,
    /// Tell this many of the most likely tokens.
    pub top_n_tokens: Option<Integer>,
    /// Generate so many and answer the likeliest.
    pub best_of: Option<Integer>,
    /// Not built.
    pub watermark: Option<Given>,
    /// Tell the prompt's tokens too.
    pub decoder_input_details: Option<bool>,
    /// What the text must match.
    pub grammar: Option<GrammarField>,
    /// Not built.
    pub adapter_id: Option<String>,
}

/// Fields of `parameters` that are known and not built.
pub const UNBUILT_WATERMARK: Unbuilt = Unbuilt::unless("watermark", &[Harmless::Bool(false)]);
