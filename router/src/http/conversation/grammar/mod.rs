//! The grammar that an answer follows: the model's reasoning, if it reasons, and behind it what its
//! tools and the structure that was asked for leave.
//!
//! `thought` (reasoning, and how long it may be), `forced` (a call that must come), `calls` (calls
//! that may), `arguments` (what a call must bring).

mod arguments;
mod calls;
mod forced;
mod thought;

use shardline_parse::{Begin, ReasoningFormat, Written};

use crate::http::conversation::budget::Budget;
use crate::http::conversation::choice::ToolChoice;
use crate::http::conversation::grammar::calls::Calls;
use crate::http::conversation::grammar::thought::Thought;
use crate::http::conversation::speech::Speech;
use crate::http::conversation::tools::Tools;
use crate::http::structure::{Structure, Structured};

/// Calls of one answer.
const MAX_CALLS: usize = 16;

/// What a request wants of its answer.
pub(super) struct Wanted<'a> {
    pub(super) tools: Option<&'a Tools>,
    /// A structure for the answer itself.
    pub(super) asked: Option<&'a Structured>,
    /// How the model may reason before it answers.
    pub(super) reasoning: Option<(ReasoningFormat, Begin)>,
    /// For how long.
    pub(super) budget: Option<Budget>,
    /// Whether the model's shards can follow what a request can do without.
    pub(super) grammars: bool,
}

/// What comes of it.
#[derive(Debug, Default)]
pub(super) struct Made {
    /// `None`: the answer is as the model likes.
    pub(super) structure: Option<Structured>,
    /// Wishes that cannot be kept, by their paths.
    pub(super) unheeded: Vec<String>,
}

/// An answer behind the reasoning.
enum Answer {
    /// As the model likes.
    Free,
    /// As the rule `answer` among `rules` says.
    Held {
        param: &'static str,
        rules: String,
        /// Whether white space before it is no part of it.
        spaced: bool,
    },
}

impl Wanted<'_> {
    /// The grammar for a model that speaks so.
    pub(super) fn make(&self, speech: &Speech) -> Made {
        let mut unheeded = Vec::new();
        let answer = self.answer(speech, &mut unheeded);
        let most = self.most(speech, &mut unheeded);
        let structure = self.reasoning.map(|(format, begin)| Thought {
            format,
            begin,
            marks: &speech.marks,
            most,
        });
        let structure = match (answer, structure) {
            (Answer::Free, Some(thought)) => self.budget.filter(|_| most.is_some()).map(|budget| {
                (
                    budget.param,
                    format!("{}{}", thought.before(false), thought.anything()),
                )
            }),
            (Answer::Free, None) => None,
            (Answer::Held { param, rules, spaced }, Some(thought)) => {
                Some((param, format!("{}{rules}", thought.before(spaced))))
            }
            (Answer::Held { param, rules, .. }, None) => match self.asked {
                // It comes alone, as it was asked for.
                Some(asked) if rules.is_empty() => {
                    return Made {
                        structure: Some(asked.clone()),
                        unheeded,
                    };
                }
                _ => Some((param, format!("start: answer\n{rules}"))),
            },
        };
        Made {
            structure: structure.map(|(param, source)| Structured::new(param, Structure::Lark(source))),
            unheeded,
        }
    }

    fn answer(&self, speech: &Speech, unheeded: &mut Vec<String>) -> Answer {
        let asked = |rules: String| match self.asked {
            Some(asked) => Answer::Held {
                param: asked.param,
                rules,
                spaced: true,
            },
            None => Answer::Free,
        };
        // Behind reasoning it is a part of a grammar; otherwise it comes as it was asked for.
        let alone = || {
            let behind = self.asked.filter(|_| self.reasoning.is_some());
            let rule = behind.map(|asked| format!("answer: {}\n", asked.structure.expression()));
            asked(rule.unwrap_or_default())
        };
        let Some(tools) = self.tools else { return alone() };
        let held = |rules: String| Answer::Held {
            param: "tool_choice",
            rules,
            spaced: true,
        };
        let calls = Calls {
            tools,
            spelling: speech.tools.spelling(),
            marks: &speech.marks,
        };
        let holds = speech.reads_calls && calls.can_be_held() && (self.grammars || self.asked.is_some());
        let strict = tools.list.iter().filter_map(|tool| tool.strict());
        match &tools.choice {
            ToolChoice::Named(name) => forced::named(tools, name).map_or(Answer::Free, held),
            ToolChoice::Required => held(forced::required(tools, key(&calls))),
            ToolChoice::None => alone(),
            ToolChoice::Auto if !holds => {
                unheeded.extend(strict.map(str::to_owned));
                self.or_calls(speech, &calls).map_or_else(alone, asked)
            }
            ToolChoice::Auto if self.asked.is_some() => {
                self.or_calls(speech, &calls).map_or_else(alone, asked)
            }
            ToolChoice::Auto if strict.count() > 0 => Answer::Held {
                param: "tools",
                rules: calls.within_text(),
                spaced: false,
            },
            ToolChoice::Auto => Answer::Free,
        }
    }

    /// Calls, or what was asked for.
    fn or_calls(&self, speech: &Speech, calls: &Calls<'_>) -> Option<String> {
        let asked = self.asked.filter(|_| speech.reads_calls)?;
        let expression = asked.structure.expression();
        Some(format!(
            "answer: calls | asked\nasked: {expression}\n{}",
            calls.alone()
        ))
    }

    /// Tokens that the reasoning may have, where they are counted.
    fn most(&self, speech: &Speech, unheeded: &mut Vec<String>) -> Option<u32> {
        let (budget, (format, begin)) = (self.budget?, self.reasoning?);
        let thought = Thought {
            format,
            begin,
            marks: &speech.marks,
            most: None,
        };
        if self.grammars && thought.is_counted() {
            return Some(budget.tokens);
        }
        unheeded.push(budget.param.to_owned());
        None
    }
}

/// The arguments' name within a call.
fn key(calls: &Calls<'_>) -> &'static str {
    match calls.spelling.call {
        Written::Json { arguments } | Written::Either { arguments, .. } => arguments,
        Written::Named(_) | Written::Other => "arguments",
    }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
