"""What can go wrong, each in one sentence that says what to do next."""

from __future__ import annotations

import errno

from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from shardline.hub.failure import DownloadError
from shardline.hub.settings import HubSettings


def explain(error: Exception, repo_id: str, settings: HubSettings) -> DownloadError:
    """The sentence for whatever `huggingface_hub` raised while it spoke to the Hub."""
    for cause in _chain(error):
        sentence = _sentence(cause, repo_id, settings)
        if sentence is not None:
            return DownloadError(sentence)
    return DownloadError(f"{repo_id} could not be downloaded: {type(error).__name__}: {_first_line(error)}")


def _chain(error: BaseException | None) -> list[BaseException]:
    """The error, what caused it, what caused that, …"""
    found: list[BaseException] = []
    while error is not None and error not in found:
        found.append(error)
        error = error.__cause__ or error.__context__
    return found


def _sentence(error: BaseException, repo_id: str, settings: HubSettings) -> str | None:
    endpoint = settings.endpoint
    if isinstance(error, GatedRepoError):
        return _gated(repo_id, settings)
    if isinstance(error, RevisionNotFoundError):
        return f"{repo_id} has no revision {settings.revision!r}: check --revision"
    if isinstance(error, HfHubHTTPError):
        status = error.response.status_code
        if status == 401 and settings.has_token and "Invalid credentials" in _server_message(error):
            return f"{endpoint} does not know this token: make a new one at {endpoint}/settings/tokens"
        if isinstance(error, RepositoryNotFoundError) or status == 401:
            return _missing(repo_id, settings)
        if status == 403:
            return f"{endpoint} refuses to let {repo_id} be read: set HF_TOKEN to a token that may"
        return f"{endpoint} answered {status} for {repo_id}: try again later"
    if isinstance(error, HFValidationError):
        return f"{repo_id!r} is not the name of a repository: write owner/name"
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"the disk of {settings.cache_dir} is full: make room, or set --huggingface-hub-cache"
    if isinstance(error, PermissionError):
        return f"{settings.cache_dir} cannot be written: set --huggingface-hub-cache to a folder that can"
    if isinstance(error, LocalEntryNotFoundError):
        return None  # its cause says more
    if is_network_error(error):
        cause = _first_line(error)
        return f"{endpoint} cannot be reached ({cause}): check the network, HF_ENDPOINT and the proxy"
    return None


def is_network_error(error: BaseException) -> bool:
    """No connection, a broken one or none in time, whichever HTTP client `huggingface_hub` uses."""
    names = {base.__name__ for base in type(error).__mro__}
    return isinstance(error, ConnectionError | TimeoutError) or "TransportError" in names


def _gated(repo_id: str, settings: HubSettings) -> str:
    page = f"{settings.endpoint}/{repo_id}"
    if settings.has_token:
        return (
            f"{repo_id} is gated and the token that is set has no access: ask for it at {page}, "
            "or set HF_TOKEN to a token of an account that has it"
        )
    return f"{repo_id} is gated and no token is set: ask for access at {page}, then set HF_TOKEN"


def _missing(repo_id: str, settings: HubSettings) -> str:
    what = "that the token may see" if settings.has_token else "that is public"
    hint = "check the name, or set HF_TOKEN if it is private"
    return f"{settings.endpoint} has no repository {repo_id} {what}: {hint}"


def _server_message(error: HfHubHTTPError) -> str:
    return error.response.headers.get("X-Error-Message", "")


def _first_line(error: BaseException) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)
