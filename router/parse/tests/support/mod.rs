//! A parser of a golden output, and its events in a form that is easy to compare.

use std::sync::Arc;

use serde_json::json;
use shardline_parse::{Begin, Calls, Event, OutputParser, ReasoningFormat, ToolFormat, ToolSet};

/// A model's output, and how it is to be read.
#[derive(Clone, Copy, Debug)]
pub struct Golden {
    /// Of the tool format; empty: none; `=name`: all is the arguments of this tool.
    pub format: &'static str,
    /// Of the reasoning format; empty: none; with a `+` in front it begins inside.
    pub reasoning: &'static str,
    pub text: &'static str,
    /// One line an event: `t` text, `r` reasoning, `c` call, `a` arguments, `e` end of the call.
    pub expected: &'static str,
}

pub fn parser(golden: &Golden) -> OutputParser {
    let (begin, name) = match golden.reasoning.strip_prefix('+') {
        Some(name) => (Begin::Inside, name),
        None => (Begin::Outside, golden.reasoning),
    };
    let reasoning = ReasoningFormat::named(name).map(|format| (format, begin));
    let calls = match (golden.format.strip_prefix('='), ToolFormat::named(golden.format)) {
        (Some(name), _) => Calls::Named(name.to_owned()),
        (None, Some(format)) => Calls::Format(format, Arc::new(tools())),
        (None, None) => Calls::None,
    };
    OutputParser::new(reasoning, calls)
}

/// `get_weather(city: string, days: integer)` and `now()`.
pub fn tools() -> ToolSet {
    let weather = json!({"type": "object", "properties": {
        "city": {"type": "string"},
        "days": {"type": "integer"},
        "unit": {"anyOf": [{"type": "string"}, {"type": "null"}]},
    }});
    ToolSet::new([
        ("get_weather".to_owned(), weather),
        ("now".to_owned(), json!({"type": "object", "properties": {}})),
    ])
}

/// Events with those of one kind joined, one a line.
pub fn joined(events: Vec<Event>) -> String {
    let mut all: Vec<(char, String)> = Vec::new();
    for event in events {
        let (kind, text) = match event {
            Event::Text(text) => ('t', text),
            Event::Reasoning(text) => ('r', text),
            Event::Call { name } => ('c', name),
            Event::Arguments(text) => ('a', text),
            Event::CallEnd => ('e', String::new()),
        };
        match all.last_mut() {
            Some((last, joined)) if *last == kind && "tra".contains(kind) => joined.push_str(&text),
            _ => all.push((kind, text)),
        }
    }
    let lines = all.iter().map(|(kind, text)| format!("{kind} {text:?}"));
    lines.collect::<Vec<_>>().join("\n")
}

/// What pieces give.
pub fn parse<'a>(golden: &Golden, pieces: impl IntoIterator<Item = &'a str>) -> String {
    let mut parser = parser(golden);
    let mut events = Vec::new();
    for piece in pieces {
        events.extend(parser.push(piece));
    }
    events.extend(parser.finish());
    joined(events)
}
