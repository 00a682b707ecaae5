"""Programmatic dependent launch: a kernel starts while the kernel before it drains.

A kernel launched with `launch_pdl=True` may run its first instructions before its predecessor has
finished. What it reads of the predecessor's output must come after `wait_for_previous`; weights and
older data may be loaded before. A predecessor lets its successor start with `release_next`, either
right after its own wait (`EARLY`: the successor's programs occupy free slots from then on) or at its
end (`LATE`). Without a release the successor starts when the predecessor ends.

At least one program of a chained kernel must wait: a kernel that ends before its predecessor would
let its successor read what the predecessor has not written yet.
"""

from __future__ import annotations

from enum import IntEnum

import triton
import triton.language as tl
from triton.language.extra.cuda import gdc_launch_dependents, gdc_wait


class Chain(IntEnum):
    """When a kernel lets the next one start. The values are the kernels' CHAIN argument."""

    OFF = 0
    EARLY = 1
    LATE = 2
    AT_EXIT = 3


def launch_options(chain: Chain) -> dict[str, bool]:
    """The launch keyword that a chained kernel needs; empty where chaining is off."""
    return {"launch_pdl": True} if chain else {}


@triton.jit
def wait_for_previous(CHAIN: tl.constexpr):
    """Blocks until the previous kernel's writes are visible, then releases the next one if EARLY."""
    if CHAIN > 0:
        gdc_wait()
    if CHAIN == 1:
        gdc_launch_dependents()


@triton.jit
def release_next(CHAIN: tl.constexpr):
    """Releases the next kernel if LATE."""
    if CHAIN == 2:
        gdc_launch_dependents()
