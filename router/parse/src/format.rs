//! The ways in which families of models spell calls: a table, and how a chat template gives its
//! model's away.

use crate::frames::{Item, Shape};
use crate::read::Header;
use crate::spelling::{Named, Written};

/// One way to spell calls.
#[derive(Clone, Copy, Debug)]
pub struct ToolFormat(&'static Entry);

impl PartialEq for ToolFormat {
    fn eq(&self, other: &Self) -> bool {
        self.name() == other.name()
    }
}

impl Eq for ToolFormat {}

#[derive(Debug)]
struct Entry {
    /// As `--tool-call-parser` takes it.
    name: &'static str,
    shape: Shape,
    ids: CallIds,
    written: Written,
}

/// What ids of calls look like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CallIds {
    /// Of any length.
    Long,
    /// Nine letters and digits: the model's template takes no others.
    Nine,
}

const PLAIN: Shape = Shape {
    opens: &[],
    begins: &[],
    closes: &[],
    silent: &[],
    bare: &[],
    item: Item::Json,
};

const HERMES: Shape = Shape {
    opens: &["<tool_call>"],
    closes: &["</tool_call>"],
    ..PLAIN
};

const PYTHONIC: Shape = Shape {
    opens: &["<|python_start|>", "<|python_tag|>"],
    silent: &["<|python_end|>"],
    bare: &['['],
    item: Item::Python,
    ..PLAIN
};

const fn entry(name: &'static str, shape: Shape) -> Entry {
    Entry {
        name,
        shape,
        ids: CallIds::Long,
        written: match shape.item {
            Item::Json => Written::Json {
                arguments: "arguments",
            },
            Item::JsonOrNamed(_) => Written::Either {
                arguments: "arguments",
                between: "[ARGS]",
            },
            Item::Named(_) | Item::Python | Item::Tagged => Written::Other,
        },
    }
}

/// JSON with another key than most have.
const PARAMETERS: Written = Written::Json {
    arguments: "parameters",
};

/// A name, what separates it from the arguments, and the arguments.
const fn named(between: &'static str) -> Written {
    Written::Named(Named {
        before: "",
        numbered: false,
        between,
    })
}

const FORMATS: &[Entry] = &[
    entry("hermes", HERMES),
    Entry {
        written: PARAMETERS,
        ..entry(
            "llama3_json",
            Shape {
                opens: &["<|python_tag|>"],
                bare: &['{'],
                ..PLAIN
            },
        )
    },
    Entry {
        written: PARAMETERS,
        ..entry(
            "llama4_json",
            Shape {
                opens: &["<|python_start|>"],
                silent: &["<|python_end|>"],
                bare: &['{'],
                ..PLAIN
            },
        )
    },
    Entry {
        ids: CallIds::Nine,
        ..entry(
            "mistral",
            Shape {
                opens: &["[TOOL_CALLS]"],
                item: Item::JsonOrNamed(Header {
                    separators: &["[ARGS]"],
                    name: before_call_id,
                }),
                ..PLAIN
            },
        )
    },
    entry("pythonic", PYTHONIC),
    entry("llama4_pythonic", PYTHONIC),
    entry(
        "olmo3",
        Shape {
            opens: &["<function_calls>"],
            closes: &["</function_calls>"],
            item: Item::Python,
            ..PLAIN
        },
    ),
    Entry {
        written: named("\n```json\n"),
        ..entry(
            "deepseek_v3",
            Shape {
                opens: &["<｜tool▁call▁begin｜>function<｜tool▁sep｜>"],
                closes: &[
                    "\n```<｜tool▁call▁end｜>",
                    "```<｜tool▁call▁end｜>",
                    "<｜tool▁call▁end｜>",
                ],
                silent: &["<｜tool▁calls▁begin｜>", "<｜tool▁calls▁end｜>"],
                item: Item::Named(Header {
                    separators: &["```json"],
                    name: whole,
                }),
                ..PLAIN
            },
        )
    },
    Entry {
        written: named("<｜tool▁sep｜>"),
        ..entry(
            "deepseek_v31",
            Shape {
                opens: &["<｜tool▁call▁begin｜>"],
                closes: &["<｜tool▁call▁end｜>"],
                silent: &["<｜tool▁calls▁begin｜>", "<｜tool▁calls▁end｜>"],
                item: Item::Named(Header {
                    separators: &["<｜tool▁sep｜>"],
                    name: whole,
                }),
                ..PLAIN
            },
        )
    },
    Entry {
        written: Written::Named(Named {
            before: "functions.",
            numbered: true,
            between: "<|tool_call_argument_begin|>",
        }),
        ..entry(
            "kimi_k2",
            Shape {
                opens: &["<|tool_call_begin|>"],
                closes: &["<|tool_call_end|>"],
                silent: &["<|tool_calls_section_begin|>", "<|tool_calls_section_end|>"],
                item: Item::Named(Header {
                    separators: &["<|tool_call_argument_begin|>"],
                    name: without_namespace_and_number,
                }),
                ..PLAIN
            },
        )
    },
    entry("qwen3_coder", TAGGED),
    entry("qwen3_xml", TAGGED),
    entry(
        "granite",
        Shape {
            opens: &["<|tool_call|>", "<tool_call>"],
            ..PLAIN
        },
    ),
    entry(
        "jamba",
        Shape {
            opens: &["<tool_calls>"],
            closes: &["</tool_calls>"],
            ..PLAIN
        },
    ),
    entry(
        "phi4_mini_json",
        Shape {
            opens: &["functools"],
            ..PLAIN
        },
    ),
    Entry {
        written: PARAMETERS,
        ..entry(
            "internlm",
            Shape {
                opens: &["<|plugin|>"],
                closes: &["<|action_end|>"],
                silent: &["<|action_start|>"],
                ..PLAIN
            },
        )
    },
    entry(
        "json",
        Shape {
            bare: &['{', '['],
            ..PLAIN
        },
    ),
];

const TAGGED: Shape = Shape {
    opens: &["<tool_call>"],
    begins: &["<function="],
    closes: &["</tool_call>"],
    item: Item::Tagged,
    ..PLAIN
};

fn whole(header: &str) -> &str {
    header
}

/// `name[CALL_ID]id`
fn before_call_id(header: &str) -> &str {
    header.split("[CALL_ID]").next().unwrap_or_default()
}

/// `functions.name:0`
fn without_namespace_and_number(header: &str) -> &str {
    let name = header.strip_prefix("functions.").unwrap_or(header);
    match name.rsplit_once(':') {
        Some((name, number)) if number.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => name,
    }
}

/// What a template holds whose model spells calls so; the first that fits counts.
const SIGNS: &[(&str, &[&str])] = &[
    ("qwen3_coder", &["<function="]),
    ("deepseek_v3", &["<｜tool▁call▁begin｜>", "```json"]),
    ("deepseek_v31", &["<｜tool▁call▁begin｜>"]),
    ("kimi_k2", &["<|tool_call_begin|>"]),
    ("mistral", &["[TOOL_CALLS]"]),
    ("olmo3", &["<function_calls>"]),
    ("jamba", &["<tool_calls>"]),
    ("granite", &["<|tool_call|>"]),
    ("hermes", &["<tool_call>"]),
    ("phi4_mini_json", &["functools"]),
    ("internlm", &["<|plugin|>"]),
    ("llama4_pythonic", &["<|python_start|>"]),
    ("pythonic", &["func_name1("]),
    ("llama3_json", &["<|python_tag|>"]),
    ("llama3_json", &["\"parameters\":", "<|start_header_id|>"]),
];

impl ToolFormat {
    /// The format of a name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        FORMATS.iter().find(|entry| entry.name == name).map(Self)
    }

    /// All names.
    pub fn names() -> impl Iterator<Item = &'static str> {
        FORMATS.iter().map(|entry| entry.name)
    }

    /// The format that a chat template gives away.
    #[must_use]
    pub fn of_template(template: &str) -> Option<Self> {
        SIGNS
            .iter()
            .find(|(_, signs)| signs.iter().all(|sign| template.contains(sign)))
            .and_then(|(name, _)| Self::named(name))
    }

    /// The format of the list that a grammar makes a model write.
    #[must_use]
    pub fn json() -> Self {
        Self(JSON)
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.0.name
    }

    /// What ids of its calls look like.
    #[must_use]
    pub fn ids(&self) -> CallIds {
        self.0.ids
    }

    /// Every marker. Some of them are special tokens, which a decoder has to keep.
    pub fn markers(&self) -> impl Iterator<Item = &'static str> {
        let shape = &self.0.shape;
        let separators = match shape.item {
            Item::Named(header) | Item::JsonOrNamed(header) => header.separators,
            Item::Json | Item::Python | Item::Tagged => &[],
        };
        let mistral = matches!(shape.item, Item::JsonOrNamed(_)).then_some("[CALL_ID]");
        let all = [shape.opens, shape.begins, shape.closes, shape.silent, separators];
        all.into_iter().flatten().copied().chain(mistral)
    }

    pub(crate) fn written(&self) -> Written {
        self.0.written
    }

    pub(crate) fn shape(&self) -> &'static Shape {
        &self.0.shape
    }
}

/// The generic one, which is the last of the table.
const JSON: &Entry = &FORMATS[FORMATS.len() - 1];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_marker_begins_with_another() {
        for entry in FORMATS {
            let shape = &entry.shape;
            let all = [shape.opens, shape.begins, shape.closes, shape.silent].concat();
            for (at, marker) in all.iter().enumerate() {
                let others = all.iter().enumerate().filter(|(other, _)| *other != at);
                for (_, other) in others {
                    assert!(!other.starts_with(marker), "{}: {marker} {other}", entry.name);
                }
            }
        }
    }

    #[test]
    fn every_sign_names_a_format_and_names_are_known_once() {
        for (name, _) in SIGNS {
            assert!(ToolFormat::named(name).is_some(), "{name}");
        }
        let mut names: Vec<_> = ToolFormat::names().collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), FORMATS.len());
        assert_eq!(ToolFormat::json().name(), "json");
    }
}
