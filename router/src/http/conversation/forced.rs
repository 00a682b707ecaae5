//! The grammar that makes a model call.

use shardline_parse::{Begin, ReasoningFormat};

use crate::http::conversation::tools::{Tool, ToolChoice, Tools};
use crate::http::structure::{Structure, Structured};

/// Calls of one answer.
const MAX_CALLS: usize = 16;
/// What says in a schema that there may be more properties than those it names.
const OPEN: [&str; 7] = [
    "additionalProperties",
    "unevaluatedProperties",
    "patternProperties",
    "allOf",
    "anyOf",
    "oneOf",
    "$ref",
];
const PARAM: &str = "tool_choice";

/// What the answer must look like; `None`: as the model likes. `reasoning`: how it may reason
/// before it calls. `key`: the arguments' name within a call.
pub(super) fn structure(
    tools: &Tools,
    reasoning: Option<(ReasoningFormat, Begin)>,
    key: &str,
) -> Option<Structured> {
    let rules = match &tools.choice {
        ToolChoice::Auto | ToolChoice::None => return None,
        ToolChoice::Named(name) => named(tools, name)?,
        ToolChoice::Required => required(tools, key),
    };
    let (thought, rule) = thought(reasoning);
    let source = format!("start: {thought}answer\n{rule}{rules}");
    Some(Structured::new(PARAM, Structure::Lark(source)))
}

/// The arguments of one tool and nothing else.
fn named(tools: &Tools, name: &str) -> Option<String> {
    let tool = tools.list.iter().find(|tool| tool.name() == name)?;
    Some(format!("answer: {}\n", arguments(tool)))
}

/// A list of calls.
fn required(tools: &Tools, key: &str) -> String {
    // An empty range is no range.
    let more = if tools.parallel {
        format!(" (\", \" call){{0,{}}}", MAX_CALLS - 1)
    } else {
        String::new()
    };
    let mut rules = format!("answer: \"[\" call{more} \"]\"\n");
    let names: Vec<String> = (0..tools.list.len())
        .map(|index| format!("call{index}"))
        .collect();
    rules.push_str(&format!("call: {}\n", names.join(" | ")));
    for (index, tool) in tools.list.iter().enumerate() {
        let head = format!("{{\"name\": {}, \"{key}\": ", quoted(tool.name()));
        rules.push_str(&format!(
            "call{index}: {} {} \"}}\"\n",
            quoted(&head),
            arguments(tool)
        ));
    }
    rules
}

/// Reasoning before the answer, as the beginning of `start`, and its rule.
fn thought(reasoning: Option<(ReasoningFormat, Begin)>) -> (&'static str, String) {
    let Some((format, begin)) = reasoning else {
        return ("", String::new());
    };
    let [open, close] = format.markers();
    let thoughts = |name: &str| format!("{name}[suffix={}]: /(?s:.*)/\n", quoted(close));
    match begin {
        Begin::Inside => (
            "thoughts SPACE ",
            format!("{}SPACE: /\\s{{0,8}}/\n", thoughts("thoughts")),
        ),
        Begin::Outside => (
            "thought? ",
            format!(
                "thought: {} thoughts SPACE\n{}SPACE: /\\s{{0,8}}/\n",
                quoted(open),
                thoughts("thoughts")
            ),
        ),
    }
}

/// The schema of a tool's arguments, which has no more of them than it names unless it says so.
fn arguments(tool: &Tool) -> String {
    let mut schema = tool.parameters().clone();
    if let Some(fields) = schema.as_object_mut()
        && fields.contains_key("properties")
        && !OPEN.iter().any(|key| fields.contains_key(*key))
    {
        fields.insert("additionalProperties".to_owned(), false.into());
    }
    format!("%json {schema}")
}

/// Lark writes its strings as JSON does.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn source(choice: ToolChoice, reasoning: Option<(ReasoningFormat, Begin)>) -> String {
        let tool = |name: &str| {
            let function = json!({"name": name, "parameters": {"type": "object", "properties": {"a": {"$ref": "#/$defs/x"}}}});
            Tool::new("f", function.as_object().unwrap().clone()).unwrap()
        };
        let parallel = choice != ToolChoice::Required || reasoning.is_none();
        let tools = Tools::new(vec![tool("one"), tool("two")], choice, parallel).unwrap();
        match structure(&tools, reasoning, "arguments").map(|asked| asked.structure) {
            Some(Structure::Lark(source)) => source,
            other => format!("{other:?}"),
        }
    }

    #[test]
    fn grammars_force_what_was_chosen() {
        assert_eq!(source(ToolChoice::Auto, None), "None");
        insta::assert_snapshot!(source(ToolChoice::Required, None));
        let format = ReasoningFormat::named("think").unwrap();
        let one = source(ToolChoice::Required, Some((format, Begin::Inside)));
        assert!(one.contains("answer: \"[\" call \"]\"\n"), "{one}");
        let named = || ToolChoice::Named("two".to_owned());
        insta::assert_snapshot!(source(named(), Some((format, Begin::Inside))));
        insta::assert_snapshot!(source(named(), Some((format, Begin::Outside))));
    }
}
