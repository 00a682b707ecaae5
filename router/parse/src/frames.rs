//! Finds calls in a model's text: what stands around them, and which reader reads them.
//!
//! ## Text → Items
//! At an opening marker, or, where a format has none, at a bracket that begins the text.
//! ## Items → Call
//! At the first character of a call. Brackets and commas of a list pass.
//! ## Call → Items | Text
//! At the call's end; or where it turns out to be none: then all since the marker is text.
//! ## Items → Text
//! At anything else. A closing marker behind a call is left out.

use std::sync::Arc;

use crate::event::Sink;
use crate::markers::Markers;
use crate::read::{Header, JsonCall, NamedCall, PythonCall, ReadCall, Step, TaggedCall, in_name};
use crate::tools::ToolSet;

/// How a call itself is written.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Item {
    /// `{"name": …, "arguments": …}`, alone or in a list.
    Json,
    /// `name<sep>{…}`
    Named(Header),
    /// Either; the first character tells.
    JsonOrNamed(Header),
    /// `[name(key=value)]`
    Python,
    /// `<function=name>…`
    Tagged,
}

/// What stands around calls.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shape {
    /// Markers before calls.
    pub(crate) opens: &'static [&'static str],
    /// Markers that are the beginning of a call as well.
    pub(crate) begins: &'static [&'static str],
    /// Markers behind calls.
    pub(crate) closes: &'static [&'static str],
    /// Markers that say nothing.
    pub(crate) silent: &'static [&'static str],
    /// The bracket that begins a call without a marker, when the text begins with it and the tool
    /// is known.
    pub(crate) bare: &'static [char],
    pub(crate) item: Item,
}

/// The state machine of one text.
#[derive(Debug)]
pub(crate) struct Frames {
    shape: &'static Shape,
    tools: Arc<ToolSet>,
    markers: Markers,
    state: State,
    /// Text since the marker or bracket, until it is sure that there is a call.
    raw: String,
    frame: Frame,
    /// Nothing but white space and calls so far.
    at_start: bool,
    /// A closing marker is still to come.
    unclosed: bool,
}

#[derive(Debug)]
enum State {
    Text,
    Items,
    Call { reader: Box<dyn ReadCall>, begun: bool },
}

/// The stretch of calls at hand.
#[derive(Clone, Copy, Debug, Default)]
struct Frame {
    /// Begun by a bracket: names have to be known.
    bare: bool,
    /// Calls in it so far.
    calls: usize,
    /// Bytes of its marker in `raw`; 0 once there was a call.
    marker: usize,
}

impl Frames {
    pub(crate) fn new(shape: &'static Shape, tools: Arc<ToolSet>) -> Self {
        let kinds = [shape.opens, shape.begins, shape.closes, shape.silent];
        Self {
            shape,
            tools,
            markers: Markers::new(kinds.concat()),
            state: State::Text,
            raw: String::new(),
            frame: Frame::default(),
            at_start: true,
            unclosed: false,
        }
    }

    pub(crate) fn step(&mut self, character: char, sink: &mut Sink) {
        match self.state {
            State::Text => self.text(character, sink),
            State::Items => self.items(character, sink),
            State::Call { .. } => self.call(character, sink),
        }
    }

    /// Whether nothing is held back.
    pub(crate) fn at_rest(&self) -> bool {
        matches!(self.state, State::Text) && self.markers.at_rest()
    }

    /// The text is over.
    pub(crate) fn finish(&mut self, sink: &mut Sink) {
        if let State::Call { reader, begun: true } = &mut self.state {
            // A call that was cut off stays open.
            return sink.arguments(reader.arguments());
        }
        if !matches!(self.state, State::Text) {
            self.leave(sink);
        }
        let mut rest = String::new();
        self.markers.finish(&mut rest);
        sink.text(&rest);
    }

    fn text(&mut self, character: char, sink: &mut Sink) {
        if self.at_start && self.markers.at_rest() && self.shape.bare.contains(&character) {
            self.open(true);
            return self.items(character, sink);
        }
        let mut free = String::new();
        let found = self.markers.step(character, &mut free);
        self.say(&free, sink);
        let Some(found) = found else { return };
        let marker = self.markers.text(found);
        let is = |markers: &[&str]| markers.contains(&marker);
        if is(self.shape.opens) {
            self.open(false);
            self.raw.push_str(marker);
            self.frame.marker = marker.len();
        } else if is(self.shape.begins) {
            self.open(false);
            marker.chars().for_each(|character| self.step(character, sink));
        } else if is(self.shape.closes) && !std::mem::take(&mut self.unclosed) {
            self.say(marker, sink);
        }
    }

    fn say(&mut self, text: &str, sink: &mut Sink) {
        self.at_start &= text.chars().all(char::is_whitespace);
        sink.text(text);
    }

    fn open(&mut self, bare: bool) {
        self.frame = Frame {
            bare,
            ..Frame::default()
        };
        self.raw.clear();
        self.state = State::Items;
        self.unclosed = false;
    }

    fn items(&mut self, character: char, sink: &mut Sink) {
        if let Some(reader) = self.reader_for(character) {
            self.state = State::Call { reader, begun: false };
            return self.call(character, sink);
        }
        let between = self.frame.calls > 0 && ",;".contains(character);
        if between || character.is_whitespace() || "[]".contains(character) {
            self.raw.push(character);
            return;
        }
        self.leave(sink);
        self.text(character, sink);
    }

    fn reader_for(&self, character: char) -> Option<Box<dyn ReadCall>> {
        let named = |header: Header| -> Option<Box<dyn ReadCall>> {
            let fits = in_name(character) && self.frame.calls == 0;
            fits.then(|| Box::new(NamedCall::new(header)) as Box<dyn ReadCall>)
        };
        match self.shape.item {
            Item::Json | Item::JsonOrNamed(_) if character == '{' => Some(Box::new(JsonCall::default())),
            Item::Named(header) | Item::JsonOrNamed(header) => named(header),
            Item::Python if in_name(character) => Some(Box::new(PythonCall::default())),
            Item::Tagged if character == '<' => Some(Box::new(TaggedCall::new(self.tools.clone()))),
            _ => None,
        }
    }

    fn call(&mut self, character: char, sink: &mut Sink) {
        let State::Call { reader, begun } = &mut self.state else {
            return;
        };
        let step = reader.step(character);
        if !*begun && step != Step::Refused {
            self.raw.push(character);
        }
        if let Some(name) = reader.name() {
            if !*begun && step != Step::Refused {
                if self.frame.bare && !self.tools.contains(name) {
                    return self.leave(sink);
                }
                sink.call(name);
                *begun = true;
                self.raw.clear();
                self.frame.calls += 1;
                self.frame.marker = 0;
            }
            if *begun {
                sink.arguments(reader.arguments());
            }
        }
        if step == Step::More {
            return;
        }
        let begun = *begun;
        let unread = reader.unread();
        if begun {
            sink.call_end();
        }
        match step {
            Step::More | Step::Done => self.state = State::Items,
            Step::DoneBefore => {
                self.state = State::Items;
                for character in unread.chars().chain([character]) {
                    self.step(character, sink);
                }
            }
            Step::Refused => {
                self.leave(sink);
                for character in unread.chars().chain([character]) {
                    self.text(character, sink);
                }
            }
        }
    }

    /// Ends a stretch of calls; what of it was no call is text.
    fn leave(&mut self, sink: &mut Sink) {
        let after_call = self.frame.calls > 0;
        self.state = State::Text;
        self.unclosed = !self.frame.bare && after_call;
        self.at_start = false;
        let raw = std::mem::take(&mut self.raw);
        // Another marker may have begun.
        let tail = self
            .markers
            .begun_in(raw.get(self.frame.marker..).unwrap_or_default());
        let (told, tail) = raw.split_at(raw.len() - tail);
        let is_separator = |character: char| "[],;".contains(character);
        if after_call && told.chars().all(|c| c.is_whitespace() || is_separator(c)) {
            sink.text(&told.replace(is_separator, ""));
        } else {
            sink.text(told);
        }
        for character in tail.chars() {
            self.text(character, sink);
        }
    }
}
