//! Stop strings, found as soon as their last character is there, wherever tokens begin and end.

use std::collections::VecDeque;
use std::sync::Arc;

/// Most stop strings of a request.
const MAX_STRINGS: usize = 256;
/// Most bytes of all stop strings of a request together.
const MAX_BYTES: usize = 64 << 10;

/// Why stop strings were refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StopError {
    /// An empty string would stop everything.
    #[error("stop string {index} is empty: leave it out")]
    Empty {
        /// Its place, from 0.
        index: usize,
    },
    /// Too many.
    #[error("{given} stop strings are more than the {limit} that are allowed")]
    TooMany {
        /// How many were given.
        given: usize,
        /// The most.
        limit: usize,
    },
    /// Too long together.
    #[error("the stop strings have {given} bytes, more than the {limit} that are allowed")]
    TooLong {
        /// Bytes of all.
        given: usize,
        /// The most.
        limit: usize,
    },
}

/// The stop strings of a request as one automaton (Aho-Corasick), shared by its choices.
#[derive(Clone, Debug)]
pub struct StopStrings {
    nodes: Arc<[Node]>,
    lengths: Arc<[usize]>,
}

/// A prefix of stop strings.
#[derive(Clone, Debug, Default)]
struct Node {
    /// Longer by one byte; few, sorted by nothing.
    children: Vec<(u8, u32)>,
    /// The longest proper suffix that is a prefix too.
    suffix: u32,
    /// Length in bytes.
    depth: u32,
    /// The longest stop string that ends here (of equal ones the first given).
    ends: Option<u32>,
}

const ROOT: u32 = 0;

impl StopStrings {
    /// Checks and prepares stop strings; none is allowed.
    pub fn new<S: AsRef<str>>(strings: &[S]) -> Result<Self, StopError> {
        if strings.len() > MAX_STRINGS {
            return Err(StopError::TooMany {
                given: strings.len(),
                limit: MAX_STRINGS,
            });
        }
        if let Some(index) = strings.iter().position(|string| string.as_ref().is_empty()) {
            return Err(StopError::Empty { index });
        }
        let lengths: Arc<[usize]> = strings.iter().map(|string| string.as_ref().len()).collect();
        let given = lengths.iter().sum();
        if given > MAX_BYTES {
            return Err(StopError::TooLong {
                given,
                limit: MAX_BYTES,
            });
        }
        let mut nodes = vec![Node::default()];
        for (index, string) in (0u32..).zip(strings) {
            insert(&mut nodes, string.as_ref().as_bytes(), index);
        }
        link(&mut nodes);
        Ok(Self {
            nodes: nodes.into(),
            lengths,
        })
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.lengths.is_empty()
    }

    fn step(&self, mut state: u32, byte: u8) -> u32 {
        loop {
            if let Some(next) = child(&self.nodes[state as usize], byte) {
                return next;
            }
            if state == ROOT {
                return ROOT;
            }
            state = self.nodes[state as usize].suffix;
        }
    }
}

fn child(node: &Node, byte: u8) -> Option<u32> {
    node.children
        .iter()
        .find(|(label, _)| *label == byte)
        .map(|(_, next)| *next)
}

fn insert(nodes: &mut Vec<Node>, string: &[u8], index: u32) {
    let mut state = ROOT;
    for byte in string {
        state = match child(&nodes[state as usize], *byte) {
            Some(next) => next,
            None => {
                // At most MAX_BYTES + 1 nodes.
                let next = nodes.len() as u32;
                let depth = nodes[state as usize].depth + 1;
                nodes.push(Node {
                    depth,
                    ..Node::default()
                });
                nodes[state as usize].children.push((*byte, next));
                next
            }
        };
    }
    nodes[state as usize].ends.get_or_insert(index);
}

/// Sets every node's `suffix`, shorter prefixes first, and lets it inherit the suffix's `ends`.
fn link(nodes: &mut [Node]) {
    let mut queue: VecDeque<u32> = nodes[ROOT as usize]
        .children
        .iter()
        .map(|(_, next)| *next)
        .collect();
    while let Some(state) = queue.pop_front() {
        for (byte, next) in nodes[state as usize].children.clone() {
            let mut candidate = nodes[state as usize].suffix;
            let suffix = loop {
                match child(&nodes[candidate as usize], byte) {
                    Some(found) => break found,
                    None if candidate == ROOT => break ROOT,
                    None => candidate = nodes[candidate as usize].suffix,
                }
            };
            nodes[next as usize].suffix = suffix;
            queue.push_back(next);
        }
        let suffix = nodes[state as usize].suffix as usize;
        let inherited = nodes[suffix].ends;
        let own = &mut nodes[state as usize].ends;
        *own = own.or(inherited);
    }
}

/// A stop string was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StopHit {
    /// Which of the strings given.
    pub index: usize,
}

/// Looks for stop strings in text that comes in pieces.
///
/// The one that ends first counts; of several that end together, the longest. What could still
/// become a stop string, and no more, is held back.
#[derive(Clone, Debug)]
pub struct StopMatcher {
    strings: StopStrings,
    include_stop_string: bool,
    state: u32,
    /// Text that could still become a stop string.
    held: String,
}

impl StopMatcher {
    /// With `include_stop_string` the text ends behind the stop string, else before it.
    pub fn new(strings: StopStrings, include_stop_string: bool) -> Self {
        Self {
            strings,
            include_stop_string,
            state: ROOT,
            held: String::new(),
        }
    }

    /// Appends to `text` what of `piece` (and of the text held) is safe to give out. After a hit
    /// nothing more may be pushed; `finish` then adds nothing.
    pub fn push(&mut self, piece: &str, text: &mut String) -> Option<StopHit> {
        if self.strings.is_empty() {
            text.push_str(piece);
            return None;
        }
        for (at, byte) in piece.bytes().enumerate() {
            self.state = self.strings.step(self.state, byte);
            if let Some(index) = self.strings.nodes[self.state as usize].ends {
                return Some(self.hit(index as usize, &piece[..=at], text));
            }
        }
        self.held.push_str(piece);
        // The state is the longest suffix that begins a stop string; it begins with the first
        // byte of one, so the cut is between characters.
        let keep = self.strings.nodes[self.state as usize].depth as usize;
        text.extend(self.held.drain(..self.held.len() - keep));
        None
    }

    /// Gives out what is held: the text is over.
    pub fn finish(&mut self, text: &mut String) {
        text.push_str(&self.held);
        self.held.clear();
        self.state = ROOT;
    }

    /// Bytes held back.
    pub fn held_bytes(&self) -> usize {
        self.held.len()
    }

    fn hit(&mut self, index: usize, seen: &str, text: &mut String) -> StopHit {
        self.held.push_str(seen);
        let kept = if self.include_stop_string {
            0
        } else {
            self.strings.lengths[index]
        };
        text.push_str(&self.held[..self.held.len() - kept]);
        self.held.clear();
        self.state = ROOT;
        StopHit { index }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The whole-text search that the matcher must equal: text before and which string.
    fn search(text: &str, strings: &[String], include: bool) -> (String, Option<usize>) {
        for end in (1..=text.len()).filter(|end| text.is_char_boundary(*end)) {
            let found = (0..strings.len())
                .filter(|index| text[..end].ends_with(&strings[*index]))
                .max_by_key(|index| (strings[*index].len(), usize::MAX - index));
            if let Some(index) = found {
                let cut = if include { end } else { end - strings[index].len() };
                return (text[..cut].to_owned(), Some(index));
            }
        }
        (text.to_owned(), None)
    }

    /// The bytes that have to be held: the longest end of `text` that begins a stop string.
    fn to_hold(text: &str, strings: &[String]) -> usize {
        let starts = |end: &str| {
            strings
                .iter()
                .any(|string| string.len() > end.len() && string.starts_with(end))
        };
        text.char_indices()
            .map(|(at, _)| &text[at..])
            .find(|end| starts(end))
            .map_or(0, str::len)
    }

    proptest! {
        #[test]
        fn every_split_equals_the_whole_text_search(
            strings in prop::collection::vec("[abé\\n]{1,4}", 0..5),
            pieces in prop::collection::vec("[abé\\n]{0,5}", 0..12),
            include in any::<bool>(),
        ) {
            let (expected, hit) = search(&pieces.concat(), &strings, include);
            let mut matcher = StopMatcher::new(StopStrings::new(&strings).unwrap(), include);
            let (mut text, mut pushed, mut found) = (String::new(), String::new(), None);
            for piece in &pieces {
                pushed.push_str(piece);
                found = matcher.push(piece, &mut text);
                if found.is_some() {
                    break;
                }
                prop_assert_eq!(matcher.held_bytes(), to_hold(&pushed, &strings));
                prop_assert_eq!(text.len() + matcher.held_bytes(), pushed.len());
            }
            matcher.finish(&mut text);
            prop_assert_eq!(text, expected);
            prop_assert_eq!(found.map(|hit| hit.index), hit);
        }
    }

    #[test]
    fn refuses_what_cannot_work() {
        assert_eq!(
            StopStrings::new(&["a", ""]).unwrap_err(),
            StopError::Empty { index: 1 }
        );
        let many = vec!["x"; 300];
        assert_eq!(
            StopStrings::new(&many).unwrap_err(),
            StopError::TooMany {
                given: 300,
                limit: 256
            }
        );
        let long = "x".repeat(70_000);
        assert_eq!(
            StopStrings::new(&[long]).unwrap_err(),
            StopError::TooLong {
                given: 70_000,
                limit: 65_536
            }
        );
    }
}
