"""From a path to a model's config and weights."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from shardline.weights.dummy import DummySource
from shardline.weights.safetensors_source import SafetensorsSource
from shardline.weights.source import WeightError, WeightSource
from shardline.weights.streamed_source import StreamedSafetensors

MAX_CONFIG_BYTES = 16 << 20


@dataclass(frozen=True, slots=True)
class ModelFiles:
    """`config`: as in a `config.json`. `rope_divisors`: see `RopeConfig.divisors`."""

    config: dict[str, Any]
    source: WeightSource
    rope_divisors: tuple[float, ...] | None = None


def open_model(path: Path, load_format: str, device: torch.device, threads: int = 1) -> ModelFiles:
    """`path`: a folder with `config.json` and safetensors, or a `.gguf` file.

    `load_format`: "auto", or "dummy" for random weights, which needs the config alone.
    `threads`: that read for a GPU; the CPU serves from the mapped files.
    """
    if path.is_file() and path.suffix == ".gguf":
        from shardline.weights.gguf_file import GgufFile  # numpy tables that safetensors need not
        from shardline.weights.gguf_source import GgufSource, gguf_config, rope_divisors

        file = GgufFile(path)
        source = GgufSource(file) if load_format == "auto" else DummySource(device)
        return ModelFiles(gguf_config(file), source, rope_divisors(file))
    if not path.is_dir():
        raise WeightError(f"{path} is neither a folder nor a .gguf file")
    config = _read_config(path / "config.json")
    if load_format == "dummy":
        return ModelFiles(config, DummySource(device))
    if device.type == "cuda":
        return ModelFiles(config, StreamedSafetensors(path, device, threads))
    return ModelFiles(config, SafetensorsSource(path))


def _read_config(path: Path) -> dict[str, Any]:
    try:
        if path.stat().st_size > MAX_CONFIG_BYTES:
            raise WeightError(f"{path} is larger than {MAX_CONFIG_BYTES} bytes")
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise WeightError(f"{path} cannot be read as JSON: {error}") from error
    if not isinstance(content, dict):
        raise WeightError(f"{path} is not a JSON object")
    return content
