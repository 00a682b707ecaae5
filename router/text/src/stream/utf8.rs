//! Bytes in pieces to text, without ever cutting a character.

/// Holds back the at most three bytes of a character that is not complete. The text of all pieces
/// and `finish` equals `String::from_utf8_lossy` of all bytes.
#[derive(Clone, Debug, Default)]
pub(super) struct Utf8Stream {
    held: [u8; 3],
    held_length: usize,
}

impl Utf8Stream {
    /// Appends to `text` what `bytes` complete.
    pub(super) fn push(&mut self, bytes: &[u8], text: &mut String) {
        if self.held_length == 0 {
            self.decode(bytes, text);
            return;
        }
        let mut joined = self.held[..self.held_length].to_vec();
        joined.extend_from_slice(bytes);
        self.held_length = 0;
        self.decode(&joined, text);
    }

    /// What is held can no longer be completed: U+FFFD stands for it.
    pub(super) fn finish(&mut self, text: &mut String) {
        if self.held_length > 0 {
            self.held_length = 0;
            text.push(char::REPLACEMENT_CHARACTER);
        }
    }

    /// Bytes held back.
    pub(super) fn held(&self) -> usize {
        self.held_length
    }

    fn decode(&mut self, mut bytes: &[u8], text: &mut String) {
        for chunk in bytes.utf8_chunks() {
            text.push_str(chunk.valid());
            bytes = &bytes[chunk.valid().len()..];
            let invalid = chunk.invalid();
            if invalid.is_empty() {
                continue;
            }
            // At the very end an incomplete character may still be completed.
            let incomplete = invalid.len() == bytes.len()
                && std::str::from_utf8(invalid).is_err_and(|error| error.error_len().is_none());
            if incomplete {
                self.held[..invalid.len()].copy_from_slice(invalid);
                self.held_length = invalid.len();
                return;
            }
            text.push(char::REPLACEMENT_CHARACTER);
            bytes = &bytes[invalid.len()..];
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn pieces_join_to_the_lossy_text(
            pieces in prop::collection::vec(
                prop_oneof![
                    prop::collection::vec(any::<u8>(), 0..6),
                    "\\PC{0,3}".prop_map(String::into_bytes),
                    prop::sample::select(vec![vec![0xE4], vec![0xBD], vec![0xA0], vec![0xF0, 0x9F], vec![0x98, 0x80]]),
                ],
                0..20,
            )
        ) {
            let mut stream = Utf8Stream::default();
            let mut text = String::new();
            for piece in &pieces {
                stream.push(piece, &mut text);
                prop_assert!(stream.held() <= 3);
            }
            stream.finish(&mut text);
            prop_assert_eq!(text, String::from_utf8_lossy(&pieces.concat()).into_owned());
        }
    }
}
