//! Calls as the model itself writes them: where it may call and need not.
//!
//! A grammar has no look back: what begins a call decides it. A marker that is text is therefore found
//! as soon as it is whole (`suffix`), and text that begins like a call without a marker cannot go on
//! as anything else.

use shardline_parse::{Named, Spelling, Written};

use crate::http::conversation::grammar::MAX_CALLS;
use crate::http::conversation::grammar::arguments::{head, of_wish, whole_call};
use crate::http::conversation::marks::{Marks, Piece};
use crate::http::conversation::tools::Tools;
use crate::http::structure::quoted;

/// Tools of which text that begins with a bracket is told by name; of more, every name is one.
const MOST_NAMES: usize = 32;
/// Stretches of text, and what the reader of calls takes for white space.
const ANYTHING: &str = "/(?s:.*)/";
const GAP: &str = "GAP: /\\s{0,8}/\n";

/// What a grammar of calls is made of.
pub(super) struct Calls<'a> {
    pub(super) tools: &'a Tools,
    pub(super) spelling: Spelling,
    pub(super) marks: &'a Marks,
}

impl Calls<'_> {
    /// Whether the arguments of a call can be held to a schema.
    pub(super) fn can_be_held(&self) -> bool {
        self.spelling.call != Written::Other
    }

    /// Text in which calls may stand, whose arguments are held to their schemas, as the rule
    /// `answer`. Only where they can be.
    pub(super) fn within_text(&self) -> String {
        let mut rules = String::new();
        let leads: Vec<String> = (0..self.spelling.opens.len())
            .map(|index| self.lead(index, &mut rules))
            .collect();
        let quiet = self.quiet();
        let mut ways = vec![format!("{quiet}TEXT")];
        if !self.spelling.bare.is_empty() {
            ways.extend(self.bare(&mut rules));
        }
        if !leads.is_empty() {
            rules.push_str(&format!("lead: {}\n", leads.join(" | ")));
            if self.spelling.close.is_empty() {
                // Whatever stood behind such a call, a reader could take for one more.
                ways.push(format!("lead group {}", self.further_groups()));
            } else {
                let times = if self.tools.parallel { "*" } else { "?" };
                ways = vec![format!("(lead group){times} {quiet}TEXT")];
            }
        }
        format!(
            "answer: {}\nTEXT: {}\n{rules}{}",
            ways.join(" | "),
            self.text(),
            self.groups()
        )
    }

    /// Calls and nothing else, as the rule `calls`. Arguments that are no JSON are the model's own.
    pub(super) fn alone(&self) -> String {
        if !self.can_be_held() {
            return self.unheld();
        }
        let mut ways = Vec::new();
        if !self.spelling.opens.is_empty() {
            let silent = self.silent_behind();
            ways.push(format!("{silent}mark group {}", self.further_groups()));
        }
        if let (Written::Json { arguments }, false) = (self.spelling.call, self.spelling.bare.is_empty()) {
            // The parts of an object, so that an answer that is another one can begin like it.
            let objects = self.tools.list.iter().map(|tool| whole_call(tool, arguments));
            ways.extend(objects);
        }
        let mut rules = format!("calls: {}\n", ways.join(" | "));
        if !self.spelling.opens.is_empty() {
            rules.push_str(&self.groups());
        }
        rules
    }

    /// A call whose beginning is known, and anything behind it.
    fn unheld(&self) -> String {
        let begins = self.spelling.opens.iter().chain(self.spelling.begins);
        let mut ways: Vec<String> = begins.map(|marker| self.mark(marker)).collect();
        if self.spelling.bare.contains(&'[') {
            let names = self.tools.list.iter();
            ways.extend(names.map(|tool| quoted(&format!("[{}(", tool.name()))));
        }
        format!("calls: ({}) ANYTHING\nANYTHING: {ANYTHING}\n", ways.join(" | "))
    }

    /// Calls behind a marker, what closes them, and all that they are made of.
    fn groups(&self) -> String {
        let close = self.close();
        let count = self.tools.list.len();
        let any = |prefix: &str| {
            let all: Vec<String> = (0..count).map(|index| format!("{prefix}{index}")).collect();
            all.join(" | ")
        };
        let mut rules = match self.spelling.call {
            Written::Json { .. } => format!(
                "group: (call | {}){close}\ncall: {}\n",
                self.list("LIST call"),
                any("call")
            ),
            Written::Named(_) => format!("group: ({}){close}\n", any("named")),
            Written::Either { .. } => format!(
                "group: ({} | {}){close}\ncall: {}\n",
                self.list("LIST call"),
                any("named"),
                any("call")
            ),
            Written::Other => String::new(),
        };
        for index in 0..count {
            rules.push_str(&self.call(index));
        }
        let marks: Vec<String> = self.spelling.opens.iter().map(|open| self.mark(open)).collect();
        if !marks.is_empty() {
            rules.push_str(&format!("mark: {}\n", marks.join(" | ")));
        }
        rules.push_str(GAP);
        if matches!(self.spelling.call, Written::Json { .. } | Written::Either { .. }) {
            rules.push_str(
                "LIST: /\\s{0,8}\\[/\nCOMMA: /\\s{0,8},/\nUNLIST: /\\s{0,8}\\]/\nTAIL: /\\s{0,8}\\}/\n",
            );
        }
        rules
    }

    /// One tool's call.
    fn call(&self, index: usize) -> String {
        let Some(tool) = self.tools.list.get(index) else {
            return String::new();
        };
        let json = |key: &str| {
            let head = head(tool.name(), key);
            format!("call{index}: HEAD{index} args{index} TAIL\nHEAD{index}: /\\s{{0,8}}/ {head}\n")
        };
        let named = |named: Named| {
            let name = quoted(&format!("{}{}", named.before, tool.name()));
            let number = if named.numbered { " /:[0-9]{1,4}/" } else { "" };
            format!(
                "named{index}: {name}{number} {} args{index}\n",
                self.mark(named.between)
            )
        };
        let written = match self.spelling.call {
            Written::Json { arguments } => json(arguments),
            Written::Named(spelling) => named(spelling),
            Written::Either { arguments, between } => {
                let spelling = Named {
                    before: "",
                    numbered: false,
                    between,
                };
                json(arguments) + &named(spelling)
            }
            Written::Other => String::new(),
        };
        format!("{written}args{index}: {}\n", of_wish(tool))
    }

    /// A list that begins with `first`.
    fn list(&self, first: &str) -> String {
        format!("{first} {}UNLIST", self.times("COMMA call"))
    }

    /// What may come again behind the first one.
    fn times(&self, more: &str) -> String {
        // An empty range is no range.
        if self.tools.parallel {
            format!("({more}){{0,{}}} ", MAX_CALLS - 1)
        } else {
            String::new()
        }
    }

    /// Behind the first group: others, each with its marker, and what says nothing.
    fn further_groups(&self) -> String {
        format!("{}GAP {}", self.times("GAP mark group"), self.silent_behind())
    }

    /// Calls that begin without a marker: one rule each of `call` and list, as alternatives.
    fn bare(&self, rules: &mut String) -> Vec<String> {
        let Written::Json { arguments } = self.spelling.call else {
            return Vec::new();
        };
        let more = self.times("SEPARATOR call");
        let mut ways = Vec::new();
        if self.spelling.bare.contains(&'{') {
            rules.push_str("SEPARATOR: /\\s{0,8}[,;]/\n");
            ways.push(format!("call {more}GAP {}", self.silent_behind()));
        }
        if self.spelling.bare.contains(&'[') {
            ways.push(self.list("first"));
            let firsts: Vec<String> = (0..self.tools.list.len())
                .map(|index| format!("FIRST{index} args{index} TAIL"))
                .collect();
            rules.push_str(&format!("first: {}\n", firsts.join(" | ")));
            for (index, tool) in self.tools.list.iter().enumerate() {
                let head = head(tool.name(), arguments);
                rules.push_str(&format!("FIRST{index}: /\\s{{0,8}}\\[\\s{{0,8}}/ {head}\n"));
            }
        }
        ways
    }

    /// Text up to a marker, and the marker. Rules that it needs go to `rules`.
    fn lead(&self, index: usize, rules: &mut String) -> String {
        let marker = self.spelling.opens.get(index).copied().unwrap_or_default();
        let pieces = self.marks.pieces(marker);
        let quiet = self.quiet();
        let (first, rest) = match pieces.split_first() {
            Some((Piece::Text(text), rest)) => {
                rules.push_str(&format!("pre{index}[suffix={}]: TEXT\n", quoted(text)));
                (format!("pre{index}"), rest)
            }
            Some((token, rest)) => (format!("TEXT {}", token.atom()), rest),
            None => ("TEXT".to_owned(), &[][..]),
        };
        let rest: Vec<String> = rest.iter().map(|piece| format!(" {}", piece.atom())).collect();
        format!("{quiet}{first}{}", rest.join(""))
    }

    /// Text: all that does not begin like a call.
    fn text(&self) -> String {
        if self.spelling.bare.is_empty() {
            return ANYTHING.to_owned();
        }
        let brackets: String = self
            .spelling
            .bare
            .iter()
            .map(|bracket| format!("\\{bracket}"))
            .collect();
        let names = if self.tools.list.len() > MOST_NAMES {
            String::new()
        } else {
            let names: Vec<String> = self.tools.list.iter().map(|tool| escaped(tool.name())).collect();
            format!("({})\"", names.join("|"))
        };
        let begins = format!("\\s*[{brackets}](?s:.*)\"(name|tool_name|tool|function)\"\\s*:\\s*\"{names}");
        format!("{ANYTHING} & ~/{begins}(?s:.*)/")
    }

    fn close(&self) -> String {
        let pieces = self.marks.pieces(self.spelling.close);
        let written: Vec<String> = pieces.iter().map(|piece| format!(" {}", piece.atom())).collect();
        match self.spelling.close {
            "" => String::new(),
            close if close.starts_with('\n') => written.join(""),
            _ => format!(" GAP{}", written.join("")),
        }
    }

    fn mark(&self, marker: &str) -> String {
        let pieces = self.marks.pieces(marker);
        let atoms: Vec<String> = pieces.iter().map(Piece::atom).collect();
        atoms.join(" ")
    }

    /// Markers that say nothing and are no text, with text before them.
    fn quiet(&self) -> String {
        let silent: Vec<String> = self
            .spelling
            .silent
            .iter()
            .filter(|marker| {
                let pieces = self.marks.pieces(marker);
                pieces.iter().any(|piece| matches!(piece, Piece::Token(_)))
            })
            .map(|marker| self.mark(marker))
            .collect();
        if silent.is_empty() {
            String::new()
        } else {
            format!("(TEXT ({}))* ", silent.join(" | "))
        }
    }

    /// Markers that say nothing, where there is no text.
    fn silent_behind(&self) -> String {
        let silent: Vec<String> = self
            .spelling
            .silent
            .iter()
            .map(|marker| self.mark(marker))
            .collect();
        if silent.is_empty() {
            String::new()
        } else {
            format!("(({}) GAP)* ", silent.join(" | "))
        }
    }
}

/// A name within a regular expression between slashes.
fn escaped(name: &str) -> String {
    let mut written = String::with_capacity(name.len());
    for character in name.chars() {
        if !character.is_ascii_alphanumeric() && character != '_' {
            written.push('\\');
        }
        written.push(character);
    }
    written
}
