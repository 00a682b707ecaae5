//! Numbers that nobody can guess: ids of answers, seeds of requests that bring none.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hash, Hasher};
use std::sync::atomic::{AtomicU64, Ordering};

/// A keyed hash (`SipHash`, keyed by the operating system) of a counter.
#[derive(Debug, Default)]
pub struct Ids {
    key: RandomState,
    counter: AtomicU64,
}

impl Ids {
    /// A number unlike all others.
    pub fn number(&self) -> u64 {
        self.key
            .hash_one((0_u8, self.counter.fetch_add(1, Ordering::Relaxed)))
    }

    /// 32 hexadecimal digits.
    pub fn text(&self) -> String {
        format!("{:016x}{:016x}", self.number(), self.number())
    }

    /// The same number for the same text as long as the process lives, never 0.
    pub fn salt(&self, text: &str) -> u64 {
        let mut hasher = self.key.build_hasher();
        1_u8.hash(&mut hasher);
        text.hash(&mut hasher);
        hasher.finish().max(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_differ_and_salts_do_not() {
        let ids = Ids::default();
        assert_ne!(ids.number(), ids.number());
        assert_ne!(ids.text(), ids.text());
        assert_eq!(ids.text().len(), 32);
        assert_eq!(ids.salt("a"), ids.salt("a"));
        assert_ne!(ids.salt("a"), ids.salt("b"));
        assert_ne!(
            ids.salt("a"),
            Ids::default().salt("a"),
            "another process has other salts"
        );
    }
}
