//! Sequences of tokens that must not be drawn, as a grammar.
//!
//! What matters of the tokens drawn so far is the longest beginning of a sequence that they end with:
//! the states of Aho and Corasick's automaton. A rule of the grammar is a state; each says from which
//! states it is reached by which tokens, so that following it takes the same time however long the text
//! is. No rule is reached by the last token of a sequence.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

type Children = BTreeMap<u32, usize>;

/// The beginnings of sequences.
struct Automaton {
    /// By state; 0 is that of nothing.
    children: Vec<Children>,
    /// The state of the longest other ending.
    shorter: Vec<usize>,
    /// Whether a sequence ends here.
    whole: Vec<bool>,
}

/// A grammar in Lark's notation of all texts without these sequences, none of which is empty.
pub(super) fn without(sequences: &[Vec<u32>]) -> String {
    let automaton = Automaton::new(sequences);
    let tokens: BTreeSet<u32> = sequences.iter().flatten().copied().collect();
    let states: Vec<usize> = (0..automaton.whole.len())
        .filter(|state| !automaton.whole[*state])
        .collect();
    // Tokens that lead from one state to another.
    let mut ways: BTreeMap<(usize, usize), Vec<u32>> = BTreeMap::new();
    for state in &states {
        for token in &tokens {
            let next = automaton.step(*state, *token);
            if !automaton.whole[next] {
                ways.entry((next, *state)).or_default().push(*token);
            }
        }
    }
    let mut rules = vec![vec!["\"\"".to_owned(), format!("any <[^{}]>", list(&tokens))]];
    rules.resize(automaton.whole.len(), Vec::new());
    for ((next, state), tokens) in &ways {
        if let Some(rule) = rules.get_mut(*next) {
            rule.push(format!("s{state} <[{}]>", list(tokens)));
        }
    }
    // A state that no allowed token leads to is none.
    let reached: Vec<usize> = states
        .into_iter()
        .filter(|state| !rules[*state].is_empty())
        .collect();
    let names: Vec<String> = reached.iter().map(|state| format!("s{state}")).collect();
    let mut grammar = format!("start: any\nany: {}\n", names.join(" | "));
    for state in reached {
        grammar.push_str(&format!("s{state}: {}\n", rules[state].join(" | ")));
    }
    grammar
}

fn list<'a>(tokens: impl IntoIterator<Item = &'a u32>) -> String {
    let tokens: Vec<String> = tokens.into_iter().map(u32::to_string).collect();
    tokens.join(",")
}

impl Automaton {
    fn new(sequences: &[Vec<u32>]) -> Self {
        let mut automaton = Self {
            children: vec![Children::new()],
            shorter: vec![0],
            whole: vec![false],
        };
        for sequence in sequences {
            automaton.add(sequence);
        }
        automaton.link();
        automaton
    }

    fn add(&mut self, sequence: &[u32]) {
        let mut state = 0;
        for token in sequence {
            let new = self.children.len();
            let next = *self.children[state].entry(*token).or_insert(new);
            if next == new {
                self.children.push(Children::new());
                self.shorter.push(0);
                self.whole.push(false);
            }
            state = next;
        }
        self.whole[state] = true;
    }

    /// Finds the shorter endings, those of short beginnings first.
    fn link(&mut self) {
        let mut waiting: VecDeque<usize> = self.children[0].values().copied().collect();
        while let Some(state) = waiting.pop_front() {
            self.whole[state] |= self.whole[self.shorter[state]];
            for (token, child) in self.children[state].clone() {
                self.shorter[child] = self.step(self.shorter[state], token);
                waiting.push_back(child);
            }
        }
    }

    /// The state behind one more token.
    fn step(&self, mut state: usize, token: u32) -> usize {
        loop {
            match self.children[state].get(&token) {
                Some(next) => return *next,
                None if state == 0 => return 0,
                None => state = self.shorter[state],
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sequence_is_found_where_it_ends() {
        let sequences = [
            vec![0, 1],
            vec![0, 1, 2],
            vec![1, 0, 2],
            vec![0, 0, 2],
            vec![2, 2, 2],
        ];
        let automaton = Automaton::new(&sequences);
        // Every text of eight tokens, a digit to the base of three each.
        for number in 0..3_u32.pow(8) {
            let text: Vec<u32> = (0..8).map(|place| number / 3_u32.pow(place) % 3).collect();
            let mut state = 0;
            for end in 1..=text.len() {
                state = automaton.step(state, text[end - 1]);
                let ends = sequences.iter().any(|sequence| text[..end].ends_with(sequence));
                assert_eq!(automaton.whole[state], ends, "{text:?} {end}");
                if ends {
                    break;
                }
            }
        }
    }

    #[test]
    fn a_state_knows_how_it_is_reached() {
        insta::with_settings!({
            snapshot_path => "../../../../server/native/grammar/tests/answers",
            prepend_module_to_snapshot => false,
            omit_expression => true,
        }, {
            // "ab", "abc" (which never comes that far), "bac", "aad"
            let sequences = [vec![97, 98], vec![97, 98, 99], vec![98, 97, 99], vec![97, 97, 100]];
            insta::assert_snapshot!("bad_words", without(&sequences));
        });
    }
}
