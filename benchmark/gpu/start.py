"""How long a shard takes to start, phase by phase: from its process to the first token.

    PYTHONPATH=server python benchmark/gpu/start.py [--model 8b] [--files FOLDER] [--out FILE]

Two starts with a cache of their own: the first finds no kernels, the second finds all. Random weights
are made on the card, or with `--files` written once to four safetensors files in FOLDER and read from
there: first with their pages dropped from the page cache, then from it.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import struct
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))
sys.path.insert(0, str(Path(__file__).parent))
import shapes

FILES = 4


def tensor_shapes(shape: shapes.Shape) -> dict[str, tuple[int, ...]]:
    """Names and shapes of a Llama's weights."""
    hidden, queries, keys = shape.hidden, shape.heads * shape.head_dim, shape.kv_heads * shape.head_dim
    found: dict[str, tuple[int, ...]] = {
        "model.embed_tokens.weight": (shapes.VOCABULARY, hidden),
        "model.norm.weight": (hidden,),
    }
    if not shape.tied:
        found["lm_head.weight"] = (shapes.VOCABULARY, hidden)
    for layer in range(shape.layers):
        name = f"model.layers.{layer}"
        found |= {
            f"{name}.input_layernorm.weight": (hidden,),
            f"{name}.post_attention_layernorm.weight": (hidden,),
            f"{name}.self_attn.q_proj.weight": (queries, hidden),
            f"{name}.self_attn.k_proj.weight": (keys, hidden),
            f"{name}.self_attn.v_proj.weight": (keys, hidden),
            f"{name}.self_attn.o_proj.weight": (hidden, queries),
            f"{name}.mlp.gate_proj.weight": (shape.intermediate, hidden),
            f"{name}.mlp.up_proj.weight": (shape.intermediate, hidden),
            f"{name}.mlp.down_proj.weight": (hidden, shape.intermediate),
        }
    return found


def write_file(path: Path, tensors: dict[str, tuple[int, ...]]) -> None:
    """One safetensors file of bfloat16: norms are one, the rest is normal with deviation 0.02."""
    import torch

    at, header = 0, {}
    for name, shape in tensors.items():
        size = 2 * math.prod(shape)
        header[name] = {"dtype": "BF16", "shape": list(shape), "data_offsets": [at, at + size]}
        at += size
    text = json.dumps(header).encode()
    with path.open("wb", buffering=0) as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for name, shape in tensors.items():
            values = torch.ones(shape, dtype=torch.bfloat16, device="cuda")
            if not name.endswith("norm.weight"):
                values.normal_(0.0, 0.02)
            rest = memoryview(values.cpu().view(torch.uint8).view(-1).numpy())
            while rest:
                rest = rest[file.write(rest) :]


def write_files(folder: Path, name: str) -> None:
    """The model's weights in some files, written side by side."""
    tensors = list(tensor_shapes(shapes.SHAPES[name]).items())
    parts = [dict(tensors[index::FILES]) for index in range(FILES)]
    writers = [
        threading.Thread(target=write_file, args=(folder / f"model-{index}.safetensors", part))
        for index, part in enumerate(parts)
    ]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()


def forget_pages(folder: Path) -> None:
    """The files' pages leave the page cache."""
    for path in folder.glob("*.safetensors"):
        descriptor = os.open(path, os.O_RDONLY)
        os.fsync(descriptor)
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(descriptor)


def child(folder: Path, load_format: str) -> None:
    """One start; its phases as JSON on the last line."""
    from shardline.assembly import assemble
    from shardline.config import ShardConfig
    from shardline.start.phases import process_age

    config = ShardConfig(
        model_path=folder,
        shard_uds_path="unused",
        dtype="bfloat16",
        load_format=load_format,
        cache_folder=Path(os.environ["XDG_CACHE_HOME"]) / "shardline",
    )
    shard = assemble(config, lambda phase, message: None)
    ready_s = process_age()
    from driver import Fleet

    fleet = Fleet(shard)
    began = time.perf_counter()
    fleet.fill(1, 512)
    first_s = time.perf_counter() - began
    began = time.perf_counter()
    longest = 0.0
    while True:
        piece = time.perf_counter()
        if not shard.runner.work_ahead():
            break
        longest = max(longest, time.perf_counter() - piece)
    info = shard.info
    found = {
        "ready_s": ready_s,
        "first_prompt_s": first_s,
        "captured_ahead_s": time.perf_counter() - began,
        "longest_piece_s": longest,
        "kv_gib": info.num_blocks * info.bytes_per_block / 2**30,
        "phases": dict(info.start_phases),
    }
    print(json.dumps(found))


def start(folder: Path, load_format: str, cache: Path) -> dict[str, object]:
    """Runs one start in a process of its own."""
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_CACHE_DIR"}
    done = subprocess.run(
        [sys.executable, __file__, "--child", str(folder), "--load-format", load_format],
        env={**environment, "XDG_CACHE_HOME": str(cache)},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise SystemExit(f"the start failed:\n{done.stderr[-4000:]}")
    found: dict[str, object] = json.loads(done.stdout.splitlines()[-1])
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", choices=sorted(shapes.SHAPES), default="8b")
    parser.add_argument("--files", type=Path, help="where weights are written to and read from")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--child", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--load-format", default="dummy", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        child(arguments.child, arguments.load_format)
        return
    folder = shapes.make(arguments.model, arguments.files or Path(tempfile.mkdtemp()) / arguments.model)
    load_format = "auto" if arguments.files else "dummy"
    if arguments.files and not any(folder.glob("*.safetensors")):
        write_files(folder, arguments.model)
    cache = Path(tempfile.mkdtemp())
    rows = []
    for kernels in ("no kernels", "kernels known"):
        if arguments.files and kernels == "no kernels":
            forget_pages(folder)
        found = start(folder, load_format, cache)
        rows.append({"model": arguments.model, "weights": load_format, "cache": kernels, **found})
        phases = ", ".join(f"{name} {seconds:.2f}" for name, seconds in found.pop("phases").items())
        numbers = ", ".join(f"{name} {value:.2f}" for name, value in found.items())
        print(f"{arguments.model}, {load_format} weights, {kernels}: {numbers} ({phases})", flush=True)
    if arguments.out:
        arguments.out.write_text(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
