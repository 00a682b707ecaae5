//! The rules of `POST /v1/responses`.

use serde_json::{Map, Value, json};

use crate::http::body::JsonBody;
use crate::http::check;
use crate::http::conversation::{
    Budget, Chosen, Tool, ToolChoice, Tools, allowed, set_effort, set_verbosity, wrong_type,
};
use crate::http::decoding::{Decoding, Limits};
use crate::http::error::{ApiError, Rule};
use crate::http::fields::{self, Ignored};
use crate::http::openai::form::Logprobs;
use crate::http::openai::prompt_fields;
use crate::http::openai::validate::{self as shared, Asked};
use crate::http::responses::input::{self, Item};
use crate::http::responses::types::{Body, ResponsesFields, TextFields, UNBUILT, inside};
use crate::http::rules::Rules;
use crate::http::structure::{self, Structured};

/// What `include` calls the log-probabilities of a text's tokens.
const LOGPROBS: &str = "message.output_text.logprobs";

/// A request that keeps every rule.
#[derive(Clone, Debug)]
pub struct ResponsesRequest {
    /// Whether the answer comes as events.
    pub(super) stream: bool,
    /// What the model is told before all else.
    pub(super) instructions: Option<String>,
    /// Not empty.
    pub(super) items: Vec<Item>,
    /// What the model may call.
    pub(super) tools: Option<Tools>,
    /// How long the model may reason.
    pub(super) budget: Option<Budget>,
    /// Variables of the template.
    pub(super) template_variables: Map<String, Value>,
    /// Whether items are left out when not all of them fit.
    pub(super) shortened: bool,
    /// How many alternatives are told with each of the text's tokens; `None`: not even those.
    pub(super) top_logprobs: Option<u32>,
    /// How tokens are drawn.
    pub(super) decoding: Decoding,
    /// Fields of the answer that repeat the request's.
    pub(super) echo: Map<String, Value>,
    /// Fields of the body without effect.
    pub(super) ignored: Ignored,
}

/// Parses and checks a body.
///
/// # Errors
/// With the first field at fault.
pub fn validate(body: &JsonBody, rules: Rules<'_>) -> Result<ResponsesRequest, ApiError> {
    let ((fields, sampling, _), ignored) = fields::read_with::<Body>(body, &[UNBUILT], &inside())?;
    rules.name.check(fields.model.as_deref())?;
    let most = rules.limits.max_total_tokens;
    let top_logprobs = top_logprobs(&fields, rules.limits)?;
    let asked = Asked {
        max_new_tokens: check::integer("max_output_tokens", fields.max_output_tokens, 1, most)?,
        default_max_new_tokens: rules.defaults.max_new_tokens.filter(|tokens| *tokens > 0),
        cache_salt: shared::cache_salt(sampling.cache_salt.as_deref(), rules.ids)?,
        logprobs: Logprobs {
            wanted: top_logprobs.is_some(),
            top: top_logprobs.unwrap_or(0),
            prompt: None,
        },
        structure: format(fields.text.as_ref())?,
        ..Asked::default()
    };
    let decoding = shared::decoding(sampling, asked, rules.limits, rules.defaults)?;
    let mut template_variables = Map::new();
    let effort = fields
        .reasoning
        .as_ref()
        .and_then(|reasoning| reasoning.effort.clone());
    if let Some(effort) = effort {
        set_effort("reasoning.effort", effort, &mut template_variables)?;
    }
    if let Some(verbosity) = fields.text.as_ref().and_then(|text| text.verbosity.clone()) {
        set_verbosity("text.verbosity", verbosity, &mut template_variables)?;
    }
    if fields
        .prompt_cache_options
        .as_ref()
        .and_then(|options| options.prewarm)
        == Some(true)
    {
        let fix = "ask for one token: the prompt stays cached";
        return Err(ApiError::unsupported("prompt_cache_options.prewarm", fix));
    }
    check::integer("max_tool_calls", fields.max_tool_calls, 1, u32::MAX)?;
    let shortened = shortened(fields.truncation.as_deref())?;
    let echo = echo(&fields, &decoding);
    let tools = tools(fields.tools, fields.tool_choice, fields.parallel_tool_calls)?;
    Ok(ResponsesRequest {
        stream: fields.stream.unwrap_or(false),
        instructions: fields.instructions.filter(|text| !text.is_empty()),
        items: input::items(fields.input)?,
        tools,
        template_variables,
        budget: Budget::new("thinking_token_budget", fields.thinking_token_budget)?,
        shortened,
        top_logprobs,
        decoding,
        echo,
        ignored,
    })
}

/// How many alternatives are told with each of the text's tokens, when those are told.
fn top_logprobs(fields: &ResponsesFields, limits: &Limits) -> Result<Option<u32>, ApiError> {
    let mut wanted = false;
    for name in fields.include.iter().flatten() {
        match name.as_str() {
            LOGPROBS => wanted = true,
            // Reasoning is told in full, and needs no key to come back.
            "reasoning.encrypted_content" => {}
            other => {
                let other: String = other.chars().take(60).collect();
                let fix = format!("there is no `{other}` to tell; leave it out");
                return Err(ApiError::unsupported("include", fix));
            }
        }
    }
    let top = prompt_fields::top("top_logprobs", fields.top_logprobs, limits)?.unwrap_or(0);
    if top > 0 && !wanted {
        let message = format!("`top_logprobs` needs `include`: [\"{LOGPROBS}\"]");
        return Err(ApiError::invalid("top_logprobs", Rule::Conflict, message));
    }
    Ok(wanted.then_some(top))
}

/// Whether items are left out when not all of them fit.
fn shortened(truncation: Option<&str>) -> Result<bool, ApiError> {
    match truncation {
        None | Some("disabled") => Ok(false),
        Some("auto") => Ok(true),
        Some(other) => {
            let given: String = other.chars().take(20).collect();
            let message = format!("`truncation` must be `auto` or `disabled`. Given: `{given}`");
            Err(ApiError::invalid("truncation", Rule::Value, message))
        }
    }
}

fn echo(fields: &ResponsesFields, decoding: &Decoding) -> Map<String, Value> {
    let format = fields.text.as_ref().and_then(|text| text.format.clone());
    let effort = fields
        .reasoning
        .as_ref()
        .and_then(|reasoning| reasoning.effort.as_ref());
    let max_output_tokens = decoding.must_fit();
    let echo = json!({
        "instructions": fields.instructions,
        "max_output_tokens": max_output_tokens,
        "max_tool_calls": fields.max_tool_calls.map(|calls| i64::try_from(calls.0).unwrap_or(i64::MAX)),
        "metadata": fields.metadata.clone().unwrap_or_default(),
        "parallel_tool_calls": fields.parallel_tool_calls.unwrap_or(true),
        "previous_response_id": null,
        "reasoning": {"effort": effort, "summary": null},
        "store": false,
        "temperature": decoding.sampling.temperature,
        "text": {"format": format.map_or_else(|| json!({"type": "text"}), Value::Object)},
        "tool_choice": fields.tool_choice.clone().unwrap_or_else(|| json!("auto")),
        "tools": fields.tools.clone().unwrap_or_default(),
        "top_logprobs": decoding.sampling.top_logprobs,
        "top_p": decoding.sampling.top_p,
        "truncation": fields.truncation.as_deref().unwrap_or("disabled"),
    });
    match echo {
        Value::Object(echo) => echo,
        _ => Map::new(),
    }
}

/// `text.format`, whose rules are those of the chat's `response_format`.
fn format(text: Option<&TextFields>) -> Result<Option<Structured>, ApiError> {
    const PARAM: &str = "text.format";
    let Some(format) = text.and_then(|text| text.format.as_ref()) else {
        return Ok(None);
    };
    let kind = format.get("type").cloned().unwrap_or_default();
    let mut asked = json!({"response_format": {"type": kind}});
    if kind == "json_schema" {
        let Some(schema) = format.get("schema").filter(|schema| !schema.is_null()) else {
            return Err(ApiError::missing("text.format.schema"));
        };
        asked["response_format"]["json_schema"] = json!({"schema": schema});
    }
    let fields = serde_json::from_value(asked).map_err(|error| {
        let message = format!("`{PARAM}`: {error}");
        ApiError::invalid(PARAM, Rule::Value, message)
    })?;
    let renamed = |error| match error {
        ApiError::Invalid { rule, message, .. } => {
            let message = message.replace("response_format.json_schema.schema", "text.format.schema");
            ApiError::invalid(PARAM, rule, message.replace("response_format", PARAM))
        }
        error => error,
    };
    let found = structure::openai(fields).map_err(renamed)?;
    Ok(found.map(|found| Structured::new(PARAM, found.structure)))
}

fn tools(
    given: Option<Vec<Map<String, Value>>>,
    choice: Option<Value>,
    parallel: Option<bool>,
) -> Result<Option<Tools>, ApiError> {
    let chosen = choice.map_or(Ok(ToolChoice::Auto.into()), tool_choice)?;
    // Clients send an empty list where they have none.
    let given = given.filter(|given| !given.is_empty());
    Tools::read(given, chosen, parallel.unwrap_or(true), tool)
}

/// A function whose fields stand beside its type.
fn tool(path: &str, mut tool: Map<String, Value>) -> Result<Tool, ApiError> {
    match tool.remove("type") {
        Some(Value::String(kind)) if kind == "function" => {}
        Some(Value::String(kind)) => {
            let kind: String = kind.chars().take(40).collect();
            let fix = format!("send tools of type `function`, not `{kind}`");
            return Err(ApiError::unsupported(format!("{path}.type"), fix));
        }
        None | Some(Value::Null) => return Err(ApiError::missing(&format!("{path}.type"))),
        Some(other) => return Err(wrong_type(format!("{path}.type"), &other, "a string")),
    }
    Tool::new(path, tool)
}

fn tool_choice(choice: Value) -> Result<Chosen, ApiError> {
    let name = choice.get("name").and_then(Value::as_str);
    let kind = choice.get("type").and_then(Value::as_str);
    match (choice.as_str(), kind, name) {
        (Some("auto"), ..) => Ok(ToolChoice::Auto.into()),
        (Some("none"), ..) => Ok(ToolChoice::None.into()),
        (Some("required"), ..) => Ok(ToolChoice::Required.into()),
        (None, Some("function"), Some(name)) => Ok(ToolChoice::Named(name.to_owned()).into()),
        (None, Some("function"), None) => Err(ApiError::missing("tool_choice.name")),
        (None, Some("allowed_tools"), _) => {
            let fields = choice.as_object().cloned().unwrap_or_default();
            allowed("tool_choice", &fields, |tool| tool.get("name")?.as_str())
        }
        _ => {
            let message = "`tool_choice` must be \"auto\", \"none\", \"required\", {\"type\": \"function\", \
                           \"name\": …}, or {\"type\": \"allowed_tools\", …}";
            Err(ApiError::invalid("tool_choice", Rule::Value, message))
        }
    }
}
