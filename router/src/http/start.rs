//! From checked parameters and prompts to a running session, the same for every route.

use std::sync::Arc;
use std::time::Instant;

use shardline_text::stream::StreamOptions;
use shardline_text::{StopStrings, TextStream};

use crate::engine::api::GrammarError;
use crate::http::admission::Place;
use crate::http::app::{App, Served};
use crate::http::bad_words;
use crate::http::decoding::Decoding;
use crate::http::error::{ApiError, Rule};
use crate::http::prompt::Encoded;
use crate::http::running::{Facts, Running};
use crate::session::{Accounts, Choice, ChoiceRules, Session};

/// How a route wants its text.
#[derive(Clone, Debug, Default)]
pub struct TextRules {
    /// The text goes on from the prompt: a space at its beginning is kept.
    pub continuing: bool,
    /// Whether the stop token that ends the text belongs to it.
    pub keep_stop_token: bool,
    /// Whether tokens are told together with the text they stand for.
    pub settle: bool,
    /// Whether special tokens are left out of the text.
    pub skip_special_tokens: bool,
    /// Special tokens that are not left out of the text.
    pub kept_special_tokens: Arc<[u32]>,
}

/// A request that may run.
#[derive(Debug)]
pub struct Ready {
    /// When its first byte was here.
    pub began: Instant,
    /// Room for all its sequences.
    pub place: Place,
    /// At least one; each leaves room for a token.
    pub prompts: Vec<Encoded>,
    /// How tokens are drawn.
    pub decoding: Decoding,
    /// How tokens become text.
    pub rules: TextRules,
}

/// Submits all sequences. Dropping the future cancels those that are submitted already.
///
/// # Errors
/// When the engine refuses one; the others are cancelled.
pub async fn start(app: &Arc<App>, served: &Served, ready: Ready) -> Result<Running, ApiError> {
    let Ready {
        began,
        mut place,
        prompts,
        mut decoding,
        rules,
    } = ready;
    let defaults = &served.text.generation;
    let stop = StopStrings::new(&decoding.stop.strings)
        .map_err(|error| ApiError::invalid("stop", Rule::Value, error.to_string()))?;
    let text = TextStream::new(
        served.text.tokenizer.clone(),
        StreamOptions {
            skip_special_tokens: rules.skip_special_tokens,
            continuing: rules.continuing,
            stop,
            include_stop_string: decoding.stop.keep,
            min_tokens: decoding.min_new_tokens,
        },
    )
    .keeping(rules.kept_special_tokens.clone());
    if !decoding.bad_words.is_empty() {
        let (model, words) = (served.text.clone(), std::mem::take(&mut decoding.bad_words));
        let banned = app.workers.run(move || bad_words::find(&model, &words)).await??;
        banned.keep_away(&mut decoding)?;
    }
    let stop_tokens = decoding.stop_tokens(defaults);
    let prompt_tokens = prompts.iter().map(Encoded::tokens).sum();
    place.pay(served.caller.pay(prompt_tokens, &decoding, prompts.len())?);
    if let Some(asked) = &decoding.structure
        && !decoding.prompt_only
    {
        if !app.settings.grammar_support {
            return Err(ApiError::grammar(asked.param, GrammarError::Unsupported));
        }
        let compiled = app.engine.compile(&asked.structure.grammar()).await;
        compiled.map_err(|error| ApiError::grammar(asked.param, error))?;
    }
    let mut choices = Vec::with_capacity(prompts.len() * decoding.choices as usize);
    let mut max_new_tokens = 0;
    for prompt in &prompts {
        let seed = app.ids.number();
        for generate in decoding.generates(&prompt.ids, defaults, prompt.room, seed) {
            max_new_tokens = generate.max_new_tokens;
            let rules = ChoiceRules {
                stop_tokens: stop_tokens.clone(),
                // A structure may be complete before, and ends then.
                min_new_tokens: if generate.grammar.is_some() {
                    0
                } else {
                    generate.min_new_tokens
                },
                max_new_tokens: generate.max_new_tokens,
                keep_stop_token: rules.keep_stop_token,
                settle: rules.settle,
                prompt_only: decoding.prompt_only,
            };
            let generation = app.engine.submit(served.caller.sign(generate)).await?;
            choices.push(Choice::new(generation, text.clone(), rules));
        }
    }
    let accounts = Accounts::new(began, prompt_tokens, prompts.len(), decoding.choices as usize);
    let facts = Facts {
        validation: began.elapsed(),
        max_new_tokens,
        prompt_characters: prompts.iter().map(|prompt| prompt.characters).sum(),
    };
    let session = Session::new(choices, accounts);
    Ok(Running::new(
        app.clone(),
        served.text.tokenizer.clone(),
        session,
        place,
        facts,
    ))
}
