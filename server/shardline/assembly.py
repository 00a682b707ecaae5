"""Puts a shard together: from its configuration to a runner that is ready for frames.

The only place that knows all parts. Choices that depend on the device are made here.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from time import perf_counter

import torch

from shardline.attention.base import AttentionBackend, AttentionFacts
from shardline.attention.registry import attention_backend
from shardline.config import ConfigError, ShardConfig
from shardline.dist.group import ParallelGroup, Rendezvous
from shardline.endpoint.frame import Phase, ShardInfo
from shardline.kv.sizing import KvRequest, available_memory, cpu_blocks, device_memory, gpu_blocks, step_bytes
from shardline.layers.linear import Loading
from shardline.layers.split import split_heads
from shardline.models.config import ModelConfig, parse_config
from shardline.models.registry import Model, check_supported, load_model
from shardline.ops.base import OpsFacts
from shardline.ops.registry import has_module, make_ops
from shardline.runner.batch import Batch, BatchLimits
from shardline.runner.forward import EagerForward
from shardline.runner.graph_sizes import GraphSizes
from shardline.runner.inputs import InputBuffers
from shardline.runner.runner import Parts, Runner
from shardline.sampling.state import SamplingState
from shardline.version import package_version
from shardline.weights.open import ModelFiles, open_model
from shardline.weights.source import WeightReader

MAX_TOP_LOGPROBS = 20
FEATURES = ("prompt_logprobs",)
GPU_STEP_TOKEN_EDGES = (128, 192, 256, 384, 512, 640, 768, 1024, 1536, 2048, 3072, 4096, 8192)
MAX_READING_THREADS = 8
Report = Callable[[Phase, str], None]


@dataclass(frozen=True, slots=True)
class Shard:
    """What serves: a runner, and what is told about it."""

    runner: Runner
    info: ShardInfo
    device: torch.device
    group: ParallelGroup


@dataclass(frozen=True, slots=True)
class Choices:
    """Defaults resolved for the device."""

    device: torch.device
    dtype: torch.dtype
    ops: str
    attention: str
    max_step_tokens: int
    max_sequences: int


def assemble(config: ShardConfig, report: Report) -> Shard:
    """Loads the model and everything around it. `report`: what Health says meanwhile."""
    device = choose_device(config)
    if config.threads is not None:
        torch.set_num_threads(config.threads)
    report(Phase.LOADING, f"loading {config.model_path.name}")
    began = perf_counter()
    files = open_model(
        config.model_path, config.load_format, device, reading_threads(config.world_size, os.cpu_count() or 1)
    )
    model_config = parse_model_config(files, config.trust_remote_code)
    check_supported(model_config, config.world_size)
    choices = choose(config, model_config, device)
    group = ParallelGroup.connect(
        config.rank, config.world_size, device, Rendezvous(config.master_addr, config.master_port)
    )
    facts = OpsFacts(device, choices.dtype, choices.max_step_tokens, model_config.vocab_size)
    reader = WeightReader(files.source, choices.dtype, device)
    model = load_model(model_config, Loading(reader, make_ops(choices.ops, facts), group))
    reader.finish()
    loaded = perf_counter()
    report(Phase.WARMUP, "sizing the KV cache")
    backend = make_attention(choices, model_config, group)
    limits = size_kv_cache(config, choices, model_config, backend, group)
    runner = make_runner(config, model, backend, limits, model_config, choices, group, report)
    info = ShardInfo(
        model_type=model_config.model_type,
        dtype=str(choices.dtype).removeprefix("torch."),
        device=device_name(device),
        rank=config.rank,
        world_size=config.world_size,
        vocab_size=model_config.vocab_size,
        max_position=limits.max_tokens,
        attention_backend=choices.attention,
        block_size=limits.block_size,
        num_blocks=limits.num_blocks,
        bytes_per_block=backend.bytes_per_block(limits.block_size),
        max_step_tokens=choices.max_step_tokens,
        max_sequences=choices.max_sequences,
        max_top_logprobs=MAX_TOP_LOGPROBS,
        version=package_version(),
        step_token_edges=_step_token_edges(choices),
        features=FEATURES,
        weight_bytes=reader.read_bytes,
        load_s=loaded - began,
        warmup_s=0.0,
    )
    return Shard(runner, replace(info, warmup_s=perf_counter() - loaded), device, group)


def reading_threads(world_size: int, cores: int) -> int:
    """Threads of this rank that read weights: eight fill a card's link, and the ranks share the cores."""
    return max(1, min(MAX_READING_THREADS, cores // world_size))


def choose_device(config: ShardConfig) -> torch.device:
    """`auto`: the GPU with this rank's number, or the CPU when there is no GPU."""
    if config.device == "auto":
        if not torch.cuda.is_available():
            return torch.device("cpu")
        return torch.device("cuda", config.rank % torch.cuda.device_count())
    try:
        device = torch.device(config.device)
    except RuntimeError as error:
        raise ConfigError(f"--device {config.device!r} is no device: {error}") from error
    if device.type not in ("cpu", "cuda"):
        raise ConfigError(f"--device {config.device!r} is not supported; cpu, cuda or cuda:N are")
    if device.type == "cuda":
        if not torch.cuda.is_available():
            raise ConfigError(f"--device {config.device!r}: there is no usable GPU")
        device = torch.device("cuda", config.rank if device.index is None else device.index)
    return device


def choose(config: ShardConfig, model: ModelConfig, device: torch.device) -> Choices:
    """Fills in what was not asked for."""
    on_gpu = device.type == "cuda"
    if on_gpu:
        torch.cuda.set_device(device)
    best = "triton" if on_gpu and has_module("triton") else "torch"
    dtype = _dtype(config.dtype, model, on_gpu)
    best_ops = "cpu" if device.type == "cpu" and dtype == torch.float32 else best
    return Choices(
        device=device,
        dtype=dtype,
        ops=config.ops or best_ops,
        attention=config.attention or best,
        max_step_tokens=config.max_step_tokens or (1024 if on_gpu else 256),
        max_sequences=config.max_sequences or (512 if on_gpu else 64),
    )


def _dtype(name: str, model: ModelConfig, on_gpu: bool) -> torch.dtype:
    types = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
    if name == "auto":
        name = (model.dtype if model.dtype in types else "bfloat16") if on_gpu else "float32"
    return types[name or "float32"]


def parse_model_config(files: ModelFiles, trust_remote_code: bool) -> ModelConfig:
    """The model's config with what its weight file adds."""
    config = parse_config(files.config, trust_remote_code)
    if files.rope_divisors is None:
        return config
    return replace(config, rope=config.rope.with_divisors(files.rope_divisors))


def make_attention(choices: Choices, model: ModelConfig, group: ParallelGroup) -> AttentionBackend:
    """The backend with this rank's heads."""
    heads = split_heads(model.num_heads, model.num_kv_heads, group.rank, group.world_size)
    facts = AttentionFacts(
        num_layers=model.num_layers,
        num_heads=heads.query.length,
        num_kv_heads=heads.key_value.length,
        head_dim=model.head_dim,
        scale=model.head_dim**-0.5,
        windows=model.windows,
        rope=model.rope.tables(model.max_position, choices.device),
        dtype=choices.dtype,
        device=choices.device,
        max_step_tokens=choices.max_step_tokens,
        max_rows=choices.max_sequences,
    )
    return attention_backend(choices.attention)(facts)


def size_kv_cache(
    config: ShardConfig,
    choices: Choices,
    model: ModelConfig,
    backend: AttentionBackend,
    group: ParallelGroup,
) -> BatchLimits:
    """The bounds of the batch; the smallest cache of all ranks counts."""
    block_size = config.block_size or backend.preferred_block_size
    max_tokens = min(model.max_position, config.max_total_tokens or model.max_position)
    heads = (model.num_heads + 2 * model.num_kv_heads) * model.head_dim
    widths = (4 * model.hidden_size, 2 * heads, 3 * model.intermediate_size)
    request = KvRequest(
        tokens=config.kv_cache_tokens,
        block_size=block_size,
        bytes_per_block=backend.bytes_per_block(block_size),
        max_position=max_tokens,
        reserved_bytes=step_bytes(
            choices.max_step_tokens,
            choices.max_sequences,
            widths,
            model.vocab_size,
            choices.dtype.itemsize,
        ),
    )
    if choices.device.type == "cuda":
        free, total = device_memory(choices.device)
        blocks = gpu_blocks(request, free, total, config.cuda_memory_fraction)
    else:
        blocks = cpu_blocks(request, available_memory() // config.world_size)
    blocks = group.minimum(blocks, choices.device)
    backend.allocate(blocks, block_size)
    return BatchLimits(
        max_sequences=choices.max_sequences,
        max_step_tokens=choices.max_step_tokens,
        max_tokens=max_tokens,
        block_size=block_size,
        num_blocks=blocks,
    )


def make_runner(
    config: ShardConfig,
    model: Model,
    backend: AttentionBackend,
    limits: BatchLimits,
    model_config: ModelConfig,
    choices: Choices,
    group: ParallelGroup,
    report: Report,
) -> Runner:
    """The runner over a loaded model."""
    batch = Batch(limits, choices.device)
    inputs = InputBuffers(batch, choices.device)
    sampling = SamplingState(limits.max_sequences, model_config.vocab_size, choices.device)
    graphs = None
    if can_capture(config, choices):
        # Imported where there is a GPU: Triton is not there without one.
        from shardline.runner import graphs as captured

        eager = EagerForward(model, backend, captured.resolve_on_device)
        sizes = GraphSizes(
            limits.max_sequences,
            min(choices.max_step_tokens, most_captured_tokens(model_config)),
            *([config.cuda_graphs] if config.cuda_graphs else []),
        )
        parts = captured.GraphParts(eager, inputs, sampling, sizes, model_config.vocab_size, choices.device)
        graphs = captured.GraphForward(parts)
        with torch.inference_mode():
            graphs.warm_up(lambda message: report(Phase.WARMUP, message), min(16, os.cpu_count() or 1))
    else:
        eager = EagerForward(model, backend)
    return Runner(Parts(batch, inputs, graphs or eager, graphs, eager, sampling, group, choices.device))


def can_capture(config: ShardConfig, choices: Choices) -> bool:
    """Whether steps run as captured graphs: our kernels, one rank, and not turned off."""
    ours = choices.ops == choices.attention == "triton" and choices.device.type == "cuda"
    return ours and config.world_size == 1 and config.cuda_graphs != (0,)


def most_captured_tokens(model: ModelConfig) -> int:
    """Steps up to this size are captured: larger ones take the GPU longer than their launch.

    A launch takes some 25 ms of the host at worst; a fast card computes 2 * 6e14 products in a second.
    """
    heads = (2 * model.num_heads + 2 * model.num_kv_heads) * model.head_dim
    layer = model.hidden_size * (heads + 3 * model.intermediate_size)
    return max(256, int(0.025 * 3e14 / (layer * model.num_layers)))


def device_name(device: torch.device) -> str:
    """`cpu`, or the GPU's number and name."""
    return f"{device} {torch.cuda.get_device_name(device)}" if device.type == "cuda" else "cpu"


def _step_token_edges(choices: Choices) -> tuple[int, ...]:
    """Row counts after which a GPU's products jump in cost."""
    if choices.device.type != "cuda":
        return ()
    return tuple(edge for edge in GPU_STEP_TOKEN_EDGES if edge <= choices.max_step_tokens)
