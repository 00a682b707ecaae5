"""Sequences that follow grammars, beside others, on a tiny random model with a token a byte."""

import json
import threading
from dataclasses import replace

import numpy as np
import pytest
import torch

from shardline.client import Finish, InvalidRequest, ShardClient
from shardline.client import sampling as client_sampling
from shardline.endpoint.frame import Frame, Grammar, NewSequence, Phase, RowStatus, SamplingParameters
from shardline.endpoint.native import NativeEndpoint
from shardline.grammar.native import NativeGrammars
from shardline.runner.loop import run_steps
from shardline.sampling.masks import apply_masks
from support.byte_tokens import END, make_with_tokenizer, text_of
from support.driver import Request, i32, tokens_of, u64
from support.models import VOCABULARY, oracle_logits, start
from support.ranks import Ranks, free_port

GREEDY = SamplingParameters(temperature=0.0)
DRAWN = SamplingParameters(temperature=1.0, top_p=0.95)
PROMPTS = [[5, 6, 7], [9] * 20, [40, 41], [100, 3, 250, 17]]
SCHEMA = {
    "type": "object",
    "properties": {
        "a": {"type": "integer", "minimum": 0, "maximum": 999},
        "b": {"type": "array", "items": {"enum": ["red", "green"]}, "maxItems": 2},
    },
    "required": ["a", "b"],
    "additionalProperties": False,
    "x-guidance": {"whitespace_flexible": False},
}
JSON = Grammar("json_schema", json.dumps(SCHEMA))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return make_with_tokenizer(tmp_path_factory.mktemp("grammars"))


def begin(folder, **changes):
    return start(folder, block_size=8, max_step_tokens=64, **changes)[1]


def request(prompt, grammar=JSON, sampling=GREEDY, new_tokens=60, **changes) -> Request:
    return Request(prompt, sampling, new_tokens, grammar=grammar, ends=(END,), **changes)


def batch() -> list[Request]:
    """Greedy and drawn ones, choices of one prompt, and some without a grammar."""
    drawn = [request(PROMPTS[0], sampling=DRAWN, seed=7, choice=choice) for choice in range(3)]
    return [
        *(request(prompt) for prompt in PROMPTS),
        *drawn,
        Request(PROMPTS[1], GREEDY, 20),
        Request(PROMPTS[2], DRAWN, 20, seed=3),
    ]


def check_json(requests):
    for each in requests:
        if each.grammar is not None:
            assert each.tokens[-1] == END, text_of(each.tokens)
            value = json.loads(text_of(each.tokens[:-1]))
            assert set(value) == {"a", "b"} and 0 <= value["a"] <= 999
            assert len(value["b"]) <= 2 and set(value["b"]) <= {"red", "green"}


@pytest.fixture(scope="module")
def undisturbed(folder):
    requests = batch()
    begin(folder).run(requests)
    return requests


def test_every_answer_keeps_its_grammar_and_ends_where_it_is_complete(undisturbed):
    check_json(undisturbed)
    drawn = {tuple(each.tokens) for each in undisturbed[len(PROMPTS) : len(PROMPTS) + 3]}
    assert len(drawn) > 1, "choices differ"


def test_others_do_not_notice(folder, undisturbed):
    alone = [each for each in batch() if each.grammar is None]
    begin(folder).run(alone)
    assert tokens_of(alone) == [each.tokens for each in undisturbed if each.grammar is None]


def test_preemption_and_chunks_change_nothing(folder, undisturbed):
    requests = batch()
    begin(folder).run(requests, budget=7, preempt=lambda step: [step % len(requests)] if step % 3 else [])
    assert tokens_of(requests) == tokens_of(undisturbed)


def test_log_probabilities_are_the_models_own(folder):
    asked = request(PROMPTS[3], sampling=replace(GREEDY, logprobs=True, top_logprobs=3))
    begin(folder).run([asked])
    check_json([asked])
    scores = oracle_logits(folder, PROMPTS[3] + asked.tokens).log_softmax(-1)
    for index, token in enumerate(asked.tokens):
        row = scores[len(PROMPTS[3]) + index - 1]
        assert asked.logprobs[index] == pytest.approx(float(row[token]), abs=1e-3)
        assert asked.tops[index][0][1] == pytest.approx(float(row.max()), abs=1e-3)


def test_the_end_waits_for_min_tokens_only_while_the_text_can_go_on(folder):
    late = replace(GREEDY, min_tokens=12, stop_token_ids=i32([END]))
    long, short = (request(PROMPTS[0], Grammar("regex", pattern), late) for pattern in ("a+", "(yes|no)"))
    begin(folder).run([long, short])
    assert len(long.tokens) > 12 and END not in long.tokens[:12]
    assert short.tokens[-1] == END and text_of(short.tokens[:-1]) in (b"yes", b"no")


def test_penalties_and_biases_keep_within_the_grammar(folder):
    a, b = (3 + ord(letter) for letter in "ab")
    biased = replace(GREEDY, logit_bias_ids=i32([b, 200]), logit_bias_values=np.float32([90, 99]).tobytes())
    requests = [
        request(PROMPTS[0], Grammar("regex", "[ab]{6}"), biased),
        request(PROMPTS[0], Grammar("regex", "[ab]{6}"), replace(GREEDY, presence_penalty=2.0)),
        request(PROMPTS[0], Grammar("regex", "[ab]{6}"), replace(GREEDY, typical_p=0.5, temperature=1.0)),
    ]
    begin(folder).run(requests)
    assert requests[0].tokens == [b] * 6 + [END]
    for each in requests:
        assert set(each.tokens[:-1]) <= {a, b} and len(each.tokens) == 7


@pytest.mark.parametrize(
    "grammar",
    [
        Grammar("regex", "("),
        Grammar("json_schema", "false"),
        Grammar("lark", "start: start"),
        # Its beginning is possible and it can never end.
        Grammar("json_schema", '{"type":"array","minItems":1,"items":{"enum":[]}}'),
    ],
)
def test_a_grammar_that_cannot_be_followed_ends_alone(folder, grammar):
    bad, good, free = request(PROMPTS[0], grammar), request(PROMPTS[1]), Request(PROMPTS[2], GREEDY, 20)
    begin(folder).run([bad, good, free])
    assert bad.status == RowStatus.GRAMMAR_ERROR and not bad.tokens
    check_json([good])
    assert free.status == RowStatus.OK and len(free.tokens) == 20


class Ahead:
    """An endpoint whose frames are all there from the beginning: steps run as far ahead as they can."""

    def __init__(self, frames):
        self.frames = iter(frames)
        self.tokens: dict[int, list[int]] = {}

    def next(self, timeout_s=None):
        return next(self.frames, None)

    def send(self, frame, outcome):
        assert not outcome.status.any()
        for sequence, token in zip(outcome.sequence_ids.tolist(), outcome.token_ids.tolist(), strict=True):
            self.tokens.setdefault(sequence, []).append(token)

    def fail(self, message):
        raise AssertionError(message)

    def close(self):
        pass


def test_steps_sent_ahead_give_the_same_tokens(folder, undisturbed):
    """A mask waits for the token of the step before, which another thread fetches; what is sampled after
    the end is nobody's."""
    steps = max(len(each.tokens) for each in undisturbed[: len(PROMPTS)]) + 2
    new = [
        NewSequence(
            number, i32(prompt), len(prompt), sampling=GREEDY, grammar=JSON, block_ids=i32(blocks(number))
        )
        for number, prompt in enumerate(PROMPTS, 1)
    ]

    def frame(step: int, counts: list[int], *admitted: NewSequence) -> Frame:
        rows = u64([each.sequence_id for each in new])
        none = i32([0] * len(new))
        return Frame(
            step, new_sequences=admitted, sequence_ids=rows, num_tokens=i32(counts), new_block_counts=none
        )

    frames = [frame(1, [len(prompt) for prompt in PROMPTS], *new)]
    frames += [frame(step, [1] * len(new)) for step in range(2, steps)]
    driver = begin(folder)
    endpoint = Ahead([*frames, replace(frames[0], new_session=True)])
    run_steps(driver.runner, endpoint, threaded=True)
    for number, expected in enumerate(tokens_of(undisturbed)[: len(PROMPTS)], 1):
        tokens = endpoint.tokens[number]
        # The last one is the first of the next session.
        assert tokens[: len(expected)] == expected and tokens[-1] == expected[0]


def blocks(number: int) -> list[int]:
    return list(range(12 * (number - 1), 12 * number))


def test_the_first_rank_follows_for_all(folder, undisturbed):
    group = Ranks(2, free_port(), folder, block_size=8, max_step_tokens=64)
    assert all("grammar" in info.features for info in group.infos)
    driver = begin(folder)
    driver.runner = group
    requests = batch()
    driver.run(requests)
    group.close()
    assert tokens_of(requests) == tokens_of(undisturbed)


def test_a_client_without_a_router_has_grammars_too(folder, tmp_path, undisturbed):
    shard, _ = start(folder, block_size=8, max_step_tokens=64)
    endpoint = NativeEndpoint(str(tmp_path / "shard-0"))
    endpoint.set_info(shard.info)
    endpoint.set_grammars(shard.grammars.native)
    endpoint.set_phase(Phase.READY)
    loop = threading.Thread(target=run_steps, args=(shard.runner, endpoint, False))
    loop.start()
    try:
        with ShardClient.connect(str(tmp_path / "shard-0")) as client:
            client.compile_grammar(client_sampling.Grammar("json_schema", json.dumps(SCHEMA)))
            with pytest.raises(InvalidRequest, match="cannot be followed"):
                client.compile_grammar(client_sampling.Grammar("regex", "("))
            asked = client_sampling.Sampling(
                temperature=0, grammar=client_sampling.Grammar("json_schema", json.dumps(SCHEMA))
            )
            bad = replace(asked, grammar=client_sampling.Grammar("regex", "("))
            tokens = list(client.generate([PROMPTS[0], PROMPTS[1]], 60, [asked, bad], [END]))
        assert [token.id for token in tokens if token.prompt == 0] == undisturbed[0].tokens
        assert [token.finish for token in tokens if token.prompt == 1] == [Finish.GRAMMAR]
    finally:
        endpoint.close()
        loop.join()


def test_a_model_without_a_tokenizer_offers_no_grammars(folder):
    shard, _ = start(folder.parent / "plain")
    assert "grammar" not in shard.info.features and shard.grammars is None


def test_native_masks_equal_torch(folder):
    engine = NativeGrammars(folder, VOCABULARY, 1)
    handles = np.array([engine.admit(JSON, np.empty(0, np.int32)) for _ in range(2)], np.uint64)
    masks = torch.empty((2, engine.mask_words), dtype=torch.int32)
    states = engine.fill(handles, np.zeros(2, np.int32), masks)
    assert states.tolist() == [0, 0]
    logits = torch.randn((5, VOCABULARY))
    rows = np.array([3, 1], np.int32)
    expected, native = logits.clone(), logits.clone()
    apply_masks(expected, rows, masks)
    engine.apply(native, rows, masks)
    assert torch.equal(native, expected)
    assert int(torch.isfinite(native[1]).sum()) < 10
