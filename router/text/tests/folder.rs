//! Model folders: which file says what.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::path::Path;

use serde_json::{Value, json};
use shardline_text::{
    ChatRequest, EncodeOptions, GenerationSource, LoadError, ModelText, Overrides, TemplateError,
};

/// A byte-level tokenizer.json of single bytes with three special tokens.
fn tokenizer_json() -> Value {
    let mut vocabulary = serde_json::Map::new();
    for (id, byte) in (b'!'..=b'~').enumerate() {
        vocabulary.insert(char::from(byte).to_string(), json!(id));
    }
    let base = vocabulary.len();
    vocabulary.insert("Ġ".to_owned(), json!(base));
    vocabulary.insert("Ċ".to_owned(), json!(base + 1));
    let added = |offset: usize, content: &str, special: bool| {
        json!({"id": base + 2 + offset, "content": content, "special": special, "single_word": false,
               "lstrip": false, "rstrip": false, "normalized": false})
    };
    json!({
        "version": "1.0",
        "truncation": {"direction": "Right", "max_length": 2, "strategy": "LongestFirst", "stride": 0},
        "padding": {"strategy": {"Fixed": 8}, "direction": "Right", "pad_to_multiple_of": null, "pad_id": 0,
                    "pad_type_id": 0, "pad_token": "!"},
        "added_tokens": [added(0, "<s>", true), added(1, "</s>", true), added(2, "<call>", false), added(3, "<eot>", true)],
        "normalizer": null,
        "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true},
        "post_processor": null,
        "decoder": {"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true},
        "model": {"type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null,
                  "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false, "ignore_merges": false,
                  "vocab": vocabulary, "merges": []},
    })
}

struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        let folder = Self(tempfile::tempdir().unwrap());
        folder.json("tokenizer.json", &tokenizer_json())
    }

    fn json(self, name: &str, value: &Value) -> Self {
        self.text(name, &value.to_string())
    }

    fn text(self, name: &str, text: &str) -> Self {
        let path = self.0.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
        self
    }

    fn load(&self) -> Result<ModelText, LoadError> {
        ModelText::load(self.0.path(), &Overrides::default())
    }
}

fn prompt(model: &ModelText, request: &ChatRequest) -> Result<String, TemplateError> {
    model.render_chat(request).map(|chat| chat.text())
}

fn hello() -> ChatRequest {
    ChatRequest {
        messages: vec![json!({"role": "user", "content": "hi"})],
        ..ChatRequest::default()
    }
}

#[test]
fn a_tokenizer_alone_is_enough_and_is_not_cut_or_padded() {
    let model = Folder::new().load().unwrap();
    let ids = model
        .tokenizer
        .encode("hello world", EncodeOptions::default())
        .unwrap();
    assert_eq!(ids.len(), 11);
    assert_eq!(model.tokenizer.vocab_size(), 100);
    assert_eq!(model.generation, shardline_text::GenerationDefaults::default());
    assert!(matches!(prompt(&model, &hello()), Err(TemplateError::NoTemplate)));
}

#[test]
fn defaults_come_from_generation_config() {
    let generation = json!({"eos_token_id": [99, 97], "temperature": 0.6, "top_p": 0.9, "top_k": 20, "min_p": 0.05,
        "typical_p": 0.95, "repetition_penalty": 1.05, "max_new_tokens": 512, "do_sample": true, "bos_token_id": null});
    let config =
        json!({"model_type": "llama", "max_position_embeddings": 4096, "vocab_size": 128, "eos_token_id": 1});
    let tokenizer_config = json!({"eos_token": {"content": "</s>", "lstrip": false}, "bos_token": "<s>",
        "model_max_length": 1e30});
    let folder = Folder::new()
        .json("generation_config.json", &generation)
        .json("config.json", &config)
        .json("tokenizer_config.json", &tokenizer_config);
    let model = folder.load().unwrap();
    assert_eq!(model.generation.eos_token_ids, [99, 97]);
    assert_eq!(model.generation.temperature, Some(0.6));
    assert_eq!(model.generation.top_k, Some(20));
    assert_eq!(model.generation.max_new_tokens, Some(512));
    assert_eq!(model.facts.model_type.as_deref(), Some("llama"));
    assert_eq!(model.facts.max_positions(), Some(4096));
    assert_eq!(model.facts.vocab_size, Some(128));
    assert_eq!(model.special_tokens.bos.as_deref(), Some("<s>"));
    let folder = folder.json("tokenizer_config.json", &json!({"model_max_length": 2048}));
    assert_eq!(folder.load().unwrap().facts.max_positions(), Some(2048));
}

#[test]
fn without_generation_config_the_other_files_say_what_ends_a_text() {
    let folder = Folder::new()
        .json(
            "config.json",
            &json!({"eos_token_id": 99, "text_config": {"max_position_embeddings": 77}}),
        )
        .json("special_tokens_map.json", &json!({"eos_token": "</s>"}));
    let model = folder.load().unwrap();
    assert_eq!(model.generation.eos_token_ids, [99, 97]);
    assert_eq!(model.facts.max_positions(), Some(77));
}

#[test]
fn values_that_cannot_be_used_are_refused_with_file_and_field() {
    let cases = [
        (
            "generation_config.json",
            json!({"eos_token_id": -1}),
            "eos_token_id",
        ),
        (
            "generation_config.json",
            json!({"temperature": "hot"}),
            "temperature",
        ),
        (
            "config.json",
            json!({"max_position_embeddings": 1.5}),
            "max_position_embeddings",
        ),
        ("tokenizer_config.json", json!({"eos_token": 3}), "eos_token"),
        (
            "tokenizer_config.json",
            json!({"chat_template": 3}),
            "chat_template",
        ),
    ];
    for (file, value, field) in cases {
        let error = Folder::new().json(file, &value).load().unwrap_err();
        let message = error.to_string();
        assert!(matches!(error, LoadError::Field { .. }), "{message}");
        assert!(message.contains(file) && message.contains(field), "{message}");
    }
    let error = Folder::new()
        .text("chat_template.jinja", "{% if %}")
        .load()
        .unwrap_err();
    assert!(error.to_string().contains("chat_template.jinja"), "{error}");
}

#[test]
fn the_template_file_comes_before_the_configuration() {
    let folder = Folder::new().json(
        "tokenizer_config.json",
        &json!({"chat_template": "config", "eos_token": "</s>"}),
    );
    assert_eq!(prompt(&folder.load().unwrap(), &hello()).unwrap(), "config");
    let folder = folder.json("chat_template.json", &json!({"chat_template": "json"}));
    assert_eq!(prompt(&folder.load().unwrap(), &hello()).unwrap(), "json");
    let folder = folder.text("chat_template.jinja", "jinja{{ eos_token }}{{ bos_token }}");
    assert_eq!(prompt(&folder.load().unwrap(), &hello()).unwrap(), "jinja</s>");
}

#[test]
fn an_override_replaces_template_and_tokens() {
    let folder = Folder::new()
        .json(
            "tokenizer_config.json",
            &json!({"chat_template": "own", "eos_token": "</s>", "bos_token": "<s>"}),
        )
        .json(
            "other/config.json",
            &json!({"chat_template": "{{ bos_token }}{{ eos_token }}", "eos_token": "<eot>"}),
        );
    let overrides = Overrides {
        tokenizer_config_path: Some(folder.0.path().join("other/config.json")),
        ..Overrides::default()
    };
    let model = ModelText::load(folder.0.path(), &overrides).unwrap();
    assert_eq!(prompt(&model, &hello()).unwrap(), "<s><eot>");
    assert_eq!(model.generation.eos_token_ids, [99]);
    let missing = Overrides {
        tokenizer_config_path: Some(Path::new("missing.json").to_owned()),
        ..Overrides::default()
    };
    assert!(matches!(
        ModelText::load(folder.0.path(), &missing),
        Err(LoadError::Io { .. })
    ));
}

#[test]
fn sampling_defaults_can_come_from_elsewhere_and_the_ends_of_texts_stay() {
    let folder = Folder::new().json(
        "generation_config.json",
        &json!({"eos_token_id": [97], "temperature": 0.6, "top_k": 20}),
    );
    let other = Folder::new().json(
        "generation_config.json",
        &json!({"eos_token_id": 98, "temperature": 0.2}),
    );
    let load = |generation| {
        let overrides = Overrides {
            generation,
            ..Overrides::default()
        };
        ModelText::load(folder.0.path(), &overrides)
    };
    let own = load(GenerationSource::Model).unwrap().generation;
    assert_eq!((own.temperature, own.top_k), (Some(0.6), Some(20)));
    let neutral = load(GenerationSource::Neutral).unwrap().generation;
    assert_eq!((neutral.temperature, neutral.top_k), (None, None));
    assert_eq!(neutral.eos_token_ids, own.eos_token_ids);
    let file = other.0.path().join("generation_config.json");
    for path in [other.0.path().to_owned(), file] {
        let read = load(GenerationSource::File(path)).unwrap().generation;
        assert_eq!((read.temperature, read.top_k), (Some(0.2), None));
        assert!(own.eos_token_ids.iter().all(|id| read.eos_token_ids.contains(id)));
        assert!(read.eos_token_ids.contains(&98));
    }
    assert!(load(GenerationSource::File("/nowhere".into())).is_err());
}

#[test]
fn named_templates_are_chosen_by_name_tools_and_documents() {
    let list = json!([
        {"name": "default", "template": "plain"},
        {"name": "tool_use", "template": "tools"},
        {"name": "rag", "template": "documents"},
    ]);
    let folder = Folder::new()
        .json("tokenizer_config.json", &json!({"chat_template": list}))
        .text("additional_chat_templates/brief.jinja", "brief");
    let model = folder.load().unwrap();
    let tools = ChatRequest {
        tools: Some(vec![json!({})]),
        ..hello()
    };
    let documents = ChatRequest {
        documents: Some(vec![json!({})]),
        ..hello()
    };
    let named = |name: &str| ChatRequest {
        template_name: Some(name.to_owned()),
        ..hello()
    };
    assert_eq!(prompt(&model, &hello()).unwrap(), "plain");
    assert_eq!(prompt(&model, &tools).unwrap(), "tools");
    assert_eq!(prompt(&model, &documents).unwrap(), "documents");
    assert_eq!(prompt(&model, &named("brief")).unwrap(), "brief");
    let error = prompt(&model, &named("other")).unwrap_err();
    assert!(
        error.to_string().contains("brief, default, rag, tool_use"),
        "{error}"
    );
}

#[test]
fn messages_that_are_none_are_refused_with_their_place() {
    let template = "{% for m in messages %}{{ m.content }}{% endfor %}";
    let model = Folder::new()
        .text("chat_template.jinja", template)
        .load()
        .unwrap();
    let refused = |message: Value| {
        let request = ChatRequest {
            messages: vec![json!({"role": "user", "content": "x"}), message],
            ..hello()
        };
        prompt(&model, &request).unwrap_err().to_string()
    };
    assert!(refused(json!(3)).contains("`messages[1]` must be an object, given: a number"));
    assert!(refused(json!({"content": 3})).contains("`messages[1].content`"));
    let image =
        json!({"content": [{"type": "text", "text": "a"}, {"type": "image_url", "image_url": {"url": "x"}}]});
    assert!(refused(image).contains("`messages[1].content[1]` has the type \"image_url\""));
}

#[test]
fn an_added_token_is_a_control_token_when_the_template_writes_it() {
    let conversation = ChatRequest {
        messages: vec![json!({"role": "user", "content": "a<call>b"})],
        ..hello()
    };
    let count = |template: &str| {
        let model = Folder::new()
            .text("chat_template.jinja", template)
            .load()
            .unwrap();
        let chat = model.render_chat(&conversation).unwrap();
        let ids = model.encode_chat(&chat).unwrap();
        assert_eq!(model.tokenizer.decode(&ids, false), chat.text());
        ids.iter().filter(|id| **id == 98).count()
    };
    assert_eq!(count("{{ messages[0].content }}"), 1);
    assert_eq!(
        count("{{ messages[0].content }}{% if tools %}<call>{% endif %}"),
        0
    );
}

#[test]
fn continuing_needs_a_message_that_is_written() {
    let template = "{% for m in messages %}[{{ m.content | trim }}]{% endfor %}";
    let model = Folder::new()
        .text("chat_template.jinja", template)
        .load()
        .unwrap();
    let request = ChatRequest {
        continue_final_message: true,
        ..hello()
    };
    assert_eq!(prompt(&model, &request).unwrap(), "[hi");
    let both = ChatRequest {
        add_generation_prompt: true,
        ..request.clone()
    };
    assert!(matches!(
        prompt(&model, &both),
        Err(TemplateError::Continue { .. })
    ));
    let none = ChatRequest {
        messages: Vec::new(),
        ..request
    };
    assert!(matches!(
        prompt(&model, &none),
        Err(TemplateError::Continue { .. })
    ));
}
