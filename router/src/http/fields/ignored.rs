//! Fields without effect: those that nobody here knows, and wishes that the model at hand cannot be
//! held to. They are accepted, as other servers do, and told once, in a header of the answer, so that a
//! misspelt one is not looked for in vain.

use http::{HeaderMap, HeaderName, HeaderValue};

/// Lists the fields of the body that had no effect.
pub const HEADER: HeaderName = HeaderName::from_static("x-shardline-ignored-fields");

/// Names that are listed; of more only their number.
const MOST_LISTED: usize = 16;
/// Characters of a name that are told.
const MOST_CHARACTERS: usize = 64;

/// The unknown fields of one body.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ignored {
    listed: Vec<String>,
    more: usize,
}

impl Ignored {
    /// Notes a field by its path.
    pub(super) fn add(&mut self, outer: &str, name: &str) {
        if self.listed.len() == MOST_LISTED {
            self.more += 1;
            return;
        }
        let dot = if outer.is_empty() { "" } else { "." };
        let path = [outer, dot, name].into_iter().flat_map(str::chars);
        // Only what can stand in a list in a header: a client chose the name.
        let plain = path.map(|character| {
            let plain = character.is_ascii_alphanumeric() || "_-.[]".contains(character);
            if plain { character } else { '?' }
        });
        self.listed.push(plain.take(MOST_CHARACTERS).collect());
    }

    /// Notes a wish that cannot be kept, by its path.
    pub fn note(&mut self, path: &str) {
        self.add("", path);
    }

    /// Adds the header, when there is something to tell.
    pub fn put(&self, headers: &mut HeaderMap) {
        if self.listed.is_empty() {
            return;
        }
        let mut text = self.listed.join(", ");
        if self.more > 0 {
            text.push_str(&format!(", and {} more", self.more));
        }
        if let Ok(value) = HeaderValue::from_str(&text) {
            headers.insert(HEADER, value);
        }
    }
}
