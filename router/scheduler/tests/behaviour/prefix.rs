//! The prefix cache as requests meet it.

use crate::common::shard::next_token;
use crate::common::world::World;
use crate::common::{prompt, request, small, tokens};
use shardline_scheduler::{Config, FinishReason, RequestId, RowFailure, Submission};

fn cached() -> Config {
    Config {
        num_blocks: 32,
        max_step_tokens: 32,
        ..small()
    }
}

/// Runs a request to its end; how many tokens it took from the cache.
fn run(world: &mut World, submission: Submission) -> u32 {
    let id = submission.request;
    world.submit(submission).expect("room");
    world.drain();
    world.clients[&id].cached_tokens
}

#[test]
fn full_blocks_of_the_prompt_are_taken_but_one_token_runs() {
    let mut world = World::new(cached());
    let values = prompt(1, 6);
    assert_eq!(run(&mut world, request(1, &values, 1)), 0);
    assert_eq!(
        run(&mut world, request(2, &values, 1)),
        4,
        "the last block is computed for its sample"
    );
    assert_eq!(run(&mut world, request(3, &prompt(1, 7), 1)), 6);
    assert_eq!(run(&mut world, request(4, &prompt(2, 7), 1)), 0);
    let stats = world.scheduler.stats();
    assert_eq!(
        (stats.prefix_queries_tokens, stats.prefix_hits_tokens),
        (6 + 6 + 7 + 7, 10)
    );
}

#[test]
fn generated_blocks_are_found_by_the_next_turn() {
    let mut world = World::new(cached());
    let first = prompt(1, 5);
    run(&mut world, request(1, &first, 6));
    let mut turn: Vec<u32> = first;
    turn.extend(world.client(1).generated.iter().map(|token| token.0));
    turn.extend(prompt(9, 4));
    // 5 + 6 tokens are known, the KV of the last one was never written.
    assert_eq!(run(&mut world, request(2, &turn, 1)), 10);
}

#[test]
fn a_step_in_flight_still_fills_a_block_of_a_sequence_that_ended() {
    let mut world = World::new(Config {
        overlap_depth: 2,
        ..cached()
    });
    let values = prompt(1, 5);
    let stop = next_token(0, tokens(&values).iter().copied());
    let submission = Submission {
        stop_token_ids: [stop].into(),
        ..request(1, &values, 9)
    };
    run(&mut world, submission);
    let mut turn = values;
    turn.extend([stop.0, 7, 7]);
    // The decode row in flight wrote the KV of the stop token: the third block is full.
    assert_eq!(run(&mut world, request(2, &turn, 1)), 6);
}

#[test]
fn blocks_are_found_while_their_first_user_runs_on() {
    let mut world = World::new(cached());
    world.submit(request(1, &prompt(1, 8), 20)).unwrap();
    world.step();
    world.apply();
    world.submit(request(2, &prompt(1, 8), 20)).unwrap();
    let plan = world.step().expect("a plan");
    assert_eq!(plan.admitted[0].num_cached_tokens, 6);
    assert_eq!(plan.admitted[0].blocks.len(), 3);
    world.drain();
}

#[test]
fn nothing_is_found_before_its_outcome_is_applied() {
    let mut world = World::new(Config {
        overlap_depth: 2,
        ..cached()
    });
    world.submit(request(1, &prompt(1, 8), 20)).unwrap();
    world.step();
    world.submit(request(2, &prompt(1, 8), 20)).unwrap();
    let plan = world.step().expect("a plan");
    assert_eq!(plan.admitted[0].num_cached_tokens, 0);
    world.drain();
}

#[test]
fn salt_and_opting_out_keep_blocks_apart() {
    let mut world = World::new(cached());
    run(&mut world, request(1, &prompt(1, 8), 1));
    assert_eq!(
        run(
            &mut world,
            Submission {
                cache_salt: 5,
                ..request(2, &prompt(1, 8), 1)
            }
        ),
        0
    );
    assert_eq!(
        run(
            &mut world,
            Submission {
                use_prefix_cache: false,
                ..request(3, &prompt(1, 8), 1)
            }
        ),
        0
    );
    assert_eq!(
        run(
            &mut world,
            Submission {
                cache_salt: 5,
                ..request(4, &prompt(1, 8), 1)
            }
        ),
        6
    );
    let queried = world.scheduler.stats().prefix_queries_tokens;
    assert_eq!(queried, 24, "whoever opts out is not counted as a query");
}

#[test]
fn without_the_cache_nothing_is_kept() {
    let mut world = World::new(Config {
        prefix_caching: false,
        ..cached()
    });
    run(&mut world, request(1, &prompt(1, 8), 1));
    assert_eq!(run(&mut world, request(2, &prompt(1, 8), 1)), 0);
    assert_eq!(world.scheduler.stats().blocks_cached, 0);
    assert_eq!(world.scheduler.stats().prefix_queries_tokens, 0);
}

#[test]
fn a_cached_beginning_gives_way_to_running_sequences() {
    let mut world = World::new(Config {
        num_blocks: 8,
        ..cached()
    });
    run(&mut world, request(1, &prompt(1, 8), 1));
    assert_eq!(world.scheduler.stats().blocks_cached, 4);
    assert_eq!(run(&mut world, request(2, &prompt(2, 14), 1)), 0);
    assert!(world.scheduler.stats().blocks_cached <= 8);
    // The end of the first prompt was evicted before its beginning.
    assert_eq!(run(&mut world, request(3, &prompt(1, 8), 1)), 2);
}

#[test]
fn a_preempted_sequence_finds_what_is_left_of_its_blocks() {
    let mut world = World::new(Config {
        num_blocks: 8,
        ..cached()
    });
    world.submit(request(1, &prompt(1, 6), 4)).unwrap();
    world.submit(request(2, &prompt(2, 6), 8)).unwrap();
    world.drain();
    assert_eq!(world.client(2).preemptions, 1);
    assert!(world.client(2).cached_tokens > 0);
}

#[test]
fn choices_of_one_prompt_share_it_once_it_is_full() {
    let mut world = World::new(Config {
        max_step_tokens: 8,
        num_blocks: 64,
        ..cached()
    });
    for id in 1..=4 {
        world.submit(request(id, &prompt(1, 8), 4)).unwrap();
    }
    world.drain();
    let cached: Vec<u32> = (1..=4).map(|id| world.client(id).cached_tokens).collect();
    assert_eq!(cached, [0, 6, 6, 6]);
}

#[test]
fn no_block_of_a_failed_row_is_ever_found() {
    let mut world = World::new(Config {
        max_step_tokens: 4,
        overlap_depth: 2,
        ..cached()
    });
    world.submit(request(1, &prompt(1, 8), 4)).unwrap();
    // The first chunk writes what is not a number; that shows when the second one samples.
    world.step_failing(|_| true);
    world.step();
    world.apply();
    assert!(world.scheduler.stats().blocks_in_use > 0);
    world.apply();
    let failed = FinishReason::Failed(RowFailure::InvalidLogits);
    assert_eq!(world.client(1).finished, Some(failed));
    world.drain();
    assert_eq!(world.scheduler.stats().blocks_cached, 0);
    assert_eq!(run(&mut world, request(2, &prompt(1, 8), 4)), 0);
    assert_eq!(world.clients[&RequestId(2)].finished, Some(FinishReason::Length));
}

#[test]
fn a_failed_row_fails_alone() {
    let mut world = World::new(cached());
    world.submit(request(1, &prompt(1, 4), 4)).unwrap();
    world.submit(request(2, &prompt(2, 4), 4)).unwrap();
    world.step_failing(|row| row == 0);
    world.drain();
    assert!(matches!(world.client(1).finished, Some(FinishReason::Failed(_))));
    assert_eq!(world.client(2).finished, Some(FinishReason::Length));
}
