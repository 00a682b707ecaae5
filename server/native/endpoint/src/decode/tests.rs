use bytes::Bytes;
use proptest::prelude::*;
use shardline_proto::v1;

use super::*;

const LIMITS: Limits = Limits {
    vocab_size: 100,
    block_size: 4,
    num_blocks: 8,
    max_step_tokens: 16,
    max_sequences: 2,
    max_top_logprobs: 5,
};

fn i32s(values: &[i32]) -> Bytes {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}

fn u64s(values: &[u64]) -> Bytes {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}

fn sequence(id: u64) -> v1::NewSequence {
    v1::NewSequence {
        sequence_id: id,
        token_ids: i32s(&[1, 2, 3, 4, 5]),
        num_prompt_tokens: 5,
        block_tables: vec![v1::BlockTable {
            block_ids: i32s(&[0, 1]),
        }],
        ..Default::default()
    }
}

fn row(id: u64) -> v1::Rows {
    v1::Rows {
        sequence_ids: u64s(&[id]),
        num_tokens: i32s(&[5]),
        new_block_counts: i32s(&[1]),
        new_blocks: i32s(&[2]),
        num_draft_tokens: Bytes::new(),
    }
}

fn first_step() -> v1::StepRequest {
    v1::StepRequest {
        step_id: 1,
        session_epoch: 77,
        new_sequences: vec![sequence(10)],
        rows: Some(row(10)),
        ..Default::default()
    }
}

/// The message of the error that `change` to a valid first step causes.
fn refusal(change: impl FnOnce(&mut v1::StepRequest)) -> String {
    let mut request = first_step();
    change(&mut request);
    Decoder::new(1, LIMITS).decode(request).unwrap_err().to_string()
}

/// The same for a change of its only row.
fn row_refusal(change: impl FnOnce(&mut v1::Rows)) -> String {
    refusal(|request| change(request.rows.as_mut().unwrap()))
}

/// The same for a change of its only new sequence.
fn sequence_refusal(change: impl FnOnce(&mut v1::NewSequence)) -> String {
    refusal(|request| change(&mut request.new_sequences[0]))
}

/// The same for its sampling parameters.
fn sampling_refusal(change: impl FnOnce(&mut v1::SamplingParameters)) -> String {
    sequence_refusal(|sequence| change(sequence.sampling.get_or_insert_default()))
}

#[test]
fn the_first_step_of_a_session_is_flagged_and_its_arrays_arrive_as_given() {
    let mut decoder = Decoder::new(3, LIMITS);
    let frame = decoder.decode(first_step()).unwrap();
    assert!(frame.new_session);
    assert_eq!((frame.session, frame.session_epoch, frame.step_id), (3, 77, 1));
    assert_eq!(frame.rows.new_blocks, i32s(&[2]));
    assert_eq!(frame.new_sequences[0].block_ids, i32s(&[0, 1]));
    let frame = decoder
        .decode(v1::StepRequest {
            step_id: 2,
            session_epoch: 77,
            drop: u64s(&[10]),
            ..Default::default()
        })
        .unwrap();
    assert!(!frame.new_session);
    assert_eq!(frame.drop, u64s(&[10]));
}

#[test]
fn absent_parameters_are_the_defaults_of_the_proto() {
    let frame = Decoder::new(1, LIMITS).decode(first_step()).unwrap();
    let sampling = &frame.new_sequences[0].sampling;
    assert_eq!(
        (sampling.temperature, sampling.top_p, sampling.typical_p),
        (1.0, 1.0, 1.0)
    );
    assert_eq!(
        (sampling.repetition_penalty, sampling.top_k, sampling.min_p),
        (1.0, 0, 0.0)
    );
}

#[test]
fn steps_are_counted_and_the_epoch_is_constant() {
    assert_eq!(
        refusal(|request| request.step_id = 2),
        "step_id is 2; the next step of this session is 1"
    );
    let mut decoder = Decoder::new(1, LIMITS);
    decoder.decode(first_step()).unwrap();
    let error = decoder
        .decode(v1::StepRequest {
            step_id: 2,
            session_epoch: 78,
            ..Default::default()
        })
        .unwrap_err();
    assert!(
        error
            .to_string()
            .starts_with("session_epoch is 78; this session began with 77"),
        "{error}"
    );
}

#[test]
fn rows_that_do_not_fit_are_named() {
    let ragged = row_refusal(|rows| rows.num_tokens = Bytes::from_static(&[1, 0, 0]));
    assert_eq!(
        ragged,
        "rows.num_tokens has 3 bytes, which is not a multiple of the 4 bytes of an element"
    );
    let short = row_refusal(|rows| rows.new_block_counts = Bytes::new());
    assert_eq!(
        short,
        "rows.new_block_counts has 0 entries where 1 are needed: one a row"
    );
    let zero = row_refusal(|rows| rows.num_tokens = i32s(&[0]));
    assert_eq!(zero, "rows.num_tokens[0] is 0; it must lie in [1, 2147483647)");
    let many = row_refusal(|rows| rows.num_tokens = i32s(&[17]));
    assert_eq!(
        many,
        "rows.num_tokens has 17 tokens; the limit of this shard is 16 (see Info)"
    );
    let blocks = row_refusal(|rows| rows.new_blocks = i32s(&[2, 3]));
    assert!(
        blocks.starts_with("rows.new_blocks has 2 entries where 1 are needed"),
        "{blocks}"
    );
    let block = row_refusal(|rows| rows.new_blocks = i32s(&[8]));
    assert_eq!(block, "rows.new_blocks[0] is 8; it must lie in [0, 8)");
    let unknown = row_refusal(|rows| rows.sequence_ids = u64s(&[11]));
    assert_eq!(unknown, "rows.sequence_ids is 11; no sequence of this id lives");
    let twice = row_refusal(|rows| rows.sequence_ids = u64s(&[10, 10]));
    assert_eq!(
        twice,
        "rows.sequence_ids is 10; a sequence has at most one row a step"
    );
    let drafts = row_refusal(|rows| rows.num_draft_tokens = i32s(&[1, 1]));
    assert!(
        drafts.starts_with("rows.num_draft_tokens has 2 entries"),
        "{drafts}"
    );
}

#[test]
fn new_sequences_that_do_not_fit_are_named() {
    let empty = sequence_refusal(|sequence| sequence.token_ids = Bytes::new());
    assert_eq!(empty, "new_sequences[0].token_ids is missing");
    let outside = sequence_refusal(|sequence| sequence.token_ids = i32s(&[1, -1]));
    assert_eq!(
        outside,
        "new_sequences[0].token_ids[1] is -1; it must lie in [0, 100)"
    );
    let prompt = sequence_refusal(|sequence| sequence.num_prompt_tokens = 6);
    assert_eq!(
        prompt,
        "new_sequences[0].num_prompt_tokens is 6; the sequence has 5 tokens"
    );
    let cached = sequence_refusal(|sequence| sequence.num_cached_tokens = 3);
    assert!(
        cached.ends_with("is 3; it must be a multiple of the block size 4"),
        "{cached}"
    );
    let all_cached = sequence_refusal(|sequence| sequence.num_cached_tokens = 8);
    assert!(
        all_cached.ends_with("at least one of the 5 tokens must be left to compute"),
        "{all_cached}"
    );
    let no_blocks = sequence_refusal(|sequence| {
        sequence.num_cached_tokens = 4;
        sequence.block_tables.clear();
    });
    assert!(
        no_blocks.ends_with("is 4; the 0 blocks given hold fewer tokens"),
        "{no_blocks}"
    );
    let groups = sequence_refusal(|sequence| sequence.block_tables.push(v1::BlockTable::default()));
    assert!(
        groups.starts_with("new_sequences[0].block_tables has 2 KV groups"),
        "{groups}"
    );
    let again = refusal(|request| request.new_sequences.push(sequence(10)));
    assert_eq!(again, "new_sequences[1].sequence_id is 10; it lives already");
    let many = refusal(|request| request.new_sequences.extend([sequence(11), sequence(12)]));
    assert_eq!(
        many,
        "new_sequences has 3 living sequences; the limit of this shard is 2 (see Info)"
    );
    let gone = refusal(|request| request.drop = u64s(&[5]));
    assert_eq!(gone, "drop is 5; no sequence of this id lives");
}

#[test]
fn sampling_parameters_outside_their_ranges_are_named() {
    let nan = sampling_refusal(|sampling| sampling.temperature = Some(f32::NAN));
    assert_eq!(
        nan,
        "new_sequences[0].sampling.temperature is NaN; it must be finite and at least 0"
    );
    let top_p = sampling_refusal(|sampling| sampling.top_p = Some(0.0));
    assert_eq!(
        top_p,
        "new_sequences[0].sampling.top_p is 0; it must lie in (0, 1]"
    );
    let top = sampling_refusal(|sampling| sampling.top_logprobs = 6);
    assert!(
        top.ends_with("top_logprobs is 6; this shard returns at most 5 (see Info)"),
        "{top}"
    );
    let bias = sampling_refusal(|sampling| sampling.logit_bias_ids = i32s(&[1]));
    assert!(
        bias.ends_with("has 0 entries where 1 are needed: one an entry of logit_bias_ids"),
        "{bias}"
    );
    let stop = sampling_refusal(|sampling| sampling.stop_token_ids = i32s(&[100]));
    assert!(
        stop.ends_with("stop_token_ids[0] is 100; it must lie in [0, 100)"),
        "{stop}"
    );
}

#[test]
fn a_command_without_a_kind_is_refused() {
    let missing = refusal(|request| {
        request.commands.push(v1::Command {
            command_id: 1,
            kind: None,
        })
    });
    assert_eq!(missing, "commands[0].kind is missing");
}

proptest! {
    /// Whatever bytes the arrays hold, decoding answers and never panics; what it accepts is consistent.
    #[test]
    fn any_rows_are_refused_or_consistent(
        ids in proptest::collection::vec(any::<u8>(), 0..40),
        tokens in proptest::collection::vec(any::<u8>(), 0..20),
        counts in proptest::collection::vec(prop_oneof![Just(0_i32), Just(1), any::<i32>()], 0..3),
        blocks in proptest::collection::vec(-2..10_i32, 0..4),
        known in any::<bool>(),
    ) {
        let mut request = first_step();
        request.rows = Some(v1::Rows {
            sequence_ids: if known { u64s(&[10]) } else { ids.into() },
            num_tokens: if known { i32s(&[1]) } else { tokens.into() },
            new_block_counts: i32s(&counts),
            new_blocks: i32s(&blocks),
            num_draft_tokens: Bytes::new(),
        });
        if let Ok(frame) = Decoder::new(1, LIMITS).decode(request) {
            let rows = frame.rows.sequence_ids.len() / 8;
            prop_assert_eq!(frame.rows.num_tokens.len() / 4, rows);
            prop_assert_eq!(counts.len(), rows);
            prop_assert_eq!(blocks.len(), usize::try_from(counts.iter().sum::<i32>()).unwrap());
            prop_assert!(blocks.iter().all(|block| (0..8).contains(block)));
        }
    }
}
