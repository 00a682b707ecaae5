//! Who waits for how long: bounds, priorities, shares, deadlines, bypasses.

use crate::common::world::World;
use crate::common::{prompt, request, small};
use shardline_scheduler::{Config, Event, FinishReason, Micros, Rejection, RequestId, Submission, TenantId};

fn one_at_a_time() -> Config {
    Config {
        num_blocks: 64,
        max_running: 1,
        prefix_caching: false,
        ..small()
    }
}

fn order(world: &World) -> Vec<u64> {
    world.order.iter().map(|request| request.0).collect()
}

#[test]
fn one_more_than_the_queue_holds_is_rejected_with_a_time() {
    let mut world = World::new(Config {
        max_waiting: 2,
        ..one_at_a_time()
    });
    for id in 1..=3 {
        let _ = world.submit(request(id, &prompt(1, 4), 10));
    }
    assert!(!world.clients.contains_key(&RequestId(3)));
    let answer = world.submit(request(4, &prompt(1, 4), 10));
    let Err(Rejection::QueueFull {
        limit: 2,
        retry_after,
    }) = answer
    else {
        panic!("{answer:?}");
    };
    assert_eq!(retry_after, Micros(1_000_000), "nothing was measured");
    world.step();
    assert_eq!(world.submit(request(3, &prompt(1, 4), 10)), Ok(()));
    world.drain();
    // Steps of 100 µs for one token, then work for two sequences of 4 + 10 tokens each.
    for id in 5..=6 {
        world.submit(request(id, &prompt(1, 4), 10)).unwrap();
    }
    let Err(Rejection::QueueFull { retry_after, .. }) = world.submit(request(7, &prompt(1, 4), 10)) else {
        panic!("the queue is full");
    };
    assert!(
        retry_after > Micros(1_500) && retry_after < Micros(3_000),
        "{retry_after}"
    );
}

#[test]
fn a_group_that_hangs_is_not_expected_sooner_than_it_has_hung() {
    let mut world = World::new(one_at_a_time());
    world.submit(request(1, &prompt(1, 4), 4)).unwrap();
    world.drain();
    world.submit(request(2, &prompt(1, 4), 4)).unwrap();
    world.step();
    assert!(world.scheduler.retry_after(world.now) < Micros(10_000));
    world.now.0 += 30_000_000;
    assert_eq!(world.scheduler.retry_after(world.now), Micros(30_000_000));
    world.drain();
}

#[test]
fn malformed_and_duplicate_submissions_are_rejected() {
    let mut world = World::new(one_at_a_time());
    let good = request(1, &prompt(1, 4), 2);
    let bad = [
        request(1, &[], 2),
        request(1, &prompt(1, 4), 0),
        Submission {
            num_prompt_tokens: 5,
            ..good.clone()
        },
        Submission {
            num_prompt_tokens: 0,
            ..good.clone()
        },
        // Two tokens were generated before: it is at its length.
        Submission {
            num_prompt_tokens: 2,
            ..good.clone()
        },
    ];
    for submission in bad {
        assert_eq!(world.submit(submission), Err(Rejection::Malformed));
    }
    assert_eq!(world.submit(good.clone()), Ok(()));
    assert_eq!(world.submit(good), Err(Rejection::Duplicate));
    world.drain();
}

#[test]
fn a_replayed_submission_goes_on_where_it_was() {
    let mut world = World::new(one_at_a_time());
    world.submit(request(1, &prompt(1, 4), 6)).unwrap();
    world.drain();
    let generated: Vec<u32> = world.client(1).generated.iter().map(|token| token.0).collect();
    let mut values = prompt(1, 4);
    values.extend(&generated[..3]);
    // A deadline is for the first start; this one has tokens.
    let deadline = Some(Micros(0));
    world
        .submit(Submission {
            num_prompt_tokens: 4,
            deadline,
            ..request(2, &values, 6)
        })
        .unwrap();
    world.drain();
    assert_eq!(world.client(2).generated, world.client(1).generated);
}

#[test]
fn higher_priority_runs_earlier() {
    let mut world = World::new(one_at_a_time());
    world.submit(request(1, &prompt(1, 2), 1)).unwrap();
    world
        .submit(Submission {
            priority: -1,
            ..request(2, &prompt(2, 2), 1)
        })
        .unwrap();
    world
        .submit(Submission {
            priority: 7,
            ..request(3, &prompt(3, 2), 1)
        })
        .unwrap();
    world
        .submit(Submission {
            priority: 7,
            ..request(4, &prompt(4, 2), 1)
        })
        .unwrap();
    world.drain();
    assert_eq!(order(&world), [3, 4, 1, 2]);
}

#[test]
fn tenants_take_turns_by_tokens() {
    let mut world = World::new(one_at_a_time());
    // The first tenant asks for much, early; the second for little, late.
    for id in 1..=4 {
        let tenant = TenantId(1);
        world
            .submit(Submission {
                tenant,
                ..request(id, &prompt(id as u32, 12), 4)
            })
            .unwrap();
    }
    for id in 11..=18 {
        let tenant = TenantId(2);
        world
            .submit(Submission {
                tenant,
                ..request(id, &prompt(id as u32, 4), 4)
            })
            .unwrap();
    }
    world.drain();
    // 15 tokens of the one (the last one is never run) for about twice 7 of the other.
    assert_eq!(order(&world), [1, 11, 12, 13, 2, 14, 15, 3, 16, 17, 4, 18]);
}

#[test]
fn a_small_request_passes_a_big_one_but_not_for_ever() {
    let mut world = World::new(Config {
        num_blocks: 10,
        max_bypass: 3,
        prefix_caching: false,
        ..small()
    });
    world.submit(request(1, &prompt(1, 8), 40)).unwrap();
    world.step();
    world.submit(request(2, &prompt(2, 14), 1)).unwrap();
    for id in 3..=9 {
        world.submit(request(id, &prompt(id as u32, 1), 1)).unwrap();
    }
    for _ in 0..4 {
        world.apply();
        world.step();
    }
    // Three passed, then everyone waits for the big one.
    assert_eq!(order(&world), [1, 3, 4, 5]);
    world.cancel(RequestId(1));
    world.drain();
    assert_eq!(order(&world)[4], 2);
}

#[test]
fn those_that_were_passed_keep_their_order() {
    let mut world = World::new(Config {
        num_blocks: 10,
        prefix_caching: false,
        ..small()
    });
    world.submit(request(1, &prompt(1, 8), 40)).unwrap();
    world.step();
    for (id, length) in [(2, 14), (3, 13), (4, 1), (5, 14)] {
        world.submit(request(id, &prompt(id as u32, length), 1)).unwrap();
    }
    world.apply();
    world.step();
    world.cancel(RequestId(1));
    world.drain();
    assert_eq!(order(&world), [1, 4, 2, 3, 5]);
}

#[test]
fn without_bypass_the_head_of_the_line_blocks() {
    let mut world = World::new(Config {
        num_blocks: 8,
        max_bypass: 0,
        prefix_caching: false,
        ..small()
    });
    world.submit(request(1, &prompt(1, 8), 3)).unwrap();
    world.step();
    world.submit(request(2, &prompt(2, 14), 1)).unwrap();
    world.submit(request(3, &prompt(3, 1), 1)).unwrap();
    world.drain();
    assert_eq!(order(&world), [1, 2, 3]);
}

#[test]
fn waiting_past_the_deadline_ends_a_request_that_never_started() {
    let mut world = World::new(one_at_a_time());
    world.submit(request(1, &prompt(1, 4), 30)).unwrap();
    let deadline = Some(Micros(250));
    world
        .submit(Submission {
            deadline,
            ..request(2, &prompt(2, 4), 3)
        })
        .unwrap();
    world.submit(request(3, &prompt(3, 4), 3)).unwrap();
    for _ in 0..2 {
        world.step();
        world.apply();
    }
    assert_eq!(world.client(2).finished, None);
    world.step();
    let events = world.apply();
    let reason = FinishReason::DeadlineExceeded;
    assert!(events.contains(&Event::Finished {
        request: RequestId(2),
        reason
    }));
    world.drain();
    assert_eq!(order(&world), [1, 3]);
}

#[test]
fn a_started_request_has_no_deadline_any_more() {
    let mut world = World::new(Config {
        prefix_caching: false,
        ..small()
    });
    let deadline = Some(Micros(150));
    world.submit(request(1, &prompt(1, 6), 8)).unwrap();
    world
        .submit(Submission {
            deadline,
            ..request(2, &prompt(2, 6), 8)
        })
        .unwrap();
    world.drain();
    assert_eq!(
        (world.client(2).preemptions, world.client(2).finished),
        (1, Some(FinishReason::Length))
    );
}

#[test]
fn a_cancelled_request_leaves_the_queue_at_once() {
    let mut world = World::new(one_at_a_time());
    for id in 1..=3 {
        world.submit(request(id, &prompt(id as u32, 4), 2)).unwrap();
    }
    world.cancel(RequestId(2));
    assert_eq!(world.scheduler.stats().waiting, 2);
    world.drain();
    assert_eq!(order(&world), [1, 3]);
    assert_eq!(
        world.submit(request(2, &prompt(2, 4), 2)),
        Ok(()),
        "its id is free again"
    );
    world.drain();
}

#[test]
fn a_preempted_sequence_goes_before_those_that_never_started() {
    let mut world = World::new(Config {
        prefix_caching: false,
        ..small()
    });
    world.submit(request(1, &prompt(1, 6), 6)).unwrap();
    world.submit(request(2, &prompt(2, 6), 8)).unwrap();
    while world.client(2).preemptions == 0 {
        world.step();
        world.apply();
    }
    let tenant = TenantId(9);
    world
        .submit(Submission {
            tenant,
            ..request(3, &prompt(3, 8), 2)
        })
        .unwrap();
    while world.client(3).starts == 0 {
        world.step();
        world.apply();
    }
    assert_eq!(world.client(2).starts, 2);
    world.drain();
}
