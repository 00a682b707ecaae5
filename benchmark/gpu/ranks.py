"""One of several ranks that hold the model together, when torchrun started the program.

    torchrun --nproc-per-node 2 benchmark/gpu/engine.py --model 70b --decode 1,100

All ranks make the same frames, since the drivers know lengths alone; the first one prints.
"""

from __future__ import annotations

import os
import sys
from typing import Any

import torch


def rank_settings() -> dict[str, Any]:
    """Settings of `ShardConfig`; none where torchrun did not start this. Silences all but the first rank."""
    if "LOCAL_RANK" not in os.environ:
        return {}
    rank = int(os.environ["RANK"])
    torch.cuda.set_device(rank)
    if rank:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    # torchrun's own store has its port.
    return {
        "rank": rank,
        "world_size": int(os.environ["WORLD_SIZE"]),
        "master_addr": os.environ["MASTER_ADDR"],
        "master_port": int(os.environ["MASTER_PORT"]) + 1,
    }
