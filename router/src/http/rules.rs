//! What a request is checked against.

use crate::http::decoding::Limits;
use crate::http::ids::Ids;
use crate::http::model::ServedName;
use shardline_text::GenerationDefaults;

/// Everything that a validation may ask.
#[derive(Clone, Copy, Debug)]
pub struct Rules<'a> {
    /// Numbers.
    pub limits: &'a Limits,
    /// For what is absent.
    pub defaults: &'a GenerationDefaults,
    /// What `model` may say.
    pub name: &'a ServedName,
    /// For the salt of the prefix cache.
    pub ids: &'a Ids,
}
