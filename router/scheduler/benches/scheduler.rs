//! `step` and `apply` together, in the steady state of a full batch: sequences decode in every
//! step, some end and others are admitted with chunks of prefill, two plans are in flight.

use std::collections::{HashMap, VecDeque};
use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use shardline_scheduler::{
    Config, Event, Micros, Outcome, Plan, RequestId, RowOutcome, Scheduler, SequenceId, Submission, TenantId,
    TokenId,
};

const PROMPT_TOKENS: u64 = 256;
const NEW_TOKENS: u32 = 256;

/// A scheduler with what answers it.
struct Load {
    scheduler: Scheduler,
    /// Per sequence of the shard: computed and known tokens.
    progress: HashMap<SequenceId, (u32, u32)>,
    outcomes: VecDeque<Outcome>,
    events: Vec<Event>,
    next_request: u64,
    now: Micros,
}

impl Load {
    fn new(running: u32) -> Self {
        let scheduler = Scheduler::new(Config {
            block_size: 16,
            num_blocks: running * 40,
            max_step_tokens: running * 3,
            max_running: running,
            max_waiting: running * 2,
            max_sequence_tokens: 4096,
            max_total_tokens: None,
            overlap_depth: 2,
            prefix_caching: true,
            step_token_edges: (1..64).map(|edge| edge * 128).collect(),
            max_bypass: 64,
        });
        let mut load = Self {
            scheduler,
            progress: HashMap::new(),
            outcomes: VecDeque::new(),
            events: Vec::new(),
            next_request: 0,
            now: Micros(0),
        };
        for _ in 0..running + 64 {
            load.submit();
        }
        for _ in 0..NEW_TOKENS * 4 {
            load.round();
        }
        load
    }

    fn submit(&mut self) {
        self.next_request += 1;
        let request = self.next_request;
        let tokens: Vec<TokenId> = (0..PROMPT_TOKENS)
            .map(|index| TokenId((request * 7919 + index * 31) as u32 % 50_000))
            .collect();
        let submission = Submission {
            request: RequestId(request),
            tokens: Arc::from(tokens),
            num_prompt_tokens: PROMPT_TOKENS as u32,
            // Ends are spread over the steps.
            max_new_tokens: NEW_TOKENS / 2 + (request * 37 % u64::from(NEW_TOKENS)) as u32,
            min_new_tokens: 0,
            stop_token_ids: Arc::from([TokenId(128_001), TokenId(128_009)]),
            cache_salt: 0,
            use_prefix_cache: true,
            tenant: TenantId(request % 8),
            priority: 0,
            deadline: None,
        };
        let _ = black_box(self.scheduler.submit(submission, self.now));
    }

    fn answer(&mut self, plan: &Plan) -> Outcome {
        for dropped in &plan.drop {
            self.progress.remove(dropped);
        }
        for admitted in &plan.admitted {
            self.progress.insert(
                admitted.sequence,
                (admitted.num_cached_tokens, admitted.tokens.len() as u32),
            );
        }
        let mut rows = Vec::with_capacity(plan.rows.len());
        for row in &plan.rows {
            let Some((computed, known)) = self.progress.get_mut(&row.sequence) else {
                continue;
            };
            *computed += row.num_tokens;
            if computed == known {
                *known += 1;
                let token = TokenId((row.sequence.0 as u32 * 31 + *known) % 50_000);
                rows.push(RowOutcome {
                    sequence: row.sequence,
                    tokens: vec![token],
                    failed: None,
                });
            }
        }
        Outcome {
            step: plan.step,
            rows,
        }
    }

    /// One step and one apply, with what comes between untimed.
    fn round(&mut self) -> Duration {
        self.now.0 += 10_000;
        let started = Instant::now();
        let plan = self.scheduler.step(self.now);
        let mut spent = started.elapsed();
        if let Some(plan) = plan {
            let outcome = self.answer(&plan);
            self.outcomes.push_back(outcome);
        }
        if self.outcomes.len() < 2 {
            return spent;
        }
        let Some(outcome) = self.outcomes.pop_front() else {
            return spent;
        };
        self.events.clear();
        let started = Instant::now();
        let applied = self.scheduler.apply(&outcome, self.now, &mut self.events);
        spent += started.elapsed();
        assert_eq!(applied, Ok(()));
        let ended = self
            .events
            .iter()
            .filter(|event| matches!(event, Event::Finished { .. }))
            .count();
        for _ in 0..ended {
            self.submit();
        }
        spent
    }
}

/// `rounds` times the median round: what other processes on the machine take does not count.
fn median_of(load: &mut Load, rounds: u64) -> Duration {
    let mut spent: Vec<Duration> = (0..rounds).map(|_| load.round()).collect();
    spent.sort_unstable();
    spent[spent.len() / 2] * rounds as u32
}

fn step_and_apply(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("step + apply");
    group
        .sample_size(30)
        .warm_up_time(Duration::from_secs(1))
        .measurement_time(Duration::from_secs(3));
    for running in [256, 1024, 4096] {
        let mut load = Load::new(running);
        group.bench_function(BenchmarkId::from_parameter(running), |bencher| {
            bencher.iter_custom(|rounds| median_of(&mut load, rounds));
        });
        eprintln!("{:?}", load.scheduler.stats());
    }
    group.finish();
}

criterion_group!(benches, step_and_apply);
criterion_main!(benches);
