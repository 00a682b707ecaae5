//! The messages. Each field of the proto is set to something other than its default at least once.

use bytes::Bytes;
use prost::Message;
use serde_json::Value;
use shardline_proto::arrays::{pack, pack_u32};
use shardline_proto::v1::{self, *};

use crate::reading;

/// A message and its reader.
pub struct Golden {
    pub name: &'static str,
    pub bytes: Vec<u8>,
    pub read: fn(&[u8]) -> Value,
}

/// All of them.
pub fn goldens() -> Vec<Golden> {
    vec![
        golden("step_decode", &decode_step(), reading::step_request),
        golden("step_admission", &admission_step(), reading::step_request),
        golden("step_part", &part(), reading::step_request),
        golden("step_commands", &command_step(), reading::step_request),
        golden("response_tokens", &tokens_response(), reading::step_response),
        golden("response_logprobs", &logprobs_response(), reading::step_response),
        golden(
            "response_acknowledgement",
            &acknowledgement(),
            reading::step_response,
        ),
        golden("info", &info(), reading::info),
        golden("health", &health(), reading::health),
    ]
}

fn golden(name: &'static str, message: &impl Message, read: fn(&[u8]) -> Value) -> Golden {
    Golden {
        name,
        bytes: message.encode_to_vec(),
        read,
    }
}

fn rows(ids: &[u64], tokens: &[u32], counts: &[u32], blocks: &[u32]) -> Rows {
    Rows {
        sequence_ids: pack(ids.iter().copied()),
        num_tokens: pack_u32(tokens.iter().copied()),
        new_block_counts: pack_u32(counts.iter().copied()),
        new_blocks: pack_u32(blocks.iter().copied()),
        num_draft_tokens: Bytes::new(),
    }
}

fn decode_step() -> StepRequest {
    StepRequest {
        step_id: 41,
        session_epoch: 0x0123_4567_89ab_cdef,
        drop: pack([7_u64, u64::MAX].into_iter()),
        rows: Some(rows(&[8, 1 << 40, 9], &[1, 1, 256], &[0, 1, 2], &[70_000, 3, 4])),
        ..StepRequest::default()
    }
}

fn admission_step() -> StepRequest {
    let sampled = NewSequence {
        sequence_id: 12,
        token_ids: pack_u32([1, 49_151, 2, 3, 300].into_iter()),
        num_prompt_tokens: 4,
        num_cached_tokens: 4,
        seed: u64::MAX,
        choice: 3,
        sampling: Some(every_parameter()),
        block_tables: vec![BlockTable {
            block_ids: pack_u32([5, 6].into_iter()),
        }],
        grammar: Some(Grammar {
            kind: Some(grammar::Kind::JsonSchema(r#"{"type":"object"}"#.to_owned())),
        }),
        adapter: Some("pirate".to_owned()),
    };
    let greedy = NewSequence {
        sequence_id: 13,
        token_ids: pack_u32([9].into_iter()),
        num_prompt_tokens: 1,
        sampling: Some(SamplingParameters {
            temperature: Some(0.0),
            ..SamplingParameters::default()
        }),
        block_tables: vec![BlockTable::default()],
        ..NewSequence::default()
    };
    let mut rows = rows(&[12, 13], &[1, 1], &[0, 1], &[8]);
    rows.num_draft_tokens = pack_u32([2, 0].into_iter());
    StepRequest {
        step_id: 1,
        session_epoch: 5,
        new_sequences: vec![sampled, greedy],
        rows: Some(rows),
        ..StepRequest::default()
    }
}

fn every_parameter() -> SamplingParameters {
    SamplingParameters {
        temperature: Some(0.75),
        top_k: 40,
        top_p: Some(0.5),
        min_p: 0.25,
        typical_p: Some(0.125),
        repetition_penalty: Some(1.5),
        frequency_penalty: -0.5,
        presence_penalty: 2.0,
        logprobs: true,
        top_logprobs: 5,
        prompt_logprobs: true,
        min_tokens: 3,
        stop_token_ids: pack_u32([2, 0].into_iter()),
        allowed_token_ids: pack_u32([10, 11].into_iter()),
        logit_bias_ids: pack_u32([10, 11].into_iter()),
        logit_bias_values: pack([-100.0_f32, 0.5].into_iter()),
        prompt_top_logprobs: 2,
    }
}

fn part() -> StepRequest {
    let sequence = NewSequence {
        sequence_id: 2,
        token_ids: pack_u32([4, 5].into_iter()),
        num_prompt_tokens: 2,
        grammar: Some(Grammar {
            kind: Some(grammar::Kind::Regex("[a-z]+".to_owned())),
        }),
        ..NewSequence::default()
    };
    StepRequest {
        step_id: 3,
        session_epoch: 5,
        new_sequences: vec![sequence],
        more: true,
        ..StepRequest::default()
    }
}

fn command_step() -> StepRequest {
    let load = LoadAdapter {
        name: "pirate".to_owned(),
        path: "/adapters/pirate".to_owned(),
    };
    let unload = UnloadAdapter {
        name: "poet".to_owned(),
    };
    let commands = vec![
        Command {
            command_id: 1,
            kind: Some(command::Kind::LoadAdapter(load)),
        },
        Command {
            command_id: 2,
            kind: Some(command::Kind::UnloadAdapter(unload)),
        },
    ];
    StepRequest {
        step_id: 2,
        session_epoch: 5,
        commands,
        ..StepRequest::default()
    }
}

fn tokens_response() -> StepResponse {
    let outcomes = Outcomes {
        sequence_ids: pack([8_u64, 1 << 40, 9].into_iter()),
        status: pack([0_u8, 1, 2].into_iter()),
        token_counts: pack_u32([1, 0, 0].into_iter()),
        token_ids: pack_u32([49_151].into_iter()),
        ..Outcomes::default()
    };
    StepResponse {
        step_id: 41,
        outcomes: Some(outcomes),
        timings: Some(StepTimings {
            wait_us: 5,
            prepare_us: 60,
            forward_us: 70_000,
            sample_us: 300,
        }),
        command_results: vec![
            CommandResult {
                command_id: 1,
                error: String::new(),
            },
            CommandResult {
                command_id: 2,
                error: "adapter poet is not loaded".to_owned(),
            },
        ],
        ..StepResponse::default()
    }
}

fn logprobs_response() -> StepResponse {
    let outcomes = Outcomes {
        sequence_ids: pack([1_u64, 2].into_iter()),
        status: pack([0_u8, 0].into_iter()),
        token_counts: pack_u32([1, 2].into_iter()),
        token_ids: pack_u32([10, 20, 21].into_iter()),
        logprobs: pack([-0.5_f32, f32::NAN, -1.25].into_iter()),
        top_counts: pack_u32([2, 0, 1].into_iter()),
        top_token_ids: pack_u32([10, 11, 21].into_iter()),
        top_logprobs: pack([-0.5_f32, -0.75, -1.25].into_iter()),
    };
    let prompt = v1::PromptLogprobs {
        sequence_id: 3,
        first_position: 16,
        logprobs: pack([-2.0_f32, -0.125].into_iter()),
        top_counts: pack_u32([1, 0].into_iter()),
        top_token_ids: pack_u32([6].into_iter()),
        top_logprobs: pack([-1.0_f32].into_iter()),
    };
    StepResponse {
        step_id: 9,
        outcomes: Some(outcomes),
        prompt_logprobs: vec![prompt],
        ..StepResponse::default()
    }
}

fn acknowledgement() -> StepResponse {
    StepResponse {
        step_id: 41,
        ..StepResponse::default()
    }
}

fn info() -> InfoResponse {
    InfoResponse {
        model_type: "llama".to_owned(),
        dtype: "float32".to_owned(),
        device: "cpu".to_owned(),
        rank: 1,
        world_size: 3,
        vocab_size: 49_152,
        max_position: 2_048,
        attention_backend: "torch".to_owned(),
        kv_groups: vec![KvGroup {
            block_size: 16,
            num_blocks: 4_096,
            bytes_per_block: 1 << 33,
        }],
        max_step_tokens: 512,
        max_sequences: 64,
        step_token_edges: pack_u32([1, 8, 64].into_iter()),
        max_top_logprobs: 20,
        version: "0.1.0".to_owned(),
        features: vec!["prompt_logprobs".to_owned(), "grammar".to_owned()],
        weight_bytes: 538_000_000,
        start: Some(StartTimings {
            load_s: 1.5,
            warmup_s: 0.25,
            phases: vec![StartPhase {
                name: "read".to_owned(),
                seconds: 1.25,
            }],
        }),
    }
}

fn health() -> HealthResponse {
    HealthResponse {
        phase: Phase::Loading.into(),
        message: "model.safetensors: 40 %".to_owned(),
    }
}
