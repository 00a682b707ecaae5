//! What the targets share.

pub mod events;
pub mod joined;
pub mod server;
#[path = "../../tests/http/support.rs"]
#[allow(dead_code, missing_docs, reason = "the router's own tests use all of it")]
pub mod support;
pub mod tokenizers;

/// Cuts a text behind so many bytes each, as models and networks do; never within a character.
#[must_use]
pub fn pieces<'a>(text: &'a str, lengths: &[u8]) -> Vec<&'a str> {
    let mut pieces = Vec::new();
    let mut rest = text;
    for length in lengths {
        let (piece, tail) = rest.split_at(rest.floor_char_boundary(usize::from(*length)));
        pieces.push(piece);
        rest = tail;
    }
    pieces.push(rest);
    pieces
}

/// Every character for itself.
pub fn characters(text: &str) -> impl Iterator<Item = &str> {
    text.char_indices()
        .map(|(at, character)| &text[at..at + character.len_utf8()])
}

/// The first line chooses, the rest is the input: a corpus that people can read.
#[must_use]
pub fn headed(data: &[u8]) -> Option<(&str, &[u8])> {
    let end = data.iter().position(|byte| *byte == b'\n')?;
    Some((std::str::from_utf8(&data[..end]).ok()?, &data[end + 1..]))
}
