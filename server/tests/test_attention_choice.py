"""What --attention may name, and what is said when a backend cannot run here."""

import pytest
import torch

from shardline.attention import registry
from shardline.attention.registry import UnavailableAttentionError, UnknownAttentionError, check_attention

CPU = torch.device("cpu")


def test_an_unknown_name_tells_the_known_ones():
    with pytest.raises(UnknownAttentionError, match="'flash-attn' is unknown; choose one of torch, triton"):
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
    with pytest.raises(UnavailableAttentionError, match="set --dtype bfloat16, or choose torch"):
        check_attention("triton", torch.device("cuda"), torch.float32)
    check_attention("torch", torch.device("cuda"), torch.float32)
