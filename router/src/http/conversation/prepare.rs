//! From a conversation to a prompt that may run, and to how its answer is read.

use std::sync::Arc;
use std::time::Instant;

use shardline_text::ModelText;

use crate::http::app::{App, Served};
use crate::http::conversation::described::text_of;
use crate::http::conversation::grammar::Wanted;
use crate::http::conversation::reading::Reading;
use crate::http::conversation::render::{encode, render};
use crate::http::conversation::shorten;
use crate::http::conversation::speech::Speech;
use crate::http::conversation::validate::Conversation;
use crate::http::decoding::{Decoding, Limits};
use crate::http::error::ApiError;
use crate::http::fields::Ignored;
use crate::http::prompt::{self, Origin, Truncation};
use crate::http::start::{Ready, TextRules};
use crate::http::structure::Structured;

/// A conversation, and how it is to be answered.
#[derive(Clone, Debug)]
pub struct Turn {
    /// The prompt.
    pub conversation: Conversation,
    /// How tokens are drawn.
    pub decoding: Decoding,
    /// Whose words a refusal uses.
    pub origin: Origin,
    /// What is done when the prompt is too long.
    pub too_long: TooLong,
    /// Whether tokens are told together with the text they stand for.
    pub settle: bool,
    /// Fields of the body without effect.
    pub ignored: Ignored,
}

/// What is done with a prompt that does not fit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TooLong {
    /// It is refused.
    #[default]
    Refuse,
    /// Its tokens are cut.
    Cut(Truncation),
    /// Messages are left out, see `shorten`.
    Shorten,
}

/// A request that may run, and how its answer is read.
#[derive(Debug)]
pub struct Begun {
    /// The prompt and all that is asked of the engine.
    pub ready: Ready,
    /// How answers are read.
    pub reading: Reading,
    /// Fields of the body without effect, with wishes that the model cannot be held to.
    pub ignored: Ignored,
}

/// Takes a place, then renders and tokenises the messages.
///
/// # Errors
/// When there is no room, the template refuses the messages, or the prompt does not fit.
pub async fn ready(app: &App, served: &Served, turn: Turn, began: Instant) -> Result<Begun, ApiError> {
    let place = app.admission.enter(turn.decoding.choices)?;
    let continuing = turn.conversation.continues();
    let mut decoding = turn.decoding;
    let (answer, origin) = (decoding.must_fit(), turn.origin);
    let asked = Asked {
        structure: decoding.structure.take(),
        answer,
        origin,
        too_long: turn.too_long,
        grammars: app.settings.grammar_support && app.engine.follows_grammars(),
    };
    let longest = decoding.max_new_tokens.unwrap_or(served.limits.max_total_tokens);
    let mut conversation = turn.conversation;
    // A budget that no answer can exceed needs nobody to watch over it.
    conversation.budget = conversation.budget.filter(|budget| budget.tokens < longest);
    let prepared = prepare(app, served, conversation, asked).await?;
    let (ids, characters) = (prepared.ids, prepared.characters);
    let prompt = prompt::fit(ids, characters, answer, &served.limits, origin)?;
    decoding.structure = prepared.structure;
    let mut ignored = turn.ignored;
    prepared.unheeded.iter().for_each(|path| ignored.note(path));
    let ready = Ready {
        began,
        place,
        prompts: vec![prompt],
        rules: TextRules {
            continuing,
            keep_stop_token: decoding.stop.keep,
            settle: turn.settle,
            skip_special_tokens: decoding.skip_special_tokens,
            kept_special_tokens: prepared.kept_special_tokens,
        },
        decoding,
    };
    Ok(Begun {
        ready,
        reading: prepared.reading,
        ignored,
    })
}

/// How many tokens the prompt of a conversation has.
///
/// # Errors
/// When the template refuses the messages, or the prompt cannot fit.
pub async fn count_tokens(app: &App, served: &Served, conversation: Conversation) -> Result<usize, ApiError> {
    let _place = app.admission.enter(1)?;
    let prepared = prepare(app, served, conversation, Asked::nothing()).await?;
    Ok(prepared.ids.len())
}

/// What a request asks beside its conversation.
#[derive(Debug)]
struct Asked {
    /// What the answer must look like.
    structure: Option<Structured>,
    /// Tokens of the answer that must fit.
    answer: Option<u32>,
    origin: Origin,
    too_long: TooLong,
    /// Whether the model's shards follow grammars.
    grammars: bool,
}

impl Asked {
    fn nothing() -> Self {
        Self {
            structure: None,
            answer: None,
            origin: Origin::Chat,
            too_long: TooLong::Refuse,
            grammars: false,
        }
    }
}

async fn prepare(
    app: &App,
    served: &Served,
    conversation: Conversation,
    asked: Asked,
) -> Result<Prepared, ApiError> {
    let (model, speech, limits) = (served.text.clone(), served.speech.clone(), served.limits.clone());
    let work = move || match asked.too_long {
        TooLong::Refuse => render_and_encode(&model, &speech, Some(&limits), conversation, &asked),
        TooLong::Cut(truncation) => {
            let mut prepared = render_and_encode(&model, &speech, None, conversation, &asked)?;
            prepared.ids = truncation.cut(prepared.ids);
            Ok(prepared)
        }
        TooLong::Shorten => shorten::fitting(&conversation, |conversation| {
            let prepared = render_and_encode(&model, &speech, Some(&limits), conversation, &asked)?;
            prompt::room(prepared.ids.len(), asked.answer, &limits, asked.origin)?;
            Ok(prepared)
        }),
    };
    app.workers.run(work).await?
}

/// A conversation that is ready to be answered.
#[derive(Clone, Debug)]
struct Prepared {
    /// The prompt.
    ids: Vec<u32>,
    /// Its characters.
    characters: usize,
    /// How answers are read.
    reading: Reading,
    /// What the answer must look like, reasoning and calls included.
    structure: Option<Structured>,
    /// Wishes that the model cannot be held to.
    unheeded: Vec<String>,
    /// Special tokens that the reading needs in the text.
    kept_special_tokens: Arc<[u32]>,
}

/// Renders and tokenises; with `limits` a text that cannot fit is refused early. For a worker: it takes time in proportion to the text.
///
/// # Errors
/// When the template refuses the messages, or the prompt cannot fit.
fn render_and_encode(
    model: &ModelText,
    speech: &Speech,
    limits: Option<&Limits>,
    conversation: Conversation,
    asked: &Asked,
) -> Result<Prepared, ApiError> {
    let (tell_reasoning, budget) = (conversation.include_reasoning, conversation.budget);
    let tools = conversation.tools.clone();
    let continued = conversation
        .continue_final_message
        .then(|| conversation.messages.last().map(text_of).unwrap_or_default());
    let rendered = render(model, conversation)?;
    if let Some(limits) = limits {
        prompt::check_bytes(model, &rendered.text, limits, asked.origin)?;
    }
    let ids = encode(model, &rendered)?;
    let reasoning = speech.reasoning.map(|format| {
        let begin = match &continued {
            Some(text) => format.begin_within(text),
            None => format.begin(&rendered.text),
        };
        (format, begin)
    });
    let wanted = Wanted {
        tools: tools.as_ref(),
        asked: asked.structure.as_ref(),
        reasoning,
        budget,
        grammars: asked.grammars,
    };
    let made = wanted.make(speech);
    let called = tools.as_ref().is_some_and(|tools| !tools.told().is_empty());
    Ok(Prepared {
        ids,
        characters: rendered.text.chars().count(),
        reading: Reading::new(speech, tools.as_ref(), reasoning, tell_reasoning),
        structure: made.structure,
        unheeded: made.unheeded,
        kept_special_tokens: if called {
            speech.call_tokens.clone()
        } else {
            speech.reasoning_tokens.clone()
        },
    })
}
