"""Which files of a repository a shard and a router need: pure, from names and sizes to names."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from shardline.hub.failure import DownloadError

INDEX = "model.safetensors.index.json"
SINGLE = "model.safetensors"
PICKLED = (".bin", ".pt", ".pth", ".ckpt", ".pkl")
TEXT = (".json", ".jinja", ".txt", ".model", ".tiktoken")
# Folders of named chat templates; all else that the server needs lies at the top.
TEMPLATE_FOLDERS = ("additional_chat_templates",)
# Of other formats' weights, notes for people and adapters.
UNNEEDED = ("pytorch_model.bin.index.json", "README", "LICENSE", "NOTICE", "USE_POLICY", "requirements")


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """A file of a repository; `size_bytes` is 0 where the Hub does not tell it."""

    name: str
    size_bytes: int


@dataclass(frozen=True, slots=True)
class Selection:
    """`files`: what is fetched. `packed`: the one .gguf file that is the model, if it is one."""

    files: tuple[RemoteFile, ...]
    packed: str | None = None

    @property
    def total_bytes(self) -> int:
        return sum(file.size_bytes for file in self.files)


def select(repo_id: str, files: Sequence[RemoteFile], indexed: frozenset[str] | None) -> Selection:
    """Safetensors with configuration and tokenizer, or the one .gguf file.

    `indexed`: the names in `model.safetensors.index.json`, None when the repository has none.
    """
    names = {file.name for file in files}
    weights = _weights(repo_id, names, indexed)
    if weights:
        chosen = weights | {name for name in names if _is_text(name)}
        return Selection(tuple(file for file in files if file.name in chosen))
    packed = _packed(repo_id, names)
    return Selection(tuple(file for file in files if file.name == packed), packed)


def _weights(repo_id: str, names: set[str], indexed: frozenset[str] | None) -> set[str]:
    if indexed is not None:
        missing = sorted(indexed - names)
        if missing:
            raise DownloadError(f"{repo_id} is incomplete: its index names {missing[0]}, which is not there")
        return set(indexed)
    if SINGLE in names:
        return {SINGLE}
    # Mistral's repositories hold the same weights twice, `consolidated` in a layout of their own.
    others = {"consolidated", "adapter_model"}
    top = {name for name in names if name.endswith(".safetensors") and "/" not in name}
    return {name for name in top if PurePosixPath(name).name.split(".")[0].split("-")[0] not in others}


def _packed(repo_id: str, names: set[str]) -> str:
    packed = sorted(name for name in names if name.lower().endswith(".gguf") and "mmproj" not in name.lower())
    if len(packed) == 1:
        return packed[0]
    if packed:
        raise DownloadError(
            f"{repo_id} holds {len(packed)} .gguf files ({packed[0]}, …): "
            "download the one you want and pass its path"
        )
    pickled = sorted(name for name in names if name.endswith(PICKLED))
    if pickled:
        raise DownloadError(
            f"{repo_id} holds pickled weights alone ({pickled[0]}), which can run code when they are read: "
            "use a repository or revision with safetensors, or convert it"
        )
    raise DownloadError(f"{repo_id} holds no weights: neither safetensors nor a .gguf file")


def _is_text(name: str) -> bool:
    path = PurePosixPath(name)
    top = len(path.parts) == 1 or path.parts[0] in TEMPLATE_FOLDERS
    return top and path.suffix in TEXT and not path.name.startswith(UNNEEDED)
