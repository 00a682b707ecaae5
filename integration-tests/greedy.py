"""Greedy streams that somebody else may disturb."""

import json
import threading
import time
from collections.abc import Iterator, Sequence

import httpx

from harness import STOP_TIMEOUT_S


class GreedyStream(threading.Thread):
    """Reads a greedy stream's token ids.

    `in_midst` is set with the first `midst` of them, or at its end. `gap_s`: the longest time in which
    nothing came. `problem`: what went wrong.
    """

    def __init__(self, base_url: str, prompt: Sequence[int], tokens: int, midst: int = 1) -> None:
        super().__init__()
        self.in_midst = threading.Event()
        self.tokens: list[int] = []
        self.gap_s = 0.0
        self.problem: object = None
        self._midst = midst
        self._url = f"{base_url}/v1/completions"
        self._body = {
            "prompt": list(prompt),
            "max_tokens": tokens,
            "temperature": 0,
            "ignore_eos": True,
            "return_token_ids": True,
            "stream": True,
        }
        self.start()

    def run(self) -> None:
        last = time.monotonic()
        try:
            for event in self._events():
                now = time.monotonic()
                self.gap_s, last = max(self.gap_s, now - last), now
                for choice in event.get("choices", ()):
                    self.tokens += choice.get("token_ids") or []
                if "error" in event:
                    self.problem = event
                if len(self.tokens) >= self._midst:
                    self.in_midst.set()
        except (httpx.HTTPError, KeyError, ValueError) as error:
            self.problem = error
        self.in_midst.set()

    def _events(self) -> Iterator[dict]:
        with httpx.stream("POST", self._url, json=self._body, timeout=STOP_TIMEOUT_S) as response:
            for line in response.iter_lines():
                if line.startswith("data: {"):
                    yield json.loads(line[6:])
