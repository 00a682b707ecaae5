//! The file of API keys: hashes, tenants and limits, never a key.

use std::collections::HashSet;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_path_to_error::Segment;

use crate::access::account::{Limits, Tenant};
use crate::access::hash::KeyHash;

/// Bytes of a file; each key takes some 200.
const MOST_BYTES: u64 = 4 << 20;
/// Every request is compared with every key.
const MOST_KEYS: usize = 10_000;
/// Characters of a tenant's name, which stands in logs.
const MOST_NAME_CHARACTERS: usize = 64;

/// One key of the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyEntry {
    /// Of the key.
    pub hash: KeyHash,
    /// Whose it is.
    pub tenant: Tenant,
    /// What it may use.
    pub limits: Limits,
}

/// Why a file of keys cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KeyFileError {
    /// Not there, or not ours to read.
    #[error("cannot read the API keys in {}: {cause}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        cause: io::Error,
    },
    /// Too large to be what it should be.
    #[error("{} has more than {MOST_BYTES} bytes, too many for a file of API keys", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
    },
    /// Not JSON of the right form.
    #[error("{}: {}{cause}", path.display(), if field.is_empty() { String::new() } else { format!("`{field}` ") })]
    Form {
        /// The file.
        path: PathBuf,
        /// Where in it.
        field: String,
        /// What is wrong, without the value at fault, which could be a key.
        cause: String,
    },
    /// A value that breaks a rule.
    #[error("{}: `keys[{index}].{field}` {rule}", path.display())]
    Rule {
        /// The file.
        path: PathBuf,
        /// Which key.
        index: usize,
        /// Its field.
        field: &'static str,
        /// What it has to be.
        rule: String,
    },
    /// More keys than can be compared for each request.
    #[error("{} has {given} keys; at most {MOST_KEYS} are taken", path.display())]
    TooMany {
        /// The file.
        path: PathBuf,
        /// How many.
        given: usize,
    },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct KeyFile {
    keys: Vec<Fields>,
}

/// A misspelled limit must not mean none, so unknown fields are refused.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Fields {
    tenant: String,
    sha256: String,
    requests_per_minute: Option<u64>,
    tokens_per_minute: Option<u64>,
    concurrent_requests: Option<u32>,
}

/// Reads a file of keys: `{"keys": [{"tenant", "sha256", and limits}, …]}`.
///
/// # Errors
/// When it cannot be read or anything in it is wrong; nothing of it is used then.
pub fn read_keys(path: &Path) -> Result<Vec<KeyEntry>, KeyFileError> {
    let read = |cause| KeyFileError::Read {
        path: path.to_owned(),
        cause,
    };
    let mut text = String::new();
    let file = File::open(path).map_err(read)?;
    file.take(MOST_BYTES + 1)
        .read_to_string(&mut text)
        .map_err(read)?;
    if text.len() as u64 > MOST_BYTES {
        return Err(KeyFileError::TooLarge {
            path: path.to_owned(),
        });
    }
    parse(path, &text)
}

fn parse(path: &Path, text: &str) -> Result<Vec<KeyEntry>, KeyFileError> {
    let deserializer = &mut serde_json::Deserializer::from_str(text);
    let file: KeyFile =
        serde_path_to_error::deserialize(deserializer).map_err(|error| KeyFileError::Form {
            path: path.to_owned(),
            field: known_path(error.path()),
            cause: without_values(&error.into_inner()),
        })?;
    if file.keys.len() > MOST_KEYS {
        return Err(KeyFileError::TooMany {
            path: path.to_owned(),
            given: file.keys.len(),
        });
    }
    let mut seen = HashSet::new();
    let mut entries = Vec::with_capacity(file.keys.len());
    for (index, fields) in file.keys.into_iter().enumerate() {
        let entry = entry(fields).and_then(|entry| match seen.insert(entry.hash) {
            true => Ok(entry),
            false => Err(("sha256", "stands in this file twice; keep one of them".to_owned())),
        });
        entries.push(entry.map_err(|(field, rule)| KeyFileError::Rule {
            path: path.to_owned(),
            index,
            field,
            rule,
        })?);
    }
    Ok(entries)
}

fn entry(fields: Fields) -> Result<KeyEntry, (&'static str, String)> {
    let length = fields.tenant.chars().count();
    let good = |character: char| character.is_ascii_alphanumeric() || "._-".contains(character);
    if !(1..=MOST_NAME_CHARACTERS).contains(&length) || !fields.tenant.chars().all(good) {
        let rule = format!("must be 1 to {MOST_NAME_CHARACTERS} of a-z, A-Z, 0-9, `.`, `_` and `-`");
        return Err(("tenant", rule));
    }
    let hash = KeyHash::from_hex(&fields.sha256).ok_or_else(|| {
        let rule = "must be the key's SHA-256 as 64 hexadecimal digits: printf %s \"$KEY\" | sha256sum";
        ("sha256", rule.to_owned())
    })?;
    let limits = [
        ("requests_per_minute", fields.requests_per_minute),
        ("tokens_per_minute", fields.tokens_per_minute),
        ("concurrent_requests", fields.concurrent_requests.map(Into::into)),
    ];
    for (field, limit) in limits {
        if limit == Some(0) {
            return Err((field, "must be at least 1; leave it out for no limit".to_owned()));
        }
    }
    Ok(KeyEntry {
        hash,
        tenant: Tenant::new(&fields.tenant),
        limits: Limits {
            requests_per_minute: fields.requests_per_minute,
            tokens_per_minute: fields.tokens_per_minute,
            concurrent_requests: fields.concurrent_requests,
        },
    })
}

/// Names of fields; any other in a file may be a key in the wrong place.
const FIELDS: [&str; 6] = [
    "keys",
    "tenant",
    "sha256",
    "requests_per_minute",
    "tokens_per_minute",
    "concurrent_requests",
];

/// The path up to the first name that is not one of ours.
fn known_path(path: &serde_path_to_error::Path) -> String {
    let mut text = String::new();
    for segment in path {
        match segment {
            Segment::Seq { index } => text.push_str(&format!("[{index}]")),
            Segment::Map { key } if FIELDS.contains(&key.as_str()) => {
                text.push_str(if text.is_empty() { "" } else { "." });
                text.push_str(key);
            }
            _ => break,
        }
    }
    text
}

/// A parser quotes what it does not understand; a key pasted into the wrong place must reach no log.
fn without_values(error: &serde_json::Error) -> String {
    let kind = match error.classify() {
        serde_json::error::Category::Data => "has the wrong type or name, or is missing",
        _ => "is not JSON",
    };
    format!("{kind} (line {}, column {})", error.line(), error.column())
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn read(text: &str) -> Result<Vec<KeyEntry>, String> {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(text.as_bytes()).unwrap();
        let shown = file.path().display().to_string();
        read_keys(file.path()).map_err(|error| error.to_string().replace(&shown, "FILE"))
    }

    fn one(fields: &str) -> String {
        let hash = "ab".repeat(32);
        format!(r#"{{"keys": [{{"tenant": "team", "sha256": "{hash}"{fields}}}]}}"#)
    }

    #[test]
    fn keys_have_tenants_and_limits() {
        let entries = read(&one(r#", "requests_per_minute": 6, "concurrent_requests": 2"#)).unwrap();
        assert_eq!(&*entries[0].tenant.name, "team");
        let limits = Limits {
            requests_per_minute: Some(6),
            tokens_per_minute: None,
            concurrent_requests: Some(2),
        };
        assert_eq!(entries[0].limits, limits);
        assert_eq!(read(r#"{"keys": []}"#), Ok(Vec::new()));
    }

    #[test]
    fn every_mistake_names_its_place() {
        let twice = one("").replace("}]", &format!("}}, {}]", &one("")[10..one("").len() - 2]));
        for (text, expected) in [
            (one(r#", "request_per_minute": 6"#), "`keys[0]"),
            (
                one(r#", "requests_per_minute": 0"#),
                "`keys[0].requests_per_minute` must be at least 1",
            ),
            (one(r#", "tokens_per_minute": -1"#), "`keys[0].tokens_per_minute`"),
            (one("").replace("team", "a b"), "`keys[0].tenant` must be"),
            (one("").replace("abab", "ab"), "printf %s"),
            (twice, "`keys[1].sha256` stands in this file twice"),
            ("[]".to_owned(), "wrong type"),
            ("{".to_owned(), "is not JSON"),
        ] {
            let error = read(&text).unwrap_err();
            assert!(
                error.contains(expected) && error.starts_with("FILE: "),
                "{text}: {error}"
            );
        }
    }

    #[test]
    fn a_key_in_the_wrong_place_is_not_repeated() {
        for text in [
            r#"{"keys": ["sesame"]}"#.to_owned(),
            r#"{"sesame": []}"#.to_owned(),
            "sesame".to_owned(),
            one(r#", "requests_per_minute": "sesame""#),
            one("").replace("team", "sesame!"),
            r#"{"keys": [{"tenant": "a", "sha256": "sesame"}]}"#.to_owned(),
        ] {
            let error = read(&text).unwrap_err();
            assert!(!error.contains("sesame"), "{error}");
        }
    }

    #[test]
    fn a_file_is_bounded() {
        assert!(read(&" ".repeat(5 << 20)).unwrap_err().contains("bytes"));
        let key = |number: usize| format!(r#"{{"tenant": "t", "sha256": "{number:064x}"}}"#);
        let many: Vec<_> = (0..=MOST_KEYS).map(key).collect();
        assert!(
            read(&format!(r#"{{"keys": [{}]}}"#, many.join(",")))
                .unwrap_err()
                .contains("10001 keys")
        );
        assert!(
            read_keys(Path::new("/nowhere/keys.json"))
                .unwrap_err()
                .to_string()
                .contains("/nowhere/keys.json")
        );
    }
}
