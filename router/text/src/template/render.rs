//! Compiles a model's templates and renders requests with them.

use std::io;
use std::path::PathBuf;

use minijinja::Environment;
use serde_json::Value;

use super::content::{MessageForm, prepare};
use super::environment::{self, NOW};
use super::error::TemplateError;
use super::marks;
use super::request::{ChatRequest, RenderedChat, Segment};
use crate::tokenizer::ControlTokens;

/// Steps any request may take; each pays for 64 bytes, so this is 25 MB.
const BASE_FUEL: u64 = 400_000;
/// Bytes of output any request may have.
const BASE_OUTPUT_BYTES: usize = 1 << 20;
/// How often a request's text may stand in the output.
const OUTPUT_FACTOR: usize = 4;
/// Ends the text of the message to go on with. The space shows whether the template trims.
const CONTINUE_TAG: &str = "\u{FDEF} ";

/// One template as it was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TemplateSource {
    /// "default", "tool_use", "rag", …
    pub name: String,
    /// Its Jinja text.
    pub text: String,
    /// The file it came from, for errors.
    pub path: PathBuf,
}

/// Spellings of special tokens that templates write; those a model lacks are undefined.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TemplateVariables {
    /// `bos_token`.
    pub bos_token: Option<String>,
    /// `eos_token`.
    pub eos_token: Option<String>,
    /// `unk_token`.
    pub unk_token: Option<String>,
    /// `pad_token`.
    pub pad_token: Option<String>,
}

/// A model's templates, compiled.
#[derive(Debug)]
pub struct ChatTemplates {
    environment: Environment<'static>,
    variables: TemplateVariables,
    /// Name and text of each.
    sources: Vec<(String, String)>,
    /// Name and form of each.
    templates: Vec<(String, MessageForm)>,
    /// Whether the one for requests with tools tells the model of them.
    tells_tools: bool,
}

impl ChatTemplates {
    /// Compiles templates; of several with one name the last counts.
    pub fn compile(
        sources: Vec<TemplateSource>,
        variables: TemplateVariables,
    ) -> Result<Self, TemplateError> {
        let mut environment = environment::new()?;
        for source in &sources {
            environment::add(&mut environment, &source.name, &source.text)?;
        }
        let mut names: Vec<String> = sources.iter().map(|source| source.name.clone()).collect();
        names.sort();
        names.dedup();
        let mut templates = Self {
            environment,
            variables,
            sources: sources
                .into_iter()
                .rev()
                .map(|source| (source.name, source.text))
                .collect(),
            templates: Vec::new(),
            tells_tools: false,
        };
        for name in names {
            let form = templates.probe(&name);
            templates.templates.push((name, form));
        }
        templates.tells_tools = templates.probe_tools();
        Ok(templates)
    }

    /// The templates' names.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.templates.iter().map(|(name, _)| name.as_str())
    }

    /// The text of the template that requests with tools use.
    pub fn tool_template(&self) -> Option<&str> {
        let name = ["tool_use", "default"]
            .into_iter()
            .find(|name| self.names().any(|known| known == *name))?;
        // Of several with one name the last counts: they are kept in reverse.
        self.sources
            .iter()
            .find(|(known, _)| known == name)
            .map(|(_, text)| text.as_str())
    }

    /// Whether that template tells the model of the tools.
    pub fn tells_tools(&self) -> bool {
        self.tells_tools
    }

    /// Renders a request. `control` are the tokens that no text of the request may become.
    pub fn render(
        &self,
        request: &ChatRequest,
        control: &ControlTokens,
    ) -> Result<RenderedChat, TemplateError> {
        let (name, form) = self.choose(request)?;
        let mut messages = prepare(&request.messages, form)?;
        if request.continue_final_message {
            open_final_message(request, &mut messages)?;
        }
        let input = Input {
            request,
            messages,
            tools: request.tools.clone(),
            documents: request.documents.clone(),
        };
        let plain = self.finish(name, &input)?;
        if !marks::needed(input.values(), control) {
            return Ok(RenderedChat {
                segments: vec![Segment {
                    text: plain,
                    plain: false,
                }],
            });
        }
        let marked_request;
        let marked_input = Input {
            messages: mark_all(&input.messages, control),
            tools: input.tools.as_deref().map(|values| mark_all(values, control)),
            documents: input.documents.as_deref().map(|values| mark_all(values, control)),
            request: {
                marked_request = ChatRequest {
                    template_kwargs: marks::mark_fields(&request.template_kwargs, control),
                    ..request.clone()
                };
                &marked_request
            },
        };
        let marked = self.finish(name, &marked_input)?;
        Ok(marks::transfer(&plain, &marked, control))
    }

    /// Renders, and cuts the output where the final message is to be continued.
    fn finish(&self, name: &str, input: &Input) -> Result<String, TemplateError> {
        let text = self.run(name, input)?;
        if !input.request.continue_final_message {
            return Ok(text);
        }
        let Some(at) = text.rfind(CONTINUE_TAG.trim_end()) else {
            return Err(TemplateError::Continue {
                cause: "needs a final message that the chat template writes",
            });
        };
        let trimmed = !text[at..].starts_with(CONTINUE_TAG);
        Ok(if trimmed {
            text[..at].trim_end()
        } else {
            &text[..at]
        }
        .to_owned())
    }

    pub(super) fn run(&self, name: &str, input: &Input) -> Result<String, TemplateError> {
        let size = input.values().map(text_bytes).sum::<usize>();
        let fuel = BASE_FUEL + size as u64 / 2;
        let output_limit = BASE_OUTPUT_BYTES + size.saturating_mul(OUTPUT_FACTOR);
        // A clone shares the compiled templates.
        let mut environment = self.environment.clone();
        environment.set_fuel(Some(fuel));
        let template = environment
            .get_template(name)
            .map_err(|error| TemplateError::from_engine(&error, fuel))?;
        let mut output = BoundedOutput {
            bytes: Vec::new(),
            limit: output_limit,
            exceeded: false,
        };
        let rendered = template
            .render_captured_to(self.context(input), &mut output)
            .map(|_| ());
        if output.exceeded {
            return Err(TemplateError::TooMuchOutput { limit: output_limit });
        }
        rendered.map_err(|error| TemplateError::from_engine(&error, fuel))?;
        // The engine writes whole strings only.
        Ok(String::from_utf8_lossy(&output.bytes).into_owned())
    }

    fn context(&self, input: &Input) -> minijinja::Value {
        let request = input.request;
        let mut variables = request.template_kwargs.clone();
        let mut set = |name: &str, value: Value| {
            variables.insert(name.to_owned(), value);
        };
        set("messages", Value::Array(input.messages.clone()));
        set("tools", input.tools.clone().map_or(Value::Null, Value::Array));
        set(
            "documents",
            input.documents.clone().map_or(Value::Null, Value::Array),
        );
        set(
            "add_generation_prompt",
            Value::Bool(request.add_generation_prompt),
        );
        set(NOW, Value::from(request.now_unix_s));
        let tokens = [
            ("bos_token", &self.variables.bos_token),
            ("eos_token", &self.variables.eos_token),
            ("unk_token", &self.variables.unk_token),
            ("pad_token", &self.variables.pad_token),
        ];
        for (name, token) in tokens {
            if let Some(token) = token {
                set(name, Value::String(token.clone()));
            }
        }
        engine_value(&Value::Object(variables))
    }

    pub(super) fn choose(&self, request: &ChatRequest) -> Result<(&str, MessageForm), TemplateError> {
        let find = |name: &str| self.templates.iter().find(|(known, _)| known == name);
        let automatic = || {
            let with_tools = request.tools.as_ref().and_then(|_| find("tool_use"));
            let with_documents = || request.documents.as_ref().and_then(|_| find("rag"));
            with_tools.or_else(with_documents).or_else(|| find("default"))
        };
        let wanted = request.template_name.as_deref();
        let found = wanted.map_or_else(automatic, find);
        found
            .map(|(name, form)| (name.as_str(), *form))
            .ok_or_else(|| TemplateError::UnknownTemplate {
                name: wanted.unwrap_or("default").to_owned(),
                known: self.names().collect::<Vec<_>>().join(", "),
            })
    }
}

/// What a template sees.
pub(super) struct Input<'a> {
    pub(super) request: &'a ChatRequest,
    pub(super) messages: Vec<Value>,
    pub(super) tools: Option<Vec<Value>>,
    pub(super) documents: Option<Vec<Value>>,
}

impl Input<'_> {
    fn values(&self) -> impl Iterator<Item = &Value> {
        let optional = self.tools.iter().chain(&self.documents).flatten();
        self.messages
            .iter()
            .chain(optional)
            .chain(self.request.template_kwargs.values())
    }
}

fn mark_all(values: &[Value], control: &ControlTokens) -> Vec<Value> {
    values.iter().map(|value| marks::mark(value, control)).collect()
}

/// The value as the engine holds it.
fn engine_value(value: &Value) -> minijinja::Value {
    match value {
        Value::Null => minijinja::Value::from(()),
        Value::Bool(flag) => minijinja::Value::from(*flag),
        Value::Number(number) => match (number.as_i64(), number.as_u64(), number.as_f64()) {
            (Some(number), _, _) => minijinja::Value::from(number),
            (None, Some(number), _) => minijinja::Value::from(number),
            (None, None, number) => minijinja::Value::from(number.unwrap_or(f64::NAN)),
        },
        Value::String(text) => minijinja::Value::from(text.as_str()),
        Value::Array(values) => minijinja::Value::from(values.iter().map(engine_value).collect::<Vec<_>>()),
        Value::Object(fields) => minijinja::Value::from_pairs(
            fields
                .iter()
                .map(|(key, value)| (key.as_str(), engine_value(value))),
        ),
    }
}

/// Bytes of all text, and some for every other value.
fn text_bytes(value: &Value) -> usize {
    match value {
        Value::String(text) => text.len(),
        Value::Array(values) => values.iter().map(text_bytes).sum::<usize>() + 16,
        Value::Object(fields) => {
            fields
                .iter()
                .map(|(key, value)| key.len() + text_bytes(value))
                .sum::<usize>()
                + 16
        }
        _ => 16,
    }
}

/// Puts the tag behind the text of the last message.
fn open_final_message(request: &ChatRequest, messages: &mut [Value]) -> Result<(), TemplateError> {
    if request.add_generation_prompt {
        return Err(TemplateError::Continue {
            cause: "and `add_generation_prompt` exclude each other: set one",
        });
    }
    let content = messages.last_mut().and_then(|message| message.get_mut("content"));
    let text = match content {
        Some(Value::Array(parts)) => parts.last_mut().and_then(|part| part.get_mut("text")),
        content => content,
    };
    let Some(Value::String(text)) = text else {
        return Err(TemplateError::Continue {
            cause: "needs a final message with text",
        });
    };
    text.push_str(CONTINUE_TAG);
    Ok(())
}

/// Takes output up to a limit.
struct BoundedOutput {
    bytes: Vec<u8>,
    limit: usize,
    exceeded: bool,
}

impl io::Write for BoundedOutput {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.bytes.len() + bytes.len() > self.limit {
            self.exceeded = true;
            return Err(io::Error::other("the output's limit is reached"));
        }
        self.bytes.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
