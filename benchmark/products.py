"""The native float32 products against torch's, with the demo model's shapes (30 layers and the head).

    python benchmark/products.py [--threads 2] [--rows 1 4 16 64]

Each product is timed alone, ours and torch's in turn, and the fastest tenth counts; the weights
together (538 MB) are larger than any cache, so that every product reads its weight from memory.
"""

import argparse
import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor

from shardline.ops.base import Hidden, LinearWeight, Norm, OpsFacts
from shardline.ops.cpu_ops import CpuOps
from shardline.ops.torch_ops import TorchOps

LAYERS = 30
REPETITIONS = 6
HIDDEN = 576
HEAD = 49152


def timed(call: Callable[[], object]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def fast(times: list[float]) -> float:
    """The fastest tenth: other work on the machine disturbs it little."""
    return statistics.mean(sorted(times)[: max(1, len(times) // 10)])


def calls(ops: TorchOps, x: Hidden, wide: Tensor, norm: Norm) -> dict[str, Callable[[LinearWeight], object]]:
    """The fused products of a layer, by name, given a weight."""
    return {
        "qkv": lambda weight: ops.norm_linear(x, norm, weight),
        "output": lambda weight: ops.linear_residual(x.values, weight, Hidden(x.values.clone())),
        "gate and up": lambda weight: ops.norm_linear_swiglu(x, norm, weight),
        "down": lambda weight: ops.linear_residual(wide, weight, Hidden(x.values.clone())),
        "head": lambda weight: ops.logits(x, None, norm, weight),
    }


SHAPES = {
    "qkv": (960, HIDDEN, LAYERS),
    "output": (HIDDEN, HIDDEN, LAYERS),
    "gate and up": (3072, HIDDEN, LAYERS),
    "down": (HIDDEN, 1536, LAYERS),
    "head": (HEAD, HIDDEN, 1),
}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--rows", type=int, nargs="+", default=[1, 4, 16, 64])
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    facts = OpsFacts(
        torch.device("cpu"), torch.float32, max_rows=max(args.rows), hidden_size=HIDDEN, vocab_size=HEAD
    )
    theirs, ours = TorchOps(facts), CpuOps(facts)
    weights = {
        name: [LinearWeight(torch.randn(outputs, inputs)) for _ in range(count)]
        for name, (outputs, inputs, count) in SHAPES.items()
    }
    packed = {
        name: [ours.pack(weight, gated=name == "gate and up") for weight in weights[name]] for name in weights
    }
    size = sum(weight.weight.nbytes for group in weights.values() for weight in group)
    print(f"{args.threads} threads, {size / 1e6:.0f} MB of weights")
    print("| rows | torch ms | ours ms | ours GB/s | ratio |\n|---|---|---|---|---|")
    for rows in args.rows:
        x, wide = Hidden(torch.randn(rows, HIDDEN)), torch.randn(rows, 1536)
        norm = Norm(torch.ones(HIDDEN), 1e-5)
        totals = [0.0, 0.0]
        for name, (_, _, count) in SHAPES.items():
            pair = (
                (calls(theirs, x, wide, norm)[name], weights[name]),
                (calls(ours, x, wide, norm)[name], packed[name]),
            )
            times: tuple[list[float], list[float]] = ([], [])
            for _ in range(REPETITIONS):
                for index in range(count):
                    for side, (call, group) in enumerate(pair):
                        times[side].append(timed(lambda call=call, weight=group[index]: call(weight)))
            for side in range(2):
                totals[side] += fast(times[side]) * count
        milliseconds = [total * 1e3 for total in totals]
        print(
            f"| {rows} | {milliseconds[0]:.1f} | {milliseconds[1]:.1f} | {size / totals[1] / 1e9:.1f} | "
            f"{totals[0] / totals[1]:.1f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
