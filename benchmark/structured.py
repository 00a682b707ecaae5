"""What following a grammar costs: 64 sequences at once on the demo model, with and without one.

    python benchmark/structured.py [--pairs 5] [--tokens 96]

Each pair runs the same prompts one time without and one time with the grammar in the same minute, as
many tokens each; the median of the pairs' ratios is what counts. The goal is 0.95.
"""

import argparse
import asyncio
import os
import statistics
import sys
import time
from pathlib import Path

import httpx

HERE = Path(__file__).parent
sys.path.append(str(HERE.parent / "integration-tests"))

from harness import Server, serve

SEQUENCES = 64
TOKENS = 96
GOAL = 0.95
# Grammars that cannot be complete within the tokens asked for.
GRAMMARS: dict[str, dict[str, object]] = {
    "guided_regex": {"guided_regex": r"[A-Za-z0-9 ,.\n'\"!?;:-]{1,4000}"},
    "json_schema": {
        "guided_json": {
            "type": "object",
            "properties": {
                "title": {"type": "string", "maxLength": 40},
                "story": {"type": "string", "minLength": 400},
            },
            "required": ["title", "story"],
            "additionalProperties": False,
        }
    },
}


async def tok_s(server: Server, tokens: int, grammar: dict[str, object]) -> float:
    """Output tokens a second of all sequences together."""

    async def one(client: httpx.AsyncClient, number: int) -> int:
        body = {
            "prompt": f"Story number {number}: once upon a time",
            "max_tokens": tokens,
            "temperature": 0,
            "min_tokens": tokens,
            "ignore_eos": True,
            **grammar,
        }
        answer = await client.post(f"{server.base_url}/v1/completions", json=body)
        answer.raise_for_status()
        return int(answer.json()["usage"]["completion_tokens"])

    limits = httpx.Limits(max_connections=SEQUENCES)
    async with httpx.AsyncClient(limits=limits, timeout=600) as client:
        began = time.perf_counter()
        counts = await asyncio.gather(*(one(client, number) for number in range(SEQUENCES)))
        return sum(counts) / (time.perf_counter() - began)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--tokens", type=int, default=TOKENS, help="of each answer")
    args = parser.parse_args()
    print(
        f"demo model, {SEQUENCES} × {args.tokens} tokens, {os.cpu_count()} cores; medians of {args.pairs} pairs"
    )
    with serve("--model-id", "demo") as server:
        asyncio.run(tok_s(server, 4, {}))
        for name, grammar in GRAMMARS.items():
            asyncio.run(tok_s(server, 4, grammar))
            without, following = [], []
            for pair in range(args.pairs):
                # In turns, so that a machine that gets slower or faster favours neither.
                for fields, found in (({}, without), (grammar, following))[:: -1 if pair % 2 else 1]:
                    found.append(asyncio.run(tok_s(server, args.tokens, fields)))
            ratio = statistics.median(b / a for a, b in zip(without, following, strict=True))
            print(
                f"| {name} | {statistics.median(without):.0f} tok/s without | {statistics.median(following):.0f} "
                f"with | {ratio:.3f} | goal {GOAL} |",
                flush=True,
            )
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
