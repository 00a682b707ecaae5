//! What a parser tells, and how it is gathered.

/// A part of an answer. Parts of one kind that follow each other belong together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The model thinks.
    Reasoning(String),
    /// The model speaks.
    Text(String),
    /// A call begins.
    Call {
        /// The tool's name.
        name: String,
    },
    /// A piece of the JSON text of the call's arguments.
    Arguments(String),
    /// The call is whole. Missing behind a call that the end of the text cut off.
    CallEnd,
}

/// Gathers events. White space between text and what is not text belongs to neither: it waits for
/// more text and is left out where none comes.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sink {
    events: Vec<Event>,
    text: Flow,
    reasoning: Flow,
    /// Whether the open call has arguments.
    has_arguments: bool,
    /// Whether text came since the last call or reasoning.
    spoke: bool,
    /// Whether there was a call or reasoning.
    parted: bool,
}

/// One kind of text.
#[derive(Clone, Debug, Default)]
struct Flow {
    /// White space that waits.
    gap: String,
    begun: bool,
}

impl Flow {
    /// What is to be told now that `character` came; `lead`: whether white space in front counts.
    fn take(&mut self, character: char, lead: bool) -> Option<String> {
        if character.is_whitespace() {
            if self.begun || lead {
                self.gap.push(character);
            }
            return None;
        }
        self.begun = true;
        let mut piece = std::mem::take(&mut self.gap);
        piece.push(character);
        Some(piece)
    }
}

impl Sink {
    pub(crate) fn text(&mut self, text: &str) {
        for character in text.chars() {
            let lead = !self.parted;
            if let Some(piece) = self.text.take(character, lead) {
                self.spoke = true;
                match self.events.last_mut() {
                    Some(Event::Text(text)) => text.push_str(&piece),
                    _ => self.events.push(Event::Text(piece)),
                }
            }
        }
    }

    pub(crate) fn reasoning(&mut self, character: char) {
        self.part();
        if let Some(piece) = self.reasoning.take(character, false) {
            match self.events.last_mut() {
                Some(Event::Reasoning(text)) => text.push_str(&piece),
                _ => self.events.push(Event::Reasoning(piece)),
            }
        }
    }

    /// What follows is apart from what was.
    pub(crate) fn part(&mut self) {
        if !self.parted && !self.text.begun {
            self.text.gap.clear();
        }
        self.parted = true;
        self.spoke = false;
    }

    pub(crate) fn call(&mut self, name: &str) {
        self.part();
        self.has_arguments = false;
        self.events.push(Event::Call {
            name: name.to_owned(),
        });
    }

    /// Takes the text out of `arguments`.
    pub(crate) fn arguments(&mut self, arguments: &mut String) {
        if arguments.is_empty() {
            return;
        }
        self.has_arguments = true;
        match self.events.last_mut() {
            Some(Event::Arguments(text)) => text.push_str(arguments),
            _ => self.events.push(Event::Arguments(arguments.clone())),
        }
        arguments.clear();
    }

    /// The open call is whole.
    pub(crate) fn call_end(&mut self) {
        if !self.has_arguments {
            self.arguments(&mut "{}".to_owned());
        }
        self.events.push(Event::CallEnd);
    }

    /// Whether text came since the last call or reasoning.
    pub(crate) fn spoke(&self) -> bool {
        self.spoke
    }

    /// The text is over: white space at its end belongs to it when there is nothing but text.
    pub(crate) fn finish(&mut self) {
        let gap = std::mem::take(&mut self.text.gap);
        if self.parted || gap.is_empty() {
            return;
        }
        match self.events.last_mut() {
            Some(Event::Text(text)) => text.push_str(&gap),
            _ => self.events.push(Event::Text(gap)),
        }
    }

    pub(crate) fn take(&mut self) -> Vec<Event> {
        std::mem::take(&mut self.events)
    }
}
