"""Weight files: what is read, and what hostile or broken ones are answered with."""

import json
import os
import struct

import gguf
import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from shardline.weights.dummy import DummySource
from shardline.weights.gguf_file import GgufFile
from shardline.weights.gguf_source import GgufSource, gguf_config, gguf_name
from shardline.weights.open import open_model
from shardline.weights.safetensors_source import INDEX, SafetensorsSource
from shardline.weights.source import Part, WeightError, WeightReader

CPU = torch.device("cpu")


def shards(folder, **files):
    """Writes files of tensors and their index."""
    mapping = {}
    for name, tensors in files.items():
        save_file(tensors, folder / f"{name}.safetensors")
        mapping.update({tensor: f"{name}.safetensors" for tensor in tensors})
    (folder / INDEX).write_text(json.dumps({"weight_map": mapping}))
    return folder


def test_parts_of_sharded_files(tmp_path):
    first, second = torch.arange(12.0).view(3, 4), torch.arange(5.0)
    source = SafetensorsSource(shards(tmp_path, a={"x": first}, b={"y": second}))
    assert source.has("x") and not source.has("z")
    assert torch.equal(source.read(Part("x", (3, 4))), first)
    assert torch.equal(source.read(Part("x", (3, 4), 0, 1, 2)), first[1:3])
    assert torch.equal(source.read(Part("x", (3, 4), 1, 2, 2)), first[:, 2:4])
    assert torch.equal(source.read(Part("y", (5,), 0, 3, 2)), second[3:])


def test_reader_converts_and_checks_shapes(tmp_path):
    source = SafetensorsSource(shards(tmp_path, a={"x": torch.ones(3, 4)}))
    reader = WeightReader(source, torch.bfloat16, CPU)
    assert reader.read(Part("x", (3, 4))).dtype == torch.bfloat16
    assert reader.read_bytes == 24
    with pytest.raises(WeightError, match=r"x has shape \[3, 4\]; config.json promises \[4, 3\]"):
        reader.read(Part("x", (4, 3)))
    with pytest.raises(WeightError, match="y is in none"):
        reader.read(Part("y", (1,)))


@pytest.mark.parametrize(
    "name",
    ["../secret.safetensors", "/etc/passwd", "sub/x.safetensors", "x.bin", "missing.safetensors", 5, ""],
)
def test_index_with_a_wrong_file_name(tmp_path, name):
    save_file({"x": torch.ones(1)}, tmp_path.parent / "secret.safetensors")
    (tmp_path / INDEX).write_text(json.dumps({"weight_map": {"x": name}}))
    with pytest.raises(WeightError):
        SafetensorsSource(tmp_path)


@pytest.mark.parametrize(
    "content", ["", "[]", "{}", '{"weight_map": {}}', '{"weight_map": 3}', "[" * 100_000]
)
def test_broken_index(tmp_path, content):
    (tmp_path / INDEX).write_text(content)
    with pytest.raises(WeightError):
        SafetensorsSource(tmp_path)


def test_link_out_of_the_folder(tmp_path):
    outside, folder = tmp_path / "outside.safetensors", tmp_path / "model"
    folder.mkdir()
    save_file({"x": torch.ones(1)}, outside)
    os.symlink(outside, folder / "model.safetensors")
    with pytest.raises(WeightError, match="outside of the model's folder"):
        SafetensorsSource(folder)


def test_links_of_the_cache_are_followed(tmp_path):
    blobs, snapshot = tmp_path / "blobs", tmp_path / "snapshots" / "abc"
    blobs.mkdir()
    snapshot.mkdir(parents=True)
    save_file({"x": torch.ones(1)}, blobs / "0123")
    os.symlink("../../blobs/0123", snapshot / "model.safetensors")
    assert SafetensorsSource(snapshot).has("x")


def header(declared: object, length: int | None = None, data: bytes = b"") -> bytes:
    text = declared if isinstance(declared, bytes) else json.dumps(declared).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x00" * 7,
        header({}, length=1 << 60),
        header(b"\xff\xfe not json"),
        header({"x": {"dtype": "F32", "shape": [4], "data_offsets": [0, 1 << 40]}}),
        header({"x": {"dtype": "F32", "shape": [4], "data_offsets": [0, 16]}}, data=b"\x00" * 8),
        header({"x": {"dtype": "F32", "shape": [1 << 62, 4], "data_offsets": [0, 16]}}, data=b"\x00" * 16),
    ],
)
def test_hostile_safetensors(tmp_path, content):
    (tmp_path / "model.safetensors").write_bytes(content)
    with pytest.raises(WeightError, match="is not a safetensors file"):
        SafetensorsSource(tmp_path)


def test_a_weight_in_two_files(tmp_path):
    for name in ("a", "b"):
        save_file({"x": torch.ones(1)}, tmp_path / f"{name}.safetensors")
    with pytest.raises(WeightError, match=r"in both a\.safetensors and b\.safetensors"):
        SafetensorsSource(tmp_path)


def test_pickled_weights_are_refused(tmp_path):
    (tmp_path / "pytorch_model.bin").write_bytes(b"\x80\x04.")
    with pytest.raises(WeightError, match="pickled weights"):
        SafetensorsSource(tmp_path)


@pytest.mark.parametrize("content", ["", "[1]", "{", "[" * 100_000, '"text"'])
def test_broken_config(tmp_path, content):
    (tmp_path / "config.json").write_text(content)
    with pytest.raises(WeightError):
        open_model(tmp_path, "auto", CPU)


def test_dummy_weights_depend_on_names_alone():
    whole = DummySource(CPU).read(Part("model.x.weight", (6, 4)))
    again = DummySource(CPU).read(Part("model.x.weight", (6, 4), 0, 2, 3))
    assert torch.equal(whole[2:5], again)
    assert not torch.equal(whole, DummySource(CPU).read(Part("model.y.weight", (6, 4))))
    assert torch.equal(DummySource(CPU).read(Part("model.norm.weight", (4,))), torch.ones(4))


def write_gguf(path, kind=gguf.GGMLQuantizationType.F32, architecture="llama"):
    """A file with one layer's query weight: 4 heads of 8 over a width of 256."""
    writer = gguf.GGUFWriter(path, architecture)
    writer.add_block_count(1)
    writer.add_context_length(128)
    writer.add_embedding_length(256)
    writer.add_feed_forward_length(64)
    writer.add_head_count(4)
    writer.add_head_count_kv(2)
    writer.add_key_length(8)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_freq_base(5e5)
    writer.add_array("tokenizer.ggml.tokens", ["a", "b", "c"])
    values = np.random.default_rng(0).standard_normal((32, 256)).astype(np.float32)
    stored = values.reshape(4, 2, 4, 256).swapaxes(1, 2).reshape(32, 256)  # as llama files have it
    packed = gguf.quants.quantize(stored if architecture == "llama" else values, kind)
    writer.add_tensor("blk.0.attn_q.weight", packed, raw_dtype=kind)
    writer.add_tensor("token_embd.weight", values[:3])
    writer.add_tensor("output_norm.weight", np.ones(256, np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return values


@pytest.mark.parametrize("architecture", ["llama", "qwen2"])
@pytest.mark.parametrize(
    ("kind", "error"),
    [
        ("F32", 0.0),
        ("F16", 2e-3),
        ("BF16", 2e-2),
        ("Q8_0", 0.03),
        ("Q4_0", 0.6),
        ("Q4_1", 0.4),
        ("Q5_0", 0.3),
        ("Q5_1", 0.2),
    ],
)
def test_gguf_values_come_back_in_the_order_of_heads(tmp_path, kind, error, architecture):
    path = tmp_path / "model.gguf"
    values = write_gguf(path, gguf.GGMLQuantizationType[kind], architecture)
    source = GgufSource(GgufFile(path))
    name, shape = "model.layers.0.self_attn.q_proj.weight", (32, 256)
    assert source.shape(name) == shape
    whole = source.read(Part(name, shape))
    assert float((whole - torch.from_numpy(values)).abs().max()) <= error
    assert torch.equal(source.read(Part(name, shape, 0, 8, 16)), whole[8:24])
    assert torch.equal(source.read(Part(name, shape, 1, 3, 40)), whole[:, 3:43])


@pytest.mark.parametrize("kind", ["Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K", "IQ4_NL", "IQ4_XS"])
def test_gguf_block_types_are_read_as_the_package_reads_them(tmp_path, kind):
    """These have no quantizer in Python: random bytes, decoded from slices of rows."""
    known = gguf.GGMLQuantizationType[kind]
    block, size = gguf.GGML_QUANT_SIZES[known]
    rows = np.random.default_rng(1).integers(0, 60, (6, 512 // block * size), dtype=np.uint8)
    writer = gguf.GGUFWriter(tmp_path / "model.gguf", "qwen3")
    writer.add_head_count(4)
    writer.add_tensor("blk.0.ffn_up.weight", rows, raw_dtype=known)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    source = GgufSource(GgufFile(tmp_path / "model.gguf"))
    part = Part("model.layers.0.mlp.up_proj.weight", (6, 512), 0, 2, 3)
    expected = gguf.quants.dequantize(rows, known)[2:5]
    np.testing.assert_array_equal(source.read(part).numpy(), expected)


def test_gguf_metadata_becomes_a_config(tmp_path):
    write_gguf(tmp_path / "model.gguf")
    config = gguf_config(GgufFile(tmp_path / "model.gguf"))
    assert config["model_type"] == "llama"
    assert (config["vocab_size"], config["hidden_size"], config["head_dim"]) == (3, 256, 8)
    assert config["tie_word_embeddings"] is True
    assert config["rope_parameters"] == {"rope_theta": 5e5, "rope_type": "default"}


def test_gguf_names():
    assert gguf_name("model.layers.12.mlp.down_proj.weight") == "blk.12.ffn_down.weight"
    assert gguf_name("model.layers.0.self_attn.k_proj.bias") == "blk.0.attn_k.bias"
    assert gguf_name("lm_head.weight") == "output.weight"
    assert gguf_name("model.layers.0.mlp.router.weight") is None


def gguf_head(version=3, tensors=0, values=0) -> bytes:
    return b"GGUF" + struct.pack("<IQQ", version, tensors, values)


def gguf_text(text: str) -> bytes:
    return struct.pack("<Q", len(text)) + text.encode()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"GGUF",
        b"GGML" + b"\x00" * 40,
        gguf_head(version=9),
        gguf_head(values=1 << 60),
        gguf_head(values=1) + struct.pack("<Q", 1 << 60),
        gguf_head(values=1) + gguf_text("k") + struct.pack("<I", 77),
        gguf_head(values=1) + gguf_text("k") + struct.pack("<IIQ", 9, 8, 1 << 50),
        gguf_head(values=1) + gguf_text("k") + struct.pack("<I", 9) + struct.pack("<IQ", 9, 1) * 50,
        gguf_head(tensors=1) + gguf_text("t") + struct.pack("<I", 99),
        gguf_head(tensors=1) + gguf_text("t") + struct.pack("<IQIQ", 1, 1 << 40, 0, 0) + b"\x00" * 64,
        gguf_head(tensors=1) + gguf_text("t") + struct.pack("<IQIQ", 1, 31, 2, 0) + b"\x00" * 64,
        gguf_head(tensors=1) + gguf_text("t") + struct.pack("<IQIQ", 1, 4, 500, 0) + b"\x00" * 64,
    ],
)
def test_hostile_gguf(tmp_path, content):
    (tmp_path / "model.gguf").write_bytes(content)
    with pytest.raises(WeightError, match=r"model\.gguf"):
        GgufFile(tmp_path / "model.gguf")


def test_unknown_gguf_architecture(tmp_path):
    write_gguf(tmp_path / "model.gguf", architecture="mamba")
    with pytest.raises(WeightError, match="'mamba'; supported in GGUF: llama, qwen2, qwen3"):
        GgufSource(GgufFile(tmp_path / "model.gguf"))
