"""The demo model on this machine's cores, in pairs with `transformers.generate` on the same threads.

    python benchmark/cpu.py [--pairs 5]

Both decode greedily in float32; each pair runs one after the other in the same minute, and the median
of the pairs' ratios is what counts.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

import torch

HERE = Path(__file__).parent
sys.path += [str(HERE.parent / "integration-tests"), str(HERE.parent / "integration-tests" / "golden")]

from built import built

from harness import Server, serve
from make import demo_model_path

PROMPT_TOKENS = 64
OUTPUT_TOKENS = 64
VOCABULARY = 49152


def load(server: Server, tool: Path, concurrency: int, prompts: int, seed: int) -> dict:
    """One closed loop; figures as shardline-load prints them."""
    command = [str(tool), "http", "--address", f"127.0.0.1:{server.port}", "--concurrency", str(concurrency)]
    command += [
        "--prompts",
        str(prompts),
        "--prompt-tokens",
        str(PROMPT_TOKENS),
        "--output-tokens",
        str(OUTPUT_TOKENS),
    ]
    command += ["--vocabulary", str(VOCABULARY), "--seed", str(seed)]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


class Peer:
    """`transformers.generate` on the same file, float32, all cores."""

    def __init__(self) -> None:
        from transformers import AutoModelForCausalLM

        torch.set_num_threads(os.cpu_count() or 1)
        path = demo_model_path()
        self._model = AutoModelForCausalLM.from_pretrained(
            path.parent, gguf_file=path.name, dtype=torch.float32
        ).eval()

    @torch.inference_mode()
    def tok_s(self, seed: int) -> float:
        generator = torch.Generator().manual_seed(seed)
        ids = torch.randint(3, VOCABULARY, (1, PROMPT_TOKENS), generator=generator)
        start = time.monotonic()
        self._model.generate(
            ids,
            attention_mask=torch.ones_like(ids),
            max_new_tokens=OUTPUT_TOKENS,
            min_new_tokens=OUTPUT_TOKENS,
            do_sample=False,
            pad_token_id=0,
        )
        return OUTPUT_TOKENS / (time.monotonic() - start)


def spread(values: list[float]) -> str:
    return f"{statistics.median(values):.2f} ({min(values):.2f}-{max(values):.2f})"


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--load-tool", type=Path, default=built("shardline-load"))
    args = parser.parse_args()
    peer = Peer()
    peer.tok_s(0)
    one, sixteen, theirs = [], [], []
    start = time.monotonic()
    with serve("--model-id", "demo", "--prefix-caching", "false") as server:
        ready_s = time.monotonic() - start
        load(server, args.load_tool, 16, 16, 1)
        for pair in range(args.pairs):
            theirs.append(peer.tok_s(100 + pair))
            alone = load(server, args.load_tool, 1, 1, 200 + pair)
            one.append(alone["out_tok_s"])
            sixteen.append(load(server, args.load_tool, 16, 16, 300 + pair)["out_tok_s"])
    print(
        f"demo model, {PROMPT_TOKENS}/{OUTPUT_TOKENS} tokens, float32, {os.cpu_count()} cores; median (min-max) of {args.pairs} pairs"
    )
    print(f"| transformers.generate, one at a time | {spread(theirs)} tok/s |")
    print(
        f"| shardline, one stream | {spread(one)} tok/s | {spread([a / b for a, b in zip(one, theirs, strict=True)])} × transformers |"
    )
    print(
        f"| shardline, 16 streams | {spread(sixteen)} tok/s "
        f"| {spread([a / b for a, b in zip(sixteen, theirs, strict=True)])} × transformers "
        f"| {spread([a / b for a, b in zip(sixteen, one, strict=True)])} × its own single stream |"
    )
    print(f"| launcher to ready | {ready_s:.1f} s |")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
