"""The shard's configuration: one frozen value from flags and environment.

Flags are declared here and nowhere else, and nothing else reads the environment. A default that
depends on the device is resolved in `assembly`.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

DTYPES = ("auto", "float32", "bfloat16", "float16")
LOAD_FORMATS = ("auto", "dummy")


class ConfigError(ValueError):
    """Flags that do not fit together."""


@dataclass(frozen=True, slots=True)
class ShardConfig:
    """What `shardline-server serve` was asked. None: the default of the device or the model.

    `cuda_graphs`: batch sizes to capture; empty: the default ones, (0,): none.
    `threads`: of OMP_NUM_THREADS. `cache_folder`: where compiled kernels and what a start measures may
    be kept. `keeps_kernels`: whether kernels are kept there; not when TRITON_CACHE_DIR says where.
    """

    model_path: Path
    shard_uds_path: str
    rank: int = 0
    world_size: int = 1
    master_addr: str = "127.0.0.1"
    master_port: int = 29500
    dtype: str = "auto"
    device: str = "auto"
    max_step_tokens: int | None = None
    max_sequences: int | None = None
    max_total_tokens: int | None = None
    block_size: int | None = None
    kv_cache_tokens: int | None = None
    cuda_memory_fraction: float = 0.9
    attention: str | None = None
    ops: str | None = None
    load_format: str = "auto"
    cuda_graphs: tuple[int, ...] = ()
    trust_remote_code: bool = False
    control_fd: int | None = None
    json_output: bool = False
    log_level: str = "info"
    threads: int | None = None
    download_s: float = 0.0
    cache_folder: Path | None = None
    keeps_kernels: bool = True

    @property
    def socket_path(self) -> str:
        """This rank's socket."""
        return f"{self.shard_uds_path}-{self.rank}"


def add_serve_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags of `serve`."""
    add = parser.add_argument
    add("model_path", type=Path, help="a folder with config.json and safetensors, or a .gguf file")
    add("--shard-uds-path", required=True, metavar="PREFIX", help="the socket is PREFIX-RANK")
    add("--rank", type=_whole(0), default=0, help="this shard's number")
    add("--world-size", type=_whole(1), default=1, help="shards that hold the model together")
    add("--master-addr", default="127.0.0.1", help="where the ranks meet")
    add("--master-port", type=_whole(1), default=29500, help="where the ranks meet")
    add(
        "--dtype",
        choices=DTYPES,
        default="auto",
        help="auto: float32 on a CPU, on a GPU the model's own and bfloat16 for one in float32",
    )
    add(
        "--device",
        default="auto",
        help="auto, cpu, cuda or cuda:N; auto takes GPU number RANK if there is one",
    )
    add(
        "--max-step-tokens",
        type=_whole(1),
        help="most tokens that one step runs [256 on the CPU, 1024 on a GPU]",
    )
    add(
        "--max-sequences",
        type=_whole(1),
        help="most sequences that live at once [64 on the CPU, 512 on a GPU]",
    )
    add("--max-total-tokens", type=_whole(2), help="longest sequence [what the model's positions allow]")
    add("--block-size", type=_whole(1), help="tokens of a KV block [the attention backend's best]")
    add("--kv-cache-tokens", type=_whole(1), help="tokens the KV cache holds [what memory allows]")
    add("--cuda-memory-fraction", type=_fraction, default=0.9, help="share of the GPU's memory to use")
    add("--attention", help="attention backend: triton, torch, flash-attn-4 [the best for the device]")
    add("--ops", help="backend of the dense products [the best for the device]")
    add("--load-format", choices=LOAD_FORMATS, default="auto", help="dummy: random weights, for measuring")
    add("--cuda-graphs", type=_sizes, default=(), metavar="N,N,…", help="batch sizes to capture; 0: none")
    add("--trust-remote-code", action="store_true", help="allow models that name code of their own")
    add("--control-fd", type=_whole(0), help="exit when this file descriptor reaches its end")
    add("--download-s", type=_seconds, default=0.0, help="how long the download took, for the report")
    add("--json-output", action="store_true", help="log JSON lines")


def shard_config(arguments: argparse.Namespace, environment: Mapping[str, str] | None = None) -> ShardConfig:
    """The configuration from parsed flags. `environment`: the process's when none is given."""
    variables = os.environ if environment is None else environment
    values = vars(arguments)
    if values["rank"] >= values["world_size"]:
        raise ConfigError(
            f"--rank is {values['rank']}; with --world-size {values['world_size']} it is at most "
            f"{values['world_size'] - 1}"
        )
    names = ShardConfig.__dataclass_fields__.keys() & values.keys()
    return ShardConfig(
        **{name: values[name] for name in names},
        log_level=log_level(variables),
        threads=_threads(variables),
        cache_folder=_cache_folder(variables),
        keeps_kernels=not variables.get("TRITON_CACHE_DIR"),
    )


def log_level(variables: Mapping[str, str] | None = None) -> str:
    """The least level of LOG_LEVEL, whose filters for single modules are the other processes'."""
    given = (os.environ if variables is None else variables).get("LOG_LEVEL", "info")
    first = given.split(",")[0].strip().lower()
    return (
        first
        if first in ("debug", "info", "warning", "error")
        else {"trace": "debug", "warn": "warning"}.get(first, "info")
    )


def set_unless_given(variables: Mapping[str, str]) -> None:
    """What libraries read from the environment, where the user has not said otherwise."""
    for name, value in variables.items():
        os.environ.setdefault(name, value)


def _threads(variables: Mapping[str, str]) -> int | None:
    given = variables.get("OMP_NUM_THREADS", "").split(",")[0]
    return int(given) if given.isdigit() and int(given) > 0 else None


def _cache_folder(variables: Mapping[str, str]) -> Path | None:
    """Of XDG_CACHE_HOME, else in the home folder; relative paths are to be ignored."""
    caches, home = variables.get("XDG_CACHE_HOME", ""), variables.get("HOME", "")
    if caches.startswith("/"):
        return Path(caches) / "shardline"
    return Path(home) / ".cache" / "shardline" if home.startswith("/") else None


def _whole(least: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            value = least - 1
        if value < least:
            raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of at least {least}")
        return value

    return parse


def _fraction(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0.0 < value <= 1.0:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number above 0 and up to 1")
    return value


def _seconds(text: str) -> float:
    value = float(text)
    if not 0.0 <= value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds")
    return value


def _sizes(text: str) -> Sequence[int]:
    return tuple(_whole(0)(part) for part in text.split(",") if part.strip())
