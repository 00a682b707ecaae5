//! The rules of `POST /v1/messages`.

use serde_json::{Map, Value};

use crate::http::body::JsonBody;
use crate::http::check;
use crate::http::conversation::{Budget, Tool, ToolChoice, Tools, set_effort, wrong_type};
use crate::http::decoding::Decoding;
use crate::http::error::{ApiError, Rule};
use crate::http::fields::{self, Ignored};
use crate::http::messages::blocks::{self, Message};
use crate::http::messages::format;
use crate::http::messages::types::{Body, MessagesFields, ThinkingFields, ToolChoiceFields, UNBUILT, inside};
use crate::http::numbers::Integer;
use crate::http::openai::types::{OneOrMany, SamplingFields};
use crate::http::openai::validate::{self as shared, Asked};
use crate::http::rules::Rules;

const MAX_MESSAGES: usize = 16_384;

/// What is said, and by whom.
#[derive(Clone, Debug)]
pub struct Dialogue {
    /// Empty: nothing.
    pub(super) system: String,
    /// Not empty.
    pub(super) messages: Vec<Message>,
    /// What the model may call.
    pub(super) tools: Option<Tools>,
    /// `None`: as the template likes.
    pub(super) thinks: Option<bool>,
    /// Whether the answer tells what was thought.
    pub(super) tells_thinking: bool,
    /// How long the model may think.
    pub(super) budget: Option<Budget>,
    /// Further variables of the template.
    pub(super) template_variables: Map<String, Value>,
}

/// A request that keeps every rule.
#[derive(Clone, Debug)]
pub struct MessagesRequest {
    /// Whether the answer comes as events.
    pub(super) stream: bool,
    /// The prompt.
    pub(super) dialogue: Dialogue,
    /// How tokens are drawn.
    pub(super) decoding: Decoding,
    /// Fields of the body without effect.
    pub(super) ignored: Ignored,
}

/// Parses and checks a body.
///
/// # Errors
/// With the first field at fault.
pub fn validate(body: &JsonBody, rules: Rules<'_>) -> Result<MessagesRequest, ApiError> {
    let ((mut fields, _), ignored) = fields::read_with::<Body>(body, &[UNBUILT], &inside())?;
    let Some(max_tokens) = fields.max_tokens else {
        return Err(ApiError::missing("max_tokens"));
    };
    let asked = Asked {
        structure: format::read(fields.output_config.as_mut(), fields.output_format.take())?,
        max_new_tokens: check::integer("max_tokens", Some(max_tokens), 1, rules.limits.max_total_tokens)?,
        ..Asked::default()
    };
    let sampling = SamplingFields {
        temperature: fields.temperature,
        top_p: fields.top_p,
        top_k: fields.top_k,
        stop: fields.stop_sequences.clone().map(OneOrMany),
        ..SamplingFields::default()
    };
    let decoding = shared::decoding(sampling, asked, rules.limits, rules.defaults).map_err(renamed)?;
    Ok(MessagesRequest {
        stream: fields.stream.unwrap_or(false),
        dialogue: dialogue(fields, rules)?,
        decoding,
        ignored,
    })
}

/// Parses and checks the body of a request for a count, which needs no `max_tokens`.
///
/// # Errors
/// With the first field at fault.
pub fn validate_count(body: &JsonBody, rules: Rules<'_>) -> Result<Dialogue, ApiError> {
    let ((fields, _), _) = fields::read_with::<Body>(body, &[UNBUILT], &inside())?;
    dialogue(fields, rules)
}

/// The shared rules call the field `stop`.
fn renamed(error: ApiError) -> ApiError {
    match error {
        ApiError::Invalid { param, rule, message } if param.starts_with("stop") => {
            let param = param.replacen("stop", "stop_sequences", 1);
            ApiError::invalid(param, rule, message.replacen("`stop", "`stop_sequences", 1))
        }
        error => error,
    }
}

fn dialogue(fields: MessagesFields, rules: Rules<'_>) -> Result<Dialogue, ApiError> {
    if fields.model.is_none() {
        return Err(ApiError::missing("model"));
    }
    rules.name.check(fields.model.as_deref())?;
    let given = fields.messages.ok_or_else(|| ApiError::missing("messages"))?;
    if given.is_empty() {
        let message = "`messages` must hold at least one message";
        return Err(ApiError::invalid("messages", Rule::Count, message));
    }
    check::count("messages", given.len(), MAX_MESSAGES)?;
    let messages = given
        .iter()
        .enumerate()
        .map(|(index, message)| blocks::message(&format!("messages[{index}]"), message))
        .collect::<Result<_, _>>()?;
    let mut template_variables = fields.chat_template_kwargs.unwrap_or_default();
    if let Some(effort) = fields.output_config.and_then(|output| output.effort) {
        set_effort("output_config.effort", effort, &mut template_variables)?;
    }
    let thinking = fields.thinking.unwrap_or_default();
    let thinks = thinks(&thinking)?;
    Ok(Dialogue {
        system: fields
            .system
            .map_or(Ok(String::new()), |system| blocks::texts("system", &system))?,
        messages,
        tools: tools(fields.tools, fields.tool_choice)?,
        tells_thinking: thinks != Some(false) && told(&thinking)?,
        budget: budget(&thinking)?.filter(|_| thinks == Some(true)),
        thinks,
        template_variables,
    })
}

fn thinks(thinking: &ThinkingFields) -> Result<Option<bool>, ApiError> {
    match thinking.kind.as_deref() {
        Some("enabled") => Ok(Some(true)),
        Some("disabled") => Ok(Some(false)),
        Some("adaptive") => Ok(None),
        None if *thinking == ThinkingFields::default() => Ok(None),
        given => Err(one_of("thinking.type", given, "enabled, disabled, adaptive")),
    }
}

/// Whether the answer tells what was thought.
fn told(thinking: &ThinkingFields) -> Result<bool, ApiError> {
    match thinking.display.as_deref() {
        None | Some("summarized") => Ok(true),
        Some("omitted") => Ok(false),
        given => Err(one_of("thinking.display", given, "summarized, omitted")),
    }
}

fn budget(thinking: &ThinkingFields) -> Result<Option<Budget>, ApiError> {
    let param = "thinking.budget_tokens";
    if let Some(Integer(tokens)) = thinking.budget_tokens.filter(|tokens| tokens.0 < 1) {
        let message = format!("`{param}` must be >= 1. Given: {tokens}");
        return Err(ApiError::invalid(param, Rule::Range, message));
    }
    Budget::new(param, thinking.budget_tokens)
}

pub(super) fn one_of(param: &str, given: Option<&str>, known: &str) -> ApiError {
    let Some(given) = given else {
        return ApiError::missing(param);
    };
    let given: String = given.chars().take(40).collect();
    let message = format!("`{param}` must be one of {known}. Given: `{given}`");
    ApiError::invalid(param, Rule::Value, message)
}

fn tools(
    given: Option<Vec<Map<String, Value>>>,
    choice: Option<ToolChoiceFields>,
) -> Result<Option<Tools>, ApiError> {
    let parallel = !choice
        .as_ref()
        .and_then(|choice| choice.disable_parallel_tool_use)
        .unwrap_or(false);
    let choice = choice.map_or(Ok(ToolChoice::Auto), tool_choice)?;
    // Clients send an empty list where they have none.
    let given = given.filter(|given| !given.is_empty());
    Tools::read(given, choice, parallel, tool)
}

fn tool_choice(choice: ToolChoiceFields) -> Result<ToolChoice, ApiError> {
    match (choice.kind.as_deref(), choice.name) {
        (Some("auto"), _) => Ok(ToolChoice::Auto),
        (Some("any"), _) => Ok(ToolChoice::Required),
        (Some("none"), _) => Ok(ToolChoice::None),
        (Some("tool"), Some(name)) => Ok(ToolChoice::Named(name)),
        (Some("tool"), None) => Err(ApiError::missing("tool_choice.name")),
        (given, _) => Err(one_of("tool_choice.type", given, "auto, any, tool, none")),
    }
}

fn tool(path: &str, mut tool: Map<String, Value>) -> Result<Tool, ApiError> {
    match tool.get("type") {
        None | Some(Value::Null) => {}
        Some(Value::String(kind)) if kind == "custom" => {}
        Some(Value::String(kind)) => {
            let kind: String = kind.chars().take(40).collect();
            let fix = format!("send tools with an `input_schema`, not of the type `{kind}`");
            return Err(ApiError::unsupported(format!("{path}.type"), fix));
        }
        Some(other) => return Err(wrong_type(format!("{path}.type"), other, "a string")),
    }
    let schema = match tool.remove("input_schema") {
        Some(schema @ Value::Object(_)) => schema,
        None | Some(Value::Null) => return Err(ApiError::missing(&format!("{path}.input_schema"))),
        Some(other) => {
            return Err(wrong_type(
                format!("{path}.input_schema"),
                &other,
                "a JSON schema",
            ));
        }
    };
    let mut function = Map::new();
    for field in ["name", "description", "strict"] {
        if let Some(value) = tool.remove(field) {
            function.insert(field.to_owned(), value);
        }
    }
    function.insert("parameters".to_owned(), schema);
    Tool::new(path, function)
}
