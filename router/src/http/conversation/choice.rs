//! Which tools a model may call, and whether it must, in the spellings of OpenAI's interfaces.

use serde_json::{Map, Value};

use crate::http::error::{ApiError, Rule};

/// Whether a model must call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ToolChoice {
    /// As it likes.
    Auto,
    /// Never: it is not told of the tools.
    None,
    /// At least once.
    Required,
    /// This one, once.
    Named(String),
}

/// A choice, perhaps among some of the tools alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chosen {
    /// Whether the model must call.
    pub choice: ToolChoice,
    /// The names of the tools that it may call; `None`: all.
    pub among: Option<Vec<String>>,
}

impl From<ToolChoice> for Chosen {
    fn from(choice: ToolChoice) -> Self {
        Self { choice, among: None }
    }
}

/// A word, a tool's name, or an object with a name or with the tools that are allowed.
///
/// # Errors
/// When it is none of them.
pub(super) fn openai(choice: Option<Value>) -> Result<Option<Chosen>, ApiError> {
    let invalid = || {
        let message = "`tool_choice` must be \"auto\", \"none\", \"required\", \
                       {\"type\": \"function\", \"function\": {\"name\": …}}, or {\"type\": \"allowed_tools\", …}";
        ApiError::invalid("tool_choice", Rule::Value, message)
    };
    match choice {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(word)) => Ok(Some(Chosen::from(match word.as_str() {
            "auto" => ToolChoice::Auto,
            "none" => ToolChoice::None,
            "required" => ToolChoice::Required,
            _ => ToolChoice::Named(word),
        }))),
        Some(Value::Object(choice)) => {
            let kind = choice.get("type").and_then(Value::as_str).unwrap_or("function");
            let name = choice
                .get("function")
                .and_then(|function| function.get("name")?.as_str());
            match (kind, name) {
                ("function", Some(name)) => Ok(Some(ToolChoice::Named(name.to_owned()).into())),
                ("function", None) => Err(ApiError::missing("tool_choice.function.name")),
                ("allowed_tools", _) => match choice.get("allowed_tools") {
                    Some(Value::Object(fields)) => allowed("tool_choice.allowed_tools", fields, |tool| {
                        tool.get("function")?.get("name")?.as_str()
                    })
                    .map(Some),
                    _ => Err(ApiError::missing("tool_choice.allowed_tools")),
                },
                _ => Err(invalid()),
            }
        }
        Some(_) => Err(invalid()),
    }
}

/// `mode` and `tools` of a choice among some of the tools. `path`: where they stand; `name`: of an
/// entry.
///
/// # Errors
/// When one is missing, or of the wrong kind.
pub fn allowed(
    path: &str,
    fields: &Map<String, Value>,
    name: impl Fn(&Value) -> Option<&str>,
) -> Result<Chosen, ApiError> {
    let param = format!("{path}.mode");
    let choice = match fields.get("mode").and_then(Value::as_str) {
        Some("auto") => ToolChoice::Auto,
        Some("required") => ToolChoice::Required,
        Some(other) => {
            let given: String = other.chars().take(40).collect();
            let message = format!("`{param}` must be \"auto\" or \"required\". Given: `{given}`");
            return Err(ApiError::invalid(param, Rule::Value, message));
        }
        None => return Err(ApiError::missing(&param)),
    };
    let param = format!("{path}.tools");
    let tools = match fields.get("tools") {
        Some(Value::Array(tools)) if !tools.is_empty() => tools,
        _ => return Err(ApiError::missing(&param)),
    };
    let name = |(index, tool)| {
        let name = name(tool).map(str::to_owned);
        name.ok_or_else(|| {
            let param = format!("{param}[{index}]");
            let message = format!("`{param}` must be a function by its name");
            ApiError::invalid(param, Rule::Value, message)
        })
    };
    let among = tools.iter().enumerate().map(name).collect::<Result<_, _>>()?;
    Ok(Chosen {
        choice,
        among: Some(among),
    })
}
