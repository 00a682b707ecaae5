//! The rules of a conversation.

use serde_json::{Map, Value};

use crate::http::check;
use crate::http::conversation::budget::Budget;
use crate::http::conversation::tools::{self, Tools};
use crate::http::conversation::types::{ConversationFields, Message};
use crate::http::error::{ApiError, Rule};

const MAX_MESSAGES: usize = 16_384;
const MAX_PARTS: usize = 16_384;
const MAX_DOCUMENTS: usize = 1024;
/// What `reasoning_effort` may say.
const EFFORTS: [&str; 7] = ["none", "minimal", "low", "medium", "high", "xhigh", "max"];
/// What `verbosity` may say.
const VERBOSITIES: [&str; 3] = ["low", "medium", "high"];
const ROLES: [&str; 6] = ["system", "developer", "user", "assistant", "tool", "function"];

/// A conversation that keeps every rule.
#[derive(Clone, Debug, PartialEq)]
pub struct Conversation {
    /// Not empty; every content is a text, null or a list of texts.
    pub(super) messages: Vec<Message>,
    /// `None`: the templates are not told of any.
    pub(super) documents: Option<Vec<Value>>,
    /// Whether the template opens an answer.
    pub(super) add_generation_prompt: bool,
    /// Whether the answer goes on with the last message.
    pub(super) continue_final_message: bool,
    /// Whether the tokenizer adds BOS before what the template wrote.
    pub(super) add_special_tokens: bool,
    /// Further variables of the template.
    pub(super) template_variables: Map<String, Value>,
    /// Tools that the model may call.
    pub(super) tools: Option<Tools>,
    /// The client's words about them.
    pub(super) tool_prompt: Option<String>,
    /// Whether the answer tells the model's reasoning.
    pub(super) include_reasoning: bool,
    /// How long the model may reason.
    pub(super) budget: Option<Budget>,
}

/// How the answer begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Opening {
    /// The template opens it.
    Fresh,
    /// It goes on with the last message.
    Continued,
}

impl Conversation {
    /// A conversation whose parts another route has checked. Messages are of the shape of OpenAI's.
    ///
    /// # Errors
    /// When a call is forced into an answer that is continued.
    pub fn new(
        messages: Vec<Message>,
        tools: Option<Tools>,
        template_variables: Map<String, Value>,
        opening: Opening,
    ) -> Result<Self, ApiError> {
        let continues = opening == Opening::Continued;
        if continues && tools.as_ref().is_some_and(Tools::is_forced) {
            let message = "`tool_choice` cannot force a call where the last message is the assistant's own; leave \
                           one out";
            return Err(ApiError::invalid("tool_choice", Rule::Conflict, message));
        }
        Ok(Self {
            messages,
            documents: None,
            add_generation_prompt: !continues,
            continue_final_message: continues,
            add_special_tokens: false,
            template_variables,
            tools,
            tool_prompt: None,
            include_reasoning: true,
            budget: None,
        })
    }

    /// Without the model's reasoning in the answer.
    #[must_use]
    pub fn without_reasoning(mut self) -> Self {
        self.include_reasoning = false;
        self
    }

    /// With a limit to the model's reasoning.
    #[must_use]
    pub fn within(mut self, budget: Option<Budget>) -> Self {
        self.budget = budget;
        self
    }

    /// Whether the answer goes on with the last message.
    #[must_use]
    pub fn continues(&self) -> bool {
        self.continue_final_message
    }

    /// The text of the last message when it is the assistant's own.
    #[must_use]
    pub fn last_of_assistant(&self) -> Option<&str> {
        let last = self.messages.last()?;
        let own = last.get("role").and_then(Value::as_str) == Some("assistant");
        last.get("content").and_then(Value::as_str).filter(|_| own)
    }
}

/// Checks a conversation.
///
/// # Errors
/// With the first field at fault.
pub fn validate(fields: ConversationFields) -> Result<Conversation, ApiError> {
    let continue_final_message = fields.continue_final_message.unwrap_or(false);
    if continue_final_message && fields.add_generation_prompt == Some(true) {
        let message = "`continue_final_message` and `add_generation_prompt` exclude each other; send one";
        return Err(ApiError::invalid(
            "continue_final_message",
            Rule::Conflict,
            message,
        ));
    }
    if let Some(documents) = &fields.documents {
        check::count("documents", documents.len(), MAX_DOCUMENTS)?;
    }
    let documents = fields.documents.filter(|documents| !documents.is_empty());
    let tools = tools::openai(fields.tools, fields.tool_choice, fields.parallel_tool_calls)?;
    if continue_final_message && tools.as_ref().is_some_and(Tools::is_forced) {
        let message =
            "`tool_choice` cannot force a call where `continue_final_message` is set; leave one out";
        return Err(ApiError::invalid("tool_choice", Rule::Conflict, message));
    }
    let mut template_variables = fields.chat_template_kwargs.unwrap_or_default();
    if let Some(effort) = fields.reasoning_effort {
        set_effort("reasoning_effort", effort, &mut template_variables)?;
    }
    if let Some(verbosity) = fields.verbosity {
        set_verbosity("verbosity", verbosity, &mut template_variables)?;
    }
    Ok(Conversation {
        messages: messages(fields.messages.ok_or_else(|| ApiError::missing("messages"))?)?,
        documents: documents.map(|documents| documents.into_iter().map(Value::Object).collect()),
        add_generation_prompt: fields.add_generation_prompt.unwrap_or(!continue_final_message),
        continue_final_message,
        add_special_tokens: fields.add_special_tokens.unwrap_or(false),
        template_variables,
        tools,
        tool_prompt: fields.tool_prompt,
        include_reasoning: fields.include_reasoning.unwrap_or(true),
        budget: Budget::new("thinking_token_budget", fields.thinking_token_budget)?,
    })
}

/// Tells the template how much to reason, in the words that templates know. What the client sets
/// by name comes first.
///
/// # Errors
/// When it is none of the known words.
pub fn set_effort(param: &str, effort: String, variables: &mut Map<String, Value>) -> Result<(), ApiError> {
    known(param, &effort, &EFFORTS)?;
    if effort == "none" {
        for switch in ["enable_thinking", "thinking"] {
            variables.entry(switch).or_insert(Value::Bool(false));
        }
    }
    variables
        .entry("reasoning_effort")
        .or_insert(Value::String(effort));
    Ok(())
}

/// Tells the template how much the model should say. What the client sets by name comes first.
///
/// # Errors
/// When it is none of the known words.
pub fn set_verbosity(
    param: &str,
    verbosity: String,
    variables: &mut Map<String, Value>,
) -> Result<(), ApiError> {
    known(param, &verbosity, &VERBOSITIES)?;
    variables.entry("verbosity").or_insert(Value::String(verbosity));
    Ok(())
}

fn known(param: &str, given: &str, words: &[&str]) -> Result<(), ApiError> {
    if words.contains(&given) {
        return Ok(());
    }
    let given: String = given.chars().take(40).collect();
    let message = format!("`{param}` must be one of {}. Given: `{given}`", words.join(", "));
    Err(ApiError::invalid(param, Rule::Value, message))
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
        None | Some(Value::Null) => {}
        Some(Value::Array(calls)) => check_calls(&path("tool_calls"), calls)?,
        Some(other) => return Err(wrong_type(path("tool_calls"), other, "a list")),
    }
    match message.get("name") {
        None | Some(Value::Null | Value::String(_)) => {}
        Some(other) => return Err(wrong_type(path("name"), other, "a string")),
    }
    Ok(message)
}

/// Calls of earlier answers: templates read names and arguments without asking.
fn check_calls(path: &str, calls: &[Value]) -> Result<(), ApiError> {
    check::count(path, calls.len(), MAX_PARTS)?;
    for (index, call) in calls.iter().enumerate() {
        let path = format!("{path}[{index}].function");
        let Some(Value::Object(function)) = call.get("function") else {
            return Err(ApiError::missing(&path));
        };
        match function.get("name") {
            Some(Value::String(name)) if !name.is_empty() => {}
            _ => return Err(ApiError::missing(&format!("{path}.name"))),
        }
        match function.get("arguments") {
            None | Some(Value::Null | Value::String(_) | Value::Object(_)) => {}
            Some(other) => {
                let param = format!("{path}.arguments");
                return Err(wrong_type(param, other, "a string that holds an object"));
            }
        }
    }
    Ok(())
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

/// A value of another type than the field has.
pub fn wrong_type(param: String, given: &Value, expected: &str) -> ApiError {
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
