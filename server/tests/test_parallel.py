"""Several ranks give one rank's tokens, and refuse what they cannot hold together."""

from types import SimpleNamespace

import pytest
import torch

from shardline.assembly import Shard
from shardline.config import ShardConfig
from shardline.layers.split import split_heads, split_tokens
from shardline.models.config import parse_config
from shardline.models.registry import WorldSizeError, check_supported, working_world_sizes
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


def test_numbers_that_work_are_named():
    config = model_config(
        num_attention_heads=9, num_key_value_heads=3, hidden_size=576, intermediate_size=1536
    )
    assert working_world_sizes(config) == (1, 3)
    with pytest.raises(WorldSizeError, match="over 2 shards; these numbers work: 1, 3"):
        check_supported(config, 2)


@pytest.mark.parametrize(("heads", "kv_heads", "world_size"), [(9, 3, 3), (8, 2, 4), (8, 8, 2), (6, 1, 3)])
def test_every_query_head_keeps_its_kv_head(heads, kv_heads, world_size):
    group = heads // kv_heads
    seen = []
    for rank in range(world_size):
        split = split_heads(heads, kv_heads, rank, world_size)
        queries = range(split.query.start, split.query.start + split.query.length)
        seen.extend(queries)
        local_group = split.query.length // split.key_value.length
        for place, head in enumerate(queries):
            assert split.key_value.start + place // local_group == head // group
    assert seen == list(range(heads))


@pytest.mark.parametrize(("vocabulary", "world_size"), [(10, 3), (3, 4), (300, 2)])
def test_every_token_is_on_one_rank(vocabulary, world_size):
    ranges = [split_tokens(vocabulary, rank, world_size) for rank in range(world_size)]
    held = [token for part in ranges for token in range(part.start, part.start + part.length)]
    assert held == list(range(vocabulary))


def test_each_rank_has_its_socket(tmp_path):
    assert ShardConfig(tmp_path, "/run/shard", rank=2, world_size=3).socket_path == "/run/shard-2"


def test_a_shard_lets_go_of_its_steps_before_it_leaves_the_group():
    """NCCL waits for graphs that hold its sums: the other way round a rank would never end."""
    order = []
    runner = SimpleNamespace(close=lambda: order.append("runner"))
    group = SimpleNamespace(close=lambda: order.append("group"))
    Shard(runner, None, torch.device("cpu"), group, None).close()
    assert order == ["runner", "group"]
