//! Load generator: a closed loop of streaming clients, or the raw loopback writes to compare with.

mod http;
mod loopback;
mod prompt;
mod report;
mod sse;

use clap::{Args, Parser, Subcommand};

#[derive(Parser)]
#[command(about = "Load generator for servers with OpenAI's completions route")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Streams completions from a server, `--concurrency` at a time.
    Http(HttpArgs),
    /// Writes and reads one small message a token on raw loopback sockets: the limit of any server here.
    Loopback(LoopbackArgs),
}

#[derive(Args, Clone)]
struct HttpArgs {
    /// Host and port of the server.
    #[arg(long, default_value = "127.0.0.1:3000")]
    address: String,
    /// Requests under way at once.
    #[arg(long, default_value_t = 1)]
    concurrency: usize,
    /// Requests in all; default: three times the concurrency.
    #[arg(long)]
    prompts: Option<usize>,
    /// Tokens of each prompt.
    #[arg(long, default_value_t = 64)]
    prompt_tokens: usize,
    /// Tokens of each answer.
    #[arg(long, default_value_t = 64)]
    output_tokens: usize,
    /// Prompt token ids are drawn from [3, vocabulary).
    #[arg(long, default_value_t = 32000)]
    vocabulary: u32,
    /// Of the prompts; two runs with one seed send the same prompts (and may hit a prefix cache).
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Threads of this program.
    #[arg(long, default_value_t = 1)]
    threads: usize,
    /// Mean pause of a client before each request, in milliseconds; each lasts up to twice as long.
    #[arg(long, default_value_t = 0)]
    pause_ms: u64,
    /// A header line that is sent with each request.
    #[arg(long)]
    header: Option<String>,
}

#[derive(Args, Clone, Copy)]
struct LoopbackArgs {
    /// Sockets that are written to in turn.
    #[arg(long, default_value_t = 512)]
    sockets: usize,
    /// Messages to each.
    #[arg(long, default_value_t = 400)]
    messages: usize,
    /// Bytes of one message, about an event of a stream.
    #[arg(long, default_value_t = 200)]
    bytes: usize,
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    match Cli::parse().command {
        Command::Http(args) => {
            let runtime = tokio::runtime::Builder::new_multi_thread()
                .worker_threads(args.threads)
                .enable_all()
                .build()?;
            let report = runtime.block_on(http::run(args))?;
            println!("{}", serde_json::to_string(&report)?);
        }
        Command::Loopback(args) => println!("{}", serde_json::to_string(&loopback::run(args)?)?),
    }
    Ok(())
}
