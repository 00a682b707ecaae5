//! A synthetic trace: requests of four tenants, which arrive whether or not the device keeps up.

use std::collections::{BTreeMap, VecDeque};
use std::error::Error;

use shardline_scheduler::{RequestId, Submission};

use crate::clients::{Client, Random, Times, submission};
use crate::device::ON_ONE;
use crate::simulation::Simulation;

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

/// Plays as many requests at this rate and prints what came of them.
pub fn run(requests: u64, per_second: f64, overlap_depth: u32) -> Result<(), Box<dyn Error>> {
    let mut simulation = Simulation::new(ON_ONE, 7_000, 256, overlap_depth);
    let took_us = simulation.play(trace(requests, per_second), || None)?;
    print(&simulation, took_us);
    Ok(())
}

fn print(simulation: &Simulation, took_us: u64) {
    let seconds = took_us as f64 / 1e6;
    let tokens = simulation.tokens();
    let stats = simulation.scheduler.stats();
    let hits = 100.0 * stats.prefix_hits_tokens as f64 / stats.prefix_queries_tokens.max(1) as f64;
    println!(
        "{tokens} tokens in {seconds:.1} s: {:.0} tokens/s",
        tokens as f64 / seconds
    );
    println!(
        "{} steps of {:.0} tokens, device busy {:.0} %, cache hits {hits:.0} %, {} preemptions, {} rejected",
        simulation.steps,
        simulation.step_tokens as f64 / simulation.steps.max(1) as f64,
        100.0 * simulation.device.busy_us as f64 / took_us.max(1) as f64,
        stats.preemptions,
        simulation.rejected,
    );
    println!("tenant  requests  TTFT p50     p99 ms   ITL p50     p99 ms");
    for tenant in [None, Some(0), Some(1), Some(2), Some(3)] {
        let clients = || {
            simulation
                .clients
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
        fairness(&simulation.clients)
    );
}

/// Jain's index over the tenants' mean speeds, from arrival to last token: 1 is equal.
fn fairness(clients: &BTreeMap<RequestId, Client>) -> f64 {
    let mut speeds: BTreeMap<u64, (f64, f64)> = BTreeMap::new();
    for client in clients
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
