"""What of a repository is on this machine already."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from huggingface_hub.constants import REPO_TYPE_MODEL
from huggingface_hub.file_download import REGEX_COMMIT_HASH, repo_folder_name

from shardline.hub.select import INDEX
from shardline.hub.settings import HubSettings

TOKENIZERS = ("tokenizer.json", "tokenizer.model", "vocab.json", "tekken.json")


@dataclass(frozen=True, slots=True)
class RepositoryCache:
    """The folder of one repository in the cache: `snapshots/COMMIT/…` are links into `blobs`."""

    folder: Path

    @classmethod
    def of(cls, repo_id: str, settings: HubSettings) -> RepositoryCache:
        return cls(settings.cache_dir / repo_folder_name(repo_id=repo_id, repo_type=REPO_TYPE_MODEL))

    @property
    def blobs(self) -> Path:
        return self.folder / "blobs"

    def snapshot(self, revision: str) -> Path | None:
        """The folder of a revision, whole or not."""
        commit = revision
        if not REGEX_COMMIT_HASH.fullmatch(revision):
            try:
                commit = (self.folder / "refs" / revision).read_text().strip()
            except OSError:
                return None
        folder = self.folder / "snapshots" / commit
        return folder if folder.is_dir() else None


@dataclass(frozen=True, slots=True)
class Cached:
    """`path`: the model, None when something is missing: `missing` names it."""

    path: Path | None
    missing: str | None = None


def cached_model(repo_id: str, settings: HubSettings) -> Cached:
    """The model in the cache, judged by what a server needs of it."""
    snapshot = RepositoryCache.of(repo_id, settings).snapshot(settings.revision)
    if snapshot is None:
        return Cached(None)
    packed = [path for path in snapshot.glob("*.gguf") if "mmproj" not in path.name.lower()]
    if len(packed) == 1 and not any(snapshot.glob("*.safetensors")):
        return Cached(packed[0])
    missing = _missing(snapshot)
    return Cached(None, missing) if missing else Cached(snapshot)


def _missing(snapshot: Path) -> str | None:
    if not (snapshot / "config.json").is_file():
        return "config.json"
    if not any((snapshot / name).is_file() for name in TOKENIZERS):
        return "the tokenizer"
    if (snapshot / INDEX).is_file():
        names = indexed_files(snapshot / INDEX)
        return next((name for name in sorted(names) if not (snapshot / name).is_file()), None)
    return None if any(path.is_file() for path in snapshot.glob("*.safetensors")) else "the weights"


def indexed_files(index: Path) -> frozenset[str]:
    """The names of the weight files in `model.safetensors.index.json`; none when it cannot be read."""
    try:
        names = json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()
        return frozenset(name for name in names if isinstance(name, str))
    except (OSError, ValueError, KeyError, AttributeError, TypeError):
        return frozenset()
