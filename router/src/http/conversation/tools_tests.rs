use super::*;

fn tool(name: &str) -> Map<String, Value> {
    let tool = json!({"type": "function", "function": {"name": name}});
    tool.as_object().unwrap().clone()
}

fn refused(tools: Value, choice: Value) -> String {
    let tools = tools.as_array().map(|list| {
        let object = |tool: &Value| tool.as_object().unwrap().clone();
        list.iter().map(object).collect()
    });
    openai(tools, Some(choice), None).unwrap_err().to_string()
}

#[test]
fn a_tool_is_completed_for_templates() {
    let tools = openai(Some(vec![tool("now")]), None, None).unwrap().unwrap();
    assert_eq!(tools.choice, ToolChoice::Auto);
    assert_eq!(
        tools.list[0].definition().to_string(),
        r#"{"type":"function","function":{"name":"now","parameters":{"type":"object","properties":{}}}}"#
    );
    let older = json!({"function": {"name": "f", "arguments": {"type": "object", "properties": {"a": {}}}}});
    let tools = openai(Some(vec![older.as_object().unwrap().clone()]), None, None);
    let schema = tools.unwrap().unwrap().list[0].parameters().clone();
    assert_eq!(schema, json!({"type": "object", "properties": {"a": {}}}));
}

#[test]
fn choices_come_in_several_spellings() {
    for (given, expected) in [
        (json!("auto"), ToolChoice::Auto),
        (json!("none"), ToolChoice::None),
        (json!("required"), ToolChoice::Required),
        (json!("now"), ToolChoice::Named("now".to_owned())),
        (
            json!({"type": "function", "function": {"name": "now"}}),
            ToolChoice::Named("now".to_owned()),
        ),
        (
            json!({"function": {"name": "now"}}),
            ToolChoice::Named("now".to_owned()),
        ),
    ] {
        let tools = openai(Some(vec![tool("now")]), Some(given), None)
            .unwrap()
            .unwrap();
        assert_eq!(tools.choice, expected);
    }
    assert_eq!(openai(None, Some(json!("auto")), Some(true)).unwrap(), None);
}

#[test]
fn what_is_wrong_is_named() {
    let one = json!([{"type": "function", "function": {"name": "now"}}]);
    insta::assert_snapshot!(
        [
            refused(json!([]), json!("auto")),
            refused(json!(null), json!("required")),
            refused(one.clone(), json!("later")),
            refused(one.clone(), json!(7)),
            refused(one.clone(), json!({"type": "function"})),
            refused(one.clone(), json!({"type": "allowed_tools"})),
            refused(json!([{"type": "web_search"}]), json!("auto")),
            refused(json!([{"type": "function"}]), json!("auto")),
            refused(json!([{"function": {"name": "a\"b"}}]), json!("auto")),
            refused(json!([{"function": {"name": "ä"}}]), json!("auto")),
            refused(json!([{"function": {}}]), json!("auto")),
            refused(
                json!([{"function": {"name": "a", "parameters": []}}]),
                json!("auto")
            ),
            refused(
                json!([{"function": {"name": "a"}}, {"function": {"name": "a"}}]),
                json!("auto")
            ),
            refused(Value::Array(vec![one[0].clone(); 10_000]), json!("auto")),
        ]
        .join("\n")
    );
}
