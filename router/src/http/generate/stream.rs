//! How the native routes spell their answers.

use bytes::BytesMut;
use http::{HeaderMap, HeaderName, HeaderValue};
use serde::Serialize;
use shardline_text::Tokenizer;

use crate::http::error::ApiError;
use crate::http::generate::validate::GenerateRequest;
use crate::http::openai::shapes::put_json;
use crate::http::problem::Dialect;
use crate::http::running::Running;
use crate::http::sse::{Spelling, put_error};
use crate::session::{ChoiceEvent, End, TextToken};

/// What both forms of the answer need.
#[derive(Debug)]
pub struct Answer {
    /// Goes before the text; empty unless the whole text is wanted.
    before: String,
    details: bool,
    top_n_tokens: u32,
    /// As drawn with; `None` when nothing is drawn.
    seed: Option<u64>,
}

impl Answer {
    /// Of a request; `full_text` is what counts when it says nothing.
    #[must_use]
    pub fn new(request: &GenerateRequest, full_text: bool) -> Self {
        let full_text = request.return_full_text.unwrap_or(full_text);
        Self {
            before: if full_text {
                request.inputs.clone()
            } else {
                String::new()
            },
            details: request.details,
            top_n_tokens: request.top_n_tokens,
            seed: request
                .decoding
                .seed
                .filter(|_| request.decoding.sampling.temperature > 0.0),
        }
    }

    fn top_tokens(&self, tokenizer: &Tokenizer, event: &TextToken) -> Vec<Token> {
        let top = event.token.top.iter().take(self.top_n_tokens as usize);
        top.map(|(id, logprob)| Token {
            id: *id,
            text: tokenizer.token_text(*id),
            logprob: Some(*logprob),
            special: tokenizer.is_special(*id),
        })
        .collect()
    }
}

#[derive(Debug, Serialize)]
struct Generated {
    generated_text: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    details: Option<Details>,
}

#[derive(Debug, Serialize)]
struct Details {
    finish_reason: &'static str,
    generated_tokens: u32,
    seed: Option<u64>,
    prefill: [(); 0],
    tokens: Vec<Token>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    top_tokens: Vec<Vec<Token>>,
}

#[derive(Debug, Serialize)]
struct Token {
    id: u32,
    text: String,
    logprob: Option<f32>,
    special: bool,
}

impl Token {
    /// A special token is told by its spelling, which is no part of the text.
    fn new(tokenizer: &Tokenizer, event: &TextToken) -> Self {
        let special = tokenizer.is_special(event.token.id);
        let text = if special {
            tokenizer.token_text(event.token.id)
        } else {
            event.text.clone()
        };
        Self {
            id: event.token.id,
            text,
            logprob: event.token.logprob,
            special,
        }
    }
}

fn finish_reason(end: &End) -> &'static str {
    match end {
        End::StopToken(_) => "eos_token",
        End::StopString(_) => "stop_sequence",
        End::Length | End::Failed(_) => "length",
    }
}

/// Collects the whole answer; `list`: as a list of one.
///
/// # Errors
/// When the generation fails: a part of an answer is none.
pub async fn collect(
    mut running: Running,
    answer: &Answer,
    list: bool,
) -> Result<(Vec<u8>, HeaderMap), ApiError> {
    let mut text = answer.before.clone();
    let (mut tokens, mut top_tokens) = (Vec::new(), Vec::new());
    let mut reason = "";
    while let Some((_, event)) = running.next().await {
        match event {
            ChoiceEvent::Started { .. } | ChoiceEvent::Prompt(_) => {}
            ChoiceEvent::Token(event) => {
                text.push_str(&event.text);
                if answer.details {
                    tokens.push(Token::new(running.tokenizer(), &event));
                    if answer.top_n_tokens > 0 {
                        top_tokens.push(answer.top_tokens(running.tokenizer(), &event));
                    }
                }
            }
            ChoiceEvent::Finished {
                end: End::Failed(finish),
                ..
            } => return Err(running.fail(&finish)),
            ChoiceEvent::Finished { end, text: rest, .. } => {
                text.push_str(&rest);
                reason = finish_reason(&end);
            }
        }
    }
    let details = answer.details.then(|| Details {
        finish_reason: reason,
        generated_tokens: running.accounts().generated_tokens,
        seed: answer.seed,
        prefill: [],
        tokens,
        top_tokens,
    });
    let generated = Generated {
        generated_text: text,
        details,
    };
    let body = if list {
        serde_json::to_vec(&[generated])
    } else {
        serde_json::to_vec(&generated)
    };
    let body = body.map_err(|error| ApiError::Internal {
        cause: error.to_string(),
    })?;
    Ok((body, headers(&running)))
}

/// The headers of an answer in one piece. Times are in milliseconds, but for `x-compute-time`.
fn headers(running: &Running) -> HeaderMap {
    let (times, accounts) = (running.times(), running.accounts());
    let per_token = times.inference.as_millis() / u128::from(accounts.generated_tokens.max(1));
    let mut headers = first_headers(running);
    for (name, value) in [
        ("x-compute-time", times.total.as_secs_f64().to_string()),
        ("x-total-time", times.total.as_millis().to_string()),
        ("x-validation-time", times.validation.as_millis().to_string()),
        ("x-queue-time", times.queue.as_millis().to_string()),
        ("x-inference-time", times.inference.as_millis().to_string()),
        ("x-time-per-token", per_token.to_string()),
        ("x-prompt-tokens", accounts.prompt_tokens.to_string()),
        ("x-generated-tokens", accounts.generated_tokens.to_string()),
    ] {
        put_header(&mut headers, name, &value);
    }
    headers
}

/// The headers that are known before the first token.
#[must_use]
pub fn first_headers(running: &Running) -> HeaderMap {
    let mut headers = HeaderMap::new();
    put_header(&mut headers, "x-compute-type", &running.app().compute_type());
    put_header(
        &mut headers,
        "x-compute-characters",
        &running.facts().prompt_characters.to_string(),
    );
    headers
}

fn put_header(headers: &mut HeaderMap, name: &'static str, value: &str) {
    // What cannot stand in a header (a device name of another alphabet) is left out.
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.insert(HeaderName::from_static(name), value);
    }
}

/// The answer as events.
#[derive(Debug)]
pub struct Events {
    answer: Answer,
    text: String,
    index: u32,
    /// The last token, which is told together with the end.
    last: Option<TextToken>,
}

#[derive(Serialize)]
struct Event<'a> {
    index: u32,
    token: Token,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    top_tokens: Vec<Token>,
    generated_text: Option<&'a str>,
    details: Option<StreamDetails>,
}

#[derive(Serialize)]
struct StreamDetails {
    finish_reason: &'static str,
    generated_tokens: u32,
    seed: Option<u64>,
    input_length: u32,
}

impl Events {
    /// Before the first event.
    #[must_use]
    pub fn new(answer: Answer) -> Self {
        Self {
            text: answer.before.clone(),
            answer,
            index: 0,
            last: None,
        }
    }

    fn token(&mut self, out: &mut BytesMut, running: &Running, token: &TextToken, end: Option<&End>) {
        self.index += 1;
        let details = end.filter(|_| self.answer.details).map(|end| StreamDetails {
            finish_reason: finish_reason(end),
            generated_tokens: running.accounts().generated_tokens,
            seed: self.answer.seed,
            input_length: running.accounts().prompt_tokens,
        });
        let event = Event {
            index: self.index,
            token: Token::new(running.tokenizer(), token),
            top_tokens: self.answer.top_tokens(running.tokenizer(), token),
            generated_text: end.map(|_| self.text.as_str()),
            details,
        };
        out.extend_from_slice(b"data: ");
        put_json(out, &event);
        out.extend_from_slice(b"\n\n");
    }
}

impl Spelling for Events {
    fn begin(&mut self, _: &mut BytesMut, _: &Running) {}

    fn event(&mut self, out: &mut BytesMut, running: &Running, _: usize, event: ChoiceEvent) {
        match event {
            ChoiceEvent::Started { .. } | ChoiceEvent::Prompt(_) => {}
            ChoiceEvent::Token(token) => {
                self.text.push_str(&token.text);
                if let Some(earlier) = self.last.replace(token) {
                    self.token(out, running, &earlier, None);
                }
                if let Some(token) = self.last.take_if(|token| !token.last) {
                    self.token(out, running, &token, None);
                }
            }
            ChoiceEvent::Finished { end, text, .. } => {
                self.text.push_str(&text);
                // An end that nobody foresaw has no token of its own: it comes with an empty one.
                let mut token = self.last.take().unwrap_or_else(|| ended(&end));
                token.text.push_str(&text);
                self.token(out, running, &token, Some(&end));
            }
        }
    }

    fn end(&mut self, _: &mut BytesMut, _: &Running) {}

    fn failed(&mut self, out: &mut BytesMut, error: &ApiError) {
        put_error(out, error, Dialect::Native);
    }
}

fn ended(end: &End) -> TextToken {
    let id = if let End::StopToken(id) = end { *id } else { 0 };
    let token = crate::engine::api::GeneratedToken {
        id,
        logprob: None,
        top: Vec::new(),
    };
    TextToken {
        token,
        text: String::new(),
        settled: Vec::new(),
        last: true,
    }
}
