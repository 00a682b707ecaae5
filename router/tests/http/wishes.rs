//! Answers that must follow something although the model may still choose: a structure beside tools,
//! strict tools, a budget for the reasoning.

use serde_json::{Value, json};
use shardline_mock_shard::Journal;
use shardline_parse::{ReasoningFormat, ToolFormat};
use shardline_router::config::{ParserChoice, Parsers};

use crate::support::*;

const TEMPLATE: &str = "{% if tools %}Tools, to be called by <tool_call>: {{ tools | tojson }}\n{% endif %}\
    {% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n{% endfor %}\
    {% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}";
const ANSWER: &str = "{\"city\": \"Bern\"}";
const CALL: &str = "<tool_call>\n{\"name\": \"now\", \"arguments\": {\"zone\": \"UTC\"}}\n</tool_call>";
const HEADER: &str = "x-shardline-ignored-fields";

async fn server(says: &str) -> Server {
    Setup::new().template(TEMPLATE).says(says).start().await
}

fn tools(strict: bool) -> Value {
    let parameters = json!({"type": "object", "properties": {"zone": {"type": "string"}}});
    json!([{"type": "function", "function": {"name": "now", "parameters": parameters, "strict": strict}}])
}

/// Grammars that the shard was asked for since `before`.
fn grammars(server: &Server, before: u64) -> u64 {
    Journal::get(&server.shard.as_ref().unwrap().journal().grammars) - before
}

#[tokio::test]
async fn a_structure_and_tools_go_together_on_every_route() {
    let schema = json!({"type": "object", "properties": {"city": {"type": "string"}}});
    let format = json!({"type": "json_schema", "json_schema": {"name": "x", "schema": schema}});
    for (says, calls) in [(ANSWER, 0), (CALL, 1)] {
        let server = server(says).await;
        let asked = json!({"tools": tools(false), "response_format": format});
        let answer = server
            .post("/v1/chat/completions", with(chat("Hi"), asked))
            .await
            .json();
        let message = &answer["choices"][0]["message"];
        assert_eq!(message["tool_calls"].as_array().map_or(0, Vec::len), calls);
        assert_eq!(message["content"] == ANSWER, calls == 0, "{message}");
        assert_eq!(grammars(&server, 0), 1);
        let tool = json!([{"type": "function", "name": "now", "parameters": {"type": "object"}}]);
        let text = json!({"format": {"type": "json_schema", "name": "x", "schema": schema}});
        let answer = server
            .post(
                "/v1/responses",
                json!({"input": "Hi", "tools": tool, "text": text}),
            )
            .await
            .json();
        let kind = if calls == 0 { "message" } else { "function_call" };
        assert_eq!(answer["output"][0]["type"], kind, "{answer}");
        let asked = json!({
            "model": "tgi", "max_tokens": 500, "messages": [{"role": "user", "content": "Hi"}],
            "tools": [{"name": "now", "input_schema": {"type": "object"}}],
            "output_config": {"format": {"type": "json_schema", "schema": schema}},
        });
        let answer = server.post("/v1/messages", asked).await.json();
        let kind = if calls == 0 { "text" } else { "tool_use" };
        assert_eq!(answer["content"][0]["type"], kind, "{answer}");
        assert_eq!(grammars(&server, 1), 2, "one each, none of them alike");
    }
}

#[tokio::test]
async fn strict_tools_have_a_grammar_where_the_model_may_call() {
    let server = server(CALL).await;
    for (more, expected) in [
        (json!({"tools": tools(true)}), 1),
        (json!({"tools": tools(false)}), 0),
        (json!({"tools": tools(true), "tool_choice": "none"}), 0),
        (json!({"tools": tools(true), "tool_choice": "required"}), 1),
    ] {
        let before = grammars(&server, 0);
        let answer = server
            .post("/v1/chat/completions", with(chat("Hi"), more.clone()))
            .await;
        assert_eq!((answer.status.as_u16(), answer.header(HEADER)), (200, ""));
        assert_eq!(grammars(&server, before), expected, "{more}");
    }
}

/// An answer follows one grammar: of two wishes that need one of their own, both are named.
#[tokio::test]
async fn two_grammars_for_one_answer_are_refused_by_both_names() {
    let server = server("x").await;
    let format = json!({"type": "json_object"});
    // Every byte is a token here, so this word needs a grammar.
    let words = json!(["some words"]);
    for (more, param, other) in [
        (
            json!({"response_format": format, "guided_regex": "a+"}),
            "guided_regex",
            "response_format",
        ),
        (
            json!({"response_format": format, "structured_outputs": {"choice": ["a"]}}),
            "structured_outputs.choice",
            "response_format",
        ),
        (
            json!({"structured_outputs": {"regex": "a+", "json": {}}}),
            "structured_outputs.regex",
            "structured_outputs.json",
        ),
        (
            json!({"guided_json": {}, "guided_choice": ["a"]}),
            "guided_choice",
            "guided_json",
        ),
        (
            json!({"bad_words": words, "response_format": format}),
            "bad_words",
            "response_format",
        ),
        (
            json!({"bad_words": words, "tools": tools(true)}),
            "bad_words",
            "tools",
        ),
        (
            json!({"bad_words": words, "tools": tools(false), "tool_choice": "required"}),
            "bad_words",
            "tool_choice",
        ),
    ] {
        let answer = server
            .post("/v1/chat/completions", with(chat("Hi"), more.clone()))
            .await;
        assert_eq!(answer.status, 400, "{more}");
        let error = answer.json()["error"].clone();
        assert_eq!(
            (&error["param"], &error["code"]),
            (&json!(param), &json!("conflicting_parameters"))
        );
        for name in [param, other] {
            let message = error["message"].as_str().unwrap();
            assert!(message.contains(&format!("`{name}`")), "{name}: {message}");
        }
    }
    assert_eq!(grammars(&server, 0), 0);
}

#[tokio::test]
async fn what_a_model_cannot_be_held_to_is_told() {
    let mut setup = Setup::new().template(TEMPLATE).says("Hi");
    setup.settings.parsers = Parsers {
        tools: ParserChoice::Named(ToolFormat::named("pythonic").unwrap()),
        reasoning: ParserChoice::Named(ReasoningFormat::named("granite").unwrap()),
    };
    let server = setup.start().await;
    let body = with(
        chat("Hi"),
        json!({"tools": tools(true), "thinking_token_budget": 5, "max_token": 1}),
    );
    let told = "max_token, tools[0].function.strict, thinking_token_budget";
    for stream in [false, true] {
        let body = with(body.clone(), json!({"stream": stream}));
        let answer = server.post("/v1/chat/completions", body).await;
        assert_eq!((answer.status.as_u16(), answer.header(HEADER)), (200, told));
    }
    let body = json!({
        "model": "tgi", "max_tokens": 50, "messages": [{"role": "user", "content": "Hi"}],
        "thinking": {"type": "enabled", "budget_tokens": 5},
    });
    let answer = server.post("/v1/messages", body).await;
    assert_eq!(answer.header(HEADER), "thinking.budget_tokens");
    assert_eq!(grammars(&server, 0), 0);
}

#[tokio::test]
async fn structures_wait_for_the_reasoning() {
    let mut setup = Setup::new()
        .template(TEMPLATE)
        .says(&format!("<think>\nHm.\n</think>\n\n{ANSWER}"));
    setup.settings.parsers = Parsers {
        tools: ParserChoice::Automatic,
        reasoning: ParserChoice::Named(ReasoningFormat::named("think").unwrap()),
    };
    let server = setup.start().await;
    let asked = json!({"response_format": {"type": "json_object"}});
    let answer = server
        .post("/v1/chat/completions", with(chat("Hi"), asked))
        .await
        .json();
    let message = &answer["choices"][0]["message"];
    assert_eq!((&message["content"], grammars(&server, 0)), (&json!(ANSWER), 1));
}

#[tokio::test]
async fn the_model_is_told_of_the_tools_that_are_allowed() {
    let server = server(CALL).await;
    let two = json!([
        {"type": "function", "function": {"name": "now"}},
        {"type": "function", "function": {"name": "later"}},
    ]);
    let tokens = async |choice: Value| {
        let asked = with(json!({"tools": two}), json!({"tool_choice": choice}));
        let answer = server.post("/v1/chat/completions", with(chat("Hi"), asked)).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        answer.json()["usage"]["prompt_tokens"].as_u64().unwrap()
    };
    let allowed = |mode: &str| {
        let tools = json!([{"type": "function", "function": {"name": "now"}}]);
        json!({"type": "allowed_tools", "allowed_tools": {"mode": mode, "tools": tools}})
    };
    let all = tokens(json!("auto")).await;
    assert!(tokens(allowed("auto")).await < all);
    let before = grammars(&server, 0);
    tokens(allowed("required")).await;
    assert_eq!(grammars(&server, before), 1);
    for (choice, param) in [
        (json!({"type": "allowed_tools"}), "tool_choice.allowed_tools"),
        (
            json!({"type": "allowed_tools", "allowed_tools": {"mode": "some"}}),
            "tool_choice.allowed_tools.mode",
        ),
        (
            json!({"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": []}}),
            "tool_choice.allowed_tools.tools",
        ),
        (
            json!({"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": [7]}}),
            "tool_choice.allowed_tools.tools[0]",
        ),
        (
            json!({"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": [{"function": {"name": "never"}}]}}),
            "tool_choice",
        ),
    ] {
        let asked = with(json!({"tools": two}), json!({"tool_choice": choice}));
        let answer = server.post("/v1/chat/completions", with(chat("Hi"), asked)).await;
        assert_eq!(answer.json()["error"]["param"], param, "{}", answer.text);
    }
    // The newer interface has the fields beside the type.
    let tools = json!([
        {"type": "function", "name": "now", "parameters": {}},
        {"type": "function", "name": "later", "parameters": {}},
    ]);
    let choice =
        json!({"type": "allowed_tools", "mode": "required", "tools": [{"type": "function", "name": "now"}]});
    let answer = server
        .post(
            "/v1/responses",
            json!({"input": "Hi", "tools": tools, "tool_choice": choice}),
        )
        .await;
    assert_eq!(answer.status, 200, "{}", answer.text);
}
