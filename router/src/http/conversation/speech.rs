//! How the model at hand marks its reasoning and spells its calls.

use std::sync::Arc;

use shardline_parse::{CallIds, ReasoningFormat, ToolFormat};
use shardline_text::{ModelText, Tokenizer};

use crate::config::{ParserChoice, Parsers};
use crate::http::conversation::marks::Marks;

/// Known once the model's text side is loaded.
#[derive(Clone, Debug)]
pub struct Speech {
    /// Of calls.
    pub(super) tools: ToolFormat,
    /// Whether calls are looked for at all.
    pub(super) reads_calls: bool,
    /// Of reasoning, for a model that reasons aloud.
    pub(super) reasoning: Option<ReasoningFormat>,
    /// Special tokens that mark calls, and those that mark reasoning.
    pub(super) call_tokens: Arc<[u32]>,
    pub(super) reasoning_tokens: Arc<[u32]>,
    /// For grammars.
    pub(super) marks: Arc<Marks>,
}

impl Speech {
    /// As the flags say, or else as the chat template gives away.
    #[must_use]
    pub fn new(parsers: Parsers, model: &ModelText) -> Self {
        let templates = model.templates.as_ref();
        let template = templates.and_then(|templates| templates.tool_template());
        let tells = templates.is_some_and(|templates| templates.tells_tools());
        let given_away = || {
            // A template that tells of no tools gets a description that asks for this spelling.
            let name = if tells { "json" } else { "hermes" };
            template
                .and_then(ToolFormat::of_template)
                .or_else(|| ToolFormat::named(name))
        };
        let tools = match parsers.tools {
            ParserChoice::Named(format) => format,
            ParserChoice::Automatic | ParserChoice::Off => given_away().unwrap_or_else(ToolFormat::json),
        };
        let reasoning = match parsers.reasoning {
            ParserChoice::Named(format) => Some(format),
            ParserChoice::Automatic => template.and_then(ReasoningFormat::of_template),
            ParserChoice::Off => None,
        };
        let markers = reasoning.iter().flat_map(ReasoningFormat::markers);
        let ends = &model.generation.eos_token_ids;
        let marks = Marks::new(&model.tokenizer, &tools.spelling(), reasoning, ends);
        Self {
            marks: Arc::new(marks),
            tools,
            reads_calls: parsers.tools != ParserChoice::Off,
            reasoning,
            reasoning_tokens: special(&model.tokenizer, markers.clone()),
            call_tokens: special(&model.tokenizer, tools.markers().chain(markers)),
        }
    }

    /// What ids of calls look like.
    pub(super) fn ids(&self) -> CallIds {
        self.tools.ids()
    }
}

/// Markers that are special tokens, which a decoder would leave out.
fn special(tokenizer: &Tokenizer, markers: impl Iterator<Item = &'static str>) -> Arc<[u32]> {
    markers
        .filter_map(|marker| tokenizer.token_id(marker))
        .filter(|id| tokenizer.is_special(*id))
        .collect()
}
