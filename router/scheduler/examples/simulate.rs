//! Replays a synthetic trace against the scheduler and a model of the device's time, and prints
//! what clients would have seen. A policy is judged here before it runs on a GPU.
//!
//! `cargo run --release -p shardline-scheduler --example simulate -- [requests] [per second] [overlap]`

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;

use shardline_scheduler::{
    Config, Event, Micros, Outcome, Plan, RequestId, RowOutcome, Scheduler, SequenceId, Submission, TenantId,
    TokenId,
};

/// Time of a step, fitted to an 8-billion-parameter model in bf16 on one large GPU.
struct CostModel {
    /// Rows are computed in tiles of this many.
    tile_rows: u64,
    /// Weights have to be read, however few the rows.
    least_us: u64,
    tile_us: u64,
    /// Context tokens whose KV is read in a microsecond.
    context_tokens_per_us: u64,
    /// Between a plan and its arrival at the device, and back.
    wire_us: u64,
}

const COST: CostModel = CostModel {
    tile_rows: 64,
    least_us: 3_800,
    tile_us: 1_400,
    context_tokens_per_us: 32,
    wire_us: 300,
};

impl CostModel {
    fn step_us(&self, rows: u32, context_tokens: u64) -> u64 {
        let products = u64::from(rows).div_ceil(self.tile_rows) * self.tile_us;
        products.max(self.least_us) + context_tokens / self.context_tokens_per_us
    }
}

/// Numbers that look random and are the same in every run.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }

    /// Exponentially distributed with the given mean.
    fn exponential(&mut self, mean: f64) -> u64 {
        let uniform = (self.below(1 << 30) as f64 + 1.0) / (1_u64 << 30) as f64;
        (-uniform.ln() * mean) as u64
    }
}

#[derive(Default)]
struct Client {
    tenant: u64,
    arrival: u64,
    first_token: Option<u64>,
    last_token: u64,
    gaps: Vec<u64>,
    tokens: u64,
}

/// Tenant 0 sends long documents and half of all requests; 1 chats behind one long system prompt;
/// 2 and 3 ask short questions.
fn trace(requests: u64, per_second: f64) -> VecDeque<(u64, Submission)> {
    let mut random = Random(11);
    let mut now = 0;
    let mut trace = VecDeque::new();
    for id in 1..=requests {
        now += random.exponential(1e6 / per_second);
        let (tenant, shared, own, most_new) = match random.below(8) {
            0..=3 => (0, 0, 1_000 + random.below(3_000), 64 + random.below(128)),
            4 | 5 => (1, 1_500, 50 + random.below(200), 64 + random.below(256)),
            6 => (2, 0, 20 + random.below(200), 32 + random.below(128)),
            _ => (3, 0, 20 + random.below(200), 32 + random.below(128)),
        };
        let beginning = (0..shared).map(|index| TokenId(index as u32));
        let rest = (0..own).map(|index| TokenId((id * 4_000 + index) as u32));
        let tokens: Arc<[TokenId]> = beginning.chain(rest).collect();
        let submission = Submission {
            request: RequestId(id),
            num_prompt_tokens: tokens.len() as u32,
            tokens,
            max_new_tokens: most_new as u32,
            min_new_tokens: 0,
            stop_token_ids: Arc::from([]),
            cache_salt: 0,
            use_prefix_cache: true,
            tenant: TenantId(tenant),
            priority: 0,
            deadline: None,
        };
        trace.push_back((now, submission));
    }
    trace
}

/// The device: runs plans in order, one after the other.
#[derive(Default)]
struct Device {
    /// Computed and known tokens of a sequence.
    progress: HashMap<SequenceId, (u64, u64)>,
    free_at: u64,
    busy_us: u64,
    outcomes: VecDeque<(u64, Outcome)>,
}

impl Device {
    fn run(&mut self, plan: &Plan, now: u64) {
        for dropped in &plan.drop {
            self.progress.remove(dropped);
        }
        for admission in &plan.admitted {
            let progress = (
                u64::from(admission.num_cached_tokens),
                admission.tokens.len() as u64,
            );
            self.progress.insert(admission.sequence, progress);
        }
        let mut context_tokens = 0;
        let mut rows = Vec::new();
        for row in &plan.rows {
            let Some((computed, known)) = self.progress.get_mut(&row.sequence) else {
                continue;
            };
            *computed += u64::from(row.num_tokens);
            context_tokens += *computed;
            if computed == known {
                let token = TokenId((row.sequence.0 * 31 + *known) as u32);
                *known += 1;
                rows.push(RowOutcome {
                    sequence: row.sequence,
                    tokens: vec![token],
                    failed: None,
                });
            }
        }
        let took = COST.step_us(plan.num_tokens, context_tokens);
        self.free_at = self.free_at.max(now + COST.wire_us) + took;
        self.busy_us += took;
        self.outcomes.push_back((
            self.free_at + COST.wire_us,
            Outcome {
                step: plan.step,
                rows,
            },
        ));
    }
}

struct Simulation {
    scheduler: Scheduler,
    device: Device,
    clients: BTreeMap<RequestId, Client>,
    steps: u64,
    step_tokens: u64,
    rejected: u64,
}

impl Simulation {
    fn new(overlap_depth: u32) -> Self {
        let config = Config {
            block_size: 64,
            num_blocks: 7_000,
            max_step_tokens: 2_048,
            max_running: 256,
            max_waiting: 4_096,
            max_sequence_tokens: 8_192,
            max_total_tokens: None,
            overlap_depth,
            prefix_caching: true,
            step_token_edges: (1..=32).map(|tile| tile * 64).collect(),
            max_bypass: 64,
        };
        Self {
            scheduler: Scheduler::new(config),
            device: Device::default(),
            clients: BTreeMap::new(),
            steps: 0,
            step_tokens: 0,
            rejected: 0,
        }
    }

    /// Plays the whole trace; the time at which the last token came.
    fn play(&mut self, mut trace: VecDeque<(u64, Submission)>) -> Result<u64, Box<dyn std::error::Error>> {
        let mut now = 0;
        let mut events = Vec::new();
        loop {
            while let Some(plan) = self.scheduler.step(Micros(now)) {
                self.steps += 1;
                self.step_tokens += u64::from(plan.num_tokens);
                self.device.run(&plan, now);
            }
            let arrival = trace.front().map(|(at, _)| *at);
            let outcome = self.device.outcomes.front().map(|(at, _)| *at);
            let Some(next) = arrival.into_iter().chain(outcome).min() else {
                return Ok(now);
            };
            now = next;
            if outcome == Some(now) {
                let Some((_, outcome)) = self.device.outcomes.pop_front() else {
                    continue;
                };
                self.scheduler.apply(&outcome, Micros(now), &mut events)?;
                self.note(&events, now);
                events.clear();
            } else if let Some((_, submission)) = trace.pop_front() {
                self.submit(submission, now);
            }
        }
    }

    fn submit(&mut self, submission: Submission, now: u64) {
        let client = Client {
            tenant: submission.tenant.0,
            arrival: now,
            ..Client::default()
        };
        let request = submission.request;
        match self.scheduler.submit(submission, Micros(now)) {
            Ok(()) => {
                self.clients.insert(request, client);
            }
            Err(_) => self.rejected += 1,
        }
    }

    fn note(&mut self, events: &[Event], now: u64) {
        for event in events {
            let Event::Token { request, .. } = event else {
                continue;
            };
            let Some(client) = self.clients.get_mut(request) else {
                continue;
            };
            match client.first_token {
                None => client.first_token = Some(now),
                Some(_) => client.gaps.push(now - client.last_token),
            }
            client.last_token = now;
            client.tokens += 1;
        }
    }

    fn print(&self, took_us: u64) {
        let seconds = took_us as f64 / 1e6;
        let tokens: u64 = self.clients.values().map(|client| client.tokens).sum();
        let stats = self.scheduler.stats();
        let hits = 100.0 * stats.prefix_hits_tokens as f64 / stats.prefix_queries_tokens.max(1) as f64;
        println!(
            "{tokens} tokens in {seconds:.1} s: {:.0} tokens/s",
            tokens as f64 / seconds
        );
        println!(
            "{} steps of {:.0} tokens, device busy {:.0} %, cache hits {hits:.0} %, {} preemptions, {} rejected",
            self.steps,
            self.step_tokens as f64 / self.steps.max(1) as f64,
            100.0 * self.device.busy_us as f64 / took_us.max(1) as f64,
            stats.preemptions,
            self.rejected,
        );
        println!("tenant  requests  TTFT p50     p99 ms   ITL p50     p99 ms");
        for tenant in [None, Some(0), Some(1), Some(2), Some(3)] {
            let clients = || {
                self.clients
                    .values()
                    .filter(move |c| tenant.is_none_or(|id| c.tenant == id))
            };
            let firsts = clients()
                .filter_map(|c| c.first_token.map(|at| at - c.arrival))
                .collect();
            let gaps = clients().flat_map(|c| c.gaps.iter().copied()).collect();
            let [first_50, first_99] = percentiles(firsts);
            let [gap_50, gap_99] = percentiles(gaps);
            let name = tenant.map_or("all".to_owned(), |id| id.to_string());
            let count = clients().count();
            println!("{name:>6}  {count:>8}  {first_50:>8.0}  {first_99:>8.0}  {gap_50:>8.1}  {gap_99:>8.1}");
        }
        println!(
            "fairness (Jain, tokens/s of a request between tenants): {:.3}",
            self.fairness()
        );
    }

    /// Jain's index over the tenants' mean speeds, from arrival to last token: 1 is equal.
    fn fairness(&self) -> f64 {
        let mut speeds: BTreeMap<u64, (f64, f64)> = BTreeMap::new();
        for client in self
            .clients
            .values()
            .filter(|client| client.last_token > client.arrival)
        {
            let speed = speeds.entry(client.tenant).or_default();
            speed.0 += client.tokens as f64 / (client.last_token - client.arrival) as f64;
            speed.1 += 1.0;
        }
        let means: Vec<f64> = speeds.values().map(|(sum, count)| sum / count).collect();
        let (sum, squares) = means
            .iter()
            .fold((0.0, 0.0), |(s, q), mean| (s + mean, q + mean * mean));
        sum * sum / (squares * means.len().max(1) as f64)
    }
}

/// The 50th and 99th percentile, in milliseconds.
fn percentiles(mut micros: Vec<u64>) -> [f64; 2] {
    micros.sort_unstable();
    [50, 99].map(|percent| {
        let value = micros
            .get(micros.len().saturating_sub(1) * percent / 100)
            .copied()
            .unwrap_or(0);
        value as f64 / 1e3
    })
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let mut next = |default: &str| arguments.next().unwrap_or_else(|| default.to_owned());
    let (requests, per_second, overlap) = (next("1000"), next("18"), next("2"));
    let mut simulation = Simulation::new(overlap.parse()?);
    let took_us = simulation.play(trace(requests.parse()?, per_second.parse()?))?;
    simulation.scheduler.check_invariants()?;
    simulation.print(took_us);
    Ok(())
}
