//! Any bytes as a message between router and shard: an outcome that is read keeps its promises, and a
//! step that is cut into parts is the same when they are together again.
//!
//! The first byte: which message.
#![no_main]

use libfuzzer_sys::fuzz_target;
use prost::Message;
use shardline_proto::parts::{Assembler, split};
use shardline_proto::v1::{InfoResponse, StepRequest, StepResponse};
use shardline_router::shard::{GroupInfo, StepOutcome};

const VOCAB_SIZE: u32 = 300;

fn outcome(bytes: &[u8]) {
    let Ok(response) = StepResponse::decode(bytes) else {
        return;
    };
    let Ok(outcome) = StepOutcome::read(&response, VOCAB_SIZE) else {
        return;
    };
    assert!(outcome.tokens.iter().all(|token| *token < VOCAB_SIZE));
    for (index, row) in outcome.rows.iter().enumerate() {
        assert!(outcome.tokens.get(row.tokens.clone()).is_some());
        for position in 0..row.tokens.len() {
            let (_, top) = outcome.beside(index, position);
            assert!(top.iter().all(|(token, _)| *token < VOCAB_SIZE));
        }
    }
    for prompt in &outcome.prompt_logprobs {
        assert_eq!(prompt.top.len(), prompt.logprobs.len());
    }
}

fn info(bytes: &[u8]) {
    let Ok(info) = InfoResponse::decode(bytes) else {
        return;
    };
    let mut second = info.clone();
    second.rank = info.rank.wrapping_add(1);
    if let Ok(joined) = GroupInfo::join(&[info.clone(), second]) {
        assert!(joined.num_blocks > 0 && joined.vocab_size > 0);
    }
    let _ = GroupInfo::join(&[info]);
}

fn step(limit: usize, bytes: &[u8]) {
    let Ok(mut step) = StepRequest::decode(bytes) else {
        return;
    };
    step.more = false;
    let Ok(parts) = split(step.clone(), limit) else {
        return;
    };
    let mut assembler = Assembler::default();
    let mut whole = None;
    for part in parts {
        assert!(whole.is_none() && part.encoded_len() <= limit);
        whole = assembler.push(part).unwrap();
    }
    // A number may be NaN, which equals nothing.
    assert_eq!(whole.unwrap().encode_to_vec(), step.encode_to_vec());
}

/// Whatever parts come: an error, or a step.
fn parts(bytes: &[u8]) {
    let mut assembler = Assembler::default();
    let mut rest = bytes;
    while let Ok(part) = StepRequest::decode_length_delimited(&mut rest) {
        if let Ok(Some(whole)) = assembler.push(part) {
            assert!(!whole.more);
        }
    }
}

fuzz_target!(|data: &[u8]| {
    let Some((first, bytes)) = data.split_first() else {
        return;
    };
    match first {
        b'o' => outcome(bytes),
        b'i' => info(bytes),
        b'p' => parts(bytes),
        b's' => {
            if let Some((limit, bytes)) = bytes.split_first() {
                step(usize::from(*limit) * 8, bytes);
            }
        }
        _ => {}
    }
});
