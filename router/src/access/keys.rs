//! The keys that are valid now.

use std::sync::{Arc, PoisonError, RwLock};
use std::time::Instant;

use crate::access::account::{Account, Limits, Tenant};
use crate::access::file::KeyEntry;
use crate::access::hash::KeyHash;

/// The tenant of `--api-key`.
const OPERATOR: &str = "default";

/// All keys; a clone shares them. They can be replaced while requests run.
#[derive(Clone, Debug, Default)]
pub struct Keys {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    /// Whether requests need a key.
    required: bool,
    /// `--api-key`, which no file replaces.
    fixed: Option<Key>,
    from_file: RwLock<Arc<[Key]>>,
}

#[derive(Clone, Debug)]
struct Key {
    hash: KeyHash,
    account: Arc<Account>,
}

impl Keys {
    /// No key is needed: everybody is served.
    #[must_use]
    pub fn open() -> Self {
        Self::default()
    }

    /// `--api-key` and the entries of `--api-keys-file`, either of which makes keys needed.
    #[must_use]
    pub fn new(api_key: Option<&str>, file: Option<Vec<KeyEntry>>, now: Instant) -> Self {
        let fixed = api_key.filter(|key| !key.is_empty()).map(|key| Key {
            hash: KeyHash::of(key.as_bytes()),
            account: Arc::new(Account::new(Tenant::new(OPERATOR), Limits::default(), now)),
        });
        let keys = Self {
            shared: Arc::new(Shared {
                required: fixed.is_some() || file.is_some(),
                fixed,
                from_file: RwLock::default(),
            }),
        };
        if let Some(entries) = file {
            keys.replace(entries, now);
        }
        keys
    }

    /// Whether requests need a key.
    #[must_use]
    pub fn required(&self) -> bool {
        self.shared.required
    }

    fn of_file(&self) -> Arc<[Key]> {
        // A pointer is swapped whole, so a poisoned lock still guards a good value.
        self.shared
            .from_file
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// The account of the key that `guess` is. All keys are compared, whichever it is.
    #[must_use]
    pub fn find(&self, guess: &[u8]) -> Option<Arc<Account>> {
        let guess = KeyHash::of(guess);
        let from_file = self.of_file();
        let mut found = None;
        for key in self.shared.fixed.iter().chain(from_file.iter()) {
            if key.hash.matches(&guess) {
                found = Some(&key.account);
            }
        }
        found.cloned()
    }

    /// Takes the entries of an edited file. A key that stays keeps what it has spent; one that is
    /// gone is refused from now on, while its running requests go on.
    pub fn replace(&self, entries: Vec<KeyEntry>, now: Instant) {
        let old = self.of_file();
        let renewed = entries.into_iter().map(|entry| {
            let KeyEntry { hash, tenant, limits } = entry;
            let before = old.iter().find(|key| key.hash == hash);
            let account = match before {
                Some(key) => key.account.renewed(tenant, limits, now),
                None => Account::new(tenant, limits, now),
            };
            Key {
                hash,
                account: Arc::new(account),
            }
        });
        let renewed = renewed.collect();
        *self
            .shared
            .from_file
            .write()
            .unwrap_or_else(PoisonError::into_inner) = renewed;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(key: &str, tenant: &str, requests_per_minute: u64) -> KeyEntry {
        KeyEntry {
            hash: KeyHash::of(key.as_bytes()),
            tenant: Tenant::new(tenant),
            limits: Limits {
                requests_per_minute: Some(requests_per_minute),
                ..Limits::default()
            },
        }
    }

    fn tenant(keys: &Keys, guess: &str) -> Option<String> {
        Some(keys.find(guess.as_bytes())?.tenant().name.to_string())
    }

    #[test]
    fn both_sources_count_and_case_matters() {
        let now = Instant::now();
        assert!(!Keys::open().required());
        assert!(!Keys::new(Some(""), None, now).required());
        assert!(
            Keys::new(None, Some(Vec::new()), now).required(),
            "a file without keys lets nobody in"
        );
        let keys = Keys::new(
            Some("Sesame"),
            Some(vec![entry("k1", "a", 1), entry("k2", "b", 1)]),
            now,
        );
        assert_eq!(tenant(&keys, "Sesame").as_deref(), Some("default"));
        assert_eq!(tenant(&keys, "k2").as_deref(), Some("b"));
        for guess in ["sesame", "", "k", "k1 "] {
            assert_eq!(tenant(&keys, guess), None, "{guess}");
        }
        assert!(!format!("{keys:?}").contains("Sesame"));
    }

    #[test]
    fn an_edited_file_replaces_keys_and_keeps_accounts() {
        let now = Instant::now();
        let keys = Keys::new(
            None,
            Some(vec![entry("old", "a", 1), entry("stays", "a", 1)]),
            now,
        );
        keys.find(b"stays").unwrap().enter(now).unwrap();
        keys.replace(vec![entry("stays", "a", 1), entry("new", "b", 1)], now);
        assert_eq!(tenant(&keys, "old"), None);
        assert_eq!(tenant(&keys, "new").as_deref(), Some("b"));
        assert!(
            keys.find(b"stays").unwrap().enter(now).is_err(),
            "it is spent already"
        );
    }
}
