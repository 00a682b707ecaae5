//! The scheduler, the device and the clients, played until nothing is left to do.

use std::collections::{BTreeMap, VecDeque};
use std::error::Error;

use shardline_scheduler::{Config, Event, Micros, PlanningTime, RequestId, Scheduler, Submission};

use crate::clients::{Client, note};
use crate::device::{Device, Speed};

/// From a client's last token to its next request.
const CLIENT_US: u64 = 1_000;

pub struct Simulation {
    pub scheduler: Scheduler,
    pub device: Device,
    pub clients: BTreeMap<RequestId, Client>,
    pub steps: u64,
    pub step_tokens: u64,
    pub rejected: u64,
}

impl Simulation {
    pub fn new(speed: Speed, num_blocks: u32, max_running: u32, overlap_depth: u32) -> Self {
        let config = Config {
            block_size: 64,
            num_blocks,
            max_step_tokens: 1_024,
            max_running,
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
            device: Device::new(speed),
            clients: BTreeMap::new(),
            steps: 0,
            step_tokens: 0,
            rejected: 0,
        }
    }

    /// The time at which the last token came. `arrivals`: in their order; `next`: what a client sends after an
    /// answer.
    pub fn play(
        &mut self,
        mut arrivals: VecDeque<(u64, Submission)>,
        mut next: impl FnMut() -> Option<Submission>,
    ) -> Result<u64, Box<dyn Error>> {
        let mut now = 0;
        let mut events = Vec::new();
        let mut planning = PlanningTime::default();
        loop {
            while let Some(submission) = pop_due(&mut arrivals, now) {
                self.submit(submission, now);
            }
            while planning.waits(Micros(now)).is_none()
                && let Some(plan) = self.scheduler.step(Micros(now))
            {
                self.steps += 1;
                self.step_tokens += u64::from(plan.num_tokens);
                self.device.run(&plan, now);
            }
            let arrival = arrivals.front().map(|(at, _)| *at);
            let outcome = self.device.outcomes.front().map(|(at, _)| *at);
            let planned = planning.waits(Micros(now)).map(|until| until.0);
            let Some(first) = arrival.into_iter().chain(outcome).chain(planned).min() else {
                self.scheduler.check_invariants()?;
                return Ok(now);
            };
            now = first;
            let Some(outcome) = pop_due(&mut self.device.outcomes, now) else {
                continue;
            };
            self.scheduler.apply(&outcome, Micros(now), &mut events)?;
            planning.outcome(Micros(now), !self.device.outcomes.is_empty());
            note(&mut self.clients, &events, now);
            for event in events.drain(..) {
                if matches!(event, Event::Finished { .. }) {
                    arrivals.extend(next().map(|submission| (now + CLIENT_US, submission)));
                }
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

    /// Of all clients.
    pub fn tokens(&self) -> u64 {
        self.clients.values().map(|client| client.tokens).sum()
    }
}

/// The first one, if its time has come.
fn pop_due<T>(queue: &mut VecDeque<(u64, T)>, now: u64) -> Option<T> {
    let is_due = queue.front().is_some_and(|(at, _)| *at <= now);
    is_due.then(|| queue.pop_front()).flatten().map(|(_, due)| due)
}
