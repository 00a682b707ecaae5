"""Which backends of the dense products there are.

Only the table and the choice belong here. A backend's module is imported when it is chosen.
"""

from __future__ import annotations

from importlib import import_module, util

from shardline.ops.base import Ops, OpsFacts


def ops_backends() -> dict[str, str]:
    """Name → `module:class`."""
    return {
        "torch": "shardline.ops.torch_ops:TorchOps",
        "cpu": "shardline.ops.cpu_ops:CpuOps",
        "triton": "shardline.kernels.ops:TritonOps",
    }


class UnknownOpsError(ValueError):
    """A name that is not in the table."""

    def __init__(self, name: str) -> None:
        super().__init__(f"products backend {name!r} is unknown; choose one of {', '.join(ops_backends())}")


def make_ops(name: str, facts: OpsFacts) -> Ops:
    """The backend called `name`."""
    if name not in ops_backends():
        raise UnknownOpsError(name)
    module, _, attribute = ops_backends()[name].partition(":")
    backend: type[Ops] = getattr(import_module(module), attribute)
    return backend(facts)


def has_module(name: str) -> bool:
    """Whether a module can be found, without importing it."""
    try:
        return util.find_spec(name) is not None
    except ModuleNotFoundError:
        return False
