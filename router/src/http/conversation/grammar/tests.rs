use std::sync::Arc;

use serde_json::json;
use shardline_parse::ToolFormat;

use super::*;
use crate::http::conversation::marks::Marks;
use crate::http::conversation::tools::Tool;

/// Tokens of a model that is no one's: texts, ids, and which are special. The tests of the grammar
/// crate follow the grammars below with the same ones.
const TOKENS: [(&str, u32, bool); 9] = [
    ("<end>", 256, true),
    ("[TOOL_CALLS]", 257, true),
    ("[ARGS]", 258, true),
    ("<|python_tag|>", 259, true),
    ("<think>", 260, false),
    ("</think>", 261, false),
    ("<｜tool▁calls▁begin｜>", 262, true),
    ("<｜tool▁call▁begin｜>", 263, true),
    ("<｜tool▁sep｜>", 264, true),
];
const ENDS: [u32; 1] = [256];

struct Case {
    format: &'static str,
    reasoning: Option<(&'static str, Begin)>,
    choice: ToolChoice,
    strict: bool,
    parallel: bool,
    tools: bool,
    asked: Option<Structure>,
    budget: Option<u32>,
    grammars: bool,
}

impl Default for Case {
    fn default() -> Self {
        Self {
            format: "hermes",
            reasoning: None,
            choice: ToolChoice::Auto,
            strict: false,
            parallel: true,
            tools: true,
            asked: None,
            budget: None,
            grammars: true,
        }
    }
}

impl Case {
    fn make(self) -> Made {
        let tool = |name: &str, strict: bool| {
            let parameters = json!({
                "type": "object",
                "properties": {"city": {"type": "string"}, "days": {"$ref": "#/$defs/count"}},
                "required": ["city"],
                "$defs": {"count": {"type": "integer"}},
            });
            let function = json!({"name": name, "parameters": parameters, "strict": strict});
            Tool::new("tools[0].function", function.as_object().unwrap().clone()).unwrap()
        };
        let list = vec![tool("get_weather", self.strict), tool("now", false)];
        let tools = self
            .tools
            .then(|| Tools::new(list, self.choice, self.parallel).unwrap());
        let format = ToolFormat::named(self.format).unwrap();
        let reasoning = self
            .reasoning
            .map(|(name, begin)| (ReasoningFormat::named(name).unwrap(), begin));
        let tags = reasoning.map(|(format, _)| format);
        let speech = Speech {
            tools: format,
            reads_calls: true,
            reasoning: tags,
            call_tokens: Arc::from([]),
            reasoning_tokens: Arc::from([]),
            marks: Arc::new(Marks::of(&TOKENS, &format.spelling(), tags, &ENDS)),
        };
        let asked = self
            .asked
            .map(|structure| Structured::new("response_format", structure));
        let wanted = Wanted {
            tools: tools.as_ref(),
            asked: asked.as_ref(),
            reasoning,
            budget: self.budget.map(|tokens| Budget {
                tokens,
                param: "thinking_token_budget",
            }),
            grammars: self.grammars,
        };
        wanted.make(&speech)
    }

    fn source(self) -> String {
        let made = self.make();
        assert_eq!(made.unheeded, Vec::<String>::new());
        match made.structure.map(|asked| asked.structure) {
            Some(Structure::Lark(source)) => source,
            other => format!("{other:?}"),
        }
    }
}

fn schema() -> Option<Structure> {
    let schema =
        json!({"type": "object", "properties": {"answer": {"type": "string"}}, "required": ["answer"]});
    Some(Structure::JsonSchema(schema.to_string()))
}

/// Grammars that the tests of the grammar crate follow.
fn shared(name: &str, case: Case) {
    insta::with_settings!({
        snapshot_path => "../../../../../server/native/grammar/tests/answers",
        prepend_module_to_snapshot => false,
        omit_expression => true,
    }, { insta::assert_snapshot!(name, case.source()) });
}

#[test]
fn forced_calls() {
    let forced = |choice: ToolChoice| Case {
        choice,
        ..Case::default()
    };
    shared("required", forced(ToolChoice::Required));
    let one = Case {
        parallel: false,
        reasoning: Some(("think", Begin::Inside)),
        budget: Some(3),
        ..forced(ToolChoice::Required)
    };
    shared("required_one_after_thought", one);
    let named = |begin| Case {
        reasoning: Some(("think", begin)),
        ..forced(ToolChoice::Named("now".to_owned()))
    };
    shared("named_within_thought", named(Begin::Inside));
    shared("named_after_thought", named(Begin::Outside));
    // A call is forced whatever else was asked for.
    let both = Case {
        asked: schema(),
        ..forced(ToolChoice::Required)
    };
    assert_eq!(both.source(), forced(ToolChoice::Required).source());
    let granite = Case {
        reasoning: Some(("granite", Begin::Outside)),
        ..forced(ToolChoice::Required)
    };
    shared("required_after_words", granite);
}

#[test]
fn strict_calls_within_text() {
    for format in [
        "hermes",
        "llama3_json",
        "mistral",
        "deepseek_v3",
        "deepseek_v31",
        "kimi_k2",
        "json",
        "granite",
    ] {
        let case = Case {
            format,
            strict: true,
            ..Case::default()
        };
        shared(&format!("strict_{format}"), case);
    }
    let thinking = Case {
        strict: true,
        reasoning: Some(("think", Begin::Outside)),
        parallel: false,
        ..Case::default()
    };
    shared("strict_after_thought", thinking);
}

#[test]
fn calls_or_a_structure() {
    for format in [
        "hermes",
        "llama3_json",
        "mistral",
        "deepseek_v31",
        "pythonic",
        "qwen3_coder",
    ] {
        let case = Case {
            format,
            strict: !matches!(format, "pythonic" | "qwen3_coder"),
            asked: schema(),
            ..Case::default()
        };
        shared(&format!("calls_or_schema_{format}"), case);
    }
    let thinking = Case {
        reasoning: Some(("think", Begin::Inside)),
        asked: Some(Structure::Regex("a/\\d+".to_owned())),
        parallel: false,
        ..Case::default()
    };
    shared("calls_or_regex_after_thought", thinking);
}

#[test]
fn structures_wait_for_the_reasoning() {
    let asked = |begin| Case {
        tools: false,
        asked: schema(),
        reasoning: Some(("think", begin)),
        ..Case::default()
    };
    shared("schema_after_thought", asked(Begin::Outside));
    shared("schema_within_thought", asked(Begin::Inside));
    // Without reasoning, or with tools that are not told, it comes as it was asked for.
    let alone = |tools| Case {
        tools,
        choice: ToolChoice::None,
        asked: schema(),
        ..Case::default()
    };
    for tools in [false, true] {
        let structure = alone(tools).make().structure.unwrap().structure;
        assert_eq!(Some(structure), schema());
    }
}

#[test]
fn budgets_end_the_reasoning() {
    let budget = |begin, tokens| Case {
        tools: false,
        reasoning: Some(("think", begin)),
        budget: Some(tokens),
        ..Case::default()
    };
    shared("budget", budget(Begin::Outside, 4));
    shared("budget_within_thought", budget(Begin::Inside, 4));
    shared("budget_of_none", budget(Begin::Inside, 0));
    // A model that does not reason keeps every budget.
    let silent = Case {
        tools: false,
        budget: Some(1),
        ..Case::default()
    };
    assert_eq!(silent.source(), "None");
}

#[test]
fn as_the_model_likes() {
    assert_eq!(Case::default().source(), "None");
    let reasoning = Some(("think", Begin::Inside));
    assert_eq!(
        Case {
            reasoning,
            ..Case::default()
        }
        .source(),
        "None"
    );
}

#[test]
fn wishes_that_cannot_be_kept_are_told() {
    let strict = |format| Case {
        format,
        strict: true,
        ..Case::default()
    };
    for case in [
        strict("pythonic"),
        strict("qwen3_coder"),
        Case {
            grammars: false,
            ..strict("hermes")
        },
    ] {
        let made = case.make();
        assert_eq!(made.structure, None);
        assert_eq!(made.unheeded, ["tools[0].function.strict"]);
    }
    // Tags of several tokens: nobody counts what stands between them.
    let granite = Case {
        reasoning: Some(("granite", Begin::Outside)),
        budget: Some(4),
        ..Case::default()
    };
    assert_eq!(granite.make().unheeded, ["thinking_token_budget"]);
}

#[test]
fn references_move_with_their_schema() {
    let case = Case {
        format: "llama3_json",
        strict: true,
        asked: schema(),
        ..Case::default()
    };
    let source = case.source();
    assert!(
        source.contains(r##""$ref":"#/properties/parameters/$defs/count""##),
        "{source}"
    );
}
