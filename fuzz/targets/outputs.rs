//! Any text as a model's output, in every way in which calls are spelled: split anywhere it gives
//! the same events.
#![no_main]

use std::sync::Arc;

use libfuzzer_sys::fuzz_target;
use serde_json::json;
use shardline_parse::{Begin, Calls, Event, OutputParser, ReasoningFormat, ToolFormat, ToolSet};

fuzz_target!(|input: (u8, bool, &str, Vec<u8>)| {
    let (format, thinks, text, cuts) = input;
    let names: Vec<&str> = ToolFormat::names().collect();
    let format = ToolFormat::named(names[usize::from(format) % names.len()]).unwrap();
    let tools = || {
        let tool = ("get_weather".to_owned(), json!({"type": "object"}));
        Arc::new(ToolSet::new([tool]))
    };
    let parser = || {
        let thinking = ReasoningFormat::names().next().and_then(ReasoningFormat::named);
        let reasoning = thinking.filter(|_| thinks).map(|format| (format, Begin::Outside));
        OutputParser::new(reasoning, Calls::Format(format, tools()))
    };
    let whole = events(parser(), [text]);
    let mut pieces = Vec::new();
    let mut rest = text;
    for cut in cuts {
        let mut at = usize::from(cut).min(rest.len());
        while !rest.is_char_boundary(at) {
            at -= 1;
        }
        let (piece, tail) = rest.split_at(at);
        pieces.push(piece);
        rest = tail;
    }
    pieces.push(rest);
    assert_eq!(events(parser(), pieces), whole);
});

/// All events, those of one kind that follow each other joined.
fn events<'a>(mut parser: OutputParser, pieces: impl IntoIterator<Item = &'a str>) -> Vec<Event> {
    let mut all: Vec<Event> = Vec::new();
    for piece in pieces {
        all.extend(parser.push(piece));
    }
    all.extend(parser.finish());
    let mut joined: Vec<Event> = Vec::new();
    for event in all {
        match (joined.last_mut(), event) {
            (Some(Event::Text(last)), Event::Text(more))
            | (Some(Event::Reasoning(last)), Event::Reasoning(more))
            | (Some(Event::Arguments(last)), Event::Arguments(more)) => last.push_str(&more),
            (_, event) => joined.push(event),
        }
    }
    joined
}
