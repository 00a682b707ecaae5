//! Clients of which each sends its next request as soon as it has an answer.

use std::error::Error;

use shardline_scheduler::Submission;

use crate::clients::{Random, Times, submission};
use crate::device::{ON_ONE, ON_TWO, Speed};
use crate::simulation::Simulation;

const SEEDS: u64 = 4;

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

/// The load's requests, one after the other.
struct Requests {
    load: Load,
    random: Random,
    made: u64,
}

impl Requests {
    fn around(&mut self, mean: u64) -> u64 {
        let room = (self.load.spread * mean as f64) as u64;
        mean - room + self.random.below(2 * room + 1)
    }
}

impl Iterator for Requests {
    type Item = Submission;

    fn next(&mut self) -> Option<Submission> {
        if self.made == self.load.requests {
            return None;
        }
        self.made += 1;
        let (prompt, answer) = (self.around(self.load.prompt), self.around(self.load.answer));
        Some(submission(self.made, 0, 0, prompt, answer))
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
        let mut requests = Requests {
            load,
            random: Random(seed),
            made: 0,
        };
        let at_once = requests.by_ref().take(load.clients as usize);
        let arrivals = at_once.map(|submission| (0, submission)).collect();
        let mut simulation = Simulation::new(load.speed, 14_000, 1_024, 2);
        let took_us = simulation.play(arrivals, || requests.next())?;
        if simulation.rejected > 0 {
            return Err(format!("{} requests were rejected", simulation.rejected).into());
        }
        let clients = || simulation.clients.values();
        let first = Times::to_first_token(clients());
        let gap = Times::between_tokens(clients());
        let found = [
            simulation.tokens() as f64 / took_us as f64 * 1e6,
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
