//! Which parsers take the model's answers apart.

use shardline_parse::{ReasoningFormat, ToolFormat};

use crate::config::Flags;
use crate::config::problems::Check;

/// How the model's answers are taken apart.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Parsers {
    /// `--tool-call-parser`
    pub tools: ParserChoice<ToolFormat>,
    /// `--reasoning-parser`
    pub reasoning: ParserChoice<ReasoningFormat>,
}

/// Which parser.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ParserChoice<T> {
    /// The one that the model's chat template gives away.
    #[default]
    Automatic,
    /// None.
    Off,
    /// This one.
    Named(T),
}

impl<T> ParserChoice<T> {
    /// What a flag says; `None`: no parser has this name.
    pub(super) fn new(name: Option<&str>, named: fn(&str) -> Option<T>) -> Option<Self> {
        match name {
            None | Some("" | "auto") => Some(Self::Automatic),
            Some("none") => Some(Self::Off),
            Some(name) => named(name).map(Self::Named),
        }
    }
}

impl Parsers {
    /// As the flags say, once they are checked.
    pub(super) fn of(flags: &Flags) -> Self {
        let tools = ParserChoice::new(flags.tool_call_parser.as_deref(), ToolFormat::named);
        let reasoning = ParserChoice::new(flags.reasoning_parser.as_deref(), ReasoningFormat::named);
        Self {
            tools: tools.unwrap_or_default(),
            reasoning: reasoning.unwrap_or_default(),
        }
    }
}

/// The names of the parsers.
pub(super) fn check(flags: &Flags, check: &mut Check) {
    let tools = flags.tool_call_parser.as_deref();
    let names: Vec<&str> = ToolFormat::names().collect();
    check.require(
        ParserChoice::new(tools, ToolFormat::named).is_some(),
        "--tool-call-parser",
        tools.unwrap_or_default(),
        format!("it must be auto, none or one of {}", names.join(", ")),
    );
    let reasoning = flags.reasoning_parser.as_deref();
    let names: Vec<&str> = ReasoningFormat::names().collect();
    check.require(
        ParserChoice::new(reasoning, ReasoningFormat::named).is_some(),
        "--reasoning-parser",
        reasoning.unwrap_or_default(),
        format!("it must be auto, none or one of {}", names.join(", ")),
    );
}
