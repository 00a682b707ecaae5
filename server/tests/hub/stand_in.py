"""A Hub on loopback: what `huggingface_hub` calls to fetch a model, and what it answers when it may not."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit

KNOWN_TOKEN = "hf_known"
RIGHT_TOKEN = "hf_right"


def commit_of(revision: str) -> str:
    return hashlib.sha1(revision.encode()).hexdigest()


@dataclass
class Repository:
    """`files` by name. `gated`: only RIGHT_TOKEN reads them. `cut`: the first answer with this file
    breaks off after so many bytes."""

    files: Mapping[str, bytes]
    revisions: tuple[str, ...] = ("main",)
    gated: bool = False
    cut: dict[str, int] = field(default_factory=dict)


@dataclass
class StandIn:
    """`requests`: what was asked, as (method, path, range)."""

    url: str
    repositories: dict[str, Repository]
    requests: list[tuple[str, str, str]] = field(default_factory=list)

    def fetched(self) -> list[str]:
        """The files whose bytes were asked for, in order."""
        return [
            path.split("/", 5)[5]
            for method, path, _ in self.requests
            if method == "GET" and "/resolve/" in path
        ]


@dataclass(frozen=True)
class Answer:
    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    cut: int | None = None

    @classmethod
    def refusal(cls, status: int, code: str = "", message: str = "") -> Answer:
        return cls(
            status,
            {"X-Error-Code": code, "X-Error-Message": message},
            json.dumps({"error": message}).encode(),
        )

    @classmethod
    def of(cls, content: object) -> Answer:
        return cls(200, {"Content-Type": "application/json"}, json.dumps(content).encode())


def answer(hub: StandIn, path: str, token: str | None, asked_range: str) -> Answer:
    """The Hub as a function."""
    if token not in (None, KNOWN_TOKEN, RIGHT_TOKEN):
        return Answer.refusal(401, message="Invalid credentials in Authorization header")
    parts = [unquote(part) for part in path.strip("/").split("/")]
    is_api = parts[:2] == ["api", "models"]
    parts = parts[2:] if is_api else parts
    name, rest = "/".join(parts[:2]), parts[2:]
    repository = hub.repositories.get(name)
    if repository is None:
        return Answer.refusal(401 if token is None else 404, "RepoNotFound", "Repository not found")
    revision = rest[1] if len(rest) > 1 else "main"
    known = {commit_of(known): known for known in repository.revisions}
    if revision not in repository.revisions and revision not in known:
        return Answer.refusal(404, "RevisionNotFound", f"Invalid rev id: {revision}")
    commit = revision if revision in known else commit_of(revision)
    if is_api:
        return _listing(name, repository, commit, tree=rest[:1] == ["tree"])
    if repository.gated and token != RIGHT_TOKEN:
        return Answer.refusal(
            401 if token is None else 403, "GatedRepo", f"Access to model {name} is restricted"
        )
    return _file(repository, "/".join(rest[2:]), commit, asked_range)


def _listing(name: str, repository: Repository, commit: str, tree: bool) -> Answer:
    sizes = {file: len(content) for file, content in repository.files.items()}
    oids = {file: hashlib.sha1(content).hexdigest() for file, content in repository.files.items()}
    if tree:
        return Answer.of([{"type": "file", "path": f, "size": sizes[f], "oid": oids[f]} for f in sizes])
    siblings = [{"rfilename": f, "size": sizes[f], "blobId": oids[f]} for f in sizes]
    return Answer.of({"id": name, "modelId": name, "sha": commit, "siblings": siblings, "tags": []})


def _file(repository: Repository, file: str, commit: str, asked_range: str) -> Answer:
    content = repository.files.get(file)
    if content is None:
        return Answer.refusal(404, "EntryNotFound", "Entry not found")
    headers = {
        "ETag": f'"{hashlib.sha1(content).hexdigest()}"',
        "X-Repo-Commit": commit,
        "Accept-Ranges": "bytes",
    }
    if not asked_range:
        return Answer(200, headers, content, repository.cut.pop(file, None))
    start = int(asked_range.removeprefix("bytes=").rstrip("-"))
    headers["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
    return Answer(206, headers, content[start:])


class Handler(BaseHTTPRequestHandler):
    hub: StandIn

    def do_HEAD(self) -> None:
        path = urlsplit(self.path).path
        self.hub.requests.append(("HEAD", path, ""))
        cuts = [dict(repository.cut) for repository in self.hub.repositories.values()]
        reply = answer(self.hub, path, self._token(), "")
        for repository, cut in zip(self.hub.repositories.values(), cuts, strict=True):
            repository.cut.update(cut)
        self._send_head(reply)

    def do_GET(self) -> None:
        path, asked_range = urlsplit(self.path).path, self.headers.get("Range", "")
        self.hub.requests.append(("GET", path, asked_range))
        reply = answer(self.hub, path, self._token(), asked_range)
        self._send_head(reply)
        self.wfile.write(reply.body if reply.cut is None else reply.body[: reply.cut])

    def _token(self) -> str | None:
        given = self.headers.get("Authorization")
        return given.removeprefix("Bearer ") if given else None

    def _send_head(self, reply: Answer) -> None:
        self.send_response(reply.status)
        for name, value in {
            **reply.headers,
            "Content-Length": str(len(reply.body)),
            "Connection": "close",
        }.items():
            self.send_header(name, value)
        self.end_headers()
        self.close_connection = True

    def log_message(self, format: str, *arguments: object) -> None:
        pass


@contextmanager
def stand_in(repositories: dict[str, Repository]) -> Generator[StandIn]:
    handler = type("BoundHandler", (Handler,), {})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        hub = StandIn(f"http://127.0.0.1:{server.server_port}", repositories)
        handler.hub = hub
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        try:
            yield hub
        finally:
            server.shutdown()
