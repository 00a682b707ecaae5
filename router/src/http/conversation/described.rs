//! Tools for a model whose chat template knows none: told in the system message, with calls and
//! their results as text.

use serde_json::{Map, Value, json};

use crate::http::conversation::tools::Tool;
use crate::http::conversation::types::Message;

/// What the model is told, around the list of tools.
const INTRODUCTION: &str = "You can call functions. Their signatures, one JSON object a line:";
const SPELLING: &str = "To call a function, answer with a JSON object with its name and its arguments, like \
                        this:\n<tool_call>\n{\"name\": \"NAME\", \"arguments\": {\"KEY\": \"VALUE\"}}\n\
                        </tool_call>\nThe result is then given to you within <tool_response></tool_response>.";

/// Rewrites messages so that any template can render them. `introduction`: the client's own words.
pub(super) fn describe(messages: Vec<Message>, tools: &[Tool], introduction: Option<&str>) -> Vec<Message> {
    let mut messages: Vec<Message> = messages.into_iter().map(as_text).collect();
    if tools.is_empty() {
        return messages;
    }
    let description = description(tools, introduction);
    let system = messages
        .first_mut()
        .filter(|message| matches!(role(message), "system" | "developer"));
    match system {
        Some(message) => {
            let text = format!("{}\n\n{description}", text_of(message));
            message.insert("content".to_owned(), Value::String(text));
        }
        None => messages.insert(0, message("system", description)),
    }
    messages
}

fn description(tools: &[Tool], introduction: Option<&str>) -> String {
    let lines: Vec<String> = tools.iter().map(|tool| tool.definition().to_string()).collect();
    let introduction = introduction.unwrap_or(INTRODUCTION);
    format!(
        "{introduction}\n<tools>\n{}\n</tools>\n{SPELLING}",
        lines.join("\n")
    )
}

/// Calls, and the results of calls, as text.
fn as_text(mut given: Message) -> Message {
    match role(&given) {
        "tool" | "function" => {
            let text = text_of(&given);
            message("user", format!("<tool_response>\n{text}\n</tool_response>"))
        }
        _ => {
            let Some(Value::Array(calls)) = given.remove("tool_calls") else {
                return given;
            };
            let calls: Vec<String> = calls.iter().map(call).collect();
            let text = text_of(&given);
            let gap = if text.is_empty() { "" } else { "\n" };
            given.insert(
                "content".to_owned(),
                Value::String(format!("{text}{gap}{}", calls.join("\n"))),
            );
            given
        }
    }
}

fn call(call: &Value) -> String {
    let function = call.get("function").unwrap_or(call);
    let arguments = match function.get("arguments") {
        Some(Value::String(text)) => {
            serde_json::from_str(text).unwrap_or_else(|_| Value::from(text.as_str()))
        }
        Some(other) => other.clone(),
        None => json!({}),
    };
    let name = function.get("name").cloned().unwrap_or_default();
    let call = json!({"name": name, "arguments": arguments});
    format!("<tool_call>\n{call}\n</tool_call>")
}

fn role(message: &Message) -> &str {
    message.get("role").and_then(Value::as_str).unwrap_or_default()
}

/// The text of a content, whatever its form.
pub(super) fn text_of(message: &Message) -> String {
    let part = |part: &Value| {
        part.get("text")
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_owned()
    };
    match message.get("content") {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Array(parts)) => parts.iter().map(part).collect(),
        _ => String::new(),
    }
}

fn message(role: &str, content: String) -> Message {
    Map::from_iter([
        ("role".to_owned(), Value::from(role)),
        ("content".to_owned(), Value::String(content)),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_conversation_with_tools_becomes_one_of_texts() {
        let tool = json!({"name": "now", "description": "The time"});
        let tool = Tool::new("tools[0].function", tool.as_object().unwrap().clone()).unwrap();
        let messages = json!([
            {"role": "system", "content": [{"type": "text", "text": "Be brief."}]},
            {"role": "user", "content": "q"},
            {"role": "assistant", "content": null, "tool_calls": [
                {"id": "1", "type": "function", "function": {"name": "now", "arguments": "{\"a\": 1}"}},
                {"id": "2", "type": "function", "function": {"name": "now", "arguments": {}}},
            ]},
            {"role": "tool", "tool_call_id": "1", "content": "noon"},
        ]);
        let list = messages.as_array().unwrap().iter();
        let messages: Vec<Message> = list.map(|message| message.as_object().unwrap().clone()).collect();
        let told = describe(messages.clone(), std::slice::from_ref(&tool), None);
        let texts: Vec<String> = told
            .iter()
            .map(|message| format!("{}: {}", role(message), text_of(message)))
            .collect();
        insta::assert_snapshot!(texts.join("\n----\n"));
        let own = describe(messages[1..2].to_vec(), &[tool], Some("Own words."));
        assert_eq!(role(&own[0]), "system");
        assert!(text_of(&own[0]).starts_with("Own words.\n<tools>"));
    }
}
