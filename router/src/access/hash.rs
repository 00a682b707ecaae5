//! A key as it is kept: its SHA-256, from which nobody gets the key back.

use std::fmt;

use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

/// Bytes of a SHA-256.
const BYTES: usize = 32;

/// The SHA-256 of a key. A plain hash is enough because keys are long and random: there is no list
/// of likely ones to try.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct KeyHash([u8; BYTES]);

impl KeyHash {
    /// Hashes a key.
    #[must_use]
    pub fn of(key: &[u8]) -> Self {
        Self(Sha256::digest(key).into())
    }

    /// Reads 64 hexadecimal digits; `None` when it is anything else.
    #[must_use]
    pub fn from_hex(text: &str) -> Option<Self> {
        let digits = text.as_bytes();
        if digits.len() != 2 * BYTES {
            return None;
        }
        let mut bytes = [0; BYTES];
        for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
            let high = char::from(*pair.first()?).to_digit(16)?;
            let low = char::from(*pair.last()?).to_digit(16)?;
            *byte = u8::try_from(16 * high + low).ok()?;
        }
        Some(Self(bytes))
    }

    /// Whether both are of the same key, found out in the same time for all.
    #[must_use]
    pub fn matches(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }

    /// The first 8 bytes as a number, of which 0 is left out.
    #[must_use]
    pub fn number(&self) -> u64 {
        let mut head = [0; 8];
        head.iter_mut().zip(self.0).for_each(|(to, from)| *to = from);
        u64::from_be_bytes(head).max(1)
    }
}

impl fmt::Debug for KeyHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeyHash(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `printf %s sesame | sha256sum`
    const SESAME: &str = "d0c04f4b1951e4aeaaec8223ed2039e542f3aae805a6fa7f6d794e5afff5d272";

    #[test]
    fn digits_and_keys_meet() {
        assert_eq!(
            KeyHash::from_hex(SESAME).map(|hash| hash.matches(&KeyHash::of(b"sesame"))),
            Some(true)
        );
        assert!(!KeyHash::of(b"sesame").matches(&KeyHash::of(b"Sesame")));
        assert_eq!(
            KeyHash::from_hex(&SESAME.to_uppercase()),
            KeyHash::from_hex(SESAME)
        );
    }

    #[test]
    fn what_is_no_hash_is_none() {
        for text in [
            String::new(),
            "a".repeat(63),
            "a".repeat(65),
            "g".repeat(64),
            "é".repeat(32),
        ] {
            assert_eq!(KeyHash::from_hex(&text), None, "{text}");
        }
    }

    #[test]
    fn no_log_shows_it() {
        assert_eq!(format!("{:?}", KeyHash::of(b"sesame")), "KeyHash(…)");
    }
}
