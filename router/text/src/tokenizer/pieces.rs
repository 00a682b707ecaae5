//! The bytes of every token, in one block of memory.

use std::collections::HashMap;

use super::scheme::Scheme;

/// Bytes by token id.
pub struct TokenPieces {
    bytes: Vec<u8>,
    /// `ends[id]` is where the bytes of `id` end in `bytes`; they begin where those of `id - 1` end.
    ends: Vec<u32>,
}

impl TokenPieces {
    /// Lays out the vocabulary. `is_added` tells tokens whose spelling is their text.
    pub fn new(vocabulary: &HashMap<String, u32>, is_added: impl Fn(u32) -> bool, scheme: &Scheme) -> Self {
        let count = vocabulary.values().max().map_or(0, |id| *id as usize + 1);
        let mut spellings: Vec<Option<&str>> = vec![None; count];
        for (spelling, id) in vocabulary {
            spellings[*id as usize] = Some(spelling);
        }
        let alphabet = byte_alphabet();
        let mut bytes = Vec::new();
        let mut ends = Vec::with_capacity(count);
        for (id, spelling) in (0u32..).zip(spellings) {
            if let Some(spelling) = spelling {
                append(&mut bytes, spelling, is_added(id), scheme, &alphabet);
            }
            // The spellings of a vocabulary come from a file of less than 4 GiB.
            ends.push(u32::try_from(bytes.len()).unwrap_or(u32::MAX));
        }
        Self { bytes, ends }
    }

    /// Number of ids.
    pub fn len(&self) -> u32 {
        self.ends.len() as u32
    }

    /// Whether there is no token.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// The bytes of a token; none for an unknown id.
    pub fn bytes(&self, id: u32) -> &[u8] {
        let index = id as usize;
        let Some(end) = self.ends.get(index) else {
            return &[];
        };
        let start = index.checked_sub(1).map_or(0, |previous| self.ends[previous]);
        self.bytes.get(start as usize..*end as usize).unwrap_or_default()
    }
}

fn append(bytes: &mut Vec<u8>, spelling: &str, added: bool, scheme: &Scheme, alphabet: &HashMap<char, u8>) {
    match scheme {
        Scheme::ByteLevel if !added => {
            let start = bytes.len();
            for character in spelling.chars() {
                let Some(byte) = alphabet.get(&character) else {
                    // A spelling outside the alphabet is its own text.
                    bytes.truncate(start);
                    bytes.extend_from_slice(spelling.as_bytes());
                    return;
                };
                bytes.push(*byte);
            }
        }
        Scheme::SentencePiece {
            byte_fallback: true, ..
        } if byte_token(spelling).is_some() => {
            bytes.extend(byte_token(spelling));
        }
        Scheme::SentencePiece { .. } => bytes.extend_from_slice(spelling.replace('▁', " ").as_bytes()),
        Scheme::ByteLevel | Scheme::Library => bytes.extend_from_slice(spelling.as_bytes()),
    }
}

/// The byte that "<0xE4>" stands for.
pub(crate) fn byte_token(spelling: &str) -> Option<u8> {
    let digits = spelling.strip_prefix("<0x")?.strip_suffix('>')?;
    (digits.len() == 2)
        .then(|| u8::from_str_radix(digits, 16).ok())
        .flatten()
}

/// The byte-level alphabet of GPT-2: printable Latin-1 stands for itself, the other bytes, in
/// order, for U+0100 and up.
pub(crate) fn byte_alphabet() -> HashMap<char, u8> {
    let mut next = 0x100u32;
    (0u8..=255)
        .filter_map(|byte| {
            let code = match byte {
                b'!'..=b'~' | 0xA1..=0xAC | 0xAE..=0xFF => u32::from(byte),
                _ => {
                    next += 1;
                    next - 1
                }
            };
            char::from_u32(code).map(|character| (character, byte))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_byte_alphabet_names_every_byte_once() {
        let alphabet = byte_alphabet();
        let bytes: std::collections::BTreeSet<u8> = alphabet.values().copied().collect();
        assert_eq!(bytes.len(), 256);
        assert_eq!(alphabet[&'Ġ'], b' ');
        assert_eq!(alphabet[&'Ċ'], b'\n');
        assert_eq!(alphabet[&'é'], 0xE9);
    }

    #[test]
    fn byte_tokens_are_six_characters() {
        assert_eq!(byte_token("<0xE4>"), Some(0xE4));
        assert_eq!(byte_token("<0xE>"), None);
        assert_eq!(byte_token("<0xE45>"), None);
    }
}
