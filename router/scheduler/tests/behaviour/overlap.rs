//! Plans that are made before the outcome of the one before is known.

use std::sync::Arc;

use crate::common::shard::next_token;
use crate::common::world::World;
use crate::common::{prompt, request, small, tokens};
use shardline_scheduler::{Config, Event, FinishReason, RequestId, Submission, TokenId};

fn overlapping(depth: u32) -> Config {
    Config {
        num_blocks: 64,
        overlap_depth: depth,
        ..small()
    }
}

/// A request that ends with the first token it generates.
fn ends_at_once(id: u64, values: &[u32]) -> Submission {
    let first = next_token(0, tokens(values).iter().copied());
    Submission {
        stop_token_ids: Arc::from([first]),
        ..request(id, values, 50)
    }
}

#[test]
fn the_next_step_is_planned_before_the_token_is_known() {
    let mut world = World::new(overlapping(2));
    world.submit(request(1, &prompt(1, 3), 8)).unwrap();
    assert!(world.step().is_some());
    let second = world.step().expect("one decode row");
    assert_eq!(
        second.rows.iter().map(|row| row.num_tokens).collect::<Vec<_>>(),
        [1]
    );
    assert_eq!(world.step(), None, "the depth is reached");
    world.apply();
    assert_eq!(world.client(1).generated.len(), 1);
    assert!(world.step().is_some());
}

#[test]
fn a_sequence_that_ended_runs_on_in_the_step_in_flight_and_is_freed_once() {
    let mut world = World::new(overlapping(2));
    world.submit(ends_at_once(1, &prompt(1, 4))).unwrap();
    world.submit(request(2, &prompt(2, 3), 20)).unwrap();
    let first = world.step().expect("prefill of both");
    let ended = first.admitted[0].sequence;
    let second = world.step().expect("a decode row of both");
    assert_eq!(second.rows.len(), 2);

    world.apply();
    assert!(matches!(world.client(1).finished, Some(FinishReason::Stop(_))));
    // Prompt and two tokens: three blocks are still written to by the step in flight.
    assert_eq!(world.scheduler.stats().blocks_in_use, 3 + 2);
    let third = world.step().expect("the other one");
    assert_eq!((third.rows.len(), third.drop.len()), (1, 0));

    let events = world.apply();
    assert!(events.iter().all(|event| !matches!(
        event,
        Event::Token {
            request: RequestId(1),
            ..
        }
    )));
    assert_eq!(world.client(1).generated.len(), 1, "the extra token is discarded");
    assert_eq!(world.scheduler.stats().blocks_in_use, 3);
    let fourth = world.step().expect("the other one");
    assert_eq!(fourth.drop, [ended]);
    world.drain();
}

#[test]
fn cancelling_frees_blocks_when_the_last_row_in_flight_is_applied() {
    let mut world = World::new(overlapping(2));
    world.submit(request(1, &prompt(1, 4), 20)).unwrap();
    world.step();
    world.step();
    let events = world.cancel(RequestId(1));
    let reason = FinishReason::Cancelled;
    assert_eq!(
        events,
        [Event::Finished {
            request: RequestId(1),
            reason
        }]
    );
    assert_eq!(world.scheduler.stats().running, 0);
    assert!(world.scheduler.stats().blocks_in_use > 0);
    world.apply();
    assert!(world.scheduler.stats().blocks_in_use > 0);
    world.apply();
    assert_eq!(world.scheduler.stats().blocks_in_use, 0);
}

#[test]
fn cancelling_frees_blocks_at_once_when_nothing_is_in_flight() {
    let mut world = World::new(overlapping(2));
    world.submit(request(1, &prompt(1, 4), 20)).unwrap();
    world.step();
    world.apply();
    world.cancel(RequestId(1));
    assert_eq!(world.scheduler.stats().blocks_in_use, 0);
    assert_eq!(world.cancel(RequestId(1)), [], "it is not alive any more");
}

#[test]
fn a_drop_precedes_the_admission_that_takes_its_slot() {
    let mut world = World::new(Config {
        max_running: 1,
        ..overlapping(2)
    });
    world.submit(ends_at_once(1, &prompt(1, 4))).unwrap();
    world.submit(request(2, &prompt(2, 4), 2)).unwrap();
    let first = world.step().expect("the first one");
    world.step();
    world.apply();
    assert_eq!(world.step(), None, "the slot is taken while a row is in flight");
    world.apply();
    let next = world.step().expect("the second one");
    assert_eq!(next.drop, [first.admitted[0].sequence]);
    assert_eq!(next.admitted[0].request, RequestId(2));
    world.drain();
}

#[test]
fn more_than_two_plans_are_in_flight_only_while_they_are_short() {
    let mut world = World::new(overlapping(4));
    world.submit(request(1, &prompt(1, 3), 40)).unwrap();
    world.step();
    world.step();
    assert_eq!(world.step(), None, "nothing is known about the time of a step");
    world.apply();
    world.apply();
    // Steps came back every 100 µs.
    assert_eq!((0..5).filter(|_| world.step().is_some()).count(), 4);
    world.now.0 += 20_000;
    while !world.outcomes.is_empty() {
        world.apply();
    }
    assert_eq!((0..5).filter(|_| world.step().is_some()).count(), 2);
    world.drain();
}

#[test]
fn a_stop_token_counts_only_after_the_minimum() {
    let values = prompt(1, 4);
    let mut known: Vec<TokenId> = tokens(&values).to_vec();
    for _ in 0..6 {
        known.push(next_token(0, known.iter().copied()));
    }
    let stop: Arc<[TokenId]> = known[4..].iter().copied().collect();
    let mut world = World::new(overlapping(2));
    world
        .submit(Submission {
            stop_token_ids: stop,
            min_new_tokens: 3,
            ..request(1, &values, 6)
        })
        .unwrap();
    world.drain();
    assert_eq!(world.client(1).finished, Some(FinishReason::Stop(known[7])));
    assert_eq!(world.client(1).generated, known[4..8]);
}
