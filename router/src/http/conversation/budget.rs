//! How many tokens a model may think.

use crate::http::error::{ApiError, Rule};
use crate::http::numbers::Integer;

/// Tokens of the reasoning at most, its tags not among them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget {
    /// So many.
    pub tokens: u32,
    /// The field that says so.
    pub param: &'static str,
}

impl Budget {
    /// Checks a budget; -1 is none.
    ///
    /// # Errors
    /// When it is below -1, or larger than any answer.
    pub fn new(param: &'static str, given: Option<Integer>) -> Result<Option<Self>, ApiError> {
        match given {
            None | Some(Integer(-1)) => Ok(None),
            Some(Integer(tokens)) => u32::try_from(tokens).map_or_else(
                |_| {
                    let most = u32::MAX;
                    let message =
                        format!("`{param}` must be >= 0 and <= {most}, or -1 for no limit. Given: {tokens}");
                    Err(ApiError::invalid(param, Rule::Range, message))
                },
                |tokens| Ok(Some(Self { tokens, param })),
            ),
        }
    }
}
