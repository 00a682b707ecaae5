//! `shardline-mock-shard`: a mock shard as a process, started with the flags of a real one.

use std::fs::File;
use std::io;
use std::os::fd::{FromRawFd, OwnedFd, RawFd};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, Subcommand};
use shardline_mock_shard::{EndOfText, Faults, Latency, MockOptions, MockShard, TokenSource};

/// A shard without a model, for tests and load.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve one rank.
    Serve(Box<Serve>),
}

#[derive(Debug, clap::Args)]
struct Serve {
    /// Where a real shard would find its model; not looked at.
    model_path: Option<PathBuf>,
    /// The socket is PREFIX-RANK.
    #[arg(long)]
    shard_uds_path: PathBuf,
    #[arg(long, default_value_t = 0)]
    rank: u32,
    #[arg(long, default_value_t = 1)]
    world_size: u32,
    /// Reading end of the launcher's lifeline: its end of file ends this process.
    #[arg(long)]
    control_fd: Option<RawFd>,
    /// Accepted as a real shard does; mock shards do not talk to each other.
    #[arg(long)]
    master_addr: Option<String>,
    /// See --master-addr.
    #[arg(long)]
    master_port: Option<u16>,
    /// Accepted as a real shard does; there are no numbers here.
    #[arg(long)]
    dtype: Option<String>,
    #[arg(long, default_value_t = 4_096)]
    max_step_tokens: u32,
    #[arg(long, default_value_t = 1_024)]
    max_sequences: u32,
    #[arg(long, default_value_t = 32_000)]
    vocab_size: u32,
    #[arg(long, default_value_t = 8_192)]
    max_position: u32,
    #[arg(long, default_value_t = 16)]
    block_size: u32,
    #[arg(long, default_value_t = 4_096)]
    num_blocks: u32,
    /// Microseconds every step takes.
    #[arg(long, default_value_t = 0)]
    step_us: u64,
    /// Microseconds every token of a step takes.
    #[arg(long, default_value_t = 0)]
    token_us: u64,
    /// Token ids to generate again and again, instead of pseudo-random ones.
    #[arg(long, value_delimiter = ',')]
    tokens: Vec<u32>,
    /// The token that ends a sequence by itself.
    #[arg(long)]
    eos_token: Option<u32>,
    /// The eos token is the n-th generated one.
    #[arg(long, requires = "eos_token")]
    eos_after: Option<u32>,
    /// The eos token comes with this probability.
    #[arg(long, default_value_t = 0.0, requires = "eos_token")]
    eos_probability: f32,
    /// The process ends when this step arrives.
    #[arg(long)]
    die_at_step: Option<u64>,
    /// No step is answered from this one on.
    #[arg(long)]
    silent_from_step: Option<u64>,
    /// A sequence whose prompt holds this token has no usable logits.
    #[arg(long)]
    nan_token: Option<u32>,
}

impl Serve {
    fn options(&self) -> MockOptions {
        let tokens = if self.tokens.is_empty() {
            TokenSource::Hash
        } else {
            TokenSource::Cycle(self.tokens.clone())
        };
        let end_of_text = self.eos_token.map(|token| EndOfText {
            token,
            after: self.eos_after,
            probability: self.eos_probability,
        });
        MockOptions {
            rank: self.rank,
            world_size: self.world_size,
            vocab_size: self.vocab_size,
            max_position: self.max_position,
            block_size: self.block_size,
            num_blocks: self.num_blocks,
            max_step_tokens: self.max_step_tokens,
            max_sequences: self.max_sequences,
            tokens,
            end_of_text,
            latency: Latency {
                base: Duration::from_micros(self.step_us),
                per_token: Duration::from_micros(self.token_us),
            },
            faults: Faults {
                die_at_step: self.die_at_step,
                silent_from_step: self.silent_from_step,
                nan_token: self.nan_token,
                ..Faults::default()
            },
            ..MockOptions::new(&self.shard_uds_path)
        }
    }
}

/// Ends the process when the launcher's end of the pipe closes.
fn watch_lifeline(descriptor: RawFd) -> io::Result<()> {
    // SAFETY: the launcher passes this descriptor to this process alone, for this purpose.
    let mut pipe = File::from(unsafe { OwnedFd::from_raw_fd(descriptor) });
    std::thread::Builder::new()
        .name("lifeline".to_owned())
        .spawn(move || {
            // A mock shard takes no orders: it reads to the end, whatever comes.
            let _ = io::copy(&mut pipe, &mut io::sink());
            std::process::exit(0);
        })?;
    Ok(())
}

fn main() -> ExitCode {
    let Command::Serve(arguments) = Arguments::parse().command;
    let result = arguments
        .control_fd
        .map_or(Ok(()), watch_lifeline)
        .and_then(|()| MockShard::start(arguments.options()))
        .and_then(MockShard::wait);
    match result {
        Ok(()) => ExitCode::from(101),
        Err(error) => {
            eprintln!("shardline-mock-shard: {error}");
            ExitCode::FAILURE
        }
    }
}
