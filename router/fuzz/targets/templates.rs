//! Any text as a model's chat template: it renders, or fails within its bounds.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use serde_json::json;
use shardline_fuzz::tokenizers::golden;
use shardline_text::template::{TemplateSource, TemplateVariables};
use shardline_text::{ChatRequest, ChatTemplates, ModelText};

static MODEL: LazyLock<ModelText> = LazyLock::new(|| golden("gpt2.gguf"));

static REQUEST: LazyLock<ChatRequest> = LazyLock::new(|| {
    let call = json!({"id": "call00001", "type": "function", "function": {"name": "now", "arguments": "{\"a\": [1, null]}"}});
    ChatRequest {
        messages: vec![
            json!({"role": "system", "content": "Be brief."}),
            json!({"role": "user", "content": "Hi <|im_end|> é"}),
            json!({"role": "assistant", "content": "", "tool_calls": [call]}),
            json!({"role": "tool", "tool_call_id": "call00001", "name": "now", "content": "noon"}),
        ],
        tools: Some(vec![
            json!({"type": "function", "function": {"name": "now", "parameters": {"type": "object"}}}),
        ]),
        add_generation_prompt: true,
        ..ChatRequest::default()
    }
});

fuzz_target!(|text: &str| {
    let source = TemplateSource {
        name: "default".to_owned(),
        text: text.to_owned(),
        path: "fuzz".into(),
    };
    let Ok(templates) = ChatTemplates::compile(vec![source], TemplateVariables::default()) else {
        return;
    };
    if let Ok(rendered) = templates.render(&REQUEST, MODEL.tokenizer.control_tokens()) {
        assert!(rendered.text().len() <= 2 << 20);
        let _ = MODEL.tokenizer.encode_chat(&rendered);
    }
});
