//! The fields that ask for a structure, as clients send them.

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;

/// Of OpenAI's routes.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(expecting = "an object")]
pub struct StructureFields {
    /// OpenAI's and TGI's.
    pub response_format: Option<ResponseFormat>,
    /// vLLM's.
    pub structured_outputs: Option<StructuredOutputs>,
    /// vLLM's older name of `structured_outputs.json`.
    pub guided_json: Option<Value>,
    /// Of `structured_outputs.regex`.
    pub guided_regex: Option<String>,
    /// Of `structured_outputs.choice`.
    pub guided_choice: Option<Vec<String>>,
    /// Of `structured_outputs.grammar`.
    pub guided_grammar: Option<String>,
    /// Of `structured_outputs.whitespace_pattern`.
    pub guided_whitespace_pattern: Option<String>,
}

/// `response_format`
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(expecting = "an object")]
pub struct ResponseFormat {
    /// text, json_object, json_schema; TGI's json, regex.
    #[serde(rename = "type")]
    pub kind: Option<String>,
    /// OpenAI's place of a schema.
    pub json_schema: Option<NamedSchema>,
    /// TGI's; `schema` beside `type` is how some clients spell it.
    #[serde(alias = "schema")]
    pub value: Option<Value>,
}

/// OpenAI's `json_schema`; its `name`, `description` and `strict` change nothing here: a schema is
/// always kept.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(expecting = "an object")]
pub struct NamedSchema {
    /// Absent: any JSON object.
    pub schema: Option<Value>,
}

/// `structured_outputs`
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(expecting = "an object")]
pub struct StructuredOutputs {
    /// A schema, or a schema as text.
    pub json: Option<Value>,
    /// Matches the whole text.
    pub regex: Option<String>,
    /// One of these texts.
    pub choice: Option<Vec<String>>,
    /// Lark's notation, or EBNF.
    pub grammar: Option<String>,
    /// Any JSON object.
    pub json_object: Option<bool>,
    /// Not built.
    pub structural_tag: Option<Value>,
    /// JSON without whitespace.
    pub disable_any_whitespace: Option<bool>,
    /// What stands between the parts of JSON.
    pub whitespace_pattern: Option<String>,
}

/// `grammar` of the native routes.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(expecting = "an object")]
pub struct GrammarField {
    /// json, json_object, json_schema, regex.
    #[serde(rename = "type")]
    pub kind: Option<String>,
    /// Its source.
    pub value: Option<Value>,
}
