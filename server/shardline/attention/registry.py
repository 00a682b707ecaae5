"""Which attention backends there are.

Only the table and the choice belong here. A backend's module is imported when it is chosen.
"""

from __future__ import annotations

from importlib import import_module

import torch

from shardline.attention.base import AttentionBackend
from shardline.ops.registry import has_module


def attention_backends() -> dict[str, str]:
    """Name → `module:class`."""
    return {
        "flash-attn-4": "shardline.attention.flash_attn_4_backend:FlashAttention4",
        "torch": "shardline.attention.torch_backend:TorchAttention",
        "triton": "shardline.attention.triton_backend:TritonAttention",
    }


# What TGI calls its kernels: its users' settings go on to work.
TGI_KERNELS = ("flashinfer", "flashdecoding", "paged", "flashdecoding-ipex")


class UnknownAttentionError(ValueError):
    """A name that is not in the table."""

    def __init__(self, name: str) -> None:
        super().__init__(f"--attention {name!r} is unknown; choose one of {', '.join(attention_backends())}")


class UnavailableAttentionError(ValueError):
    """A backend that cannot run here. `lacks`: what it needs and how to get it."""

    def __init__(self, name: str, lacks: str) -> None:
        others = ", ".join(other for other in attention_backends() if other != name)
        super().__init__(f"--attention {name!r} {lacks}, or choose {others}")


def check_attention(name: str, device: torch.device, dtype: torch.dtype) -> None:
    """Raises what the backend called `name` lacks to run on `device` in `dtype`, before anything is loaded."""
    if name not in attention_backends():
        raise UnknownAttentionError(name)
    if name == "torch":
        return
    if not has_module("triton"):
        raise UnavailableAttentionError(name, "needs the package triton: run `pip install triton`")
    interprets = name == "triton" and device.type != "cuda" and _interprets()
    if device.type != "cuda" and not interprets:
        raise UnavailableAttentionError(name, f"needs a GPU and this shard runs on {device}: add one")
    if name == "flash-attn-4":
        _check_flash_attn_4(name, device, dtype)
    elif device.type == "cuda" and dtype is torch.float32:
        raise UnavailableAttentionError(
            name, "computes in bfloat16 and float16 on a GPU: set --dtype bfloat16"
        )


def _check_flash_attn_4(name: str, device: torch.device, dtype: torch.dtype) -> None:
    """What it lacks on a GPU."""
    if dtype is not torch.bfloat16:
        raise UnavailableAttentionError(name, "computes in bfloat16: set --dtype bfloat16")
    if torch.cuda.get_device_capability(device)[0] != 9:
        raise UnavailableAttentionError(name, "is proven on Hopper GPUs alone: run on an H100 or H200")
    if not has_module("flash_attn.cute"):
        raise UnavailableAttentionError(name, "needs its package: run `pip install flash-attn-4`")


def _interprets() -> bool:
    """Whether Triton runs its kernels in its interpreter, which needs no GPU."""
    return bool(import_module("triton").knobs.runtime.interpret)


def attention_backend(name: str) -> type[AttentionBackend]:
    """The class of the backend called `name`."""
    if name not in attention_backends():
        raise UnknownAttentionError(name)
    module, _, attribute = attention_backends()[name].partition(":")
    backend: type[AttentionBackend] = getattr(import_module(module), attribute)
    return backend
