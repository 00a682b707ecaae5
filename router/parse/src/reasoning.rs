//! Tells a model's reasoning from its answer by the tags around it.

use crate::markers::Markers;

/// The tags of a family of models.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReasoningFormat {
    name: &'static str,
    open: &'static str,
    close: &'static str,
    /// Whether an answer begins within reasoning although the prompt does not say so.
    always: bool,
}

/// Where an answer begins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Begin {
    /// Outside: reasoning begins with its tag.
    #[default]
    Outside,
    /// Within reasoning.
    Inside,
}

const fn tags(name: &'static str, open: &'static str, close: &'static str, always: bool) -> ReasoningFormat {
    ReasoningFormat {
        name,
        open,
        close,
        always,
    }
}

/// Names are those that `--reasoning-parser` takes.
const FORMATS: &[ReasoningFormat] = &[
    tags("think", "<think>", "</think>", false),
    tags("qwen3", "<think>", "</think>", false),
    tags("deepseek_r1", "<think>", "</think>", true),
    tags("deepseek_v3", "<think>", "</think>", false),
    tags("glm45", "<think>", "</think>", false),
    tags("kimi_k2", "<think>", "</think>", false),
    tags("minimax_m2", "<think>", "</think>", true),
    tags("nemotron_v3", "<think>", "</think>", false),
    tags("olmo3", "<think>", "</think>", true),
    tags("step3", "<think>", "</think>", true),
    tags("mistral", "[THINK]", "[/THINK]", false),
    tags("seed_oss", "<seed:think>", "</seed:think>", false),
    tags(
        "granite",
        "Here is my thought process:",
        "Here is my response:",
        false,
    ),
];

impl ReasoningFormat {
    /// The format of a name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        FORMATS.iter().copied().find(|format| format.name == name)
    }

    /// All names.
    pub fn names() -> impl Iterator<Item = &'static str> {
        FORMATS.iter().map(|format| format.name)
    }

    /// The format whose closing tag a chat template knows.
    #[must_use]
    pub fn of_template(template: &str) -> Option<Self> {
        let found = ["seed_oss", "mistral", "think"].iter().find_map(|name| {
            let format = Self::named(name)?;
            template.contains(format.close).then_some(format)
        });
        // Templates that cut reasoning out of earlier answers may know the tag in pieces.
        found.or_else(|| {
            template
                .contains("<think>")
                .then(|| Self::named("think"))
                .flatten()
        })
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// The tags.
    #[must_use]
    pub fn markers(&self) -> [&'static str; 2] {
        [self.open, self.close]
    }

    /// Where an answer to this prompt begins: a template may open, or end, the reasoning itself.
    #[must_use]
    pub fn begin(&self, prompt: &str) -> Begin {
        let prompt = prompt.trim_end();
        if prompt.ends_with(self.open) || (self.always && !prompt.ends_with(self.close)) {
            Begin::Inside
        } else {
            Begin::Outside
        }
    }

    /// Where the rest of a message that began with `text` begins.
    #[must_use]
    pub fn begin_within(&self, text: &str) -> Begin {
        match (text.rfind(self.open), text.rfind(self.close)) {
            (Some(open), Some(close)) if open > close => Begin::Inside,
            (Some(_), None) => Begin::Inside,
            _ => Begin::Outside,
        }
    }
}

/// What a character turned out to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    Reasoning,
    Answer,
}

/// Follows the tags of one answer.
#[derive(Debug)]
pub(crate) struct Reasoning {
    markers: Markers,
    inside: bool,
    /// Whether the reasoning at hand has no visible character yet.
    empty: bool,
}

const OPEN: usize = 0;

impl Reasoning {
    pub(crate) fn new(format: ReasoningFormat, begin: Begin) -> Self {
        Self {
            markers: Markers::new(vec![format.open, format.close]),
            inside: begin == Begin::Inside,
            empty: true,
        }
    }

    pub(crate) fn inside(&self) -> bool {
        self.inside
    }

    /// Takes a character; `fresh`: whether no text came since the last call or reasoning, so that
    /// a tag is one. In the middle of a text it is a part of the text.
    pub(crate) fn step(&mut self, character: char, fresh: bool, mut tell: impl FnMut(Part, &str)) {
        let mut free = String::new();
        let found = self.markers.step(character, &mut free);
        self.tell_free(&free, &mut tell);
        let Some(found) = found else { return };
        let visible = free.chars().any(|character| !character.is_whitespace());
        match (self.inside, found == OPEN) {
            // The model repeats the tag that the prompt ends with.
            (true, true) if self.empty => {}
            (true, true) => tell(Part::Reasoning, self.markers.text(found)),
            (true, false) => self.inside = false,
            (false, true) if fresh && !visible => {
                self.inside = true;
                self.empty = true;
            }
            // The end of what never began.
            (false, false) if fresh && !visible => {}
            (false, _) => tell(Part::Answer, self.markers.text(found)),
        }
    }

    pub(crate) fn finish(&mut self, mut tell: impl FnMut(Part, &str)) {
        let mut free = String::new();
        self.markers.finish(&mut free);
        self.tell_free(&free, &mut tell);
    }

    fn tell_free(&mut self, free: &str, tell: &mut impl FnMut(Part, &str)) {
        if free.is_empty() {
            return;
        }
        if self.inside {
            self.empty &= free.chars().all(char::is_whitespace);
            tell(Part::Reasoning, free);
        } else {
            tell(Part::Answer, free);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_prompt_tells_where_the_answer_begins() {
        let begin = |name, prompt| ReasoningFormat::named(name).unwrap().begin(prompt);
        assert_eq!(begin("qwen3", "<|im_start|>assistant\n<think>\n"), Begin::Inside);
        assert_eq!(begin("qwen3", "<think>\n\n</think>\n\n"), Begin::Outside);
        assert_eq!(begin("qwen3", "<|im_start|>assistant\n"), Begin::Outside);
        assert_eq!(begin("deepseek_r1", "<|Assistant|>"), Begin::Inside);
        assert_eq!(begin("deepseek_r1", "<|Assistant|></think>"), Begin::Outside);
        let within = |text| ReasoningFormat::named("think").unwrap().begin_within(text);
        assert_eq!(within("<think>a"), Begin::Inside);
        assert_eq!(within("<think>a</think>b"), Begin::Outside);
        assert_eq!(within("b"), Begin::Outside);
    }

    #[test]
    fn templates_tell_their_tags() {
        let of = |template| ReasoningFormat::of_template(template).map(|format| format.name());
        assert_eq!(of("{{ content.split('</think>')[-1] }}"), Some("think"));
        assert_eq!(of("[THINK]x[/THINK]"), Some("mistral"));
        assert_eq!(of("{{ message.content }}"), None);
    }
}
