//! Clients of which each sends its next request as soon as it has an answer.

use std::collections::{BTreeMap, VecDeque};
use std::error::Error;

use shardline_scheduler::{Config, Event, Micros, RequestId, Scheduler};

use crate::clients::{Client, Random, Times, note, submission};
use crate::device::{Device, ON_ONE, ON_TWO, Speed};

const SEEDS: u64 = 4;
/// From a client's last token to its next request.
const CLIENT_US: u64 = 1_000;

#[derive(Clone, Copy)]
struct Load {
    model: &'static str,
    speed: Speed,
    clients: u64,
    requests: u64,
    prompt: u64,
    answer: u64,
    /// Lengths differ by up to this part of them.
    spread: f64,
}

struct Loop {
    load: Load,
    scheduler: Scheduler,
    device: Device,
    random: Random,
    clients: BTreeMap<RequestId, Client>,
}

impl Loop {
    fn new(load: Load, seed: u64) -> Self {
        let config = Config {
            block_size: 64,
            num_blocks: 14_000,
            max_step_tokens: 1_024,
            max_running: 1_024,
            max_waiting: 4_096,
            max_sequence_tokens: 8_192,
            max_total_tokens: None,
            overlap_depth: 2,
            prefix_caching: true,
            step_token_edges: vec![128, 192, 256, 384, 512, 640, 768, 1_024],
            max_bypass: 64,
        };
        Self {
            load,
            scheduler: Scheduler::new(config),
            device: Device::new(load.speed),
            random: Random(seed),
            clients: BTreeMap::new(),
        }
    }

    /// The time at which the last token came.
    fn play(&mut self) -> Result<u64, Box<dyn Error>> {
        let mut due: VecDeque<u64> = (0..self.load.clients).map(|_| 0).collect();
        let mut now = 0;
        let mut events = Vec::new();
        loop {
            while due.front().is_some_and(|at| *at <= now) {
                due.pop_front();
                self.send(now)?;
            }
            while let Some(plan) = self.scheduler.step(Micros(now)) {
                self.device.run(&plan, now);
            }
            let outcome = self.device.outcomes.front().map(|(at, _)| *at);
            let Some(next) = outcome.into_iter().chain(due.front().copied()).min() else {
                return Ok(now);
            };
            now = next;
            if outcome != Some(now) {
                continue;
            }
            let Some((_, outcome)) = self.device.outcomes.pop_front() else {
                continue;
            };
            self.scheduler.apply(&outcome, Micros(now), &mut events)?;
            note(&mut self.clients, &events, now);
            let ended = events
                .drain(..)
                .filter(|event| matches!(event, Event::Finished { .. }));
            due.extend(ended.map(|_| now + CLIENT_US));
        }
    }

    /// The next request, if there is one left.
    fn send(&mut self, now: u64) -> Result<(), Box<dyn Error>> {
        let id = self.clients.len() as u64 + 1;
        if id > self.load.requests {
            return Ok(());
        }
        let (prompt, answer) = (self.around(self.load.prompt), self.around(self.load.answer));
        self.clients.insert(RequestId(id), Client::new(0, now));
        let submitted = self
            .scheduler
            .submit(submission(id, 0, 0, prompt, answer), Micros(now));
        submitted.map_err(|rejection| format!("{rejection:?}").into())
    }

    fn around(&mut self, mean: u64) -> u64 {
        let room = (self.load.spread * mean as f64) as u64;
        mean - room + self.random.below(2 * room + 1)
    }
}

/// Plays all loads, each with equal lengths and with different ones; prints the means over some seeds.
pub fn run() -> Result<(), Box<dyn Error>> {
    println!("model  clients  prompt/answer  spread  tokens/s  TTFT mean     p99 ms  ITL mean     p99 ms");
    for (model, speed, clients, prompt, answer) in [
        ("8b", ON_ONE, 1, 512, 256),
        ("8b", ON_ONE, 8, 512, 256),
        ("8b", ON_ONE, 32, 512, 256),
        ("8b", ON_ONE, 50, 512, 256),
        ("8b", ON_ONE, 100, 512, 256),
        ("8b", ON_ONE, 256, 512, 256),
        ("8b", ON_ONE, 64, 2_048, 128),
        ("70b", ON_TWO, 32, 512, 256),
        ("70b", ON_TWO, 100, 512, 256),
        ("70b", ON_TWO, 256, 512, 256),
    ] {
        for spread in [0.0, 0.5] {
            let requests = 3 * clients;
            print(Load {
                model,
                speed,
                clients,
                requests,
                prompt,
                answer,
                spread,
            })?;
        }
    }
    Ok(())
}

fn print(load: Load) -> Result<(), Box<dyn Error>> {
    let mut sums = [0.0; 5];
    for seed in 1..=SEEDS {
        let mut simulation = Loop::new(load, seed);
        let took_us = simulation.play()?;
        simulation.scheduler.check_invariants()?;
        let clients = || simulation.clients.values();
        let tokens: u64 = clients().map(|client| client.tokens).sum();
        let first = Times::to_first_token(clients());
        let gap = Times::between_tokens(clients());
        let found = [
            tokens as f64 / took_us as f64 * 1e6,
            first.mean,
            first.late,
            gap.mean,
            gap.late,
        ];
        for (sum, value) in sums.iter_mut().zip(found) {
            *sum += value / SEEDS as f64;
        }
    }
    let [speed, first, first_late, gap, gap_late] = sums;
    let Load {
        model,
        clients,
        prompt,
        answer,
        spread,
        ..
    } = load;
    println!(
        "{model:>5}  {clients:>7}  {prompt:>6}/{answer:<6}  {spread:>6}  {speed:>8.0}  {first:>9.0}  {first_late:>9.0}  \
         {gap:>8.1}  {gap_late:>9.1}"
    );
    Ok(())
}
