//! What a mock shard takes, what it refuses, and that its tokens depend on nothing but the sequence.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "helpers of tests fail their test"
)]

use bytes::Bytes;
use proptest::prelude::*;
use shardline_mock_shard::session::Session;
use shardline_mock_shard::{Faults, MockOptions};
use shardline_proto::arrays::{View, pack, pack_u32};
use shardline_proto::v1::{BlockTable, NewSequence, Rows, SamplingParameters, StepRequest, StepResponse};

fn options() -> MockOptions {
    MockOptions {
        block_size: 4,
        num_blocks: 8,
        max_step_tokens: 16,
        max_sequences: 3,
        ..MockOptions::new("x")
    }
}

fn sequence(id: u64, tokens: &[u32], cached: u32, blocks: &[u32]) -> NewSequence {
    NewSequence {
        sequence_id: id,
        token_ids: pack_u32(tokens.iter().copied()),
        num_prompt_tokens: tokens.len() as u32,
        num_cached_tokens: cached,
        seed: 7,
        sampling: Some(SamplingParameters::default()),
        block_tables: vec![BlockTable {
            block_ids: pack_u32(blocks.iter().copied()),
        }],
        ..NewSequence::default()
    }
}

/// `(sequence, tokens, new blocks)` each.
fn step(id: u64, new: Vec<NewSequence>, rows: &[(u64, u32, &[u32])]) -> StepRequest {
    let rows = Rows {
        sequence_ids: pack(rows.iter().map(|row| row.0)),
        num_tokens: pack_u32(rows.iter().map(|row| row.1)),
        new_block_counts: pack_u32(rows.iter().map(|row| row.2.len() as u32)),
        new_blocks: pack_u32(rows.iter().flat_map(|row| row.2.iter().copied())),
        num_draft_tokens: Bytes::new(),
    };
    StepRequest {
        step_id: id,
        session_epoch: 1,
        new_sequences: new,
        rows: Some(rows),
        ..StepRequest::default()
    }
}

fn run(session: &mut Session, request: &StepRequest) -> StepResponse {
    session.step(request).unwrap().0
}

fn refusal(session: &mut Session, request: &StepRequest) -> String {
    session.step(request).unwrap_err().to_string()
}

fn tokens(response: &StepResponse) -> Vec<u32> {
    View::<i32>::new("t", &response.outcomes.as_ref().unwrap().token_ids)
        .unwrap()
        .counts()
        .unwrap()
}

/// A session in which sequence 1 has two prompt tokens computed and one sampled, in block 0.
fn begun() -> Session {
    let mut session = Session::new(options());
    run(
        &mut session,
        &step(1, vec![sequence(1, &[5, 6], 0, &[0])], &[(1, 2, &[])]),
    );
    session
}

#[test]
fn each_broken_rule_is_named() {
    let again = vec![sequence(1, &[5], 0, &[1])];
    let empty = vec![sequence(2, &[], 0, &[1])];
    let all_cached = vec![sequence(2, &[1, 2, 3, 4], 4, &[1])];
    let outside = vec![sequence(2, &[40_000], 0, &[1])];
    let cases: Vec<(StepRequest, &str)> = vec![
        (step(3, vec![], &[]), "step 3 came after step 1"),
        (
            StepRequest {
                session_epoch: 2,
                ..step(2, vec![], &[])
            },
            "epoch 2 came in the session of epoch 1",
        ),
        (
            StepRequest {
                drop: pack([9_u64].into_iter()),
                ..step(2, vec![], &[])
            },
            "drop: sequence 9 is not known",
        ),
        (
            StepRequest {
                drop: Bytes::from_static(&[0; 9]),
                ..step(2, vec![], &[])
            },
            "drop: 9 bytes",
        ),
        (step(2, again, &[]), "the id was used before"),
        (step(2, empty, &[]), "it may have 1 to 8192"),
        (step(2, all_cached, &[]), "4 of 4 tokens cannot be cached"),
        (
            step(2, outside, &[]),
            "token_ids[0] is 40000; it must be below 32000",
        ),
        (
            step(2, vec![sequence(2, &[1, 2, 3, 4, 5], 4, &[])], &[]),
            "0 blocks do not hold 4 cached tokens",
        ),
        (
            step(2, vec![sequence(2, &[1, 2, 3, 4, 5], 4, &[0])], &[]),
            "block 0 is not full",
        ),
        (
            step(2, vec![sequence(2, &[1], 0, &[0])], &[]),
            "block 0 for sequence 2 is in use",
        ),
        (
            step(2, vec![sequence(2, &[1], 0, &[8])], &[]),
            "block_ids[0] is 8; it must be below 8",
        ),
        (step(2, vec![], &[(2, 1, &[])]), "sequence 2 is not known"),
        (
            step(2, vec![], &[(1, 2, &[])]),
            "2 of 3 tokens computed and cannot advance by 2",
        ),
        (step(2, vec![], &[(1, 0, &[])]), "cannot advance by 0"),
        (
            step(2, vec![], &[(1, 1, &[0])]),
            "block 0 for sequence 1 is in use",
        ),
        (
            step(2, vec![], &[(1, 1, &[]), (1, 1, &[])]),
            "sequence 1 has two in one step",
        ),
        (
            step(
                2,
                vec![sequence(2, &[1, 2], 0, &[1])],
                &[(2, 2, &[]), (1, 1, &[])],
            ),
            "sequence 1 decodes after a row of prefill",
        ),
        (
            step(
                2,
                vec![sequence(2, &[1; 17], 0, &[1, 2, 3, 4, 5])],
                &[(2, 17, &[])],
            ),
            "a step of 17 tokens; 16 fit",
        ),
        (
            step(2, vec![sequence(2, &[1; 5], 0, &[1])], &[(2, 5, &[])]),
            "needs KV for 5 tokens",
        ),
    ];
    for (request, expected) in cases {
        let text = refusal(&mut begun(), &request);
        assert!(text.contains(expected), "{text:?} does not say {expected:?}");
    }
}

#[test]
fn positions_must_be_covered_by_blocks() {
    let mut session = begun();
    run(&mut session, &step(2, vec![], &[(1, 1, &[])]));
    run(&mut session, &step(3, vec![], &[(1, 1, &[])]));
    let text = refusal(&mut session, &step(4, vec![], &[(1, 1, &[])]));
    assert!(
        text.contains("needs KV for 5 tokens, its 1 blocks hold 4 each"),
        "{text}"
    );
}

#[test]
fn slots_are_limited_and_come_free_with_a_drop_in_the_same_step() {
    let mut session = begun();
    let two = vec![sequence(2, &[1], 0, &[1]), sequence(3, &[1], 0, &[2])];
    run(&mut session, &step(2, two, &[]));
    let fourth = || vec![sequence(4, &[1], 0, &[0])];
    let drop = pack([1_u64].into_iter());
    run(
        &mut session,
        &StepRequest {
            drop,
            ..step(3, fourth(), &[(4, 1, &[])])
        },
    );
    let text = refusal(&mut session, &step(4, vec![sequence(5, &[1], 0, &[5])], &[]));
    assert!(text.contains("one more than the 3 that fit"), "{text}");
}

#[test]
fn cached_blocks_are_shared_only_when_they_hold_the_same_tokens() {
    let prompt = [1, 2, 3, 4, 5];
    let mut session = Session::new(options());
    run(
        &mut session,
        &step(1, vec![sequence(1, &prompt, 0, &[0, 1])], &[(1, 5, &[])]),
    );
    let hit = run(
        &mut session,
        &step(2, vec![sequence(2, &prompt, 4, &[0, 2])], &[(2, 1, &[])]),
    );
    assert_eq!(tokens(&hit).len(), 1);
    let text = refusal(
        &mut session,
        &step(3, vec![sequence(3, &[1, 2, 3, 9, 5], 4, &[0, 3])], &[]),
    );
    assert!(text.contains("block 0 holds other tokens"), "{text}");
}

#[test]
fn a_poisoned_sequence_fails_alone_and_its_blocks_are_never_full() {
    let faults = Faults {
        nan_token: Some(3),
        ..Faults::default()
    };
    let mut session = Session::new(MockOptions { faults, ..options() });
    let both = vec![
        sequence(1, &[1, 2, 3, 4, 5], 0, &[0, 1]),
        sequence(2, &[8], 0, &[2]),
    ];
    let outcomes = run(&mut session, &step(1, both, &[(1, 5, &[]), (2, 1, &[])]))
        .outcomes
        .unwrap();
    assert_eq!((&outcomes.status[..], outcomes.token_ids.len()), (&[1, 0][..], 4));
    let text = refusal(
        &mut session,
        &step(2, vec![sequence(3, &[1, 2, 3, 4, 5], 4, &[0, 3])], &[]),
    );
    assert!(text.contains("block 0 is not full"), "{text}");
}

#[test]
fn other_ranks_only_acknowledge() {
    let mut session = Session::new(MockOptions {
        rank: 1,
        world_size: 2,
        ..options()
    });
    let response = run(
        &mut session,
        &step(1, vec![sequence(1, &[5, 6], 0, &[0])], &[(1, 2, &[])]),
    );
    assert_eq!(
        response,
        StepResponse {
            step_id: 1,
            ..StepResponse::default()
        }
    );
}

/// Six tokens for a prompt that is computed in the given chunks, replayed after `replay_after`.
fn generated(prompt: &[u32], chunks: &[u32], replay_after: usize) -> Vec<u32> {
    let blocks: Vec<u32> = (0..8).collect();
    let mut session = Session::new(options());
    let mut id = 1;
    run(
        &mut session,
        &step(id, vec![sequence(1, prompt, 0, &blocks)], &[]),
    );
    let mut known = prompt.to_vec();
    let mut sequence_id = 1;
    let mut left = prompt.len() as u32;
    let mut chunk = chunks.iter().cycle();
    while known.len() < prompt.len() + 6 {
        let advance = (*chunk.next().unwrap()).min(left);
        left -= advance;
        id += 1;
        let response = run(&mut session, &step(id, vec![], &[(sequence_id, advance, &[])]));
        known.extend(tokens(&response));
        left = left.max(u32::from(left == 0));
        if known.len() == prompt.len() + replay_after && sequence_id == 1 {
            let mut again = sequence(2, &known, 0, &blocks);
            again.num_prompt_tokens = prompt.len() as u32;
            id += 1;
            let drop = pack([1_u64].into_iter());
            run(
                &mut session,
                &StepRequest {
                    drop,
                    ..step(id, vec![again], &[])
                },
            );
            (sequence_id, left) = (2, known.len() as u32);
        }
    }
    known.split_off(prompt.len())
}

proptest! {
    #[test]
    fn tokens_depend_on_the_sequence_alone(
        prompt in prop::collection::vec(0_u32..32_000, 1..20),
        chunks in prop::collection::vec(1_u32..9, 1..4),
        replay_after in 1_usize..6,
    ) {
        let expected = generated(&prompt, &[16], 99);
        prop_assert_eq!(generated(&prompt, &chunks, replay_after), expected);
    }
}
