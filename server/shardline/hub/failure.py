"""The one exception of this package."""

from __future__ import annotations


class DownloadError(Exception):
    """No model; the text is one sentence for a person, with what to do next."""
