//! What a token is called in an answer.

use shardline_text::Tokenizer;

/// By its text, or by its id where two tokens of the same text are to be told apart.
#[derive(Clone, Copy, Debug)]
pub struct TokenNames<'a> {
    /// Of the model.
    pub tokenizer: &'a Tokenizer,
    /// Whether tokens are called `token_id:7`.
    pub as_ids: bool,
}

impl TokenNames<'_> {
    /// The name of a token.
    #[must_use]
    pub fn of(&self, id: u32) -> String {
        if self.as_ids {
            format!("token_id:{id}")
        } else {
            self.tokenizer.token_text(id)
        }
    }
}
