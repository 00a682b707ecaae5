//! Outcomes that answer no plan are refused by name and change nothing.

use crate::common::world::World;
use crate::common::{prompt, request, small};
use shardline_scheduler::{
    Config, Outcome, ProtocolError, RowFailure, RowOutcome, SequenceId, StepId, TokenId,
};

/// Two sequences in prefill, the second one's chunk does not sample.
fn world() -> World {
    let mut world = World::new(Config {
        max_step_tokens: 6,
        num_blocks: 32,
        ..small()
    });
    world.submit(request(1, &prompt(1, 4), 4)).expect("room");
    world.submit(request(2, &prompt(2, 4), 4)).expect("room");
    world.step().expect("a plan");
    world
}

fn entry(sequence: u64, tokens: &[u32]) -> RowOutcome {
    RowOutcome {
        sequence: SequenceId(sequence),
        tokens: tokens.iter().copied().map(TokenId).collect(),
        failed: None,
    }
}

fn refused(rows: Vec<RowOutcome>) -> ProtocolError {
    let mut world = world();
    let error = world.apply_wrong(&Outcome {
        step: StepId(1),
        rows,
    });
    world.drain();
    error
}

#[test]
fn an_outcome_needs_a_plan() {
    let mut world = world();
    let (expected, given) = (StepId(1), StepId(2));
    let wrong = Outcome {
        step: given,
        rows: Vec::new(),
    };
    assert_eq!(
        world.apply_wrong(&wrong),
        ProtocolError::WrongStep { expected, given }
    );
    world.drain();
    assert_eq!(
        world.apply_wrong(&wrong),
        ProtocolError::NothingInFlight { given }
    );
}

#[test]
fn every_row_that_samples_answers_once() {
    let (step, sequence) = (StepId(1), SequenceId(1));
    assert_eq!(refused(vec![]), ProtocolError::Missing { step, sequence });
    let twice = vec![entry(1, &[1]), entry(1, &[1])];
    assert_eq!(refused(twice), ProtocolError::Unexpected { step, sequence });
    let unknown = vec![entry(1, &[1]), entry(9, &[1])];
    assert_eq!(
        refused(unknown),
        ProtocolError::Unexpected {
            step,
            sequence: SequenceId(9)
        }
    );
}

#[test]
fn a_row_that_does_not_sample_has_no_token() {
    let (step, sequence) = (StepId(1), SequenceId(2));
    let both = vec![entry(1, &[1]), entry(2, &[1])];
    assert_eq!(refused(both), ProtocolError::Unexpected { step, sequence });
}

#[test]
fn a_row_has_one_token_and_a_failed_one_none() {
    let (step, sequence) = (StepId(1), SequenceId(1));
    let wrong = |expected, given| ProtocolError::TokenCount {
        step,
        sequence,
        expected,
        given,
    };
    assert_eq!(refused(vec![entry(1, &[1, 2])]), wrong(1, 2));
    assert_eq!(refused(vec![entry(1, &[])]), wrong(1, 0));
    let failed = RowOutcome {
        failed: Some(RowFailure::Grammar),
        ..entry(1, &[1])
    };
    assert_eq!(refused(vec![failed]), wrong(0, 1));
}

#[test]
fn errors_say_what_and_where() {
    let error = refused(vec![entry(1, &[1, 2])]);
    assert_eq!(error.to_string(), "step 1: 2 tokens for sequence 1, expected 1");
}
