"""`ShardClient` against the native endpoint over a socket."""

import json
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest

from shardline.client import Finish, InvalidRequest, Phase, Sampling, ShardBusy, ShardClient, ShardUnavailable
from shardline.client.wire import message_class
from support.endpoint import SumRunner, next_token

GOLDEN = Path(__file__).parents[2] / "proto" / "golden"


@pytest.fixture
def runner(tmp_path):
    runner = SumRunner(tmp_path / "shard-0")
    yield runner
    runner.close()


@pytest.fixture
def client(runner, tmp_path):
    with ShardClient.connect(str(tmp_path / "shard-0")) as client:
        yield client


def sums(prompt: list[int], count: int) -> list[int]:
    tokens = list(prompt)
    for _ in range(count):
        tokens.append(next_token(tokens))
    return tokens[len(prompt) :]


def test_info_and_health(client) -> None:
    assert client.health().phase is Phase.READY
    info = client.info()
    assert (info.model_type, info.capacity.block_size, info.capacity.max_sequences) == ("sums", 4, 3)


def test_many_prompts_in_one_session(runner, client) -> None:
    """More prompts than sequences at once, longer ones than a step, more blocks than there are."""
    prompts = [[index + 1] * (1 + 7 * index % 23) for index in range(9)]
    found = defaultdict(list)
    finishes = {}
    for token in client.generate(prompts, max_new_tokens=11):
        assert token.prompt not in finishes, "a token after the last one"
        found[token.prompt].append(token.id)
        if token.finish is not None:
            finishes[token.prompt] = token.finish
    assert [found[index] for index in range(9)] == [sums(prompt, 11) for prompt in prompts]
    assert set(finishes.values()) == {Finish.LENGTH}


def test_stop_tokens_and_min_tokens(client) -> None:
    expected = sums([3, 5], 8)
    tokens = list(client.generate([[3, 5]], 8, stop_token_ids=[expected[2]]))
    assert [token.id for token in tokens] == expected[:3]
    assert tokens[-1].finish is Finish.STOP
    later = list(client.generate([[3, 5]], 8, Sampling(min_tokens=3), stop_token_ids=[expected[2]]))
    assert [token.id for token in later] == expected


def test_log_probabilities(client) -> None:
    (token,) = client.generate([[40, 2]], 1, Sampling(logprobs=True, top_logprobs=2))
    assert (token.id, token.logprob, token.top) == (42, 42.0, ((42, -0.5), (0, -1.5)))


@pytest.mark.parametrize(
    ("prompts", "new", "message"),
    [
        ([[1], []], 1, r"prompts\[1\] is empty"),
        ([[1, 1000]], 1, r"prompts\[0\] has token id 1000; ids lie in \[0, 1000\)"),
        ([[1.5]], 1, "give whole numbers"),
        ([[1]], 0, "max_new_tokens is 0"),
        (
            [[1] * 60],
            5,
            "60 tokens and may grow by max_new_tokens 5; a sequence of this shard has at most 64",
        ),
    ],
)
def test_what_cannot_run_is_refused_before_it_is_sent(runner, client, prompts, new, message) -> None:
    with pytest.raises(InvalidRequest, match=message):
        list(client.generate(prompts, new))
    assert runner.steps == 0


def test_the_shard_names_a_parameter_outside_its_range(client) -> None:
    with pytest.raises(
        InvalidRequest, match=r"new_sequences\[0\]\.sampling\.top_p is 2; it must lie in \(0, 1\]"
    ):
        list(client.generate([[1]], 1, Sampling(top_p=2.0)))


def test_one_session_at_a_time_and_a_closed_one_makes_room(client, tmp_path) -> None:
    first = client.generate([[1, 2]], 5)
    next(first)
    with ShardClient.connect(str(tmp_path / "shard-0")) as second:
        with pytest.raises(ShardBusy, match="a shard serves one client at a time"):
            list(second.generate([[1]], 1))
        first.close()
        assert [token.id for token in second.generate([[1]], 3)] == sums([1], 3)


def test_nobody_there(tmp_path) -> None:
    with (
        ShardClient.connect(str(tmp_path / "nothing"), timeout_s=5.0) as client,
        pytest.raises(ShardUnavailable),
    ):
        client.health()


def test_a_group_needs_an_address_for_each_rank(tmp_path) -> None:
    runners = [SumRunner(tmp_path / f"shard-{rank}", rank=rank, world_size=2) for rank in range(2)]
    try:
        paths = [str(tmp_path / f"shard-{rank}") for rank in range(2)]
        with (
            ShardClient.connect(paths[0]) as client,
            pytest.raises(InvalidRequest, match="the group has 2 ranks and 1 addresses are given"),
        ):
            list(client.generate([[1]], 1))
        with ShardClient.connect(*paths) as client:
            assert [token.id for token in client.generate([[4, 4]], 6)] == sums([4, 4], 6)
        assert runners[0].steps == runners[1].steps
    finally:
        for runner in runners:
            runner.close()


KINDS = {
    "step": "StepRequest",
    "response": "StepResponse",
    "info": "InfoResponse",
    "health": "HealthResponse",
}
WIDTHS = {
    **dict.fromkeys(("drop", "sequence_ids"), "<u8"),
    **dict.fromkeys(("logprobs", "top_logprobs", "logit_bias_values"), "<f4"),
    "status": "u1",
}


def plain(message) -> dict:
    """A message as the golden JSON has it: arrays as lists, absent parameters as their defaults."""
    defaults = {"temperature": 1.0, "top_p": 1.0, "typical_p": 1.0, "repetition_penalty": 1.0}
    result = {}
    for field in message.DESCRIPTOR.fields:
        value = getattr(message, field.name)
        if field.containing_oneof is not None and not message.HasField(field.name):
            value = defaults.get(field.name)
        elif field.type == field.TYPE_BYTES:
            value = np.frombuffer(value, WIDTHS.get(field.name, "<i4")).tolist()
        elif field.type == field.TYPE_MESSAGE:
            repeated = not hasattr(value, "DESCRIPTOR")
            value = [plain(item) for item in value] if repeated else plain(value)
        elif field.type == field.TYPE_ENUM:
            value = field.enum_type.values_by_number[value].name
        elif not isinstance(value, (str, int, float)):
            value = list(value)
        result[field.name] = value
    return result


def same(found, golden) -> bool:
    """Whether every value that the JSON has is found; NaN is null there."""
    if isinstance(golden, dict):
        return isinstance(found, dict) and all(same(found.get(key), golden[key]) for key in golden)
    if isinstance(found, dict) and len(found) == 1:  # a message of one field is that field in the JSON
        return same(next(iter(found.values())), golden)
    if isinstance(golden, list):
        return len(found) == len(golden) and all(map(same, found, golden))
    if golden is None:
        return found is None or found != found or isinstance(found, dict)
    return found == golden


@pytest.mark.parametrize("path", sorted(GOLDEN.glob("*.binpb")), ids=lambda path: path.stem)
def test_golden_messages_read_as_their_json_says(path: Path) -> None:
    message = message_class(KINDS[path.stem.split("_")[0]]).FromString(path.read_bytes())
    golden = json.loads(path.with_suffix(".json").read_text())
    assert same(plain(message), golden), plain(message)
    assert type(message).FromString(message.SerializeToString(deterministic=True)) == message


def test_a_client_does_not_load_torch() -> None:
    program = "import sys, shardline.client; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
