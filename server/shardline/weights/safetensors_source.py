"""Safetensors: one file, or shards listed in `model.safetensors.index.json`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from torch import Tensor

from shardline.weights.source import Part, WeightError, WeightSource

INDEX = "model.safetensors.index.json"


class SafetensorsSource(WeightSource):
    """Reads only the bytes of the parts asked for; files are mapped, not loaded."""

    def __init__(self, folder: Path) -> None:
        self._file_of: dict[str, Path] = {}
        self._open: dict[Path, Any] = {}
        for path in weight_files(folder):
            self._add(path)

    def _add(self, path: Path) -> None:
        try:
            file = safe_open(path, framework="pt")
        except (SafetensorError, OSError) as error:
            raise WeightError(f"{path} is not a safetensors file: {error}") from error
        self._open[path] = file
        names: list[str] = file.keys()
        for name in names:
            if name in self._file_of:
                raise WeightError(f"weight {name} is in both {self._file_of[name].name} and {path.name}")
            self._file_of[name] = path

    def _slice(self, name: str) -> Any:
        path = self._file_of.get(name)
        if path is None:
            raise WeightError(f"weight {name} is in none of the model's files")
        return self._open[path].get_slice(name)

    def has(self, name: str) -> bool:
        return name in self._file_of

    def shape(self, name: str) -> tuple[int, ...] | None:
        return tuple(self._slice(name).get_shape())

    def read(self, part: Part) -> Tensor:
        held = self._slice(part.name)
        if part.length < 0:
            # A slice of everything is refused for a single number.
            return self._open[self._file_of[part.name]].get_tensor(part.name)
        picked = slice(part.start, part.start + part.length)
        return held[(slice(None),) * part.dim + (picked,)]


def weight_files(folder: Path) -> list[Path]:
    """The safetensors files of a model folder: those of its index, or all there are.

    Names of an index stay inside the folder. A symbolic link is followed only if its target is
    inside the model's cache folder, as the Hub's cache links snapshots to blobs.
    """
    index = folder / INDEX
    if index.is_file():
        names = _indexed_files(index)
    else:
        names = sorted(path.name for path in folder.glob("*.safetensors"))
    if not names:
        raise WeightError(_nothing_found(folder))
    return [_inside(folder, name) for name in names]


def _indexed_files(index: Path) -> list[str]:
    try:
        content = json.loads(index.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise WeightError(f"{index} is not JSON: {error}") from error
    mapping = content.get("weight_map") if isinstance(content, dict) else None
    if not isinstance(mapping, dict) or not mapping:
        raise WeightError(f"{index}: weight_map is missing or empty")
    names = set(mapping.values())
    for name in names:
        if not isinstance(name, str) or Path(name).name != name or not name.endswith(".safetensors"):
            raise WeightError(f"{index}: {name!r} is not the name of a safetensors file in its folder")
    return sorted(names)


def _inside(folder: Path, name: str) -> Path:
    path = folder / name
    if not path.exists():
        raise WeightError(f"{path} is missing; download the model again")
    target = path.resolve()
    home = folder.resolve()
    allowed = [home]
    if home.parent.name == "snapshots":
        allowed.append(home.parent.parent / "blobs")
    if not any(target.is_relative_to(place) for place in allowed):
        raise WeightError(f"{path} links to {target}, outside of the model's folder")
    return path


def _nothing_found(folder: Path) -> str:
    pickled = [path.name for pattern in ("*.bin", "*.pt", "*.pth") for path in folder.glob(pattern)]
    if pickled:
        return (
            f"{folder} holds only pickled weights ({sorted(pickled)[0]}), which could run code when loaded; "
            "convert them to safetensors"
        )
    return f"{folder} holds no safetensors files"
