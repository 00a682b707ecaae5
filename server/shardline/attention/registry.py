"""Which attention backends there are.

Only the table and the choice belong here. A backend's module is imported when it is chosen.
"""

from __future__ import annotations

from importlib import import_module

from shardline.attention.base import AttentionBackend


def attention_backends() -> dict[str, str]:
    """Name → `module:class`."""
    return {
        "torch": "shardline.attention.torch_backend:TorchAttention",
        "triton": "shardline.attention.triton_backend:TritonAttention",
    }


class UnknownAttentionError(ValueError):
    """A name that is not in the table."""

    def __init__(self, name: str) -> None:
        super().__init__(f"--attention {name!r} is unknown; choose one of {', '.join(attention_backends())}")


def attention_backend(name: str) -> type[AttentionBackend]:
    """The class of the backend called `name`."""
    if name not in attention_backends():
        raise UnknownAttentionError(name)
    module, _, attribute = attention_backends()[name].partition(":")
    backend: type[AttentionBackend] = getattr(import_module(module), attribute)
    return backend
