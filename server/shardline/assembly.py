"""Puts a shard together: from its configuration to a runner that is ready for frames.

The only place that knows all parts. Choices that depend on the device are made here.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import torch

from shardline.attention.registry import TGI_KERNELS, check_attention
from shardline.config import ConfigError, ShardConfig
from shardline.dist.group import ParallelGroup, Rendezvous
from shardline.endpoint.frame import Phase, ShardInfo
from shardline.grammar.native import NativeGrammars
from shardline.layers.linear import Loading
from shardline.models.config import ModelConfig, parse_config
from shardline.models.registry import Model, check_supported, cost_of_uneven_heads, load_model
from shardline.ops.base import OpsFacts
from shardline.ops.registry import has_module, make_ops
from shardline.runner.runner import Runner
from shardline.start.grammars import StartingGrammars
from shardline.start.parts import Choices, Ready, ShardPlan, Weights, limits_of
from shardline.start.phases import StartPhases, process_age
from shardline.version import package_version
from shardline.weights.open import ModelFiles, open_model
from shardline.weights.source import WeightError, WeightReader

MAX_TOP_LOGPROBS = 20
FEATURES = ("prompt_logprobs",)
GPU_STEP_TOKEN_EDGES = (128, 192, 256, 384, 512, 640, 768, 1024, 1536, 2048, 3072, 4096, 8192)
MAX_READING_THREADS = 8
Report = Callable[[Phase, str], None]
log = logging.getLogger("shardline.start")


@dataclass(frozen=True, slots=True)
class Shard:
    """What serves: a runner, and what is told about it. `grammars`: none where none are followed."""

    runner: Runner
    info: ShardInfo
    device: torch.device
    group: ParallelGroup
    grammars: NativeGrammars | None

    def close(self) -> None:
        """After the last step: leaves the group, once nothing captured holds on to it."""
        self.runner.close()
        self.group.close()


def assemble(config: ShardConfig, report: Report) -> Shard:
    """Loads the model and everything around it. `report`: what Health says meanwhile."""
    phases = StartPhases()
    if config.download_s:
        phases.note("download", config.download_s)
    phases.note("import", process_age())
    if config.threads is not None:
        torch.set_num_threads(config.threads)
    report(Phase.LOADING, f"loading {config.model_path.name}")
    with phases.phase("device"):
        device = open_device(config)
    with phases.phase("open"):
        files = open_model(
            config.model_path,
            config.load_format,
            device,
            reading_threads(config.world_size, os.cpu_count() or 1),
        )
        model_config = parse_model_config(files, config.trust_remote_code)
        check_supported(model_config, config.world_size)
        uneven = cost_of_uneven_heads(model_config, config.world_size)
        if uneven and config.rank == 0:
            log.warning("%s", uneven)
    choices = choose(config, model_config, device)
    grammars = StartingGrammars(config, model_config.vocab_size)
    with phases.phase("group"):
        group = ParallelGroup.connect(
            config.rank, config.world_size, device, Rendezvous(config.master_addr, config.master_port)
        )
    reader = WeightReader(files.source, choices.dtype, device)
    ops = make_ops(
        choices.ops,
        OpsFacts(
            device,
            choices.dtype,
            choices.max_step_tokens,
            model_config.hidden_size,
            model_config.vocab_size,
        ),
    )
    limits = limits_of(config, choices, model_config)
    plan = ShardPlan(config, choices, model_config, group, limits, ops, grammars)
    if can_capture(config, choices):
        # Imported where there is a GPU: Triton is not there without one.
        from shardline.start.captured import captured_runner as make_runner
    else:
        from shardline.start.eager import eager_runner as make_runner

    def arrive() -> None:
        with phases.phase("read"):
            reader.finish()

    weights = Weights(partial(load_weights, plan, reader, phases), arrive)
    ready = make_runner(plan, weights, phases, lambda message: report(Phase.WARMUP, message))
    arrive()
    info = shard_info(plan, ready, reader.read_bytes, phases)
    return Shard(ready.runner, info, device, group, grammars.engine)


def load_weights(plan: ShardPlan, reader: WeightReader, phases: StartPhases) -> Model:
    """The model; from files that are read by threads, its values may be on their way still."""
    with phases.phase("load"):
        try:
            return load_model(plan.model_config, Loading(reader, plan.ops, plan.group))
        except torch.OutOfMemoryError as error:
            free, total = torch.cuda.mem_get_info(plan.device)
            raise WeightError(
                f"{plan.device} has no memory left for the model's weights after {reader.read_bytes / 1e9:.1f} GB "
                f"of them: {free / 1e9:.1f} of {total / 1e9:.1f} GB are free; free memory, choose another device "
                "or more shards"
            ) from error


def shard_info(plan: ShardPlan, ready: Ready, weight_bytes: int, phases: StartPhases) -> ShardInfo:
    """What Info answers."""
    choices, limits = plan.choices, ready.limits
    seconds = dict(phases.pairs())
    before = sum(seconds.get(name, 0.0) for name in ("download", "import"))
    load_s = sum(seconds.get(name, 0.0) for name in ("device", "open", "load", "read"))
    return ShardInfo(
        model_type=plan.model_config.model_type,
        dtype=str(choices.dtype).removeprefix("torch."),
        device=device_name(plan.device),
        rank=plan.config.rank,
        world_size=plan.config.world_size,
        vocab_size=plan.model_config.vocab_size,
        max_position=limits.max_tokens,
        attention_backend=choices.attention,
        block_size=limits.block_size,
        num_blocks=limits.num_blocks,
        bytes_per_block=ready.bytes_per_block,
        max_step_tokens=choices.max_step_tokens,
        max_sequences=choices.max_sequences,
        max_top_logprobs=MAX_TOP_LOGPROBS,
        version=package_version(),
        step_token_edges=_step_token_edges(choices),
        features=(*FEATURES, *plan.grammars.features),
        weight_bytes=weight_bytes,
        load_s=load_s,
        warmup_s=sum(seconds.values()) - load_s - before,
        start_phases=phases.pairs(),
    )


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


def open_device(config: ShardConfig) -> torch.device:
    """The device, ready for use: on a GPU that takes some tenths of a second."""
    device = choose_device(config)
    if device.type == "cuda":
        torch.cuda.set_device(device)
        torch.cuda.synchronize(device)
    return device


def choose(config: ShardConfig, model: ModelConfig, device: torch.device) -> Choices:
    """Fills in what was not asked for."""
    on_gpu = device.type == "cuda"
    dtype = _dtype(config.dtype, model, on_gpu)
    has_triton = has_module("triton")
    # In float32 tiles of our kernels are larger than a multiprocessor's memory, and products rounded.
    best = "triton" if on_gpu and has_triton and dtype is not torch.float32 else "torch"
    if on_gpu and not has_triton:
        log.warning(
            "the package triton is missing: torch's own kernels serve, slower; run `pip install triton`"
        )
    elif on_gpu and best != "triton":
        log.warning("float32: torch's own kernels serve, slower; --dtype bfloat16 runs on ours")
    attention = config.attention or best
    if attention in TGI_KERNELS:
        log.warning("--attention %s names a kernel of TGI: %s serves", attention, best)
        attention = best
    check_attention(attention, device, dtype)
    best_ops = "cpu" if device.type == "cpu" and dtype == torch.float32 else best
    return Choices(
        device=device,
        dtype=dtype,
        ops=config.ops or best_ops,
        attention=attention,
        max_step_tokens=config.max_step_tokens or (1024 if on_gpu else 256),
        max_sequences=config.max_sequences or (512 if on_gpu else 64),
    )


def _dtype(name: str, model: ModelConfig, on_gpu: bool) -> torch.dtype:
    """`auto`: float32 on a CPU; on a GPU the model's own type, and bfloat16 for models in float32."""
    types = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
    if name == "auto":
        name = ("float16" if model.dtype == "float16" else "bfloat16") if on_gpu else "float32"
    return types[name or "float32"]


def parse_model_config(files: ModelFiles, trust_remote_code: bool) -> ModelConfig:
    """The model's config with what its weight file adds."""
    config = parse_config(files.config, trust_remote_code)
    if files.rope_divisors is None:
        return config
    return replace(config, rope=config.rope.with_divisors(files.rope_divisors))


def can_capture(config: ShardConfig, choices: Choices) -> bool:
    """Whether steps run as captured graphs: our kernels on a GPU, and not turned off.

    Between GPUs the ranks talk through NCCL, whose sums are captured with the step.
    """
    ours = choices.ops == "triton" and choices.attention != "torch" and choices.device.type == "cuda"
    return ours and config.cuda_graphs != (0,)


def device_name(device: torch.device) -> str:
    """`cpu`, or the GPU's number and name."""
    return f"{device} {torch.cuda.get_device_name(device)}" if device.type == "cuda" else "cpu"


def _step_token_edges(choices: Choices) -> tuple[int, ...]:
    """Row counts after which a GPU's products jump in cost."""
    if choices.device.type != "cuda":
        return ()
    return tuple(edge for edge in GPU_STEP_TOKEN_EDGES if edge <= choices.max_step_tokens)
