//! The tools that a model may call, and whether it must: the rules, whichever route they came by.

use std::collections::HashSet;

use serde_json::{Map, Value, json};

use crate::http::check;
use crate::http::conversation::choice::{self, Chosen, ToolChoice};
use crate::http::error::{ApiError, Rule};

/// Tools of a request: each is rendered into the prompt.
const MAX_TOOLS: usize = 1024;
const MAX_NAME_BYTES: usize = 128;

/// A tool that keeps every rule.
#[derive(Clone, Debug, PartialEq)]
pub struct Tool {
    name: String,
    /// The field that wants every call to keep the schema, if it does.
    strict: Option<String>,
    /// In the shape that templates read: `{"type": "function", "function": {…}}`.
    definition: Value,
}

impl Tool {
    /// A tool as `function` describes it: `name`, `description`, `parameters`, and what else a
    /// template may know. `path`: where the name stands, for errors.
    ///
    /// # Errors
    /// When the name or the schema of the parameters is none.
    pub fn new(path: &str, mut function: Map<String, Value>) -> Result<Self, ApiError> {
        let name = check_name(path, function.get("name"))?;
        match function.get("description") {
            None | Some(Value::Null | Value::String(_)) => {}
            Some(_) => return Err(wrong(path, "description", "a string")),
        }
        // The native interface's word for it.
        let older = function.remove("arguments");
        match function.get("parameters").or(older.as_ref()) {
            None | Some(Value::Null) => {
                // Templates and grammars read it without asking whether it is there.
                let empty = json!({"type": "object", "properties": {}});
                function.insert("parameters".to_owned(), empty);
            }
            Some(Value::Object(_)) => {
                if let Some(older) = older {
                    function.entry("parameters").or_insert(older);
                }
            }
            Some(_) => return Err(wrong(path, "parameters", "a JSON schema, which is an object")),
        }
        let strict = match function.get("strict") {
            None | Some(Value::Null | Value::Bool(false)) => None,
            Some(Value::Bool(true)) => Some(format!("{path}.strict")),
            Some(_) => return Err(wrong(path, "strict", "true or false")),
        };
        Ok(Self {
            name,
            strict,
            definition: json!({"type": "function", "function": function}),
        })
    }

    /// The name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether every call must keep the schema.
    #[must_use]
    pub fn is_strict(&self) -> bool {
        self.strict.is_some()
    }

    /// The field that says so.
    pub(super) fn strict(&self) -> Option<&str> {
        self.strict.as_deref()
    }

    /// The JSON schema of the arguments.
    #[must_use]
    pub fn parameters(&self) -> &Value {
        self.definition
            .pointer("/function/parameters")
            .unwrap_or(&Value::Null)
    }

    /// In the shape that templates read.
    #[must_use]
    pub fn definition(&self) -> &Value {
        &self.definition
    }
}

fn check_name(path: &str, given: Option<&Value>) -> Result<String, ApiError> {
    let param = format!("{path}.name");
    let name = match given {
        Some(Value::String(name)) => name,
        None | Some(Value::Null) => return Err(ApiError::missing(&param)),
        Some(_) => return Err(wrong(path, "name", "a string")),
    };
    let fits = |character: char| character.is_ascii_alphanumeric() || "_-.:/".contains(character);
    if name.is_empty() || name.len() > MAX_NAME_BYTES || !name.chars().all(fits) {
        let given: String = name.chars().take(40).collect();
        let message = format!(
            "`{param}` must be 1 to {MAX_NAME_BYTES} letters, digits and the signs _ - . : /. Given: `{given}`"
        );
        return Err(ApiError::invalid(param, Rule::Value, message));
    }
    Ok(name.clone())
}

fn wrong(path: &str, field: &str, expected: &str) -> ApiError {
    let param = format!("{path}.{field}");
    let message = format!("`{param}` must be {expected}");
    ApiError::invalid(param, Rule::Value, message)
}

/// The tools of a request, at least one.
#[derive(Clone, Debug, PartialEq)]
pub struct Tools {
    pub(super) list: Vec<Tool>,
    pub(super) choice: ToolChoice,
    /// Whether more than one call is wanted.
    pub(super) parallel: bool,
}

impl Tools {
    /// Joins what was checked one by one.
    ///
    /// # Errors
    /// When there is none, too many, one twice, or the one that was chosen is not among them.
    pub fn new(list: Vec<Tool>, chosen: impl Into<Chosen>, parallel: bool) -> Result<Self, ApiError> {
        let Chosen { choice, among } = chosen.into();
        if list.is_empty() {
            let message = "`tools` must hold at least one tool; leave it out";
            return Err(ApiError::invalid("tools", Rule::Count, message));
        }
        check_count(list.len())?;
        let mut names = HashSet::new();
        if let Some(tool) = list.iter().find(|tool| !names.insert(tool.name())) {
            let message = format!("`tools` holds two tools with the name `{}`", tool.name());
            return Err(ApiError::invalid("tools", Rule::Conflict, message));
        }
        if let ToolChoice::Named(name) = &choice
            && !names.contains(name.as_str())
        {
            let name: String = name.chars().take(40).collect();
            let message = format!(
                "`tool_choice` must be \"auto\", \"none\", \"required\" or the name of one of `tools`. Given: \
                 `{name}`"
            );
            return Err(ApiError::invalid("tool_choice", Rule::Value, message));
        }
        let list = match among {
            None => list,
            Some(among) => among_allowed(list, &among)?,
        };
        Ok(Self {
            list,
            choice,
            parallel,
        })
    }

    /// The tools of a request, each read by `read` from its path and its fields.
    ///
    /// # Errors
    /// With the first field at fault, and when a call is forced with nothing to call.
    pub fn read(
        given: Option<Vec<Map<String, Value>>>,
        chosen: impl Into<Chosen>,
        parallel: bool,
        read: impl Fn(&str, Map<String, Value>) -> Result<Tool, ApiError>,
    ) -> Result<Option<Self>, ApiError> {
        let chosen = chosen.into();
        let Some(given) = given else {
            if chosen.among.is_some() || matches!(chosen.choice, ToolChoice::Required | ToolChoice::Named(_))
            {
                let message = "`tool_choice` needs `tools`";
                return Err(ApiError::invalid("tool_choice", Rule::Conflict, message));
            }
            return Ok(None);
        };
        check_count(given.len())?;
        let list = given
            .into_iter()
            .enumerate()
            .map(|(index, tool)| read(&format!("tools[{index}]"), tool))
            .collect::<Result<_, _>>()?;
        Self::new(list, chosen, parallel).map(Some)
    }

    /// Whether the model must call.
    #[must_use]
    pub fn is_forced(&self) -> bool {
        matches!(self.choice, ToolChoice::Required | ToolChoice::Named(_))
    }

    /// Those that the model is told of.
    pub(super) fn told(&self) -> &[Tool] {
        if self.choice == ToolChoice::None {
            &[]
        } else {
            &self.list
        }
    }
}

/// The tools that the model may call: it is told of no others.
fn among_allowed(list: Vec<Tool>, allowed: &[String]) -> Result<Vec<Tool>, ApiError> {
    if let Some(name) = allowed
        .iter()
        .find(|name| list.iter().all(|tool| tool.name() != name.as_str()))
    {
        let name: String = name.chars().take(40).collect();
        let message = format!("`tool_choice` allows the tool `{name}`, which is none of `tools`");
        return Err(ApiError::invalid("tool_choice", Rule::Value, message));
    }
    let is_allowed = |tool: &Tool| allowed.iter().any(|name| name == tool.name());
    Ok(list.into_iter().filter(is_allowed).collect())
}

/// How many tools a request may bring, before each is looked at.
fn check_count(given: usize) -> Result<(), ApiError> {
    check::count("tools", given, MAX_TOOLS)
}

/// Tools as OpenAI's chat has them.
///
/// # Errors
/// With the first field at fault.
pub fn openai(
    tools: Option<Vec<Map<String, Value>>>,
    choice: Option<Value>,
    parallel: Option<bool>,
) -> Result<Option<Tools>, ApiError> {
    let chosen = choice::openai(choice)?.unwrap_or(Chosen::from(ToolChoice::Auto));
    Tools::read(tools, chosen, parallel.unwrap_or(true), openai_tool)
}

fn openai_tool(path: &str, mut tool: Map<String, Value>) -> Result<Tool, ApiError> {
    match tool.get("type") {
        None | Some(Value::Null) => {}
        Some(Value::String(kind)) if kind == "function" => {}
        Some(Value::String(kind)) => {
            let kind: String = kind.chars().take(40).collect();
            let fix = format!("send tools of type `function`, not `{kind}`");
            return Err(ApiError::unsupported(format!("{path}.type"), fix));
        }
        Some(_) => return Err(wrong(path, "type", "a string")),
    }
    match tool.remove("function") {
        Some(Value::Object(function)) => Tool::new(&format!("{path}.function"), function),
        None | Some(Value::Null) => Err(ApiError::missing(&format!("{path}.function"))),
        Some(_) => Err(wrong(path, "function", "an object")),
    }
}

#[cfg(test)]
#[path = "tools_tests.rs"]
mod tests;
