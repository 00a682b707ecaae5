"""Random requests for a server, and what a right answer to each looks like. HTTP over plain sockets."""

from __future__ import annotations

import asyncio
import json
import random
from dataclasses import dataclass

_TIMEOUT_S = 120.0


@dataclass(frozen=True, slots=True)
class Limits:
    """Token ids are below `vocabulary`; tokens of the longest prompt and the longest answer."""

    vocabulary: int
    longest_prompt: int
    longest_answer: int


@dataclass(frozen=True, slots=True)
class Answer:
    """`finish_reasons`, `texts`: by choice. `logprobs`: tokens that came with a score, by choice."""

    status: int
    finish_reasons: list[str | None]
    texts: list[str]
    logprobs: list[int]
    completion_tokens: int
    body: str


@dataclass(frozen=True, slots=True)
class HangUp:
    """The client left before the end."""


@dataclass(frozen=True, slots=True)
class Ask:
    """A request. `hang_up_after`: bytes of the answer after which the client leaves; none: never.

    `invalid`: why the server must refuse it.
    """

    path: str
    body: dict[str, object]
    hang_up_after: int | None
    invalid: str | None

    @property
    def streams(self) -> bool:
        return bool(self.body.get("stream"))

    def fault_of(self, answer: Answer) -> str | None:
        """What is wrong with an answer, in a sentence."""
        if self.invalid is not None:
            fine = 400 <= answer.status < 500
            return None if fine else f"{self.invalid} was answered with {answer.status}"
        if answer.status != 200:
            return f"status {answer.status}: {answer.body[:200]}"
        wanted, choices = self.body["max_tokens"], int(str(self.body.get("n", 1)))
        assert isinstance(wanted, int)
        if len(answer.finish_reasons) != choices or None in answer.finish_reasons:
            return f"{choices} choices were asked for; finish reasons: {answer.finish_reasons}"
        most = wanted * choices
        if not 0 < answer.completion_tokens <= most:
            return f"{answer.completion_tokens} tokens of at most {most}"
        if "stop" not in self.body and answer.completion_tokens != most:
            return f"{answer.completion_tokens} tokens of exactly {most}"
        stops = self.body.get("stop", [])
        assert isinstance(stops, list)
        # A stop string within the first `min_tokens` tokens does not end an answer.
        searched = not self.body.get("min_tokens")
        for reason, text in zip(answer.finish_reasons, answer.texts, strict=True):
            found = searched and any(stop in text for stop in stops)
            if reason not in ("stop", "length") or found:
                return f"finish reason {reason} with stop strings {stops}: {text[-80:]!r}"
        if "logprobs" in self.body and sum(answer.logprobs) != answer.completion_tokens and not stops:
            return f"{answer.logprobs} scored tokens of {answer.completion_tokens}"
        return None


class Asker:
    """One client's choices; the same in every run."""

    def __init__(self, number: int, limits: Limits) -> None:
        self._chance = random.Random(number)
        self._limits = limits
        shared = random.Random(7)
        lengths = (limits.longest_prompt // 8, limits.longest_prompt // 3, limits.longest_prompt // 2)
        self._prefixes = [self._tokens(shared, lengths[at % 3]) for at in range(12)]

    def pause_s(self) -> float:
        """Between two requests: mostly short, sometimes long."""
        return self._chance.expovariate(1 / 0.02) if self._chance.random() < 0.9 else self._chance.random()

    def next(self) -> Ask:
        """A request of any kind."""
        chance = self._chance
        body: dict[str, object] = {
            "prompt": self._prompt(),
            "max_tokens": chance.randint(1, self._limits.longest_answer),
            "ignore_eos": True,
            "stream": chance.random() < 0.7,
            **self._sampling(),
        }
        if body["stream"]:
            body["stream_options"] = {"include_usage": True}
        # The same answer several times is refused.
        if chance.random() < 0.15 and body["temperature"]:
            body["n"] = chance.randint(2, 4)
        if chance.random() < 0.1:
            body["logprobs"] = chance.randint(0, 5)
        if chance.random() < 0.15:
            body["stop"] = [f"t{chance.randint(0, 99)}" for _ in range(chance.randint(1, 4))]
        if chance.random() < 0.02:
            return self._invalid(body)
        leaves = chance.random() < 0.2
        after = chance.choice((0, 0, 300, 2000, 20000)) if leaves else None
        return Ask("/v1/completions", body, after, None)

    def _prompt(self) -> list[int]:
        chance, longest = self._chance, self._limits.longest_prompt
        if chance.random() < 0.4:
            prefix = chance.choice(self._prefixes)
            return prefix + self._tokens(chance, chance.randint(1, longest - len(prefix)))
        return self._tokens(chance, chance.choice((1, 2, longest, chance.randint(1, longest))))

    def _tokens(self, chance: random.Random, count: int) -> list[int]:
        return [chance.randrange(self._limits.vocabulary) for _ in range(count)]

    def _sampling(self) -> dict[str, object]:
        chance = self._chance
        if chance.random() < 0.4:
            return {"temperature": 0}
        found: dict[str, object] = {"temperature": round(chance.uniform(0.2, 1.6), 2)}
        choices: tuple[tuple[str, object], ...] = (
            ("top_p", round(chance.uniform(0.1, 1.0), 3)),
            ("top_k", chance.randint(1, 200)),
            ("min_p", round(chance.uniform(0.0, 0.3), 3)),
            ("typical_p", round(chance.uniform(0.3, 0.99), 3)),
            ("frequency_penalty", round(chance.uniform(-1.0, 1.0), 2)),
            ("presence_penalty", round(chance.uniform(-1.0, 1.0), 2)),
            ("repetition_penalty", round(chance.uniform(0.8, 1.4), 2)),
            ("seed", chance.randrange(1 << 31)),
            ("logit_bias", {str(chance.randrange(self._limits.vocabulary)): 5}),
            ("min_tokens", 1),
        )
        shares = (0.4, 0.4, 0.1, 0.05, 0.1, 0.1, 0.1, 0.5, 0.05, 0.1)
        found.update(choice for choice, share in zip(choices, shares, strict=True) if chance.random() < share)
        return found

    def _invalid(self, body: dict[str, object]) -> Ask:
        wrong: tuple[tuple[str, dict[str, object]], ...] = (
            ("a negative temperature", {"temperature": -1}),
            ("a top_p of 3", {"top_p": 3}),
            ("a prompt that is too long", {"prompt": [1] * 200_000}),
            ("a prompt of no tokens", {"prompt": []}),
            ("an unknown token", {"prompt": [1 << 30]}),
        )
        why, change = self._chance.choice(wrong)
        return Ask("/v1/completions", {**body, **change}, None, why)


async def ask_server(port: int, ask: Ask) -> Answer | HangUp:
    """Sends a request on a connection of its own."""
    return await asyncio.wait_for(_exchange(port, ask), _TIMEOUT_S)


async def _exchange(port: int, ask: Ask) -> Answer | HangUp:
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1 << 22)
    try:
        body = json.dumps(ask.body).encode()
        head = (
            f"POST {ask.path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        writer.write(head.encode() + body)
        await writer.drain()
        if ask.hang_up_after == 0:
            return HangUp()
        parts: list[bytes] = []
        received = 0
        while part := await reader.read(1 << 16):
            parts.append(part)
            received += len(part)
            if ask.hang_up_after is not None and received >= ask.hang_up_after:
                return HangUp()
        return _parse(b"".join(parts), ask.streams)
    finally:
        writer.close()


def _parse(raw: bytes, streams: bool) -> Answer:
    head, _, body = raw.partition(b"\r\n\r\n")
    lines = head.decode("latin-1").lower().split("\r\n")
    status = int(lines[0].split()[1])
    if "transfer-encoding: chunked" in lines:
        body = _unchunked(body)
    text = body.decode("utf-8")
    if status != 200:
        return Answer(status, [], [], [], 0, text)
    if streams:
        if not text.rstrip().endswith("data: [DONE]"):
            raise ValueError(f"a stream without an end: {text[-200:]!r}")
        events = [json.loads(line[6:]) for line in text.splitlines() if line.startswith("data: {")]
    else:
        events = [json.loads(text)]
    return _gather(status, events, text)


def _gather(status: int, events: list[dict], text: str) -> Answer:
    reasons: dict[int, str | None] = {}
    texts: dict[int, list[str]] = {}
    scored: dict[int, int] = {}
    tokens = 0
    for event in events:
        for choice in event.get("choices", []):
            index = choice["index"]
            reasons[index] = choice.get("finish_reason") or reasons.get(index)
            texts.setdefault(index, []).append(choice["text"])
            found = choice.get("logprobs") or {}
            scored[index] = scored.get(index, 0) + len(found.get("tokens", []))
        if event.get("usage"):
            tokens = event["usage"]["completion_tokens"]
    order = sorted(reasons)
    joined = ["".join(texts[index]) for index in order]
    return Answer(status, [reasons[i] for i in order], joined, [scored[i] for i in order], tokens, text)


def _unchunked(body: bytes) -> bytes:
    parts: list[bytes] = []
    at = 0
    while True:
        end = body.index(b"\r\n", at)
        size = int(body[at:end].split(b";")[0], 16)
        if not size:
            return b"".join(parts)
        parts.append(body[end + 2 : end + 2 + size])
        at = end + 2 + size + 2
