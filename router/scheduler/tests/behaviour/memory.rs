//! Blocks run out: who waits, who is preempted, and that all come back.

use crate::common::world::World;
use crate::common::{prompt, request, small};
use shardline_scheduler::{Config, Event, FinishReason, Rejection, RequestId, Submission};

fn tight() -> Config {
    Config {
        prefix_caching: false,
        ..small()
    }
}

#[test]
fn the_newest_of_the_lowest_priority_is_preempted_and_comes_back() {
    let mut world = World::new(tight());
    for (id, priority) in [(1, 1), (2, 0), (3, 1)] {
        world
            .submit(Submission {
                priority,
                ..request(id, &prompt(id as u32, 4), 4)
            })
            .unwrap();
    }
    world.drain();
    let preempted: Vec<u32> = (1..=3).map(|id| world.client(id).preemptions).collect();
    assert_eq!(preempted, [0, 1, 0]);
    assert_eq!(world.client(2).starts, 2);
    assert_eq!(world.scheduler.stats().preemptions, 1);
}

#[test]
fn a_preempted_sequence_keeps_its_tokens_and_changes_its_id() {
    let mut world = World::new(tight());
    world.submit(request(1, &prompt(1, 6), 8)).unwrap();
    world.submit(request(2, &prompt(2, 6), 8)).unwrap();
    let first = world.step().expect("both");
    let old = first.admitted[1].sequence;
    let mut again = None;
    while again.is_none() {
        world.apply();
        let plan = world.step().expect("a plan");
        again = plan.admitted.first().cloned();
    }
    let again = again.expect("the second admission");
    assert_ne!(again.sequence, old);
    assert_eq!((again.request, again.num_prompt_tokens), (RequestId(2), 6));
    assert_eq!(again.tokens.len(), 6 + world.client(2).generated.len());
    assert!(!world.client(2).generated.is_empty());
    world.drain();
}

#[test]
fn outcomes_in_flight_of_a_preempted_sequence_count() {
    let mut world = World::new(Config {
        overlap_depth: 2,
        num_blocks: 9,
        ..tight()
    });
    for (id, length) in [(1, 1), (2, 5), (3, 7)] {
        world.submit(request(id, &prompt(id as u32, length), 8)).unwrap();
    }
    world.step();
    world.step();
    world.apply();
    // All need a block now and one is left: the second request takes those of the third, which come
    // free with the row in flight.
    let plan = world.step().expect("a plan");
    assert_eq!(plan.rows.len(), 1);
    assert_eq!(world.client(3).preemptions, 1);
    assert_eq!(world.client(3).generated.len(), 1);
    world.apply();
    assert_eq!(world.client(3).generated.len(), 2);
    assert_eq!(world.step().map(|plan| plan.rows.len()), Some(2));
    world.drain();
}

#[test]
fn nobody_is_preempted_for_a_newcomer() {
    let mut world = World::new(tight());
    world.submit(request(1, &prompt(1, 9), 3)).unwrap();
    world.step();
    world.submit(request(2, &prompt(2, 9), 3)).unwrap();
    world.drain();
    assert_eq!(world.scheduler.stats().preemptions, 0);
}

#[test]
fn a_prompt_is_admitted_when_all_of_it_fits_not_only_its_first_chunk() {
    let mut world = World::new(Config {
        max_step_tokens: 4,
        ..tight()
    });
    world.submit(request(1, &prompt(1, 6), 4)).unwrap();
    for _ in 0..2 {
        world.step();
        world.apply();
    }
    // Four blocks will be held; of the four left one is reserved for growth.
    world.submit(request(2, &prompt(2, 7), 2)).unwrap();
    world.submit(request(3, &prompt(3, 6), 2)).unwrap();
    let plan = world.step().expect("a plan");
    let admitted: Vec<RequestId> = plan.admitted.iter().map(|admission| admission.request).collect();
    assert_eq!(admitted, [RequestId(3)]);
    world.drain();
}

#[test]
fn the_budget_of_total_tokens_bounds_the_blocks_in_use() {
    let mut world = World::new(Config {
        max_total_tokens: Some(9),
        num_blocks: 100,
        ..tight()
    });
    for id in 1..=4 {
        world.submit(request(id, &prompt(id as u32, 4), 4)).unwrap();
    }
    let mut most = 0;
    while world.scheduler.has_work() {
        while world.step().is_some() {}
        most = most.max(world.scheduler.stats().blocks_in_use);
        world.apply();
    }
    assert_eq!(most, 4);
}

#[test]
fn what_can_never_fit_is_rejected() {
    let mut world = World::new(tight());
    let rejected = |limit, tokens| Err(Rejection::TooLong { tokens, limit });
    assert_eq!(world.submit(request(1, &prompt(1, 17), 1)), rejected(16, 17));
    assert_eq!(world.submit(request(1, &prompt(1, 16), 1)), Ok(()));
    let mut world = World::new(Config {
        max_sequence_tokens: 10,
        ..tight()
    });
    assert_eq!(world.submit(request(1, &prompt(1, 10), 1)), rejected(9, 10));
    assert_eq!(world.submit(request(1, &prompt(1, 9), 5)), Ok(()));
    world.drain();
    assert_eq!(world.client(1).generated.len(), 1, "the sequence limit ends it");
    let mut world = World::new(Config {
        max_total_tokens: Some(7),
        ..tight()
    });
    assert_eq!(world.submit(request(1, &prompt(1, 7), 1)), rejected(6, 7));
}

#[test]
fn the_cache_itself_ends_a_sequence_that_fills_it() {
    let mut world = World::new(tight());
    world.submit(request(1, &prompt(1, 10), 50)).unwrap();
    world.drain();
    assert_eq!(world.client(1).finished, Some(FinishReason::Length));
    assert_eq!(
        world.client(1).generated.len(),
        7,
        "16 tokens have KV, the last one needs none"
    );
}

#[test]
fn a_lost_group_starts_over_and_no_token_is_lost() {
    let mut world = World::new(Config {
        overlap_depth: 2,
        ..tight()
    });
    for id in 1..=3 {
        world.submit(request(id, &prompt(id as u32, 3), 6)).unwrap();
    }
    for _ in 0..3 {
        world.step();
        world.step();
        world.apply();
    }
    let before: Vec<usize> = (1..=3).map(|id| world.client(id).generated.len()).collect();
    assert!(before.iter().sum::<usize>() > 3);
    assert_eq!(world.reset(8), []);
    assert_eq!(world.scheduler.stats().running, 0);
    let plan = world.step().expect("all again");
    assert_eq!((plan.step.0, plan.drop.len()), (1, 0));
    for (admission, generated) in plan.admitted.iter().zip(before) {
        assert_eq!(admission.tokens.len(), 3 + generated);
    }
    world.drain();
}

#[test]
fn a_smaller_cache_ends_what_no_longer_fits() {
    let mut world = World::new(tight());
    world.submit(request(1, &prompt(1, 9), 6)).unwrap();
    world.submit(request(2, &prompt(2, 2), 2)).unwrap();
    let events = world.reset(4);
    let reason = FinishReason::Length;
    assert_eq!(
        events,
        [Event::Finished {
            request: RequestId(1),
            reason
        }]
    );
    world.drain();
}
