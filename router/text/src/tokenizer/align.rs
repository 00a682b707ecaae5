//! Where in a text each of its tokens stands.

use super::{OffsetToken, Tokenizer};

impl Tokenizer {
    /// Tokens with the characters of `text` that they stand for, found by reading the tokens' bytes
    /// along the text. A token that is not found where the last one ended (BOS, a space that only
    /// the tokenizer saw, a letter that it normalised) stands for no text and has its own spelling.
    pub fn align(&self, text: &str, ids: &[u32]) -> Vec<OffsetToken> {
        let mut reader = Reader {
            rest: text.as_bytes(),
            characters: 0,
            owed: 0,
        };
        let entries = ids.iter().map(|id| {
            let bytes = self.token_bytes(*id);
            let (start, stop) = reader.read(&bytes);
            OffsetToken {
                id: *id,
                text: String::from_utf8_lossy(&bytes).into_owned(),
                start,
                stop,
            }
        });
        entries.collect()
    }
}

/// A place in a text, counted in characters and bytes at once.
struct Reader<'a> {
    rest: &'a [u8],
    /// Characters that are read entirely.
    characters: u32,
    /// Bytes that complete the character in which the place is.
    owed: usize,
}

impl Reader<'_> {
    /// The characters from the first to one past the last that `bytes` have a part of.
    fn read(&mut self, bytes: &[u8]) -> (u32, u32) {
        let bytes = self.follow(bytes);
        let start = self.characters - u32::from(self.owed > 0);
        for byte in bytes {
            if self.owed > 0 {
                self.owed -= 1;
            } else {
                self.characters += 1;
                self.owed = behind(*byte);
            }
        }
        self.rest = self.rest.get(bytes.len()..).unwrap_or_default();
        let stop = if bytes.is_empty() { start } else { self.characters };
        (start, stop)
    }

    /// What of `bytes` the text goes on with: all of it, all but a space before it, or nothing.
    fn follow<'b>(&self, bytes: &'b [u8]) -> &'b [u8] {
        let bare = bytes.strip_prefix(b" ").unwrap_or_default();
        [bytes, bare]
            .into_iter()
            .find(|bytes| self.rest.starts_with(bytes))
            .unwrap_or_default()
    }
}

/// How many bytes follow the first byte of a character.
fn behind(first: u8) -> usize {
    match first {
        0xF0.. => 3,
        0xE0..=0xEF => 2,
        0xC0..=0xDF => 1,
        _ => 0,
    }
}
