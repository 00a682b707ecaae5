//! What becomes of each field that the clients' interfaces know: OpenAI's chat and responses, Anthropic's
//! messages. The tables in docs/http.md say the same.

use serde_json::{Value, json};

use crate::support::*;

/// What becomes of a field.
#[derive(Clone, Copy)]
enum Fate {
    /// It has its effect, or there is nothing to do for it.
    Taken,
    /// It has no effect, and the header says so.
    Told,
    /// It is refused by this name.
    Refused(&'static str),
}
use Fate::{Refused, Taken, Told};

const HEADER: &str = "x-shardline-ignored-fields";

/// Sends `body` with each field and compares. Every second answer is a stream.
async fn check(path: &str, body: Value, fields: &[(&'static str, Value, Fate)]) {
    let server = Server::new().await;
    for (index, (field, value, fate)) in fields.iter().enumerate() {
        let outer = field.split('.').next().unwrap();
        let mut asked = with(body.clone(), json!({outer: value}));
        if outer == "stream_options" || (index % 2 == 0 && !asked.as_object().unwrap().contains_key("stream"))
        {
            asked = with(asked, json!({"stream": true}));
        }
        let answer = server.post(path, asked).await;
        let told = answer.header(HEADER);
        match fate {
            Taken => assert_eq!(
                (answer.status.as_u16(), told),
                (200, ""),
                "{field}: {}",
                answer.text
            ),
            Told => assert_eq!(
                (answer.status.as_u16(), told),
                (200, *field),
                "{field}: {}",
                answer.text
            ),
            Refused(param) => {
                assert_eq!(answer.status, 400, "{field}: {value}");
                let error = &answer.json()["error"];
                // Anthropic's errors name the field in their text alone.
                let named = error["param"] == *param || error["message"].as_str().unwrap().contains(param);
                assert!(named, "{field}: {}", answer.text);
            }
        }
    }
}

fn function(more: Value) -> Value {
    json!([{"type": "function", "function": with(json!({"name": "now"}), more)}])
}

#[tokio::test]
async fn every_field_of_chat() {
    let user = json!([{"role": "user", "content": "Hi"}]);
    let fields = [
        ("messages", user, Taken),
        ("model", json!("tgi"), Taken),
        (
            "audio",
            json!({"voice": "alloy", "format": "wav"}),
            Refused("audio"),
        ),
        ("frequency_penalty", json!(0.5), Taken),
        ("function_call", json!("auto"), Taken),
        ("function_call", json!({"name": "f"}), Refused("function_call")),
        ("functions", json!([{"name": "f"}]), Refused("functions")),
        ("logit_bias", json!({"7": -100}), Taken),
        ("logprobs", json!(true), Taken),
        ("max_completion_tokens", json!(2), Taken),
        ("max_tokens", json!(2), Taken),
        ("metadata", json!({"a": "b"}), Taken),
        ("modalities", json!(["text"]), Taken),
        ("modalities", json!(["text", "audio"]), Refused("modalities")),
        (
            "moderation",
            json!({"model": "omni-moderation-latest"}),
            Refused("moderation"),
        ),
        ("n", json!(2), Taken),
        ("parallel_tool_calls", json!(false), Taken),
        ("prediction", json!({"type": "content", "content": "Hi"}), Told),
        ("presence_penalty", json!(0.5), Taken),
        ("prompt_cache_key", json!("k"), Taken),
        ("prompt_cache_options", json!({"mode": "implicit"}), Taken),
        ("prompt_cache_retention", json!("24h"), Taken),
        ("reasoning_effort", json!("max"), Taken),
        ("reasoning_effort", json!("huge"), Refused("reasoning_effort")),
        ("response_format", json!({"type": "json_object"}), Taken),
        ("safety_identifier", json!("me"), Taken),
        ("seed", json!(7), Taken),
        ("service_tier", json!("flex"), Taken),
        ("stop", json!(["x"]), Taken),
        ("store", json!(true), Taken),
        ("stream", json!(false), Taken),
        (
            "stream_options",
            json!({"include_usage": true, "continuous_usage_stats": true}),
            Taken,
        ),
        ("stream_options", json!({"include_obfuscation": true}), Taken),
        ("stream_options.other", json!({"other": true}), Told),
        ("temperature", json!(0.5), Taken),
        ("tool_choice", json!("auto"), Taken),
        ("tool_choice", json!("required"), Refused("tool_choice")),
        ("tools", function(json!({"strict": false})), Taken),
        ("tools", function(json!({"strict": true})), Taken),
        (
            "tools",
            function(json!({"strict": "yes"})),
            Refused("tools[0].function.strict"),
        ),
        (
            "tools",
            json!([{"type": "custom", "custom": {"name": "f"}}]),
            Refused("tools[0].type"),
        ),
        ("top_logprobs", json!(2), Refused("top_logprobs")),
        ("top_p", json!(0.5), Taken),
        ("user", json!("me"), Taken),
        ("verbosity", json!("low"), Taken),
        ("verbosity", json!("loud"), Refused("verbosity")),
        ("web_search_options", json!({}), Refused("web_search_options")),
        // vLLM's.
        ("thinking_token_budget", json!(5), Taken),
        (
            "thinking_token_budget",
            json!(-2),
            Refused("thinking_token_budget"),
        ),
    ];
    let body = with(chat("Hi"), json!({"max_completion_tokens": 2, "temperature": 1}));
    // The older name and the newer one mean the same.
    check("/v1/chat/completions", body, &fields).await;
}

#[tokio::test]
async fn every_field_of_responses() {
    let tool = json!([{"type": "function", "name": "now", "parameters": {}, "strict": true}]);
    let fields = [
        ("access_programs", json!({"cyber": "standard"}), Told),
        ("background", json!(false), Taken),
        ("background", json!(true), Refused("background")),
        (
            "background_options",
            json!({"completion_window": "soonest"}),
            Told,
        ),
        ("context_management", json!([]), Taken),
        (
            "context_management",
            json!([{"type": "compaction"}]),
            Refused("context_management"),
        ),
        ("conversation", json!("conv_1"), Refused("conversation")),
        ("image", json!({"context_compression": "auto"}), Told),
        ("include", json!(["reasoning.encrypted_content"]), Taken),
        ("include", json!(["message.output_text.logprobs"]), Taken),
        ("include", json!(["file_search_call.results"]), Refused("include")),
        ("input", json!("Hi"), Taken),
        ("instructions", json!("Be brief"), Taken),
        ("max_output_tokens", json!(2), Taken),
        ("max_tool_calls", json!(3), Taken),
        ("max_tool_calls", json!(0), Refused("max_tool_calls")),
        ("metadata", json!({"a": "b"}), Taken),
        ("model", json!("tgi"), Taken),
        ("moderation", json!({"model": "m"}), Refused("moderation")),
        ("parallel_tool_calls", json!(false), Taken),
        (
            "previous_response_id",
            json!("resp_1"),
            Refused("previous_response_id"),
        ),
        ("prompt", json!({"id": "p"}), Refused("prompt")),
        ("prompt_cache_key", json!("k"), Taken),
        (
            "prompt_cache_options",
            json!({"mode": "implicit", "ttl": "30m"}),
            Taken,
        ),
        (
            "prompt_cache_options",
            json!({"prewarm": true}),
            Refused("prompt_cache_options.prewarm"),
        ),
        ("prompt_cache_retention", json!("24h"), Taken),
        ("reasoning", json!({"effort": "low"}), Taken),
        (
            "reasoning",
            json!({"effort": "huge"}),
            Refused("reasoning.effort"),
        ),
        (
            "reasoning.summary",
            json!({"effort": "low", "summary": "auto"}),
            Told,
        ),
        ("safety_identifier", json!("me"), Taken),
        ("service_tier", json!("auto"), Taken),
        ("store", json!(false), Taken),
        ("store", json!(true), Refused("store")),
        ("stream", json!(true), Taken),
        ("stream_options", json!({"include_obfuscation": false}), Taken),
        ("temperature", json!(0.5), Taken),
        (
            "text",
            json!({"format": {"type": "json_object"}, "verbosity": "low"}),
            Taken,
        ),
        ("text", json!({"verbosity": "loud"}), Refused("text.verbosity")),
        ("tool_choice", json!("auto"), Taken),
        ("tools", tool, Taken),
        ("tools", json!([{"type": "web_search"}]), Refused("tools[0].type")),
        ("top_logprobs", json!(0), Taken),
        ("top_logprobs", json!(2), Refused("top_logprobs")),
        ("top_p", json!(0.5), Taken),
        ("truncation", json!("disabled"), Taken),
        ("truncation", json!("auto"), Taken),
        ("truncation", json!("middle"), Refused("truncation")),
        ("user", json!("me"), Taken),
        // vLLM's.
        ("thinking_token_budget", json!(5), Taken),
    ];
    let body = json!({"input": "Hi", "max_output_tokens": 2});
    check("/v1/responses", body, &fields).await;
}

#[tokio::test]
async fn every_field_of_messages() {
    let schema = json!({"type": "json_schema", "schema": {"type": "object"}});
    let tool = json!([{"name": "now", "input_schema": {"type": "object"}, "strict": true}]);
    let fields = [
        ("cache_control", json!({"type": "ephemeral"}), Taken),
        ("container", json!("c"), Refused("container")),
        (
            "context_management",
            json!({"edits": []}),
            Refused("context_management"),
        ),
        ("diagnostics", json!({}), Told),
        ("inference_geo", json!("us"), Told),
        ("max_tokens", json!(2), Taken),
        ("max_tokens", json!(0), Refused("max_tokens")),
        ("mcp_servers", json!([]), Refused("mcp_servers")),
        ("metadata", json!({"user_id": "me"}), Taken),
        ("output_config", json!({"effort": "max", "format": schema}), Taken),
        (
            "output_config",
            json!({"effort": "huge"}),
            Refused("output_config.effort"),
        ),
        (
            "output_config",
            json!({"format": {"type": "xml"}}),
            Refused("output_config.format.type"),
        ),
        (
            "output_config",
            json!({"format": {"type": "json_schema"}}),
            Refused("output_config.format.schema"),
        ),
        ("output_config.other", json!({"other": 1}), Told),
        ("output_format", schema.clone(), Taken),
        ("service_tier", json!("auto"), Taken),
        ("speed", json!("fast"), Told),
        ("stop_sequences", json!(["x"]), Taken),
        ("stream", json!(true), Taken),
        ("system", json!("Be brief"), Taken),
        ("temperature", json!(0.5), Taken),
        (
            "thinking",
            json!({"type": "enabled", "budget_tokens": 1024}),
            Taken,
        ),
        (
            "thinking",
            json!({"type": "adaptive", "display": "omitted"}),
            Taken,
        ),
        (
            "thinking",
            json!({"type": "enabled", "budget_tokens": 0}),
            Refused("thinking.budget_tokens"),
        ),
        (
            "thinking",
            json!({"type": "enabled", "display": "loud"}),
            Refused("thinking.display"),
        ),
        ("thinking", json!({"budget_tokens": 5}), Refused("thinking.type")),
        ("tool_choice", json!({"type": "auto"}), Taken),
        ("tools", tool, Taken),
        ("top_k", json!(5), Taken),
        ("top_p", json!(0.5), Taken),
        ("user_profile_id", json!("u"), Told),
        ("workspace_id", json!("w"), Told),
    ];
    let body =
        json!({"model": "test/tiny", "max_tokens": 2, "messages": [{"role": "user", "content": "Hi"}]});
    check("/v1/messages", body, &fields).await;
}
