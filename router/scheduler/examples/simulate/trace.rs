//! A synthetic trace: requests of four tenants, which arrive whether or not the device keeps up.

use std::collections::{BTreeMap, VecDeque};
use std::error::Error;

use shardline_scheduler::{Config, Micros, RequestId, Scheduler, Submission};

use crate::clients::{Client, Random, Times, note, submission};
use crate::device::{Device, ON_ONE};

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
        let submission = submission(id, tenant, shared, own, most_new);
        trace.push_back((now, submission));
    }
    trace
}

struct Trace {
    scheduler: Scheduler,
    device: Device,
    clients: BTreeMap<RequestId, Client>,
    steps: u64,
    step_tokens: u64,
    rejected: u64,
}

impl Trace {
    fn new(overlap_depth: u32) -> Self {
        let config = Config {
            block_size: 64,
            num_blocks: 7_000,
            max_step_tokens: 1_024,
            max_running: 256,
            max_waiting: 4_096,
            max_sequence_tokens: 8_192,
            max_total_tokens: None,
            overlap_depth,
            prefix_caching: true,
            step_token_edges: vec![128, 192, 256, 384, 512, 640, 768, 1_024],
            max_bypass: 64,
        };
        Self {
            scheduler: Scheduler::new(config),
            device: Device::new(ON_ONE),
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
                note(&mut self.clients, &events, now);
                events.clear();
            } else if let Some((_, submission)) = trace.pop_front() {
                self.submit(submission, now);
            }
        }
    }

    fn submit(&mut self, submission: Submission, now: u64) {
        let client = Client::new(submission.tenant.0, now);
        let request = submission.request;
        match self.scheduler.submit(submission, Micros(now)) {
            Ok(()) => {
                self.clients.insert(request, client);
            }
            Err(_) => self.rejected += 1,
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
            let (first, gap) = (Times::to_first_token(clients()), Times::between_tokens(clients()));
            let name = tenant.map_or("all".to_owned(), |id| id.to_string());
            let count = clients().count();
            println!(
                "{name:>6}  {count:>8}  {:>8.0}  {:>8.0}  {:>8.1}  {:>8.1}",
                first.median, first.late, gap.median, gap.late
            );
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

/// Plays as many requests at this rate and prints what came of them.
pub fn run(requests: u64, per_second: f64, overlap_depth: u32) -> Result<(), Box<dyn Error>> {
    let mut simulation = Trace::new(overlap_depth);
    let took_us = simulation.play(trace(requests, per_second))?;
    simulation.scheduler.check_invariants()?;
    simulation.print(took_us);
    Ok(())
}
