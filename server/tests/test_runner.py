"""The runner's step: what frames do, what they may not do, and what travels beside tokens."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from shardline.endpoint.frame import Command, Frame, NewSequence, RowStatus, SamplingParameters
from shardline.runner.errors import ProtocolError
from support.driver import Driver, Request, i32, u64
from support.models import by_name, make, oracle_logits, prompts, start

GREEDY = SamplingParameters(temperature=0.0)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return make(by_name("llama"), tmp_path_factory.mktemp("llama"))


@pytest.fixture
def driver(folder) -> Driver:
    return start(folder, max_sequences=4, max_step_tokens=32, kv_cache_tokens=256, block_size=8)[1]


def sequence(number: int, tokens: list[int], **changes) -> NewSequence:
    given = NewSequence(number, i32(tokens), len(tokens), sampling=GREEDY)
    return replace(given, **changes)


def frame(step: int, rows: list[tuple[int, int, list[int]]], *new: NewSequence, **changes) -> Frame:
    """`rows`: sequence, number of tokens, new blocks."""
    given = Frame(
        step_id=step,
        new_sequences=new,
        sequence_ids=u64([row[0] for row in rows]),
        num_tokens=i32([row[1] for row in rows]),
        new_block_counts=i32([len(row[2]) for row in rows]),
        new_blocks=i32([block for row in rows for block in row[2]]),
    )
    return replace(given, **changes)


def run(driver: Driver, *frames: Frame):
    return [driver.runner.complete(driver.runner.launch(each)) for each in frames]


def test_steps_launched_ahead_give_the_same_tokens(driver, folder):
    """Step N + 1 is launched before the tokens of N are read."""
    frames = [frame(1, [(1, 3, [0, 1])], sequence(1, [5, 6, 7]))] + [
        frame(step, [(1, 1, [])]) for step in range(2, 6)
    ]
    pending = [driver.runner.launch(each) for each in frames]
    ahead = [driver.runner.complete(each).token_ids.tolist() for each in pending]
    again = start(folder, block_size=8)[1]
    assert [outcome.token_ids.tolist() for outcome in run(again, *frames)] == ahead


def test_a_chunk_that_ends_before_the_prompt_does_not_sample(driver):
    outcomes = run(
        driver,
        frame(1, [(1, 2, [3])], sequence(1, [5, 6, 7])),
        frame(2, [(1, 1, [])]),
    )
    assert not len(outcomes[0].sequence_ids)
    assert outcomes[1].sequence_ids.tolist() == [1]


def test_an_empty_frame_is_acknowledged(driver):
    (outcome,) = run(driver, frame(1, []))
    assert outcome.step_id == 1 and not len(outcome.sequence_ids)


def test_slots_are_used_again(driver):
    for step in range(1, 12):
        drop = u64([step - 1]) if step > 1 else b""
        (outcome,) = run(driver, frame(step, [(step, 2, [0])], sequence(step, [5, 6]), drop=drop))
        assert outcome.sequence_ids.tolist() == [step]


def test_a_new_session_forgets_everything(driver):
    first = run(driver, frame(1, [(1, 2, [0])], sequence(1, [5, 6])))[0]
    second = run(driver, frame(1, [(1, 2, [0])], sequence(1, [5, 6]), new_session=True))[0]
    assert first.token_ids.tolist() == second.token_ids.tolist()


NEW = sequence(1, [5, 6, 7])
VIOLATIONS = {
    "unknown row": (frame(1, [(9, 1, [0])]), "9 is to run and is not known"),
    "unknown drop": (frame(1, [], drop=u64([9])), "9 is to be dropped and is not known"),
    "twice new": (frame(1, [], NEW, NEW), "1 is new and already known"),
    "too many sequences": (frame(1, [], *(sequence(n, [5]) for n in range(1, 6))), "than the 4 that may live"),
    "too many tokens": (frame(1, [(1, 40, list(range(6)))], sequence(1, [5] * 40)), "40 tokens; 32 is the limit"),
    "more than there are": (frame(1, [(1, 4, [0])], NEW), "is to run 4 tokens and has 3 to run"),
    "no tokens": (frame(1, [(1, 0, [0])], NEW), "is to run 0 tokens"),
    "twice in a step": (frame(1, [(1, 1, [0]), (1, 1, [])], NEW), "in two rows"),
    "too few blocks": (frame(1, [(1, 9, [0])], sequence(1, [5] * 9)), "reaches 9 tokens and its 1 blocks hold 8"),
    "no blocks": (frame(1, [(1, 3, [])], NEW), "its 0 blocks hold 0"),
    "block out of range": (frame(1, [(1, 3, [32])], NEW), r"not in \[0, 32\)"),
    "negative block": (frame(1, [(1, 3, [-1])], NEW), r"not in \[0, 32\)"),
    "counts and blocks": (frame(1, [(1, 3, [0])], NEW, new_block_counts=i32([2])), "take 2 blocks"),
    "empty prompt": (frame(1, [], sequence(1, [])), "has 0 tokens"),
    "long prompt": (frame(1, [], sequence(1, [5] * 300)), "has 300 tokens; between 1 and 256 fit"),
    "all cached": (frame(1, [], sequence(1, [5] * 8, num_cached_tokens=8)), "8 cached tokens of 8"),
    "half a block cached": (frame(1, [], sequence(1, [5] * 8, num_cached_tokens=3)), "whole blocks of 8"),
    "grammar": (frame(1, [], replace(NEW, grammar="{}")), "grammars are not supported"),
    "adapter": (frame(1, [], replace(NEW, adapter="x")), "adapter 'x' is not loaded"),
    "drafts": (frame(1, [(1, 3, [0])], NEW, num_draft_tokens=i32([2])), "drafted tokens are not supported"),
    "prompt scores of cached tokens": (
        frame(1, [], sequence(1, [5] * 9, num_cached_tokens=8, sampling=SamplingParameters(prompt_logprobs=True))),
        "prompt_logprobs and has cached tokens",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", VIOLATIONS)
def test_violations_are_named_and_end_only_the_session(driver, name):
    wrong, message = VIOLATIONS[name]
    with pytest.raises(ProtocolError, match=message):
        driver.runner.launch(wrong)
    (outcome,) = run(driver, frame(1, [(1, 3, [0])], NEW, new_session=True))
    assert outcome.sequence_ids.tolist() == [1]


def test_commands_are_answered(driver):
    (outcome,) = run(driver, frame(1, [], commands=(Command(7, "load_adapter"),)))
    assert outcome.command_results == ((7, "load_adapter is not supported by this shard"),)


def test_a_row_with_invalid_logits_fails_alone(folder, tmp_path):
    """Token 9's embedding is NaN: who reads it fails; who comes later into its blocks does not."""
    from safetensors.torch import load_file, save_file

    for file in folder.glob("*"):
        (tmp_path / file.name).write_bytes(file.read_bytes())
    for file in tmp_path.glob("*.safetensors"):
        tensors = load_file(file)
        if "model.embed_tokens.weight" in tensors:
            tensors["model.embed_tokens.weight"][9] = float("nan")
            save_file(tensors, file, metadata={"format": "pt"})
    _, driver = start(tmp_path, kv_cache_tokens=64, block_size=16)
    good, bad = Request([5, 6, 7], new_tokens=4), Request([5, 9], new_tokens=4)
    driver.run([good, bad])
    assert bad.status == RowStatus.INVALID_LOGITS and not bad.tokens
    later = [Request([5, 6, 7], new_tokens=4) for _ in range(4)]  # all blocks, the bad one's too
    driver.run(later)
    _, clean = start(folder)
    alone = Request([5, 6, 7], new_tokens=4)
    clean.run([alone])
    assert [request.tokens for request in (good, *later)] == [alone.tokens] * 5


def test_logprobs_of_those_who_ask(folder):
    prompt = prompts(lengths=(11,))[0]
    _, driver = start(folder)
    asks = Request(prompt, replace(GREEDY, logprobs=True, top_logprobs=3), new_tokens=3)
    one = Request(prompt, replace(GREEDY, logprobs=True), new_tokens=3)
    none = Request(prompt, new_tokens=3)
    driver.run([asks, one, none])
    assert asks.tokens == one.tokens == none.tokens
    for place, token in enumerate(asks.tokens):
        scores = oracle_logits(folder, prompt + asks.tokens[:place])[-1].log_softmax(dim=-1)
        top = scores.topk(3)
        assert asks.logprobs[place] == pytest.approx(float(scores[token]), abs=1e-4)
        assert one.logprobs[place] == pytest.approx(asks.logprobs[place], abs=1e-5)
        assert [entry[0] for entry in asks.tops[place]] == top.indices.tolist()
        assert [entry[1] for entry in asks.tops[place]] == pytest.approx(top.values.tolist(), abs=1e-4)
    assert one.tops == [[], [], []]
    assert np.isnan(none.logprobs).all()


@pytest.mark.parametrize("budget", [100, 7, 1])
def test_prompt_logprobs(folder, budget):
    prompt = prompts(lengths=(19,))[0]
    _, driver = start(folder)
    sampling = replace(GREEDY, prompt_logprobs=True, prompt_top_logprobs=2)
    asks, other = Request(prompt, sampling, new_tokens=2), Request(prompt, new_tokens=2)
    driver.run([asks, other], budget=budget)
    assert asks.tokens == other.tokens and not other.prompt_logprobs
    scores = oracle_logits(folder, prompt).log_softmax(dim=-1)
    expected = [float(scores[place, token]) for place, token in enumerate(prompt[1:])]
    found = np.concatenate([entry.logprobs for entry in asks.prompt_logprobs])
    assert np.isnan(found[0]) and found[1:].tolist() == pytest.approx(expected, abs=1e-4)
    position = 0
    for entry in asks.prompt_logprobs:
        assert entry.first_position == position
        position += len(entry.logprobs)
    tops = np.concatenate([entry.top_token_ids for entry in asks.prompt_logprobs]).reshape(-1, 2)
    assert tops.tolist() == scores[:-1].topk(2).indices.tolist()
    counts = np.concatenate([entry.top_counts for entry in asks.prompt_logprobs])
    assert counts.tolist() == [0] + [2] * 18


def test_a_replayed_sequence_draws_the_same_tokens(folder):
    """Numbers are counted by position, so a preemption does not change what is drawn."""
    sampling = SamplingParameters(temperature=0.9, top_p=0.95, repetition_penalty=1.2, min_tokens=3)

    def batch():
        return [Request(prompt, sampling, new_tokens=10, seed=n) for n, prompt in enumerate(prompts())]

    plain, preempted = batch(), batch()
    start(folder)[1].run(plain)
    start(folder)[1].run(preempted, budget=9, preempt=lambda step: {5: [0, 1], 9: [2, 4]}.get(step, []))
    assert [request.tokens for request in plain] == [request.tokens for request in preempted]
    assert len({tuple(request.tokens) for request in plain}) == len(plain)


def test_float32_results_do_not_depend_on_the_batch(folder):
    prompt = prompts(lengths=(21,))[0]
    wants = replace(GREEDY, logprobs=True)
    alone, among = Request(prompt, wants), Request(prompt, wants)
    start(folder)[1].run([alone])
    start(folder)[1].run([among, *(Request(other) for other in prompts(seed=4))], budget=11)
    torch.testing.assert_close(alone.logprobs, among.logprobs, atol=2e-5, rtol=0)
