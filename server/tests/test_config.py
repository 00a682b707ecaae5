"""Flags, model configs and the sizes derived from them."""

import argparse

import pytest

from shardline.config import ConfigError, add_serve_arguments, shard_config
from shardline.kv.sizing import GIB, KvCacheError, KvRequest, cpu_blocks, gpu_blocks, step_bytes
from shardline.models.config import ModelConfigError, parse_config
from shardline.models.registry import UnsupportedModelError, check_supported
from support.models import COMMON

BASE = {**COMMON, "model_type": "llama", "architectures": ["LlamaForCausalLM"]}


def parse(*words, environment=None):
    parser = argparse.ArgumentParser(exit_on_error=False)
    add_serve_arguments(parser)
    return shard_config(
        parser.parse_args(["/model", "--shard-uds-path", "/run/x", *words]), environment or {}
    )


def test_flags_and_environment():
    config = parse(
        "--rank", "1", "--world-size", "3", "--dtype", "bfloat16", "--cuda-graphs", "1,2,4",
        environment={"OMP_NUM_THREADS": "2,1", "LOG_LEVEL": "warn,shardline=debug"},
    )  # fmt: skip
    assert (config.rank, config.world_size, config.dtype, config.cuda_graphs) == (1, 3, "bfloat16", (1, 2, 4))
    assert (config.threads, config.log_level) == (2, "warning")
    assert config.socket_path == "/run/x-1"


def test_rank_within_the_world():
    with pytest.raises(ConfigError, match="--rank is 2; with --world-size 2 it is at most 1"):
        parse("--rank", "2", "--world-size", "2")


@pytest.mark.parametrize(
    "words", [("--rank", "-1"), ("--dtype", "int4"), ("--cuda-memory-fraction", "1.5"), ("--block-size", "x")]
)
def test_wrong_flags(words):
    with pytest.raises((argparse.ArgumentError, SystemExit)):
        parse(*words)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("hidden_size", -1),
        ("num_hidden_layers", "2"),
        ("num_attention_heads", True),
        ("num_key_value_heads", 3),
        ("vocab_size", None),
        ("rms_norm_eps", "small"),
        ("tie_word_embeddings", 1),
        ("architectures", []),
        ("model_type", None),
        ("hidden_act", "gelu"),
        ("quantization_config", {"bits": 4}),
        ("max_position_embeddings", 1 << 40),
    ],
)
def test_wrong_model_config_names_the_field(field, value):
    with pytest.raises(ModelConfigError, match=f"config.json: {field} is"):
        parse_config({**BASE, field: value})


def test_remote_code_is_refused_unless_trusted():
    values = {**BASE, "auto_map": {"AutoModelForCausalLM": "code.Model"}}
    with pytest.raises(ModelConfigError, match="--trust-remote-code"):
        parse_config(values)
    assert parse_config(values, trust_remote_code=True).num_layers == 2


def test_unknown_architecture_names_the_known():
    with pytest.raises(
        UnsupportedModelError, match="'MambaForCausalLM' is not supported; supported are LlamaFor"
    ):
        check_supported(parse_config({**BASE, "architectures": ["MambaForCausalLM"]}), 1)


@pytest.mark.parametrize(
    ("values", "windows"),
    [
        ({"model_type": "mistral", "sliding_window": 5}, (5, 5)),
        ({"model_type": "mistral", "sliding_window": None}, (None, None)),
        ({"model_type": "qwen2", "sliding_window": 5}, (None, None)),
        ({"model_type": "qwen2", "sliding_window": 5, "use_sliding_window": True, "max_window_layers": 1}, (None, 5)),
        ({"model_type": "qwen2", "sliding_window": 5, "layer_types": ["sliding_attention", "full_attention"]}, (5, None)),
    ],
)  # fmt: skip
def test_windows(values, windows):
    assert parse_config({**BASE, **values}).windows == windows


def request(tokens=None, block_size=16, bytes_per_block=1 << 20, max_position=8192):
    return KvRequest(tokens, block_size, bytes_per_block, max_position)


def test_cpu_cache_is_bounded():
    assert cpu_blocks(request(tokens=100), 0) == 7
    assert cpu_blocks(request(bytes_per_block=1024), 64 * GIB) == 8 * 8192 // 16
    assert cpu_blocks(request(max_position=256, bytes_per_block=1024), 64 * GIB) == 8192 // 16
    assert cpu_blocks(request(), 64 * GIB) == 2048
    assert cpu_blocks(request(), 4 * GIB) == 1024
    with pytest.raises(KvCacheError, match="--kv-cache-tokens"):
        cpu_blocks(request(), 1 << 20)


def test_gpu_cache_is_what_is_left():
    assert gpu_blocks(request(), free_bytes=60 * GIB, total_bytes=80 * GIB, memory_fraction=0.9) == 52 * 1024
    reserving = KvRequest(None, 16, 1 << 20, 8192, reserved_bytes=2 * GIB)
    assert gpu_blocks(reserving, free_bytes=60 * GIB, total_bytes=80 * GIB, memory_fraction=0.9) == 50 * 1024
    assert gpu_blocks(request(tokens=64), free_bytes=0, total_bytes=0, memory_fraction=0.9) == 4
    with pytest.raises(KvCacheError):
        gpu_blocks(request(), free_bytes=7 * GIB, total_bytes=80 * GIB, memory_fraction=0.9)


def test_a_step_takes_what_its_tensors_take():
    empty = step_bytes(0, 0, (), 0, 2)
    assert step_bytes(10, 0, (3, 4), 0, 2) - empty == 10 * 7 * 2
    assert step_bytes(0, 5, (), 100, 2) - empty == 5 * 100 * 20


@pytest.mark.parametrize(
    ("environment", "folder"),
    [
        ({"HOME": "/home/a"}, "/home/a/.cache/shardline"),
        ({"HOME": "/home/a", "XDG_CACHE_HOME": "/caches"}, "/caches/shardline"),
        ({"HOME": "/home/a", "XDG_CACHE_HOME": "relative"}, "/home/a/.cache/shardline"),
        ({}, None),
    ],
)
def test_where_a_start_keeps_what_it_finds_out(environment, folder):
    found = parse(environment=environment).cache_folder
    assert folder == (None if found is None else str(found))


def test_kernels_stay_where_the_user_said():
    assert parse().keeps_kernels
    assert not parse(environment={"TRITON_CACHE_DIR": "/kernels"}).keeps_kernels


@pytest.mark.parametrize("seconds", ["-1", "inf", "nan", "x"])
def test_a_download_takes_some_seconds(seconds):
    assert parse("--download-s", "2.5").download_s == 2.5
    with pytest.raises((argparse.ArgumentError, SystemExit)):
        parse("--download-s", seconds)
