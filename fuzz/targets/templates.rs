//! Any text as a model's chat template: it renders or fails within its bounds.
#![no_main]

use std::path::Path;
use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use serde_json::json;
use shardline_text::template::{TemplateSource, TemplateVariables};
use shardline_text::{ChatRequest, ChatTemplates, ModelText, Overrides};

static MODEL: LazyLock<ModelText> = LazyLock::new(|| {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../router/text/tests/golden/gpt2.gguf");
    ModelText::load(&path, &Overrides::default()).unwrap()
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
    let request = ChatRequest {
        messages: vec![
            json!({"role": "system", "content": "Be brief."}),
            json!({"role": "user", "content": "Hi <|im_end|>"}),
        ],
        add_generation_prompt: true,
        ..ChatRequest::default()
    };
    if let Ok(rendered) = templates.render(&request, MODEL.tokenizer.control_tokens()) {
        assert!(rendered.text().len() <= 4 << 20);
    }
});
