//! Random interleavings of every verb against the fake shard, invariants checked after each.

use std::cell::RefCell;
use std::sync::Arc;

use crate::common::world::World;
use proptest::prelude::*;
use proptest::test_runner::{RngSeed, TestRunner};
use shardline_scheduler::{Config, FinishReason, Micros, RequestId, Submission, TenantId, TokenId};

#[derive(Clone, Debug)]
enum Operation {
    Submit(Box<Request>),
    /// Plans a step; the row of the index, if any, writes what is not a number.
    Step(Option<usize>),
    Apply,
    /// Cancels one of the requests submitted so far.
    Cancel(prop::sample::Index),
    /// The oldest outcome is first presented with a defect.
    Corrupt(u8),
    Wait(u16),
    Reset(u32),
}

#[derive(Clone, Debug)]
struct Request {
    prompt: Vec<u32>,
    max_new: u32,
    min_new: u32,
    stop: Option<u32>,
    salt: u64,
    use_cache: bool,
    tenant: u64,
    priority: i32,
    deadline: Option<u16>,
}

fn request() -> impl Strategy<Value = Request> {
    let length = (1_u32..24, 0_u32..4, prop::option::of(0_u32..4));
    let who = (
        0_u64..2,
        prop::bool::weighted(0.9),
        0_u64..3,
        -1_i32..2,
        prop::option::weighted(0.1, 0_u16..2000),
    );
    // Few beginnings, so that many prompts share one.
    let prompt = prop_oneof![
        3 => (1_usize..14).prop_map(|length| vec![1; length]),
        2 => prop::collection::vec(0_u32..2, 1..12),
    ];
    (prompt, length, who).prop_map(|(prompt, (max_new, min_new, stop), who)| {
        let (salt, use_cache, tenant, priority, deadline) = who;
        Request {
            prompt,
            max_new,
            min_new,
            stop,
            salt,
            use_cache,
            tenant,
            priority,
            deadline,
        }
    })
}

fn operation() -> impl Strategy<Value = Operation> {
    prop_oneof![
        6 => request().prop_map(|request| Operation::Submit(Box::new(request))),
        12 => prop::option::weighted(0.03, 0_usize..3).prop_map(Operation::Step),
        10 => Just(Operation::Apply),
        2 => any::<prop::sample::Index>().prop_map(Operation::Cancel),
        1 => (0_u8..6).prop_map(Operation::Corrupt),
        1 => (0_u16..500).prop_map(Operation::Wait),
        1 => (2_u32..9).prop_map(Operation::Reset),
    ]
}

fn config() -> impl Strategy<Value = Config> {
    let sizes = (2_u32..5, 3_u32..9, 1_u32..17, 1_u32..7);
    let limits = (prop::option::weighted(0.2, 1_u32..40), 2_u32..40, 1_u32..20);
    let ways = (1_u32..5, any::<bool>(), prop::bool::weighted(0.3), 0_u32..4);
    (sizes, limits, ways).prop_map(
        |(sizes, limits, (overlap_depth, prefix_caching, edges, max_bypass))| Config {
            block_size: sizes.0,
            num_blocks: sizes.1,
            max_step_tokens: sizes.2,
            max_running: sizes.3,
            max_waiting: limits.2,
            max_sequence_tokens: limits.1,
            max_total_tokens: limits.0,
            overlap_depth,
            prefix_caching,
            step_token_edges: if edges { vec![4, 8, 12] } else { Vec::new() },
            max_bypass,
        },
    )
}

fn submission(id: u64, request: &Request, now: Micros) -> Submission {
    Submission {
        request: RequestId(id),
        tokens: crate::common::tokens(&request.prompt),
        num_prompt_tokens: request.prompt.len() as u32,
        max_new_tokens: request.max_new,
        min_new_tokens: request.min_new,
        stop_token_ids: request.stop.map(TokenId).into_iter().collect::<Arc<[TokenId]>>(),
        cache_salt: request.salt,
        use_prefix_cache: request.use_cache,
        tenant: TenantId(request.tenant),
        priority: request.priority,
        deadline: request.deadline.map(|after| Micros(now.0 + u64::from(after))),
    }
}

/// Presents the oldest outcome with a defect; every defect must be refused.
fn corrupt(world: &mut World, how: u8) {
    let Some(mut outcome) = world.outcomes.front().cloned() else {
        return;
    };
    match how {
        0 => outcome.step.0 += 1,
        1 => outcome.rows.push(shardline_scheduler::RowOutcome {
            sequence: shardline_scheduler::SequenceId(u64::MAX),
            tokens: vec![TokenId(0)],
            failed: None,
        }),
        2 => match outcome.rows.first_mut() {
            Some(row) => row.tokens.push(TokenId(0)),
            None => return,
        },
        3 => match outcome.rows.first().cloned() {
            Some(row) => outcome.rows.insert(0, row),
            None => return,
        },
        4 if outcome.rows.len() >= 2 => outcome.rows.swap(0, 1),
        _ => outcome.step.0 = 0,
    }
    world.apply_wrong(&outcome);
}

fn play(config: Config, operations: &[Operation]) -> World {
    let mut world = World::new(config);
    let mut submitted = Vec::new();
    for operation in operations {
        match operation {
            Operation::Submit(request) => {
                let id = submitted.len() as u64;
                if world.submit(submission(id, request, world.now)).is_ok() {
                    submitted.push(RequestId(id));
                }
            }
            Operation::Step(fails) => {
                world.step_failing(|row| Some(row) == *fails);
            }
            Operation::Apply => {
                world.apply();
            }
            Operation::Cancel(index) if !submitted.is_empty() => {
                world.cancel(*index.get(&submitted));
            }
            Operation::Cancel(_) => {}
            Operation::Corrupt(how) => corrupt(&mut world, *how),
            Operation::Wait(micros) => world.now.0 += u64::from(*micros),
            Operation::Reset(num_blocks) => {
                world.reset(*num_blocks);
            }
        }
    }
    world.drain();
    world
}

/// What the random cases reached, all together.
#[derive(Debug, Default)]
struct Reached {
    preemptions: u64,
    hit_tokens: u64,
    resumed_after_hits: u32,
    ends: [u32; 5],
}

impl Reached {
    fn add(&mut self, world: &World) {
        let stats = world.scheduler.stats();
        self.preemptions += stats.preemptions;
        self.hit_tokens += stats.prefix_hits_tokens;
        for client in world.clients.values() {
            self.resumed_after_hits += u32::from(client.preemptions > 0 && client.cached_tokens > 0);
            let kind = match client.finished {
                Some(FinishReason::Stop(_)) => 0,
                Some(FinishReason::Length) => 1,
                Some(FinishReason::Cancelled) => 2,
                Some(FinishReason::DeadlineExceeded) => 3,
                Some(FinishReason::Failed(_)) => 4,
                None => continue,
            };
            self.ends[kind] += 1;
        }
    }
}

/// Every accepted request ends once, with the tokens of an undisturbed run; every plan is legal.
#[test]
fn any_interleaving_keeps_every_promise() {
    let config = ProptestConfig {
        cases: ProptestConfig::default().cases.max(4000),
        failure_persistence: None,
        rng_seed: RngSeed::Fixed(20),
        ..ProptestConfig::default()
    };
    let reached = RefCell::new(Reached::default());
    let cases = (self::config(), prop::collection::vec(operation(), 1..160));
    let result = TestRunner::new(config).run(&cases, |(config, operations)| {
        let world = play(config, &operations);
        reached.borrow_mut().add(&world);
        Ok(())
    });
    if let Err(failure) = result {
        panic!("{failure}");
    }
    // Cases that never come to what is hard would prove nothing.
    let reached = reached.into_inner();
    println!("{reached:?}");
    assert!(
        reached.preemptions > 1000 && reached.hit_tokens > 5000,
        "{reached:?}"
    );
    assert!(reached.resumed_after_hits > 100, "{reached:?}");
    assert!(reached.ends.iter().all(|count| *count > 100), "{reached:?}");
}
