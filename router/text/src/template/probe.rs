//! What a template can do, found out by trying.

use serde_json::{Value, json};

use super::content::{MessageForm, prepare};
use super::render::{ChatTemplates, Input};
use super::request::ChatRequest;

/// Looked for in the output.
const WORD: &str = "wrzlbrmft";

impl ChatTemplates {
    /// Finds out, by trying, whether tools reach the prompt.
    pub(super) fn probe_tools(&self) -> bool {
        let tool = json!({"type": "function", "function": {"name": WORD, "description": WORD,
                          "parameters": {"type": "object", "properties": {}}}});
        let request = ChatRequest {
            messages: vec![json!({"role": "user", "content": "q"})],
            tools: Some(vec![tool]),
            add_generation_prompt: true,
            ..Default::default()
        };
        let Ok((name, form)) = self.choose(&request) else {
            return false;
        };
        let input = Input {
            request: &request,
            messages: prepare(&request.messages, form).unwrap_or_default(),
            tools: request.tools.clone(),
            documents: None,
        };
        self.run(name, &input).is_ok_and(|text| text.contains(WORD))
    }

    /// Finds out, by trying, in which form a template reads messages.
    pub(super) fn probe(&self, name: &str) -> MessageForm {
        let writes = |messages: Value, form: MessageForm| {
            let request = ChatRequest {
                messages: messages.as_array().cloned().unwrap_or_default(),
                ..Default::default()
            };
            let prepared = prepare(&request.messages, form).unwrap_or_default();
            let input = Input {
                request: &request,
                messages: prepared,
                tools: None,
                documents: None,
            };
            self.run(name, &input).is_ok_and(|text| text.contains(WORD))
        };
        let text = MessageForm {
            parts: false,
            argument_text: false,
        };
        let parts = MessageForm { parts: true, ..text };
        let question = json!([{"role": "user", "content": WORD}]);
        let form = if !writes(question.clone(), text) && writes(question, parts) {
            parts
        } else {
            text
        };
        let call = json!({"id": "call00001", "type": "function",
                          "function": {"name": "f", "arguments": {"x": WORD}}});
        let conversation = json!([
            {"role": "user", "content": "q"},
            {"role": "assistant", "content": "", "tool_calls": [call]},
            {"role": "tool", "tool_call_id": "call00001", "name": "f", "content": "r"},
        ]);
        let as_text = MessageForm {
            argument_text: true,
            ..form
        };
        if !writes(conversation.clone(), form) && writes(conversation, as_text) {
            as_text
        } else {
            form
        }
    }
}
