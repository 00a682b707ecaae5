//! The rules of `POST /v1/chat/completions`.

use serde_json::{Map, Value};

use crate::http::body::JsonBody;
use crate::http::chat::types::{ChatFields, Message, UNBUILT};
use crate::http::check;
use crate::http::decoding::{Decoding, Limits};
use crate::http::error::{ApiError, Rule};
use crate::http::openai::types::{AnswerFields, SamplingFields, UNBUILT as SHARED_UNBUILT};
use crate::http::openai::validate::{self as shared, AnswerForm, Asked, Logprobs};
use crate::http::rules::Rules;
use crate::http::unbuilt::refuse_unbuilt;

const MAX_MESSAGES: usize = 16_384;
const MAX_PARTS: usize = 16_384;
const ROLES: [&str; 6] = ["system", "developer", "user", "assistant", "tool", "function"];

/// A request that keeps every rule.
#[derive(Clone, Debug)]
pub struct ChatRequest {
    /// In which form the answer comes.
    pub(super) form: AnswerForm,
    /// Not empty; every content is a text, null or a list of texts.
    pub(super) messages: Vec<Message>,
    /// Whether the template opens an answer.
    pub(super) add_generation_prompt: bool,
    /// Whether the answer goes on with the last message.
    pub(super) continue_final_message: bool,
    /// Further variables of the template.
    pub(super) template_variables: Map<String, Value>,
    /// How tokens are drawn.
    pub(super) decoding: Decoding,
}

/// Parses and checks a body.
///
/// # Errors
/// With the first field at fault.
pub fn validate(body: &JsonBody, rules: Rules<'_>) -> Result<ChatRequest, ApiError> {
    let chat: ChatFields = body.parse()?;
    let answer: AnswerFields = body.parse()?;
    let sampling: SamplingFields = body.parse()?;
    let form = shared::answer_form(&answer, rules.name)?;
    refuse_unbuilt(body, UNBUILT)?;
    refuse_unbuilt(body, SHARED_UNBUILT)?;
    let asked = Asked {
        max_new_tokens: shared::max_tokens(chat.max_completion_tokens, chat.max_tokens, rules.limits)?,
        default_max_new_tokens: rules.defaults.max_new_tokens.filter(|tokens| *tokens > 0),
        logprobs: logprobs(&chat, rules.limits)?,
        cache_salt: shared::cache_salt(sampling.cache_salt.as_deref(), rules.ids)?,
    };
    let continue_final_message = chat.continue_final_message.unwrap_or(false);
    if continue_final_message && chat.add_generation_prompt == Some(true) {
        let message = "`continue_final_message` and `add_generation_prompt` exclude each other; send one";
        return Err(ApiError::invalid(
            "continue_final_message",
            Rule::Conflict,
            message,
        ));
    }
    Ok(ChatRequest {
        form,
        messages: messages(chat.messages.ok_or_else(|| ApiError::missing("messages"))?)?,
        add_generation_prompt: chat.add_generation_prompt.unwrap_or(!continue_final_message),
        continue_final_message,
        template_variables: chat.chat_template_kwargs.unwrap_or_default(),
        decoding: shared::decoding(sampling, asked, rules.limits, rules.defaults)?,
    })
}

fn logprobs(chat: &ChatFields, limits: &Limits) -> Result<Logprobs, ApiError> {
    let wanted = chat.logprobs.unwrap_or(false);
    let top = match chat.top_logprobs {
        Some(given) if given.0 == -1 => limits.max_top_logprobs,
        given => check::integer("top_logprobs", given, 0, limits.max_top_logprobs)?.unwrap_or(0),
    };
    if top > 0 && !wanted {
        let message = "`top_logprobs` needs `logprobs`: true";
        return Err(ApiError::invalid("top_logprobs", Rule::Conflict, message));
    }
    Ok(Logprobs { wanted, top })
}

fn messages(given: Vec<Message>) -> Result<Vec<Message>, ApiError> {
    if given.is_empty() {
        let message = "`messages` must hold at least one message";
        return Err(ApiError::invalid("messages", Rule::Count, message));
    }
    check::count("messages", given.len(), MAX_MESSAGES)?;
    given
        .into_iter()
        .enumerate()
        .map(|(index, message)| check_message(index, message))
        .collect()
}

fn check_message(index: usize, message: Message) -> Result<Message, ApiError> {
    let path = |field: &str| format!("messages[{index}].{field}");
    let role = match message.get("role") {
        Some(Value::String(role)) if ROLES.contains(&role.as_str()) => role.as_str(),
        Some(Value::String(role)) => {
            let given: String = role.chars().take(40).collect();
            let message = format!(
                "`{}` must be one of {}. Given: `{given}`",
                path("role"),
                ROLES.join(", ")
            );
            return Err(ApiError::invalid(path("role"), Rule::Value, message));
        }
        None | Some(Value::Null) => return Err(ApiError::missing(&path("role"))),
        Some(other) => return Err(wrong_type(path("role"), other, "a string")),
    };
    match message.get("content") {
        Some(Value::String(_)) => {}
        Some(Value::Array(parts)) => check_parts(&path("content"), parts)?,
        None | Some(Value::Null) if role == "assistant" => {}
        None | Some(Value::Null) => return Err(ApiError::missing(&path("content"))),
        Some(other) => return Err(wrong_type(path("content"), other, "a string or a list of parts")),
    }
    if role == "tool" && !matches!(message.get("tool_call_id"), Some(Value::String(id)) if !id.is_empty()) {
        return Err(ApiError::missing(&path("tool_call_id")));
    }
    match message.get("tool_calls") {
        None | Some(Value::Null | Value::Array(_)) => {}
        Some(other) => return Err(wrong_type(path("tool_calls"), other, "a list")),
    }
    match message.get("name") {
        None | Some(Value::Null | Value::String(_)) => {}
        Some(other) => return Err(wrong_type(path("name"), other, "a string")),
    }
    Ok(message)
}

/// Parts are texts; of the other kinds none is served yet.
fn check_parts(path: &str, parts: &[Value]) -> Result<(), ApiError> {
    check::count(path, parts.len(), MAX_PARTS)?;
    for (index, part) in parts.iter().enumerate() {
        let path = format!("{path}[{index}]");
        let Value::Object(part) = part else {
            return Err(wrong_type(path, part, "an object"));
        };
        match part.get("type") {
            Some(Value::String(kind)) if kind == "text" => {}
            Some(Value::String(kind)) => {
                let kind: String = kind.chars().take(40).collect();
                let fix = format!("send parts of type `text`, not `{kind}`");
                return Err(ApiError::unsupported(format!("{path}.type"), fix));
            }
            None | Some(Value::Null) => return Err(ApiError::missing(&format!("{path}.type"))),
            Some(other) => return Err(wrong_type(format!("{path}.type"), other, "a string")),
        }
        match part.get("text") {
            Some(Value::String(_)) => {}
            None | Some(Value::Null) => return Err(ApiError::missing(&format!("{path}.text"))),
            Some(other) => return Err(wrong_type(format!("{path}.text"), other, "a string")),
        }
    }
    Ok(())
}

fn wrong_type(param: String, given: &Value, expected: &str) -> ApiError {
    let kind = match given {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "sequence",
        Value::Object(_) => "map",
    };
    ApiError::WrongType {
        param: Some(param),
        message: format!("invalid type: {kind}, expected {expected}"),
    }
}
