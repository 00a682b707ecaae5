//! What a reader finds in a message, as JSON. Every language's test builds the same.

use prost::Message;
use serde_json::{Value, json};
use shardline_proto::arrays::{Element, View};
use shardline_proto::v1::*;

fn array<T: Element + Into<Value>>(bytes: &[u8]) -> Value {
    View::<T>::new("array", bytes)
        .unwrap()
        .iter()
        .map(Into::into)
        .collect()
}

pub fn step_request(bytes: &[u8]) -> Value {
    let step = StepRequest::decode(bytes).unwrap();
    json!({
        "step_id": step.step_id,
        "session_epoch": step.session_epoch,
        "drop": array::<u64>(&step.drop),
        "new_sequences": step.new_sequences.iter().map(new_sequence).collect::<Vec<_>>(),
        "rows": step.rows.as_ref().map(rows),
        "commands": step.commands.iter().map(command).collect::<Vec<_>>(),
        "more": step.more,
    })
}

fn new_sequence(new: &NewSequence) -> Value {
    let tables = new
        .block_tables
        .iter()
        .map(|table| array::<i32>(&table.block_ids));
    let grammar = new
        .grammar
        .as_ref()
        .and_then(|grammar| grammar.kind.as_ref())
        .map(|kind| match kind {
            grammar::Kind::JsonSchema(text) => json!({ "json_schema": text }),
            grammar::Kind::Regex(text) => json!({ "regex": text }),
            grammar::Kind::Lark(text) => json!({ "lark": text }),
        });
    json!({
        "sequence_id": new.sequence_id,
        "token_ids": array::<i32>(&new.token_ids),
        "num_prompt_tokens": new.num_prompt_tokens,
        "num_cached_tokens": new.num_cached_tokens,
        "seed": new.seed,
        "choice": new.choice,
        "sampling": new.sampling.as_ref().map(sampling),
        "block_tables": tables.collect::<Vec<_>>(),
        "grammar": grammar,
        "adapter": new.adapter,
    })
}

/// Parameters with their defaults filled in.
fn sampling(sampling: &SamplingParameters) -> Value {
    json!({
        "temperature": sampling.temperature.unwrap_or(1.0),
        "top_k": sampling.top_k,
        "top_p": sampling.top_p.unwrap_or(1.0),
        "min_p": sampling.min_p,
        "typical_p": sampling.typical_p.unwrap_or(1.0),
        "repetition_penalty": sampling.repetition_penalty.unwrap_or(1.0),
        "frequency_penalty": sampling.frequency_penalty,
        "presence_penalty": sampling.presence_penalty,
        "logprobs": sampling.logprobs,
        "top_logprobs": sampling.top_logprobs,
        "prompt_logprobs": sampling.prompt_logprobs,
        "prompt_top_logprobs": sampling.prompt_top_logprobs,
        "min_tokens": sampling.min_tokens,
        "stop_token_ids": array::<i32>(&sampling.stop_token_ids),
        "allowed_token_ids": array::<i32>(&sampling.allowed_token_ids),
        "logit_bias_ids": array::<i32>(&sampling.logit_bias_ids),
        "logit_bias_values": array::<f32>(&sampling.logit_bias_values),
    })
}

fn rows(rows: &Rows) -> Value {
    json!({
        "sequence_ids": array::<u64>(&rows.sequence_ids),
        "num_tokens": array::<i32>(&rows.num_tokens),
        "new_block_counts": array::<i32>(&rows.new_block_counts),
        "new_blocks": array::<i32>(&rows.new_blocks),
        "num_draft_tokens": array::<i32>(&rows.num_draft_tokens),
    })
}

fn command(command: &Command) -> Value {
    match &command.kind {
        Some(command::Kind::LoadAdapter(load)) => json!({
            "command_id": command.command_id,
            "load_adapter": { "name": load.name, "path": load.path },
        }),
        Some(command::Kind::UnloadAdapter(unload)) => json!({
            "command_id": command.command_id,
            "unload_adapter": { "name": unload.name },
        }),
        None => json!({ "command_id": command.command_id }),
    }
}

pub fn step_response(bytes: &[u8]) -> Value {
    let response = StepResponse::decode(bytes).unwrap();
    let timings = response.timings.map(|timings| {
        json!({
            "wait_us": timings.wait_us,
            "prepare_us": timings.prepare_us,
            "forward_us": timings.forward_us,
            "sample_us": timings.sample_us,
        })
    });
    let results = response
        .command_results
        .iter()
        .map(|result| json!({ "command_id": result.command_id, "error": result.error }));
    json!({
        "step_id": response.step_id,
        "outcomes": response.outcomes.as_ref().map(outcomes),
        "timings": timings,
        "command_results": results.collect::<Vec<_>>(),
        "prompt_logprobs": response.prompt_logprobs.iter().map(prompt_logprobs).collect::<Vec<_>>(),
    })
}

fn outcomes(outcomes: &Outcomes) -> Value {
    json!({
        "sequence_ids": array::<u64>(&outcomes.sequence_ids),
        "status": array::<u8>(&outcomes.status),
        "token_counts": array::<i32>(&outcomes.token_counts),
        "token_ids": array::<i32>(&outcomes.token_ids),
        "logprobs": array::<f32>(&outcomes.logprobs),
        "top_counts": array::<i32>(&outcomes.top_counts),
        "top_token_ids": array::<i32>(&outcomes.top_token_ids),
        "top_logprobs": array::<f32>(&outcomes.top_logprobs),
    })
}

fn prompt_logprobs(prompt: &PromptLogprobs) -> Value {
    json!({
        "sequence_id": prompt.sequence_id,
        "first_position": prompt.first_position,
        "logprobs": array::<f32>(&prompt.logprobs),
        "top_counts": array::<i32>(&prompt.top_counts),
        "top_token_ids": array::<i32>(&prompt.top_token_ids),
        "top_logprobs": array::<f32>(&prompt.top_logprobs),
    })
}

pub fn info(bytes: &[u8]) -> Value {
    let info = InfoResponse::decode(bytes).unwrap();
    let groups = info.kv_groups.iter().map(|group| {
        json!({
            "block_size": group.block_size,
            "num_blocks": group.num_blocks,
            "bytes_per_block": group.bytes_per_block,
        })
    });
    let start = info.start.map(|start| {
        let phases = start
            .phases
            .iter()
            .map(|phase| json!({ "name": phase.name, "seconds": phase.seconds }));
        json!({
            "load_s": start.load_s,
            "warmup_s": start.warmup_s,
            "phases": phases.collect::<Vec<_>>(),
        })
    });
    json!({
        "model_type": info.model_type,
        "dtype": info.dtype,
        "device": info.device,
        "rank": info.rank,
        "world_size": info.world_size,
        "vocab_size": info.vocab_size,
        "max_position": info.max_position,
        "attention_backend": info.attention_backend,
        "kv_groups": groups.collect::<Vec<_>>(),
        "max_step_tokens": info.max_step_tokens,
        "max_sequences": info.max_sequences,
        "step_token_edges": array::<i32>(&info.step_token_edges),
        "max_top_logprobs": info.max_top_logprobs,
        "version": info.version,
        "features": info.features,
        "weight_bytes": info.weight_bytes,
        "start": start,
    })
}

pub fn health(bytes: &[u8]) -> Value {
    let health = HealthResponse::decode(bytes).unwrap();
    json!({ "phase": health.phase().as_str_name(), "message": health.message })
}
