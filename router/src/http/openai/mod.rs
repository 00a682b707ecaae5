//! What the routes under `/v1` share.

pub mod answer;
pub mod collect;
pub mod form;
pub mod logprobs;
pub mod names;
pub mod prompt_fields;
pub mod prompt_logprobs;
pub mod shapes;
pub mod types;
pub mod validate;
