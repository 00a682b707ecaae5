"""What --attention and --dtype may name, what is chosen, and what is said when a backend cannot run here."""

import pytest
import torch

from shardline import assembly
from shardline.attention import registry
from shardline.attention.registry import UnavailableAttentionError, UnknownAttentionError, check_attention
from shardline.config import ShardConfig
from shardline.models.config import parse_config
from support.models import COMMON

CPU = torch.device("cpu")


def test_an_unknown_name_tells_the_known_ones():
    with pytest.raises(
        UnknownAttentionError, match="'flash-attn' is unknown; choose one of flash-attn-4, torch, triton"
    ):
        check_attention("flash-attn", CPU, torch.bfloat16)


def test_a_missing_package_is_named_with_its_cure(monkeypatch):
    monkeypatch.setattr(registry, "has_module", lambda name: False)
    with pytest.raises(UnavailableAttentionError, match="needs the package triton: run `pip install triton`"):
        check_attention("triton", torch.device("cuda"), torch.bfloat16)
    check_attention("torch", CPU, torch.float32)


@pytest.mark.parametrize("interprets", [False, True])
def test_our_kernels_need_a_gpu_or_the_interpreter(monkeypatch, interprets):
    monkeypatch.setattr(registry, "has_module", lambda name: True)
    monkeypatch.setattr(registry, "_interprets", lambda: interprets)
    check_attention("triton", torch.device("cuda"), torch.bfloat16)
    if interprets:
        check_attention("triton", CPU, torch.float32)
        return
    with pytest.raises(UnavailableAttentionError, match="needs a GPU and this shard runs on cpu"):
        check_attention("triton", CPU, torch.float32)


def test_our_kernels_do_not_compute_float32_on_a_gpu(monkeypatch):
    monkeypatch.setattr(registry, "has_module", lambda name: True)
    with pytest.raises(
        UnavailableAttentionError, match="set --dtype bfloat16, or choose flash-attn-4, torch"
    ):
        check_attention("triton", torch.device("cuda"), torch.float32)
    check_attention("torch", torch.device("cuda"), torch.float32)


@pytest.mark.parametrize(
    ("device", "dtype", "capability", "packages", "lacks"),
    [
        ("cpu", torch.bfloat16, (9, 0), True, "needs a GPU"),
        ("cuda", torch.float16, (9, 0), True, "set --dtype bfloat16"),
        ("cuda", torch.bfloat16, (8, 9), True, "run on an H100 or H200"),
        ("cuda", torch.bfloat16, (9, 0), False, "run `pip install flash-attn-4`"),
        ("cuda", torch.bfloat16, (9, 0), True, None),
    ],
)
def test_flash_attn_4_tells_what_it_lacks(monkeypatch, device, dtype, capability, packages, lacks):
    monkeypatch.setattr(registry, "has_module", lambda name: packages or name == "triton")
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    if lacks is None:
        check_attention("flash-attn-4", torch.device(device), dtype)
        return
    with pytest.raises(UnavailableAttentionError, match=lacks):
        check_attention("flash-attn-4", torch.device(device), dtype)


@pytest.mark.parametrize(
    ("asked", "own", "chosen"),
    [
        ("auto", "float32", torch.bfloat16),
        ("auto", "float16", torch.float16),
        ("auto", "bfloat16", torch.bfloat16),
        ("float32", "bfloat16", torch.float32),
    ],
)
def test_what_serves_on_a_gpu_follows_from_the_type(monkeypatch, tmp_path, asked, own, chosen):
    monkeypatch.setattr(assembly, "has_module", lambda name: True)
    monkeypatch.setattr(registry, "has_module", lambda name: True)
    model = parse_config(
        {**COMMON, "architectures": ["LlamaForCausalLM"], "model_type": "llama", "torch_dtype": own}
    )
    config = ShardConfig(tmp_path, "unused", dtype=asked)
    choices = assembly.choose(config, model, torch.device("cuda"))
    assert choices.dtype is chosen
    best = "torch" if chosen is torch.float32 else "triton"
    assert (choices.ops, choices.attention) == (best, best)
    on_cpu = assembly.choose(ShardConfig(tmp_path, "unused"), model, CPU)
    assert (on_cpu.dtype, on_cpu.ops, on_cpu.attention) == (torch.float32, "cpu", "torch")


def test_kernels_of_tgi_become_the_best_there_is(tmp_path, caplog):
    model = parse_config({**COMMON, "architectures": ["LlamaForCausalLM"], "model_type": "llama"})
    config = ShardConfig(tmp_path, "unused", attention="flashinfer")
    assert assembly.choose(config, model, CPU).attention == "torch"
    assert "--attention flashinfer names a kernel of TGI: torch serves" in caplog.text
