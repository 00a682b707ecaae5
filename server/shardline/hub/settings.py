"""What a download is told: one frozen value from flags and environment."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from huggingface_hub import constants, get_token

TOKEN_NAMES = ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HF_API_TOKEN")
DEFAULT_REVISION = "main"
DEFAULT_ENDPOINT = "https://huggingface.co"


@dataclass(frozen=True, slots=True)
class HubSettings:
    """Where models come from, who asks, and where they are kept.

    `token`: None sends none. `offline`: the Hub is not asked at all.
    """

    cache_dir: Path
    revision: str = DEFAULT_REVISION
    token: str | None = field(default=None, repr=False)
    endpoint: str = DEFAULT_ENDPOINT
    offline: bool = False

    @property
    def has_token(self) -> bool:
        return self.token is not None

    @property
    def token_argument(self) -> str | bool:
        """For `huggingface_hub`, which takes False for none."""
        return self.token if self.token is not None else False

    @classmethod
    def from_environment(
        cls,
        revision: str | None = None,
        cache_dir: Path | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> HubSettings:
        """Of the process: what `huggingface_hub` read at its import, and the older names of the token.

        A token that `hf auth login` has stored counts when no variable is set.
        """
        variables = os.environ if environment is None else environment
        given = (variables.get(name, "").strip() for name in TOKEN_NAMES)
        return cls(
            # A variable that is set to nothing is not set.
            cache_dir=Path(cache_dir or constants.HF_HUB_CACHE or constants.default_cache_path)
            .expanduser()
            .absolute(),
            revision=revision or DEFAULT_REVISION,
            token=next((token for token in given if token), None) or get_token(),
            endpoint=constants.ENDPOINT.rstrip("/") or DEFAULT_ENDPOINT,
            offline=constants.is_offline_mode(),
        )
