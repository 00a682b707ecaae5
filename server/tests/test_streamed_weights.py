"""Weights read in parallel: the same values as the mapped files give, and broken files as errors.

A host-memory device stands in for a card; buffers are made small so that tensors need many pieces.
"""

import errno
import json
import os
import struct
from dataclasses import replace

import pytest
import torch
from safetensors.torch import save_file

from shardline.weights import transfer
from shardline.weights.open import open_model
from shardline.weights.safetensors_header import read_header, stored_types
from shardline.weights.safetensors_source import SafetensorsSource
from shardline.weights.source import Part, WeightError, WeightReader
from shardline.weights.streamed_source import StreamedSafetensors

CPU = torch.device("cpu")


@pytest.fixture(params=[(256, 16), (1024, 128), (1 << 20, 1 << 16)], ids=["tiny", "small", "large"])
def buffers(request, monkeypatch):
    monkeypatch.setattr(transfer, "BUFFER_BYTES", request.param[0])
    monkeypatch.setattr(transfer, "NARROW_BYTES", request.param[1])


def random_tensor(generator, shape, dtype):
    values = torch.randint(-100, 100, shape, generator=generator)
    return values.to(dtype) if dtype != torch.bool else values > 0


def random_model(folder, seed):
    generator = torch.Generator().manual_seed(seed)
    types = [torch.float32, torch.bfloat16, torch.float16, torch.float8_e4m3fn, torch.int8]
    shapes = [(), (1,), (7,), (513,), (0, 4), (5, 3), (64, 9), (3, 5, 7), (2, 700), (33, 40), (300, 2)]
    tensors = {
        f"t{index}": random_tensor(generator, shape, types[(index + seed) % len(types)])
        for index, shape in enumerate(shapes)
    }
    half = {name: value for name, value in tensors.items() if int(name[1:]) % 2}
    rest = {name: value for name, value in tensors.items() if name not in half}
    save_file(half, folder / "a.safetensors")
    save_file(rest, folder / "b.safetensors")
    return tensors, generator


def random_part(name, shape, generator):
    if not shape:
        return Part(name, shape)
    dim = int(torch.randint(len(shape), (1,), generator=generator))
    start = int(torch.randint(shape[dim] + 1, (1,), generator=generator))
    length = int(torch.randint(shape[dim] - start + 1, (1,), generator=generator))
    left_over = int(torch.randint(-2, 4, (1,), generator=generator))
    return Part(name, shape, dim, start, length, length + left_over if left_over > 0 else -1)


def padded(source, part):
    """What a source has of a part, with zeros in the room left over."""
    values = source.read(replace(part, room=-1)).float()
    if not part.left_over:
        return values
    whole = torch.zeros(part.part_shape)
    whole.narrow(part.dim, 0, part.length).copy_(values)
    return whole


@pytest.mark.parametrize("seed", range(6))
def test_parts_are_those_of_the_mapped_files(tmp_path, buffers, seed):
    tensors, generator = random_model(tmp_path, seed)
    mapped, streamed = SafetensorsSource(tmp_path), StreamedSafetensors(tmp_path, CPU, 3)
    parts = [Part(name, tuple(value.shape)) for name, value in tensors.items()]
    parts += [
        random_part(name, tuple(value.shape), generator) for name, value in tensors.items() for _ in range(6)
    ]
    reader = WeightReader(streamed, torch.float32, CPU)
    read = [reader.read(part) for part in parts]
    reader.finish()
    for part, values in zip(parts, read, strict=True):
        assert streamed.shape(part.name) == mapped.shape(part.name)
        assert values.shape == part.part_shape and values.is_contiguous()
        assert torch.equal(values, padded(mapped, part)), part


def test_stacked_parts_lie_one_below_the_other(tmp_path, buffers):
    save_file({name: torch.randn(6, 50) for name in "abc"}, tmp_path / "x.safetensors")
    parts = (
        Part("a", (6, 50), 0, 2, 3),
        Part("b", (6, 50)),
        Part("c", (6, 50), 0, 5, 1, 3),
    )
    streamed = WeightReader(StreamedSafetensors(tmp_path, CPU, 2), torch.bfloat16, CPU)
    mapped = WeightReader(SafetensorsSource(tmp_path), torch.bfloat16, CPU)
    stacked = streamed.stack(parts)
    streamed.finish()
    assert torch.equal(stacked, mapped.stack(parts))
    assert not stacked[10:].any()
    assert streamed.read_bytes == mapped.read_bytes == 12 * 50 * 2


def test_a_source_reads_again_after_it_finished(tmp_path):
    save_file({"x": torch.arange(8.0)}, tmp_path / "x.safetensors")
    source = StreamedSafetensors(tmp_path, CPU, 2)
    for _ in range(2):
        assert torch.equal(source.read(Part("x", (8,), 0, 3, 4)), torch.arange(3.0, 7.0))


def test_only_the_asked_bytes_of_wide_rows_are_read(tmp_path, monkeypatch):
    """Columns of a row-parallel product: a rank does not read the others' columns."""
    monkeypatch.setattr(transfer, "NARROW_BYTES", 64)
    save_file({"x": torch.randn(8, 100)}, tmp_path / "x.safetensors")
    counts = []
    read = os.preadv

    def counted(descriptor, targets, offset):
        counts.append(sum(map(len, targets)))
        return read(descriptor, targets, offset)

    monkeypatch.setattr(os, "preadv", counted)
    StreamedSafetensors(tmp_path, CPU, 2).read(Part("x", (8, 100), 1, 25, 25))
    assert counts == [100] * 8


def test_shape_and_name_are_checked(tmp_path):
    save_file({"x": torch.ones(3, 4)}, tmp_path / "x.safetensors")
    reader = WeightReader(StreamedSafetensors(tmp_path, CPU, 2), torch.float32, CPU)
    with pytest.raises(WeightError, match=r"x has shape \[3, 4\]; config.json promises \[4, 3\]"):
        reader.read(Part("x", (4, 3)))
    with pytest.raises(WeightError, match="y is in none"):
        reader.read(Part("y", (1,)))


def test_a_weight_in_two_files(tmp_path):
    for name in ("a", "b"):
        save_file({"x": torch.ones(1)}, tmp_path / f"{name}.safetensors")
    with pytest.raises(WeightError, match=r"in both a\.safetensors and b\.safetensors"):
        StreamedSafetensors(tmp_path, CPU, 2)


def test_a_file_that_shrinks_while_it_is_read(tmp_path):
    path = tmp_path / "x.safetensors"
    save_file({"x": torch.ones(1000)}, path)
    source = StreamedSafetensors(tmp_path, CPU, 2)
    os.truncate(path, path.stat().st_size - 100)
    with pytest.raises(WeightError, match="is cut off: it ends at byte"):
        source.read(Part("x", (1000,)))


def test_a_disk_that_fails(tmp_path, monkeypatch):
    save_file({"x": torch.ones(10)}, tmp_path / "x.safetensors")

    def fails(descriptor, targets, offset):
        raise OSError(errno.EIO, "Input/output error")

    source = StreamedSafetensors(tmp_path, CPU, 2)
    monkeypatch.setattr(os, "preadv", fails)
    with pytest.raises(WeightError, match=r"cannot be read at byte \d+: Input/output error"):
        source.read(Part("x", (10,)))


def test_short_reads_go_on(tmp_path, monkeypatch):
    """A file system may give less than was asked."""
    values = torch.randn(999)
    save_file({"x": values}, tmp_path / "x.safetensors")
    read = os.preadv
    monkeypatch.setattr(os, "preadv", lambda fd, targets, at: read(fd, [targets[0][:7]], at))
    assert torch.equal(StreamedSafetensors(tmp_path, CPU, 2).read(Part("x", (999,))), values)


def header(declared, length=None, data=b""):
    text = declared if isinstance(declared, bytes) else json.dumps(declared).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


def entry(**changes):
    return {"dtype": "F32", "shape": [4], "data_offsets": [0, 16], **changes}


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x00" * 7,
        b"\x00" * 8,
        header({}, length=1 << 60),
        header(b"\xff\xfe not json"),
        header(b"[" * 100_000),
        header([1]),
        header({"x": 3}),
        header({"x": entry(data_offsets=[0, 1 << 40])}),
        header({"x": entry()}, data=bytes(8)),
        header({"x": entry()}, data=bytes(24)),
        header({"x": entry(shape=[1 << 62, 4])}, data=bytes(16)),
        header({"x": entry(shape=[-4])}, data=bytes(16)),
        header({"x": entry(shape=[True, 4])}, data=bytes(16)),
        header({"x": entry(shape=4)}, data=bytes(16)),
        header({"x": entry(dtype="F31")}, data=bytes(16)),
        header({"x": entry(data_offsets=[16, 0])}, data=bytes(16)),
        header({"x": entry(data_offsets=[0, 8, 16])}, data=bytes(16)),
        header({"x": entry(), "y": entry()}, data=bytes(16)),
        header({"x": entry(), "y": entry(data_offsets=[20, 36])}, data=bytes(36)),
    ],
)
def test_hostile_files(tmp_path, content):
    (tmp_path / "model.safetensors").write_bytes(content)
    with pytest.raises(WeightError, match="is not a safetensors file"):
        StreamedSafetensors(tmp_path, CPU, 2)


@pytest.mark.parametrize("dtype", stored_types().values(), ids=str)
def test_headers_as_the_library_writes_them(tmp_path, dtype):
    path = tmp_path / "x.safetensors"
    save_file({"x": torch.zeros(3, 5).to(dtype), "y": torch.zeros(0)}, path, metadata={"format": "pt"})
    tensors = read_header(path)
    assert tensors["x"].dtype == dtype and tensors["x"].shape == (3, 5)
    assert tensors["x"].bytes == 15 * dtype.itemsize and tensors["y"].bytes == 0


def test_the_device_decides_how_a_folder_is_read(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    save_file({"x": torch.ones(1)}, tmp_path / "x.safetensors")
    assert isinstance(open_model(tmp_path, "auto", CPU).source, SafetensorsSource)
    assert isinstance(open_model(tmp_path, "auto", torch.device("cuda"), 4).source, StreamedSafetensors)
