//! Any text as a model's output, in every way in which calls and reasoning are spelled: split
//! anywhere it gives the same events, and these are calls as a client may expect them.
//!
//! The first line: the tool format and the reasoning format, then the lengths of the pieces.
#![no_main]

use std::sync::{Arc, LazyLock};

use libfuzzer_sys::fuzz_target;
use serde_json::json;
use shardline_fuzz::{characters, headed, pieces};
use shardline_parse::{Begin, Calls, Event, OutputParser, ReasoningFormat, ToolFormat, ToolSet};

static TOOLS: LazyLock<Arc<ToolSet>> = LazyLock::new(|| {
    let weather = json!({"type": "object", "properties": {
        "city": {"type": "string"}, "days": {"type": "integer"}, "unit": {"anyOf": [{"type": "string"}, {"type": "null"}]},
    }});
    Arc::new(ToolSet::new([
        ("get_weather".to_owned(), weather),
        ("now".to_owned(), json!({"type": "object"})),
    ]))
});

/// `hermes +think 3 1 4`: the reasoning has begun; `=now`: all of it is arguments; `-`: none.
struct Choice<'a> {
    calls: Calls,
    reasoning: Option<(ReasoningFormat, Begin)>,
    lengths: Vec<u8>,
    format: &'a str,
}

fn choice(head: &str) -> Option<Choice<'_>> {
    let mut words = head.split(' ');
    let format = words.next()?;
    let calls = match format.strip_prefix('=') {
        Some(name) => Calls::Named(name.to_owned()),
        None if format == "-" => Calls::None,
        None => Calls::Format(ToolFormat::named(format)?, TOOLS.clone()),
    };
    let reasoning = match words.next()? {
        "-" => None,
        name => match name.strip_prefix('+') {
            Some(name) => Some((ReasoningFormat::named(name)?, Begin::Inside)),
            None => Some((ReasoningFormat::named(name)?, Begin::Outside)),
        },
    };
    let lengths = words.map_while(|word| word.parse().ok()).collect();
    Some(Choice {
        calls,
        reasoning,
        lengths,
        format,
    })
}

/// All events, those of one kind that follow each other joined.
fn events<'a>(choice: &Choice, pieces: impl IntoIterator<Item = &'a str>) -> Vec<Event> {
    let mut parser = OutputParser::new(choice.reasoning, choice.calls.clone());
    let mut joined: Vec<Event> = Vec::new();
    let mut add = |events: Vec<Event>| {
        for event in events {
            match (joined.last_mut(), event) {
                (Some(Event::Text(last)), Event::Text(more))
                | (Some(Event::Reasoning(last)), Event::Reasoning(more))
                | (Some(Event::Arguments(last)), Event::Arguments(more)) => last.push_str(&more),
                (_, event) => joined.push(event),
            }
        }
    };
    for piece in pieces {
        add(parser.push(piece));
    }
    add(parser.finish());
    joined
}

/// Arguments stand within a call, a call ends before anything else comes, and all but the last end.
fn well_formed(events: &[Event]) -> bool {
    let mut open = false;
    events.iter().all(|event| match event {
        Event::Call { .. } => !std::mem::replace(&mut open, true),
        Event::Arguments(text) => open && !text.is_empty(),
        Event::CallEnd => std::mem::replace(&mut open, false),
        Event::Text(text) | Event::Reasoning(text) => !open && !text.is_empty(),
    })
}

fuzz_target!(|data: &[u8]| {
    let Some((head, text)) = headed(data) else { return };
    let (Some(choice), Ok(text)) = (choice(head), std::str::from_utf8(text)) else {
        return;
    };
    let whole = events(&choice, [text]);
    assert!(well_formed(&whole), "{}: {text:?}: {whole:?}", choice.format);
    assert_eq!(
        events(&choice, characters(text)),
        whole,
        "{} letter by letter: {text:?}",
        choice.format
    );
    let cut = pieces(text, &choice.lengths);
    assert_eq!(
        events(&choice, cut.clone()),
        whole,
        "{} in pieces: {cut:?}",
        choice.format
    );
});
