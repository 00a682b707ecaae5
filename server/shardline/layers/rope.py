"""Rotary position embeddings: the angle of every pair of dimensions at every position.

Scalings: linear (kaiokendev 2023), dynamic NTK (bloc97 2023), llama3 (Llama 3.1's config), yarn
(Peng et al. 2023), and factors a dimension, as GGUF files carry them. The tables are made once;
rotation itself is the attention backend's.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor


class RopeConfigError(ValueError):
    """The model's rope settings cannot be served."""

    def __init__(self, field: str, given: object, expected: str) -> None:
        super().__init__(f"config.json: rope {field} is {given!r}; expected {expected}")


@dataclass(frozen=True, slots=True)
class RopeConfig:
    """`kind`: "default", "linear", "dynamic", "llama3" or "yarn".

    `original_max_position`: positions the model was trained for before it was stretched; none:
    those of its config. `divisors`: f32[rotary_dim / 2], by which each frequency is divided (from
    a GGUF's `rope_freqs.weight`).
    """

    theta: float
    rotary_dim: int
    kind: str = "default"
    factor: float = 1.0
    low_frequency_factor: float = 1.0
    high_frequency_factor: float = 4.0
    original_max_position: int | None = None
    attention_factor: float | None = None
    beta_fast: float = 32.0
    beta_slow: float = 1.0
    mscale: float | None = None
    mscale_all_dim: float | None = None
    truncate: bool = True
    divisors: tuple[float, ...] | None = None

    @classmethod
    def parse(cls, values: Mapping[str, Any], head_dim: int) -> RopeConfig:
        """From `rope_parameters`, or `rope_scaling` and `rope_theta` as older files have it."""
        given = values.get("rope_parameters") or values.get("rope_scaling") or {}
        if not isinstance(given, dict):
            raise RopeConfigError("parameters", given, "an object")
        kind = given.get("rope_type", given.get("type", "default"))
        kind = "default" if kind == "mrope" else kind
        if kind not in ("default", "linear", "dynamic", "llama3", "yarn"):
            raise RopeConfigError("type", kind, "one of default, linear, dynamic, llama3, yarn")
        theta = _number(given, "rope_theta", _number(values, "rope_theta", 10000.0))
        partial = _number(given, "partial_rotary_factor", _number(values, "partial_rotary_factor", 1.0))
        original = given.get("original_max_position_embeddings")
        trained = original if isinstance(original, int) else values.get("max_position_embeddings")
        return cls(
            theta=theta,
            rotary_dim=int(head_dim * partial) // 2 * 2,
            kind=kind,
            factor=_number(given, "factor", 1.0),
            low_frequency_factor=_number(given, "low_freq_factor", 1.0),
            high_frequency_factor=_number(given, "high_freq_factor", 4.0),
            original_max_position=trained if isinstance(trained, int) else None,
            attention_factor=_optional(given, "attention_factor"),
            beta_fast=_number(given, "beta_fast", 32.0),
            beta_slow=_number(given, "beta_slow", 1.0),
            mscale=_optional(given, "mscale"),
            mscale_all_dim=_optional(given, "mscale_all_dim"),
            truncate=given.get("truncate") is not False,
        )

    def with_divisors(self, divisors: tuple[float, ...]) -> RopeConfig:
        """The same with a divisor for each frequency."""
        return replace(self, divisors=divisors)

    def longest(self, max_position: int) -> int:
        """Longest sequence, given the config's `max_position_embeddings`.

        Yarn and linear stretch what the model was trained for. Dynamic NTK would have to turn all
        cached keys again when a sequence outgrows its training length; it is served up to there,
        where it equals plain rope.
        """
        if self.kind == "yarn" and self.original_max_position is not None:
            return max(max_position, int(self.original_max_position * self.factor))
        return max_position

    def frequencies(self) -> Tensor:
        """Angle per position of each pair: f32[rotary_dim / 2]."""
        exponents = torch.arange(0, self.rotary_dim, 2, dtype=torch.int64).float() / self.rotary_dim
        frequencies = 1.0 / (self.theta**exponents)
        if self.kind == "linear":
            frequencies = frequencies / self.factor
        elif self.kind == "llama3":
            frequencies = self._llama3(frequencies)
        elif self.kind == "yarn":
            frequencies = self._yarn()
        if self.divisors is not None:
            frequencies = frequencies / torch.tensor(self.divisors, dtype=torch.float32)
        return frequencies

    def tables(self, max_position: int, device: torch.device) -> tuple[Tensor, Tensor]:
        """cos and sin, each f32[max_position, rotary_dim / 2], on `device`."""
        positions = torch.arange(max_position, dtype=torch.float32)
        angles = torch.outer(positions, self.frequencies())
        scale = self._amplitude()
        return (angles.cos() * scale).to(device), (angles.sin() * scale).to(device)

    def _amplitude(self) -> float:
        """Yarn makes queries and keys longer, which sharpens the softmax."""
        if self.kind != "yarn":
            return 1.0
        if self.attention_factor is not None:
            return self.attention_factor
        if self.mscale and self.mscale_all_dim:
            return _mscale(self.factor, self.mscale) / _mscale(self.factor, self.mscale_all_dim)
        return _mscale(self.factor, 1.0)

    def _trained(self) -> int:
        if self.original_max_position is None:
            raise RopeConfigError("original_max_position_embeddings", None, "a positive whole number")
        return self.original_max_position

    def _llama3(self, frequencies: Tensor) -> Tensor:
        trained = self._trained()
        lengths = 2 * math.pi / frequencies
        low, high = self.low_frequency_factor, self.high_frequency_factor
        if high <= low:
            raise RopeConfigError("high_freq_factor", high, f"more than low_freq_factor {low}")
        stretched = torch.where(lengths > trained / low, frequencies / self.factor, frequencies)
        smooth = (trained / lengths - low) / (high - low)
        blended = (1 - smooth) * stretched / self.factor + smooth * stretched
        between = (lengths >= trained / high) & (lengths <= trained / low)
        return torch.where(between, blended, stretched)

    def _yarn(self) -> Tensor:
        trained, dim = self._trained(), self.rotary_dim

        def correction(rotations: float) -> float:
            return dim * math.log(trained / (rotations * 2 * math.pi)) / (2 * math.log(self.theta))

        low, high = correction(self.beta_fast), correction(self.beta_slow)
        if self.truncate:
            low, high = math.floor(low), math.ceil(high)
        low, high = max(low, 0), min(high, dim - 1)
        high = high + 0.001 if low == high else high
        powers = self.theta ** (torch.arange(0, dim, 2).float() / dim)
        ramp = ((torch.arange(dim // 2, dtype=torch.float32) - low) / (high - low)).clamp(0, 1)
        keep = 1 - ramp
        return (1.0 / (self.factor * powers)) * (1 - keep) + (1.0 / powers) * keep


def _mscale(factor: float, weight: float) -> float:
    return 1.0 if factor <= 1 else 0.1 * weight * math.log(factor) + 1.0


def _number(values: Mapping[str, Any], name: str, default: float) -> float:
    value = values.get(name)
    if value is None:
        return default
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 < value < 1e30:
        raise RopeConfigError(name, value, "a positive number")
    return float(value)


def _optional(values: Mapping[str, Any], name: str) -> float | None:
    return None if values.get(name) is None else _number(values, name, 1.0)
