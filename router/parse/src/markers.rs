//! Finds markers in text that comes one character at a time.

/// Some strings, none of which begins with another one.
#[derive(Clone, Debug)]
pub(crate) struct Markers {
    list: Vec<&'static str>,
    /// The beginning of a marker, perhaps.
    held: String,
}

impl Markers {
    pub(crate) fn new(list: Vec<&'static str>) -> Self {
        Self {
            list,
            held: String::new(),
        }
    }

    /// Takes a character. Text that belongs to no marker goes to `free`; a marker that is whole is
    /// the answer, as its place in the list.
    pub(crate) fn step(&mut self, character: char, free: &mut String) -> Option<usize> {
        if self.held.is_empty() && !self.list.iter().any(|marker| marker.starts_with(character)) {
            free.push(character);
            return None;
        }
        self.held.push(character);
        loop {
            if let Some(found) = self.list.iter().position(|marker| *marker == self.held) {
                self.held.clear();
                return Some(found);
            }
            if self.list.iter().any(|marker| marker.starts_with(&self.held)) {
                return None;
            }
            // No marker begins here: one may begin behind the first character.
            free.push(self.held.remove(0));
            if self.held.is_empty() {
                return None;
            }
        }
    }

    /// The marker's text.
    pub(crate) fn text(&self, index: usize) -> &'static str {
        self.list.get(index).copied().unwrap_or_default()
    }

    /// Bytes at the end of `text` that are the beginning of a marker.
    pub(crate) fn begun_in(&self, text: &str) -> usize {
        let longest = self.list.iter().map(|marker| marker.len()).max().unwrap_or(0);
        let from = text.len().saturating_sub(longest);
        (from..text.len())
            .filter_map(|at| text.get(at..))
            .find(|end| self.list.iter().any(|marker| marker.starts_with(end)))
            .map_or(0, str::len)
    }

    /// Whether no marker has begun.
    pub(crate) fn at_rest(&self) -> bool {
        self.held.is_empty()
    }

    /// Gives up what is held.
    pub(crate) fn finish(&mut self, free: &mut String) {
        free.push_str(&self.held);
        self.held.clear();
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn markers_are_cut_out_from_the_left(text in "[ab<|]{0,40}") {
            let list = vec!["<|a", "ab<", "<<b"];
            let mut markers = Markers::new(list.clone());
            let (mut free, mut found) = (String::new(), Vec::new());
            for character in text.chars() {
                found.extend(markers.step(character, &mut free));
            }
            markers.finish(&mut free);
            let (mut rest, mut expected, mut all) = (text.as_str(), String::new(), Vec::new());
            while let Some(first) = rest.chars().next() {
                match list.iter().position(|marker| rest.starts_with(marker)) {
                    Some(index) => {
                        all.push(index);
                        rest = &rest[list[index].len()..];
                    }
                    None => {
                        expected.push(first);
                        rest = &rest[first.len_utf8()..];
                    }
                }
            }
            prop_assert_eq!((free, found), (expected, all));
        }
    }
}
