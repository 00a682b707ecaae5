//! One token budget: decode rows first, then chunks of prefill, up to the tiles' edges.

use crate::common::world::World;
use crate::common::{prompt, request, small};
use shardline_scheduler::{Config, FinishReason, Plan};

fn roomy() -> Config {
    Config {
        num_blocks: 256,
        max_sequence_tokens: 400,
        ..small()
    }
}

fn row_tokens(plan: &Plan) -> Vec<u32> {
    plan.rows.iter().map(|row| row.num_tokens).collect()
}

/// Plans one step and takes its outcome.
fn round(world: &mut World) -> Vec<u32> {
    let plan = world.step().expect("a plan");
    world.apply();
    row_tokens(&plan)
}

#[test]
fn a_long_prompt_runs_in_chunks_of_the_budget() {
    let mut world = World::new(Config {
        max_step_tokens: 7,
        ..roomy()
    });
    world.submit(request(1, &prompt(1, 17), 2)).unwrap();
    assert_eq!(round(&mut world), [7]);
    assert_eq!(round(&mut world), [7]);
    assert_eq!(round(&mut world), [3]);
    assert_eq!(world.client(1).generated.len(), 1);
    assert_eq!(round(&mut world), [1]);
    assert_eq!(world.client(1).finished, Some(FinishReason::Length));
}

#[test]
fn decodes_go_before_prefill_and_take_from_its_budget() {
    let mut world = World::new(Config {
        max_step_tokens: 48,
        ..roomy()
    });
    world.submit(request(1, &prompt(1, 3), 20)).unwrap();
    world.submit(request(2, &prompt(2, 3), 20)).unwrap();
    assert_eq!(round(&mut world), [3, 3]);
    world.submit(request(3, &prompt(3, 48), 20)).unwrap();
    // A quarter of what is left, and then an eighth of a full step.
    assert_eq!(round(&mut world), [1, 1, 12]);
    assert_eq!(round(&mut world), [1, 1, 9]);
    assert_eq!(round(&mut world), [1, 1, 7]);
    assert_eq!(round(&mut world), [1, 1, 6]);
    assert_eq!(round(&mut world), [1, 1, 6]);
}

#[test]
fn once_answers_are_known_to_be_long_decodes_are_not_held_up_by_full_steps() {
    let mut world = World::new(Config {
        max_step_tokens: 16,
        ..roomy()
    });
    world.submit(request(1, &prompt(1, 2), 40)).unwrap();
    while world.client(1).finished.is_none() {
        round(&mut world);
    }
    world.submit(request(2, &prompt(2, 3), 40)).unwrap();
    assert_eq!(round(&mut world), [3]);
    world.submit(request(3, &prompt(3, 40), 2)).unwrap();
    // Half of a full step.
    assert_eq!(round(&mut world), [1, 7]);
    assert_eq!(round(&mut world), [1, 7]);
}

#[test]
fn once_prompts_are_known_to_be_long_steps_stay_full() {
    let mut world = World::new(Config {
        max_step_tokens: 16,
        ..roomy()
    });
    world.submit(request(1, &prompt(1, 90), 3)).unwrap();
    while world.client(1).finished.is_none() {
        round(&mut world);
    }
    world.submit(request(2, &prompt(2, 3), 40)).unwrap();
    assert_eq!(round(&mut world), [3]);
    world.submit(request(3, &prompt(3, 40), 2)).unwrap();
    assert_eq!(round(&mut world), [1, 15]);
}

#[test]
fn what_a_chunk_leaves_of_the_budget_goes_to_the_next_waiting() {
    let mut world = World::new(roomy());
    world.submit(request(1, &prompt(1, 10), 2)).unwrap();
    world.submit(request(2, &prompt(2, 10), 2)).unwrap();
    assert_eq!(round(&mut world), [10, 6]);
    // The rest of the second prompt is a chunk like any other; the first one decodes.
    assert_eq!(round(&mut world), [1, 4]);
}

#[test]
fn blocks_come_with_the_row_that_needs_them() {
    let mut world = World::new(Config {
        max_step_tokens: 3,
        ..roomy()
    });
    world.submit(request(1, &prompt(1, 5), 4)).unwrap();
    let counts: Vec<u32> = (0..5)
        .map(|_| {
            let plan = world.step().expect("a plan");
            world.apply();
            plan.rows[0].new_blocks
        })
        .collect();
    // 3 tokens in 2 blocks, 5 in 3, then a block every second token.
    assert_eq!(counts, [2, 1, 0, 1, 0]);
}

#[test]
fn no_row_is_planned_past_the_length() {
    let mut world = World::new(Config {
        overlap_depth: 2,
        ..roomy()
    });
    world.submit(request(1, &prompt(1, 4), 2)).unwrap();
    assert_eq!(row_tokens(&world.step().expect("prefill")), [4]);
    assert_eq!(row_tokens(&world.step().expect("the second token")), [1]);
    world.apply();
    assert_eq!(world.step(), None, "both tokens are sampled or in flight");
    world.apply();
    assert_eq!(world.client(1).finished, Some(FinishReason::Length));
    assert_eq!(world.client(1).generated.len(), 2);
}

#[test]
fn a_step_ends_at_an_edge_when_something_decodes() {
    let edges = vec![8, 16, 24, 32];
    let mut world = World::new(Config {
        max_step_tokens: 32,
        step_token_edges: edges,
        ..roomy()
    });
    // So much prefill for so few tokens that steps may be full.
    world.submit(request(1, &prompt(1, 100), 6)).unwrap();
    assert_eq!([(); 4].map(|()| round(&mut world)), [[32], [32], [32], [4]]);
    world.submit(request(2, &prompt(2, 18), 2)).unwrap();
    // 19 would open a tile for 3 tokens.
    assert_eq!(round(&mut world), [1, 15]);
    assert_eq!(round(&mut world), [1, 3]);
    // 22 uses more than half of the tile: it runs whole.
    world.submit(request(3, &prompt(3, 20), 20)).unwrap();
    assert_eq!(round(&mut world), [1, 1, 20]);
}

#[test]
fn a_lone_prompt_is_not_split_for_an_edge() {
    let mut world = World::new(Config {
        step_token_edges: vec![8, 16],
        ..roomy()
    });
    world.submit(request(1, &prompt(1, 9), 1)).unwrap();
    assert_eq!(round(&mut world), [9]);
}

#[test]
fn a_prompt_beyond_the_budget_is_cut_at_an_edge() {
    let mut world = World::new(Config {
        max_step_tokens: 18,
        step_token_edges: vec![8, 16],
        ..roomy()
    });
    world.submit(request(1, &prompt(1, 30), 1)).unwrap();
    assert_eq!(round(&mut world), [16]);
    assert_eq!(round(&mut world), [14]);
}

#[test]
fn decode_rows_are_never_trimmed() {
    let mut world = World::new(Config {
        step_token_edges: vec![2, 4],
        ..roomy()
    });
    for id in 1..=5 {
        world.submit(request(id, &prompt(id as u32, 1), 20)).unwrap();
    }
    assert_eq!(round(&mut world), [1; 5]);
    assert_eq!(round(&mut world), [1; 5]);
}
