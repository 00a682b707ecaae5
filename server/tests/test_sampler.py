"""The sampler against a straightforward reference, row by row."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from shardline.sampling.choice import TorchChoice
from shardline.sampling.parameters import Parameters
from shardline.sampling.random import gumbel, row_keys
from shardline.sampling.sampler import Sampled, Sampler
from shardline.sampling.state import SamplingState

WIDTH = 64
GREEDY = Parameters(temperature=0.0)


def ids(*values: int) -> np.ndarray:
    return np.array(values, np.int32)


class Bench:
    """A sampler whose slots hold the given sequences: (parameters, tokens, number of prompt tokens)."""

    def __init__(self, *sequences: tuple[Parameters, list[int], int]) -> None:
        self.state = SamplingState(len(sequences), WIDTH, torch.device("cpu"))
        self.sampler = Sampler(self.state, TorchChoice(self.state))
        self.lengths = ids(*(len(tokens) for _, tokens, _ in sequences))
        for slot, (parameters, tokens, num_prompt) in enumerate(sequences):
            self.state.admit(slot, parameters, ids(*tokens), num_prompt)

    def sample(self, logits: torch.Tensor, *slots: int) -> Sampled:
        picked = ids(*(slots or range(len(self.lengths))))
        result = self.sampler.sample(logits.clone(), torch.from_numpy(picked), picked, self.lengths[picked])
        self.lengths[picked] += 1
        return result


def random_logits(rows: int, seed: int = 0) -> torch.Tensor:
    return torch.randn((rows, WIDTH), generator=torch.Generator().manual_seed(seed)) * 2


def test_greedy_takes_the_lowest_of_equals():
    logits = torch.zeros((1, WIDTH))
    logits[0, [9, 5, 40]] = 3.0
    assert Bench((GREEDY, [1], 1)).sample(logits).tokens.tolist() == [5]


def test_a_drawn_token_is_the_gumbel_maximum():
    parameters = Parameters(temperature=0.7, seed=11, choice=2)
    logits = random_logits(1)
    keys = torch.from_numpy(row_keys(*(np.array([n], np.uint64) for n in (11, 2, 3))))
    noise = gumbel(keys, torch.arange(WIDTH, dtype=torch.int32))
    expected = int((logits / 0.7 + noise).argmax())
    assert Bench((parameters, [1, 2, 3], 3)).sample(logits).tokens.tolist() == [expected]


def test_draws_follow_the_distribution():
    logits = torch.log(torch.tensor([0.5, 0.3, 0.15, 0.05]))
    row = torch.full((WIDTH,), float("-inf"))
    row[:4] = logits
    bench = Bench(*((Parameters(seed=seed), [1], 1) for seed in range(4000)))
    tokens = bench.sample(row.repeat(4000, 1)).tokens
    shares = torch.bincount(tokens, minlength=4)[:4] / 4000
    torch.testing.assert_close(shares, torch.tensor([0.5, 0.3, 0.15, 0.05]), atol=0.025, rtol=0)


def test_a_row_does_not_depend_on_its_company():
    every = (
        (Parameters(seed=1), [1, 2], 2),
        (replace(GREEDY, repetition_penalty=1.3), [4, 5, 6], 2),
        (Parameters(seed=3, top_k=5, top_p=0.8), [1], 1),
        (Parameters(seed=4, min_p=0.1, frequency_penalty=1.0), [7, 8], 1),
        (
            Parameters(seed=5, typical_p=0.5, logit_bias_ids=ids(3), logit_bias_values=np.float32([2.0])),
            [2],
            1,
        ),
        (GREEDY, [9], 1),
    )
    logits = random_logits(len(every))
    together = Bench(*every).sample(logits).tokens.tolist()
    alone = [int(Bench(one).sample(logits[[row]]).tokens) for row, one in enumerate(every)]
    assert together == alone
    order = [4, 0, 5, 2, 1, 3]
    mixed = Bench(*every).sample(logits[order], *order).tokens.tolist()
    assert mixed == [together[row] for row in order]


def test_penalties_equal_the_reference():
    tokens, num_prompt = [3, 3, 4, 5, 6, 6, 4], 3  # prompt 3 3 4, generated 5 6 6 4
    parameters = replace(GREEDY, repetition_penalty=1.7, frequency_penalty=0.4, presence_penalty=0.9)
    logits = random_logits(1)
    expected = logits[0].numpy().astype(np.float64)
    for token in (3, 4, 5, 6):
        expected[token] = expected[token] / 1.7 if expected[token] > 0 else expected[token] * 1.7
    for token, count in ((5, 1), (6, 2), (4, 1)):
        expected[token] -= 0.4 * count + 0.9
    bench = Bench((parameters, tokens, num_prompt))
    edited = logits.clone()
    bench.sampler._edit(edited, torch.tensor([0], dtype=torch.int32), ids(0), ids(len(tokens)))
    np.testing.assert_allclose(edited[0].numpy(), expected, rtol=1e-5, atol=1e-5)


def test_sampled_tokens_count_as_generated():
    bench = Bench((replace(GREEDY, presence_penalty=1.0), [1], 1))
    logits = torch.zeros((1, WIDTH))
    logits[0, [10, 11]] = torch.tensor([3.0, 2.5])
    assert [int(bench.sample(logits).tokens) for _ in range(3)] == [10, 11, 10]


def test_a_slot_starts_anew():
    bench = Bench((replace(GREEDY, presence_penalty=9.0), [1, 10], 1))
    logits = torch.zeros((1, WIDTH))
    logits[0, 10] = 1.0
    assert int(bench.sample(logits).tokens) != 10
    bench.state.admit(0, replace(GREEDY, presence_penalty=9.0), ids(1), 1)
    assert int(bench.sample(logits).tokens) == 10


def test_rows_of_sequences_that_are_gone_are_used_again():
    wants = replace(
        GREEDY, presence_penalty=1.0, min_tokens=1, stop_token_ids=ids(5), allowed_token_ids=ids(3)
    )
    bench = Bench(*((wants, [1], 1) for _ in range(4)))
    held = bench.state.bias._pool.rows.shape[0]
    for slot in range(4):
        bench.state.release(slot)
        bench.state.admit(slot, GREEDY, ids(1), 1)
        bench.state.release(slot)
        bench.state.admit(slot, wants, ids(1), 1)
    assert bench.state.bias._pool.rows.shape[0] == held
    assert bench.sample(random_logits(4)).tokens.tolist() == [3] * 4


def test_bias_and_allowed_tokens():
    bias = replace(GREEDY, logit_bias_ids=ids(7, 8), logit_bias_values=np.float32([50.0, -50.0]))
    allowed = replace(GREEDY, allowed_token_ids=ids(20, 21))
    both = replace(allowed, logit_bias_ids=ids(8, 21), logit_bias_values=np.float32([100.0, 100.0]))
    logits = torch.zeros((3, WIDTH))
    logits[:, 20] = 1.0
    bench = Bench((bias, [1], 1), (allowed, [1], 1), (both, [1], 1))
    assert bench.sample(logits).tokens.tolist() == [7, 20, 21]


def test_stop_tokens_wait_for_min_tokens():
    parameters = replace(GREEDY, min_tokens=2, stop_token_ids=ids(5, 6))
    logits = torch.zeros((1, WIDTH))
    logits[0, [5, 6, 9]] = torch.tensor([3.0, 2.0, 1.0])
    bench = Bench((parameters, [1, 2], 2))
    assert [int(bench.sample(logits).tokens) for _ in range(3)] == [9, 9, 5]
    replayed = Bench((parameters, [1, 2, 9], 2))
    assert [int(replayed.sample(logits).tokens) for _ in range(2)] == [9, 5]


def test_each_row_waits_for_its_own_stop_tokens():
    logits = torch.zeros((4, WIDTH))
    logits[:, [5, 6, 9]] = torch.tensor([3.0, 2.0, 1.0])
    stops = [replace(GREEDY, min_tokens=1, stop_token_ids=ids(*given)) for given in ([5], [5, 6], [])]
    bench = Bench(*((parameters, [1], 1) for parameters in (*stops, GREEDY)))
    assert bench.sample(logits).tokens.tolist() == [6, 9, 5, 5]
    assert bench.sample(logits).tokens.tolist() == [5, 5, 5, 5]


@pytest.mark.parametrize("parameters", [GREEDY, Parameters(seed=1), Parameters(top_p=0.5, top_k=3)])
def test_invalid_rows_fail_alone(parameters):
    logits = random_logits(4)
    logits[1, 3] = float("nan")
    logits[2] = float("-inf")
    found = Bench(*((parameters, [1], 1) for _ in range(4))).sample(logits)
    assert found.valid.tolist() == [True, False, False, True]
    clean = Bench((parameters, [1], 1)).sample(logits[[0]])
    assert int(found.tokens[0]) == int(clean.tokens[0])


def test_logprobs_are_of_the_raw_logits():
    logits = random_logits(2)
    wants = replace(GREEDY, logprobs=True, top_logprobs=3, repetition_penalty=2.0)
    found = Bench((wants, [5], 1), (GREEDY, [5], 1)).sample(logits)
    scores = torch.log_softmax(logits, dim=-1)
    expected = scores[[0], found.tokens[:1]]
    torch.testing.assert_close(found.logprobs[:1], expected, atol=1e-5, rtol=1e-5)
    assert found.logprobs[1].isnan(), "it was not asked for"
    values, top = scores.topk(3)
    assert found.top_ids[0].tolist() == top[0].tolist()
    torch.testing.assert_close(found.top_logprobs[0], values[0], atol=1e-5, rtol=1e-5)


def test_without_requests_there_are_no_logprobs():
    assert Bench((GREEDY, [1], 1)).sample(random_logits(1)).logprobs is None
