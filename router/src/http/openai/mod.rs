//! What the routes under `/v1` share.

pub mod answer;
pub mod collect;
pub mod logprobs;
pub mod shapes;
pub mod types;
pub mod validate;
