//! Prompts are those that the transformers library renders (`golden/make.py`).
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::collections::HashMap;

use serde::Deserialize;
use serde_json::{Map, Value};
use shardline_text::template::{TemplateSource, TemplateVariables};
use shardline_text::{ChatRequest, ChatTemplates, TemplateError};
use support::{demo, golden_json, golden_model, golden_path};

/// 2024-07-26 09:05:03 UTC, as in golden/conversations.py.
const NOW_UNIX_S: i64 = 1_721_984_703;

#[derive(Deserialize)]
struct Case {
    template: String,
    messages: Vec<Value>,
    tools: Option<Vec<Value>>,
    documents: Option<Vec<Value>>,
    #[serde(default)]
    add_generation_prompt: bool,
    #[serde(default)]
    continue_final_message: bool,
    #[serde(default)]
    kwargs: Map<String, Value>,
    expected: Expected,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Expected {
    Text(String),
    Refused(String),
}

fn templates(name: &str) -> ChatTemplates {
    if name == "smollm" {
        return demo().templates.expect("the demo model has a template");
    }
    let path = golden_path(&format!("templates/{name}.jinja"));
    let text = std::fs::read_to_string(&path).expect("the template is there");
    let variables = TemplateVariables {
        bos_token: Some("<s>".to_owned()),
        eos_token: Some("</s>".to_owned()),
        ..TemplateVariables::default()
    };
    let source = TemplateSource {
        name: "default".to_owned(),
        text,
        path,
    };
    ChatTemplates::compile(vec![source], variables).expect("the template compiles")
}

#[test]
fn prompts_equal_those_of_transformers() {
    let model = golden_model("gpt2.gguf");
    let mut compiled: HashMap<String, ChatTemplates> = HashMap::new();
    let cases: Vec<Case> = golden_json("chat_templates.json");
    assert!(cases.len() > 150);
    for (index, case) in cases.into_iter().enumerate() {
        let templates = compiled
            .entry(case.template.clone())
            .or_insert_with(|| templates(&case.template));
        let request = ChatRequest {
            messages: case.messages,
            tools: case.tools,
            documents: case.documents,
            add_generation_prompt: case.add_generation_prompt,
            continue_final_message: case.continue_final_message,
            template_kwargs: case.kwargs,
            template_name: None,
            now_unix_s: NOW_UNIX_S,
        };
        let rendered = templates.render(&request, model.tokenizer.control_tokens());
        match (rendered, case.expected) {
            (Ok(chat), Expected::Text(text)) => {
                assert_eq!(chat.text(), text, "case {index}, {}", case.template)
            }
            (Err(TemplateError::Raised { message }), Expected::Refused(expected)) => {
                assert_eq!(message, expected)
            }
            (rendered, expected) => panic!("case {index}, {}: {rendered:?}, not {expected:?}", case.template),
        }
    }
}

#[test]
fn templates_are_known_by_whether_they_tell_the_model_of_tools() {
    for (name, tells) in [
        ("qwen", true),
        ("llama", true),
        ("mistral", true),
        ("chatml", true),
        ("smollm", false),
    ] {
        let templates = templates(name);
        assert_eq!(templates.tells_tools(), tells, "{name}");
        assert!(
            templates
                .tool_template()
                .is_some_and(|text| text.contains("messages"))
        );
    }
}
