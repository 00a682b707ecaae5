//! Reasoning before the answer, and how long it may be.

use shardline_parse::{Begin, ReasoningFormat};

use crate::http::conversation::marks::{Marks, Piece};
use crate::http::structure::quoted;

/// How a model reasons before it answers.
#[derive(Clone, Copy)]
pub(super) struct Thought<'a> {
    pub(super) format: ReasoningFormat,
    pub(super) begin: Begin,
    pub(super) marks: &'a Marks,
    /// Tokens between the tags at most.
    pub(super) most: Option<u32>,
}

impl Thought<'_> {
    /// Whether tokens of the reasoning can be counted: its tags are tokens.
    pub(super) fn is_counted(&self) -> bool {
        let [open, close] = self.tags();
        close.is_some() && (open.is_some() || self.begin == Begin::Inside)
    }

    /// The rule `start` with reasoning before the rule `answer`. `spaced`: whether white space
    /// between them is no part of the answer.
    pub(super) fn before(&self, spaced: bool) -> String {
        let space = if spaced { " SPACE" } else { "" };
        let start = match self.begin {
            Begin::Inside => format!("start: thoughts{space} answer\n"),
            Begin::Outside => format!(
                "start: thought? answer\nthought: {} thoughts{space}\n",
                self.open()
            ),
        };
        let blank = if spaced { "SPACE: /\\s{0,8}/\n" } else { "" };
        format!("{start}{}{}{blank}", self.open_rule(), self.thoughts())
    }

    /// A rule `answer` that any tokens match, but for the tag that would begin reasoning once more.
    pub(super) fn anything(&self) -> String {
        match self.tags()[0] {
            Some(open) => format!("answer: <[^{open}]>*\n"),
            None => "answer: <[*]>*\n".to_owned(),
        }
    }

    fn tags(&self) -> [Option<u32>; 2] {
        self.format.markers().map(|tag| self.marks.token(tag))
    }

    fn open(&self) -> String {
        match self.tags()[0] {
            Some(open) => format!("<[{open}]>"),
            None => "open".to_owned(),
        }
    }

    /// A tag of several tokens counts as soon as it is whole, whatever else its text could be.
    fn open_rule(&self) -> String {
        match (self.begin, self.tags()[0]) {
            (Begin::Outside, None) => format!("open[lazy]: {}\n", quoted(self.format.markers()[0])),
            _ => String::new(),
        }
    }

    /// What is thought, and the tag behind it. An answer does not end within it.
    fn thoughts(&self) -> String {
        let close = self.format.markers()[1];
        if let Some(close) = self.tags()[1] {
            let others: Vec<String> = [close]
                .iter()
                .chain(self.marks.ends.iter().filter(|end| **end != close))
                .map(u32::to_string)
                .collect();
            let thought = format!("<[^{}]>", others.join(","));
            return match self.most {
                None => format!("thoughts: {thought}* <[{close}]>\n"),
                // An empty range is no range.
                Some(0) => format!("thoughts: <[{close}]>\n"),
                Some(most) => format!("thoughts: {thought}{{0,{most}}} <[{close}]>\n"),
            };
        }
        match self.marks.pieces(close).as_slice() {
            [Piece::Text(close)] => format!("thoughts[suffix={}]: /(?s:.*)/\n", quoted(close)),
            pieces => {
                let pieces: Vec<String> = pieces.iter().map(Piece::atom).collect();
                format!("thoughts: /(?s:.*)/ {}\n", pieces.join(" "))
            }
        }
    }
}
