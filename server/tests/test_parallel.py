"""Several ranks give one rank's tokens, and refuse what they cannot hold together."""

import itertools
from types import SimpleNamespace

import pytest
import torch

from shardline.assembly import Shard
from shardline.config import ShardConfig
from shardline.layers.split import split_columns, split_heads, split_tokens
from shardline.models.config import parse_config
from shardline.models.registry import WorldSizeError, check_supported
from support.driver import Driver, Request, SamplingParameters, tokens_of
from support.models import COMMON, Tiny, by_name, make, oracle_greedy, prompts, start
from support.ranks import Ranks, free_port

NEW_TOKENS = 6


def model_config(**changes):
    values = {**COMMON, "model_type": "llama", "architectures": ["LlamaForCausalLM"], **changes}
    return parse_config(values)


@pytest.mark.parametrize(
    ("name", "world_size"),
    [("llama-biased", 2), ("mistral", 2), ("qwen2", 2), ("qwen3", 2), ("llama", 4)],
)
def test_ranks_together_give_the_oracle_tokens(name, world_size, tmp_path):
    """With four ranks and two KV heads, two ranks hold the same KV head."""
    folder = make(by_name(name), tmp_path)
    lengths = (5, 21)
    ranks = Ranks(world_size, free_port(), folder)
    driver = Driver(ranks, ranks.infos[0].block_size, ranks.infos[0].num_blocks)
    greedy = [Request(prompt, new_tokens=NEW_TOKENS) for prompt in prompts(lengths=lengths)]
    driver.run(greedy, budget=7)
    drawn = Request(prompts()[0], SamplingParameters(temperature=0.8, top_p=0.9), NEW_TOKENS, seed=5)
    driver.run([drawn])
    ranks.close()
    assert tokens_of(greedy) == [
        oracle_greedy(folder, prompt, NEW_TOKENS) for prompt in prompts(lengths=lengths)
    ]
    _, alone = start(folder)
    same = Request(prompts()[0], SamplingParameters(temperature=0.8, top_p=0.9), NEW_TOKENS, seed=5)
    alone.run([same])
    assert drawn.tokens == same.tokens


def test_a_vocabulary_that_does_not_divide_is_padded(tmp_path):
    folder = make(Tiny("odd", "llama", {"vocab_size": 301}), tmp_path)
    ranks = Ranks(2, free_port(), folder)
    driver = Driver(ranks, ranks.infos[0].block_size, ranks.infos[0].num_blocks)
    request = Request(prompts(lengths=(9,))[0], new_tokens=NEW_TOKENS)
    driver.run([request])
    ranks.close()
    assert request.tokens == oracle_greedy(folder, request.prompt, NEW_TOKENS)


@pytest.mark.parametrize(
    ("name", "world_size", "own"),
    [
        # As SmolLM2: two KV heads with their three queries, and one.
        ("qwen3", 2, {"num_attention_heads": 9, "num_key_value_heads": 3}),
        # As Qwen2.5-0.5B: the seven queries of a KV head are four on one rank and three on the next.
        (
            "qwen2",
            4,
            {"num_attention_heads": 14, "num_key_value_heads": 2, "head_dim": 8, "hidden_size": 112},
        ),
        # The last rank has no head; a feed-forward of 71 columns is 64 and 7 and none.
        ("llama-biased", 3, {"num_attention_heads": 4, "num_key_value_heads": 2, "intermediate_size": 71}),
    ],
)
def test_heads_and_columns_that_do_not_divide_leave_room_over(name, world_size, own, tmp_path):
    tiny = by_name(name)
    folder = make(Tiny("uneven", tiny.family, {**tiny.own, **own}), tmp_path)
    ranks = Ranks(world_size, free_port(), folder)
    driver = Driver(ranks, ranks.infos[0].block_size, ranks.infos[0].num_blocks)
    requests = [Request(prompt, new_tokens=NEW_TOKENS) for prompt in prompts(lengths=(5, 21))]
    driver.run(requests, budget=7)
    ranks.close()
    assert tokens_of(requests) == [oracle_greedy(folder, each.prompt, NEW_TOKENS) for each in requests]


def test_more_shards_than_heads_are_refused():
    config = model_config(
        num_attention_heads=9, num_key_value_heads=3, hidden_size=576, intermediate_size=1536
    )
    for world_size in range(1, 10):
        check_supported(config, world_size)
    with pytest.raises(WorldSizeError, match="over 10 shards: it has 9 attention heads, so at most 9 have"):
        check_supported(config, 10)


def held(part):
    return range(part.start, part.start + part.length)


def test_every_query_head_is_on_one_rank_beside_its_kv_head():
    for group, kv_heads in itertools.product(range(1, 9), range(1, 9)):
        heads = group * kv_heads
        for world_size in range(1, heads + 1):
            splits = [split_heads(heads, kv_heads, rank, world_size) for rank in range(world_size)]
            assert [head for split in splits for head in held(split.query)] == list(range(heads))
            assert len({(split.query.room, split.key_value.room) for split in splits}) == 1
            for split in splits:
                local_group, rest = divmod(split.query.room, split.key_value.room)
                assert not rest
                for place, head in enumerate(held(split.query)):
                    assert split.key_value.start + place // local_group == head // group
                    assert place // local_group < split.key_value.length
            if heads % world_size == 0 and (kv_heads % world_size == 0 or world_size % kv_heads == 0):
                assert all(split.query.length == split.query.room == heads // world_size for split in splits)


@pytest.mark.parametrize("split", [split_tokens, split_columns])
@pytest.mark.parametrize(("count", "world_size"), [(10, 3), (3, 4), (300, 2), (1536, 2), (18944, 7)])
def test_every_token_and_every_column_is_on_one_rank(split, count, world_size):
    parts = [split(count, rank, world_size) for rank in range(world_size)]
    assert [token for part in parts for token in held(part)] == list(range(count))
    assert len({part.room for part in parts}) == 1
    if count % world_size == 0:
        assert parts[0].room == count // world_size


def test_each_rank_has_its_socket(tmp_path):
    assert ShardConfig(tmp_path, "/run/shard", rank=2, world_size=3).socket_path == "/run/shard-2"


def test_a_shard_lets_go_of_its_steps_before_it_leaves_the_group():
    """NCCL waits for graphs that hold its sums: the other way round a rank would never end."""
    order = []
    runner = SimpleNamespace(close=lambda: order.append("runner"))
    group = SimpleNamespace(close=lambda: order.append("group"))
    Shard(runner, None, torch.device("cpu"), group, None).close()
    assert order == ["runner", "group"]
