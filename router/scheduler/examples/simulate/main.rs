//! Plays loads against the scheduler and step times that were measured, and prints what clients would have
//! seen. A policy is judged here before it runs on a GPU.
//!
//! `cargo run --release -p shardline-scheduler --example simulate -- closed-loop`
//! `cargo run --release -p shardline-scheduler --example simulate -- trace [requests] [per second] [overlap]`

mod clients;
mod closed_loop;
mod device;
mod simulation;
mod trace;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let mut next = |default: &str| arguments.next().unwrap_or_else(|| default.to_owned());
    match next("closed-loop").as_str() {
        "closed-loop" => closed_loop::run(),
        "trace" => {
            let (requests, per_second, overlap) = (next("1000"), next("18"), next("2"));
            trace::run(requests.parse()?, per_second.parse()?, overlap.parse()?)
        }
        other => Err(format!("{other} is neither closed-loop nor trace").into()),
    }
}
