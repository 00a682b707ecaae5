"""What one start finds out for the next ones, on disk: a JSON file for each set of facts it depends on.

The cache is never needed: what cannot be read is found out again, what cannot be written is not kept.
Compiled kernels lie beside it and are code that runs on the card, so the folder must be the user's own.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import stat
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

MAX_RECORD_BYTES = 16 << 20
log = logging.getLogger("shardline.start")


@dataclass(frozen=True, slots=True)
class StartCache:
    """`folder`: none: nothing is kept."""

    folder: Path | None

    @classmethod
    def at(cls, candidates: Sequence[Path]) -> StartCache:
        """The first folder that is, or can be made, this user's own and writable."""
        for folder in candidates:
            if _is_own(folder):
                return cls(folder)
        log.warning("none of %s can be written: every start compiles all kernels", _names(candidates))
        return cls(None)

    def load(self, kind: str, facts: Mapping[str, object]) -> object | None:
        """What was stored under exactly these facts."""
        if self.folder is None:
            return None
        path = self._path(self.folder, kind, facts)
        try:
            if path.stat().st_size > MAX_RECORD_BYTES:
                return None
            record = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError):
            return None
        if not isinstance(record, dict) or record.get("facts") != _plain(facts):
            return None
        content: object = record.get("content")
        return content

    def store(self, kind: str, facts: Mapping[str, object], content: object) -> None:
        """Replaces what was stored under these facts; a reader sees the old or the new file whole."""
        if self.folder is None:
            return
        path = self._path(self.folder, kind, facts)
        text = json.dumps({"facts": facts, "content": content})
        part = path.with_suffix(f".{os.getpid()}.part")
        try:
            part.write_text(text, encoding="utf-8")
            part.replace(path)
        except OSError as error:
            log.warning("%s cannot be written: %s", path, error.strerror)
            with suppress(OSError):
                part.unlink()

    @staticmethod
    def _path(folder: Path, kind: str, facts: Mapping[str, object]) -> Path:
        digest = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()
        return folder / f"{kind}-{digest[:24]}.json"


def cache_candidates(given: Path | None, user_id: int) -> list[Path]:
    """Where the cache may lie: the user's cache folder, else a folder for temporary files."""
    temporary = Path(tempfile.gettempdir()) / f"shardline-{user_id}"
    return [temporary] if given is None else [given, temporary]


def _plain(facts: Mapping[str, object]) -> object:
    """The facts as they come back from JSON."""
    return json.loads(json.dumps(facts))


def _names(folders: Sequence[Path]) -> str:
    return ", ".join(map(str, folders))


def _is_own(folder: Path) -> bool:
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = folder.stat(follow_symlinks=False)
        private = stat.S_ISDIR(found.st_mode) and not found.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
        if not private or found.st_uid != os.getuid():
            return False
        with tempfile.TemporaryFile(dir=folder):
            return True
    except OSError:
        return False
