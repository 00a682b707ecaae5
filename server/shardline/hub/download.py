"""From a repository's name to the path of its files."""

from __future__ import annotations

import glob
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from huggingface_hub import HfApi, hf_hub_download, snapshot_download
from huggingface_hub.constants import HF_HUB_ETAG_TIMEOUT
from huggingface_hub.errors import HFValidationError
from huggingface_hub.utils import disable_progress_bars, validate_repo_id

from shardline.hub.cache import RepositoryCache, cached_model, indexed_files
from shardline.hub.errors import explain
from shardline.hub.failure import DownloadError
from shardline.hub.progress import Progress, measure, watched
from shardline.hub.select import INDEX, RemoteFile, Selection, select
from shardline.hub.settings import HubSettings


@dataclass(frozen=True, slots=True)
class Listener:
    """Who is told what happens; `free_bytes` says how much room a folder has."""

    progress: Callable[[Progress], None]
    warning: Callable[[str], None]
    free_bytes: Callable[[Path], int] = lambda folder: shutil.disk_usage(folder).free


def download(repo_id: str, settings: HubSettings, listener: Listener) -> Path:
    """The model's folder, or its one .gguf file, downloaded where it is not here yet.

    When the Hub does not give it but a whole copy is in the cache, that is taken with a warning: a
    server that has run once runs again without network and without token.
    """
    try:
        validate_repo_id(repo_id)
    except HFValidationError as error:
        raise explain(error, repo_id, settings) from error
    if settings.offline:
        return _from_cache(repo_id, settings)
    try:
        return _from_hub(repo_id, settings, listener)
    except DownloadError as error:
        cached = cached_model(repo_id, settings).path
        if cached is None:
            raise
        listener.warning(f"using the copy in {settings.cache_dir}, because {error}")
        return cached


def _from_cache(repo_id: str, settings: HubSettings) -> Path:
    cached = cached_model(repo_id, settings)
    if cached.path is not None:
        return cached.path
    revision = "" if settings.revision == "main" else f" at revision {settings.revision!r}"
    where = f"{repo_id}{revision} is not in {settings.cache_dir}"
    if cached.missing is not None:
        where = f"the copy of {repo_id}{revision} in {settings.cache_dir} lacks {cached.missing}"
    raise DownloadError(f"HF_HUB_OFFLINE is set and {where}: unset it once to download what is missing")


def _from_hub(repo_id: str, settings: HubSettings, listener: Listener) -> Path:
    disable_progress_bars()
    cache = RepositoryCache.of(repo_id, settings)
    try:
        commit, files = _list(repo_id, settings)
        selection = select(repo_id, files, _indexed(repo_id, files, settings))
        snapshot = cache.folder / "snapshots" / commit
        _check_room(repo_id, selection, snapshot, settings, listener)
        with watched(lambda: measure(selection, snapshot, cache.blobs), listener.progress):
            folder = snapshot_download(
                repo_id,
                # The name and not the commit: so the cache knows it by this name when the Hub is away.
                revision=settings.revision,
                cache_dir=settings.cache_dir,
                endpoint=settings.endpoint,
                token=settings.token_argument,
                allow_patterns=[glob.escape(file.name) for file in selection.files],
            )
    except DownloadError:
        raise
    # Whatever else the library and its transports raise becomes one sentence.
    except Exception as error:
        raise explain(error, repo_id, settings) from error
    return Path(folder, selection.packed) if selection.packed else Path(folder)


def _list(repo_id: str, settings: HubSettings) -> tuple[str, list[RemoteFile]]:
    """The commit that the revision stands for, and its files."""
    api = HfApi(endpoint=settings.endpoint, token=settings.token_argument)
    info = api.model_info(
        repo_id, revision=settings.revision, files_metadata=True, timeout=HF_HUB_ETAG_TIMEOUT
    )
    files = [RemoteFile(file.rfilename, file.size or 0) for file in info.siblings or []]
    return info.sha or settings.revision, files


def _indexed(repo_id: str, files: list[RemoteFile], settings: HubSettings) -> frozenset[str] | None:
    if all(file.name != INDEX for file in files):
        return None
    path = hf_hub_download(
        repo_id,
        INDEX,
        revision=settings.revision,
        cache_dir=settings.cache_dir,
        endpoint=settings.endpoint,
        token=settings.token_argument,
    )
    names = indexed_files(Path(path))
    if not names:
        raise DownloadError(f"{repo_id} is broken: its {INDEX} names no files")
    return names


def _check_room(
    repo_id: str, selection: Selection, snapshot: Path, settings: HubSettings, listener: Listener
) -> None:
    needed = sum(file.size_bytes for file in selection.files if not (snapshot / file.name).is_file())
    settings.cache_dir.mkdir(parents=True, exist_ok=True)
    free = listener.free_bytes(settings.cache_dir)
    if needed > free:
        raise DownloadError(
            f"{repo_id} needs {_human(needed)} more and the disk of {settings.cache_dir} has "
            f"{_human(free)} left: make room, or set --huggingface-hub-cache"
        )


def _human(count: int) -> str:
    return f"{count / 1e9:.2f} GB" if count >= 1e8 else f"{count / 1e6:.2f} MB"
