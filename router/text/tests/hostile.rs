//! Hostile templates and files fail, with a typed error, within bounds.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::io::Write;

use proptest::prelude::*;
use serde_json::json;
use shardline_text::gguf::{GgufError, read_metadata};
use shardline_text::template::{TemplateSource, TemplateVariables};
use shardline_text::{ChatRequest, ChatTemplates, LoadError, ModelText, Overrides, TemplateError};
use support::{golden_model, golden_path};

fn render(template: &str) -> Result<String, TemplateError> {
    let model = golden_model("gpt2.gguf");
    let source = TemplateSource {
        name: "default".to_owned(),
        text: template.to_owned(),
        path: "test".into(),
    };
    let templates = ChatTemplates::compile(vec![source], TemplateVariables::default())?;
    let request = ChatRequest {
        messages: vec![json!({"role": "user", "content": "word"}); 3],
        template_kwargs: json!({"deep": [[[[[[]]]]]]})
            .as_object()
            .cloned()
            .unwrap_or_default(),
        ..ChatRequest::default()
    };
    templates
        .render(&request, model.tokenizer.control_tokens())
        .map(|chat| chat.text())
}

#[test]
fn endless_work_ends() {
    let hostile = [
        "{% for i in range(1000000000) %}{% endfor %}",
        "{% for i in range(99999) %}{% for j in range(99999) %}x{% endfor %}{% endfor %}",
        "{{ 'x' * 1000000000 }}",
        "{% set ns = namespace(t='xxxxxxxxxx') %}{% for i in range(60) %}{% set ns.t = ns.t + ns.t %}{% endfor %}",
        "{% set ns = namespace(t='xxxxxxxxxx') %}{% for i in range(60) %}{% set ns.t = ns.t ~ ns.t %}{% endfor %}",
        "{% set ns = namespace(t='xx') %}{% for i in range(60) %}{% set ns.t = [ns.t, ns.t] | join(ns.t) %}{% endfor %}",
        "{% set ns = namespace(t='xx') %}{% for i in range(60) %}{% set ns.t = ns.t.join([ns.t, ns.t]) %}{% endfor %}",
        "{% set ns = namespace(t='xx') %}{% for i in range(60) %}{% set ns.t = ns.t.replace('x', ns.t) %}{% endfor %}",
        "{% set ns = namespace(t='xx') %}{% for i in range(60) %}{% set ns.t = ns.t | replace('x', ns.t) %}{% endfor %}",
        "{% set ns = namespace(t='xx') %}{% for i in range(60) %}{% set ns.t = [ns.t, ns.t] | tojson %}{% endfor %}",
        "{% set ns = namespace(t=[]) %}{% for i in range(60) %}{% set ns.t = [ns.t, ns.t] %}{% endfor %}{{ ns.t | tojson }}",
        "{% set ns = namespace(t=[]) %}{% for i in range(60) %}{% set ns.t = [ns.t, ns.t] %}{% endfor %}{{ ns.t }}",
        "{% macro m(n) %}{{ m(n) }}{{ m(n) }}{% endmacro %}{{ m(1) }}",
        "{{ ('%999999999d' | format(1)) }}",
        "{{ '{:>999999999}'.format(1) }}",
        "{{ '{:>{}}'.format(1, 999999999) }}",
        "{{ '%*d' | format(999999999, 1) }}",
        "{{ 'x' | indent(999999999) }}",
        "{{ 'a' | center(999999999) }}",
        "{{ range(99999) | map('string') | join('xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx') * 99 }}",
        "{% filter upper %}{% for i in range(99999) %}{% for j in range(99999) %}x{% endfor %}{% endfor %}{% endfilter %}",
        "{{ [1] | tojson(indent=999999999) }}",
        "{{ 10 ** 10 ** 10 }}",
        "{{ range(-9223372036854775807, 9223372036854775807) | list }}",
        "{{ (range(99999) | list | tojson) * 2000 }}",
    ];
    for template in hostile {
        let outcome = render(template);
        assert!(
            matches!(
                outcome,
                Err(TemplateError::TooMuchWork { .. }
                    | TemplateError::TooMuchOutput { .. }
                    | TemplateError::Failed { .. })
            ) || outcome.as_ref().is_ok_and(|text| text.len() < 100),
            "{template}: {:?}",
            outcome.map(|text| text.len())
        );
    }
}

#[test]
fn nothing_but_data_can_be_reached() {
    let attempts = [
        "{{ ''.__class__.__mro__ }}",
        "{{ messages.__init__.__globals__ }}",
        "{{ messages[0].__class__ }}",
        "{% include '/etc/passwd' %}",
        "{% extends '/etc/passwd' %}",
        "{% import 'os' as os %}{{ os.system('id') }}",
        "{{ self.__dict__ }}",
        "{{ cycler.__init__ }}",
        "{{ namespace.__init__ }}",
        "{{ debug() }}",
        "{{ open('/etc/passwd') }}",
    ];
    for attempt in attempts {
        let outcome = render(attempt);
        let leaked = outcome.as_ref().is_ok_and(|text| !text.is_empty());
        assert!(!leaked, "{attempt}: {outcome:?}");
    }
}

#[test]
fn templates_that_do_not_compile_say_where() {
    let Err(TemplateError::Syntax { name, cause }) = render("a\n{% if %}") else {
        panic!("compiled")
    };
    assert_eq!(name, "default");
    assert!(cause.starts_with("line 2"), "{cause}");
    let nested = format!("{{{{ {}1{} }}}}", "(".repeat(100_000), ")".repeat(100_000));
    assert!(matches!(render(&nested), Err(TemplateError::Syntax { .. })));
    let blocks = format!("{}{}", "{% if 1 %}".repeat(20_000), "{% endif %}".repeat(20_000));
    assert!(matches!(render(&blocks), Err(TemplateError::Syntax { .. })));
    assert!(matches!(
        render(&"x".repeat(2 << 20)),
        Err(TemplateError::SourceTooLong { .. })
    ));
}

#[test]
fn what_a_template_refuses_is_told_in_its_words() {
    let outcome = render("{{ raise_exception('no system message, please') }}");
    let Err(TemplateError::Raised { message }) = outcome else {
        panic!("{outcome:?}")
    };
    assert_eq!(message, "no system message, please");
    let outcome = render("x\n{{ messages + 1 }}");
    assert!(
        matches!(outcome, Err(TemplateError::Failed { line: 2, .. })),
        "{outcome:?}"
    );
}

fn metadata(bytes: &[u8]) -> Result<(), GgufError> {
    read_metadata(bytes, bytes.len() as u64, |_| true).map(|_| ())
}

/// A file of one pair.
fn file(pairs: u64, key: &[u8], kind: u32, value: &[u8]) -> Vec<u8> {
    let mut bytes = b"GGUF\x03\0\0\0".to_vec();
    bytes.extend(0u64.to_le_bytes());
    bytes.extend(pairs.to_le_bytes());
    bytes.extend((key.len() as u64).to_le_bytes());
    bytes.extend(key);
    bytes.extend(kind.to_le_bytes());
    bytes.extend(value);
    bytes
}

#[test]
fn hostile_numbers_in_a_gguf_file_are_refused() {
    let long = u64::MAX.to_le_bytes();
    assert!(matches!(metadata(b"PK\x03\x04"), Err(GgufError::NotGguf { .. })));
    assert!(matches!(metadata(b"GG"), Err(GgufError::Truncated { .. })));
    assert!(matches!(
        metadata(b"GGUF\0\0\0\x03"),
        Err(GgufError::Version { version: 0x0300_0000 })
    ));
    assert!(matches!(
        metadata(&file(u64::MAX, b"a", 7, &[1])),
        Err(GgufError::Limit { .. })
    ));
    assert!(matches!(
        metadata(&file(1, b"a", 8, &long)),
        Err(GgufError::Limit { .. })
    ));
    assert!(matches!(
        metadata(&file(1, b"a", 8, &1_000u64.to_le_bytes())),
        Err(GgufError::Truncated { .. })
    ));
    assert!(matches!(
        metadata(&file(1, b"a", 99, &[])),
        Err(GgufError::ValueType { given: 99, .. })
    ));
    assert!(matches!(
        metadata(&file(1, b"\xff", 7, &[1])),
        Err(GgufError::Utf8 { .. })
    ));
    let array =
        |kind: u32, length: u64| [kind.to_le_bytes().to_vec(), length.to_le_bytes().to_vec()].concat();
    assert!(matches!(
        metadata(&file(1, b"a", 9, &array(4, u64::MAX))),
        Err(GgufError::Limit { .. })
    ));
    assert!(matches!(
        metadata(&file(1, b"a", 9, &array(4, 1_000))),
        Err(GgufError::Truncated { .. })
    ));
    assert!(matches!(
        metadata(&file(1, b"a", 9, &array(77, 1))),
        Err(GgufError::ValueType { .. })
    ));
    let nested: Vec<u8> = (0..1_000).flat_map(|_| array(9, 1)).collect();
    assert!(matches!(
        metadata(&file(1, b"a", 9, &nested)),
        Err(GgufError::Limit { .. })
    ));
    let mut twice = file(2, b"a", 7, &[1]);
    twice.extend_from_slice(&file(0, b"a", 7, &[1])[24..]);
    assert!(matches!(metadata(&twice), Err(GgufError::Duplicate { .. })));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: ProptestConfig::default().cases.max(2_000), failure_persistence: None, ..ProptestConfig::default() })]

    /// A changed or cut file gives an error or a model, never a panic.
    #[test]
    fn damaged_gguf_files_never_panic(
        name in prop::sample::select(vec!["gpt2.gguf", "sentencepiece.gguf"]),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
        header in prop::collection::vec((0usize..400, any::<u8>()), 0..4),
        cut in prop::option::of(any::<prop::sample::Index>()),
    ) {
        let mut bytes = std::fs::read(golden_path(name)).unwrap();
        for (at, byte) in changes {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        for (at, byte) in header {
            bytes[at] = byte;
        }
        if let Some(cut) = cut {
            bytes.truncate(cut.index(bytes.len()));
        }
        let mut file = tempfile::Builder::new().suffix(".gguf").tempfile().unwrap();
        file.write_all(&bytes).unwrap();
        if let Ok(model) = ModelText::load(file.path(), &Overrides::default()) {
            let ids = model.tokenizer.encode("Hello <s> 你", Default::default());
            if let Ok(ids) = ids {
                model.tokenizer.decode(&ids, false);
            }
        }
    }

    #[test]
    fn random_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let mut file = b"GGUF\x03\0\0\0".to_vec();
        file.extend(bytes);
        prop_assert!(metadata(&file).is_err() || file.len() >= 24);
    }
}

#[test]
fn what_is_no_model_is_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let load = |path: &std::path::Path| ModelText::load(path, &Overrides::default());
    assert!(matches!(load(folder.path()), Err(LoadError::NoTokenizer { .. })));
    assert!(matches!(
        load(&folder.path().join("missing.gguf")),
        Err(LoadError::NotAModel { .. })
    ));
    // A gigabyte of nothing, of which nothing is read.
    let sparse = std::fs::File::create(folder.path().join("tokenizer.json")).unwrap();
    sparse.set_len(1 << 30).unwrap();
    assert!(matches!(load(folder.path()), Err(LoadError::TooLarge { .. })));
    std::fs::write(folder.path().join("tokenizer.json"), "[".repeat(100_000)).unwrap();
    assert!(matches!(load(folder.path()), Err(LoadError::Tokenizer { .. })));
    std::fs::write(folder.path().join("tokenizer_config.json"), "[".repeat(100_000)).unwrap();
    let error = load(folder.path()).unwrap_err();
    assert!(matches!(error, LoadError::Json { .. }));
    assert!(error.to_string().contains("tokenizer_config.json"), "{error}");
}
