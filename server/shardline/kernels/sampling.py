"""Sampling without a sort: greedy, temperature, top-k, top-p and min-p for all rows of a step.

1. `_statistics`: one pass over the logits. Per chunk the maximum and where it is, the sum of
   exponentials, and, for rows without cuts, the largest Gumbel-perturbed logit.
2. `_histogram`: per row how many logits lie at which distance below the maximum.
3. `_collect`: from the histogram, the distance below which no token can be kept; everything above
   goes to a short list.
4. `_choose`: exact thresholds by bisection over the short list, then the Gumbel maximum of what is
   kept (Maddison et al., 2014). A list that overflows is replaced by passes over the logits.

Distances are (maximum - logit) / temperature, positive floats that order like their bit patterns. A
token more than 20 below the maximum can never win: Gumbel numbers of 32 bits lie in (-3.2, 16.7).
So 256 bins of 1/8 lose nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import triton
import triton.language as tl

from shardline.kernels.chaining import Chain, launch_options, wait_for_previous
from shardline.kernels.counted_random import gumbel, row_key
from shardline.kernels.sampling_cuts import distance_below, draw_with_cuts, last_bin

CHUNK = 2048
_CAPACITY = 1024
_BINS = 256
TEMPERATURE, TOP_K, TOP_P, MIN_P = range(4)


@dataclass(frozen=True, slots=True)
class SamplingTable:
    """Sampling parameters of all slots, on the device.

    numbers:  f32[slots, columns]; the first four are temperature (0: greedy), top_k (0: off),
              top_p (1: off), min_p (0: off)
    bases:    i64[slots], what seed and choice hash to
    """

    numbers: torch.Tensor
    bases: torch.Tensor


@dataclass(frozen=True, slots=True)
class SamplingScratch:
    """Working memory for `rows` rows; one instance serves all steps.

    peak, sums, noisy:          f32[rows, chunks]; maximum, sum of exponentials, perturbed maximum
    peak_at, noisy_at:          i32[rows, chunks]
    bins:                       i32[rows, 256], zero between launches
    list_size:                  i32[rows], zero between launches
    list_values, list_tokens:   f32 and i32[rows, capacity]
    """

    peak: torch.Tensor
    sums: torch.Tensor
    noisy: torch.Tensor
    peak_at: torch.Tensor
    noisy_at: torch.Tensor
    bins: torch.Tensor
    list_size: torch.Tensor
    list_values: torch.Tensor
    list_tokens: torch.Tensor

    @staticmethod
    def allocate(rows: int, vocabulary: int, device: torch.device) -> SamplingScratch:
        """Memory for steps of up to `rows` sampled rows."""
        chunks = triton.cdiv(vocabulary, CHUNK)

        def zeros(width: int, dtype: torch.dtype) -> torch.Tensor:
            return torch.zeros((rows, width), dtype=dtype, device=device)

        return SamplingScratch(
            zeros(chunks, torch.float32),
            zeros(chunks, torch.float32),
            zeros(chunks, torch.float32),
            zeros(chunks, torch.int32),
            zeros(chunks, torch.int32),
            zeros(_BINS, torch.int32),
            torch.zeros(rows, dtype=torch.int32, device=device),
            zeros(_CAPACITY, torch.float32),
            zeros(_CAPACITY, torch.int32),
        )


@triton.jit
def _row_numbers(numbers, slots, row, columns):
    """Slot, temperature and cuts of a row, with cuts that are off made harmless."""
    slot = tl.load(slots + row).to(tl.int64)
    at = numbers + slot * columns
    temperature = tl.load(at)
    top_k = tl.load(at + 1)
    top_p = tl.load(at + 2)
    min_p = tl.load(at + 3)
    cuts = (top_k > 0.0) | (top_p < 1.0) | (min_p > 0.0)
    return slot, temperature, top_k, top_p, min_p, cuts


@triton.jit
def _row_peak(peak, sums, row, temperature, CHUNKS: tl.constexpr, CHUNKS_BLOCK: tl.constexpr):
    """Maximum of a row (NaN if any logit is) and its sum of exponentials from there."""
    chunk = tl.arange(0, CHUNKS_BLOCK)
    inside = chunk < CHUNKS
    peaks = tl.load(peak + row * CHUNKS + chunk, mask=inside, other=float("-inf"))
    total = tl.load(sums + row * CHUNKS + chunk, mask=inside, other=0.0)
    broken = tl.max((peaks != peaks).to(tl.int32), 0) > 0
    highest = tl.max(tl.where(peaks == peaks, peaks, float("-inf")), 0)
    mass = tl.sum(total * tl.exp((peaks - highest) / temperature), 0)
    return tl.where(broken, float("nan"), highest), mass


@triton.jit
def _statistics_kernel(
    logits,  # [rows, VOCABULARY]
    slots,  # i32[rows]
    numbers,
    bases,
    positions,  # i32[rows], of the token that is sampled
    columns,
    peak,
    peak_at,
    sums,
    noisy,
    noisy_at,
    VOCABULARY: tl.constexpr,
    CHUNKS: tl.constexpr,
    CHUNK_SIZE: tl.constexpr,
    ONLY_GREEDY: tl.constexpr,
    CHAIN: tl.constexpr,
):
    row = tl.program_id(0).to(tl.int64)
    chunk = tl.program_id(1)
    token = chunk * CHUNK_SIZE + tl.arange(0, CHUNK_SIZE)
    wait_for_previous(CHAIN)
    x = tl.load(logits + row * VOCABULARY + token, mask=token < VOCABULARY, other=float("-inf")).to(
        tl.float32
    )
    broken = tl.max((x != x).to(tl.int32), 0) > 0
    highest, at = tl.max(tl.where(x == x, x, float("-inf")), 0, return_indices=True)
    place = row * CHUNKS + chunk
    tl.store(peak + place, tl.where(broken, float("nan"), highest))
    tl.store(peak_at + place, at + chunk * CHUNK_SIZE)
    if not ONLY_GREEDY:
        slot, temperature, _, _, _, cuts = _row_numbers(numbers, slots, row, columns)
        if temperature > 0.0:
            # A chunk of -inf only has no distances; its sum is zero.
            floor = tl.maximum(highest, -3.0e38)
            tl.store(sums + place, tl.sum(tl.exp((x - floor) / temperature), 0))
            if not cuts:
                position = tl.load(positions + row).to(tl.int64)
                low, high = row_key(tl.load(bases + slot), position)
                perturbed = tl.where(x == x, x / temperature, float("-inf"))
                perturbed += gumbel(low, high, token)
                best, best_at = tl.max(perturbed, 0, return_indices=True)
                tl.store(noisy + place, best)
                tl.store(noisy_at + place, best_at + chunk * CHUNK_SIZE)


@triton.jit
def _histogram_kernel(
    logits,
    slots,
    numbers,
    columns,
    peak,
    bins,
    VOCABULARY: tl.constexpr,
    CHUNKS: tl.constexpr,
    CHUNKS_BLOCK: tl.constexpr,
    CHUNK_SIZE: tl.constexpr,
    CHAIN: tl.constexpr,
):
    row = tl.program_id(0).to(tl.int64)
    chunk = tl.program_id(1)
    wait_for_previous(CHAIN)
    _, temperature, _, _, _, cuts = _row_numbers(numbers, slots, row, columns)
    if (temperature > 0.0) & cuts:
        lane = tl.arange(0, CHUNKS_BLOCK)
        peaks = tl.load(peak + row * CHUNKS + lane, mask=lane < CHUNKS, other=float("-inf"))
        highest = tl.max(peaks, 0)
        if (highest - tl.load(peak + row * CHUNKS + chunk)) / temperature < 32.0:
            token = chunk * CHUNK_SIZE + tl.arange(0, CHUNK_SIZE)
            inside = token < VOCABULARY
            x = tl.load(logits + row * VOCABULARY + token, mask=inside, other=float("-inf"))
            distance = distance_below(highest, x.to(tl.float32), temperature)
            counts = tl.histogram(tl.minimum(distance * 8.0, 255.0).to(tl.int32), 256)
            bin_index = tl.arange(0, 256)
            # The last bin holds everything too far to be drawn.
            wanted = (counts > 0) & (bin_index < 255)
            tl.atomic_add(bins + row * 256 + bin_index, counts, mask=wanted, sem="relaxed")


@triton.jit
def _collect_kernel(
    logits,
    slots,
    numbers,
    columns,
    peak,
    sums,
    bins,
    list_size,
    list_values,
    list_tokens,
    VOCABULARY: tl.constexpr,
    CHUNKS: tl.constexpr,
    CHUNKS_BLOCK: tl.constexpr,
    CHUNK_SIZE: tl.constexpr,
    CAPACITY: tl.constexpr,
    CHAIN: tl.constexpr,
):
    row = tl.program_id(0).to(tl.int64)
    chunk = tl.program_id(1)
    wait_for_previous(CHAIN)
    _, temperature, top_k, top_p, min_p, cuts = _row_numbers(numbers, slots, row, columns)
    if (temperature > 0.0) & cuts:
        highest, mass = _row_peak(peak, sums, row, temperature, CHUNKS, CHUNKS_BLOCK)
        last = last_bin(bins, row, top_k, top_p, min_p, mass)
        own = tl.load(peak + row * CHUNKS + chunk)
        if distance_below(highest, own, temperature) * 8.0 < (last + 1).to(tl.float32):
            token = chunk * CHUNK_SIZE + tl.arange(0, CHUNK_SIZE)
            inside = token < VOCABULARY
            x = tl.load(logits + row * VOCABULARY + token, mask=inside, other=float("-inf"))
            x = x.to(tl.float32)
            distance = distance_below(highest, x, temperature)
            wanted = inside & (tl.minimum(distance * 8.0, 255.0).to(tl.int32) <= last)
            order = tl.cumsum(wanted.to(tl.int32), 0)
            place = tl.atomic_add(list_size + row, tl.max(order, 0)) + order - 1
            kept = wanted & (place < CAPACITY)
            tl.store(list_values + row * CAPACITY + place, x, mask=kept)
            tl.store(list_tokens + row * CAPACITY + place, token, mask=kept)


@triton.jit
def _choose_kernel(
    logits,
    slots,
    numbers,
    bases,
    positions,
    columns,
    peak,
    peak_at,
    sums,
    noisy,
    noisy_at,
    bins,
    list_size,
    list_values,
    list_tokens,
    last_tokens,  # i32[slots], the sampled token of each slot
    tokens,  # i64[rows]
    valid,  # bool[rows]
    VOCABULARY: tl.constexpr,
    CHUNKS: tl.constexpr,
    CHUNKS_BLOCK: tl.constexpr,
    CAPACITY: tl.constexpr,
    ONLY_GREEDY: tl.constexpr,
    CHAIN: tl.constexpr,
):
    row = tl.program_id(0).to(tl.int64)
    wait_for_previous(CHAIN)
    chunk = tl.arange(0, CHUNKS_BLOCK)
    inside = chunk < CHUNKS
    peaks = tl.load(peak + row * CHUNKS + chunk, mask=inside, other=float("-inf"))
    broken = tl.max((peaks != peaks).to(tl.int32), 0)
    peaks = tl.where(peaks == peaks, peaks, float("-inf"))
    highest, where_chunk = tl.max(peaks, 0, return_indices=True)
    token = tl.load(peak_at + row * CHUNKS + where_chunk)
    fine = (broken == 0) & (highest > float("-inf")) & (highest < float("inf"))
    slot, temperature, top_k, top_p, min_p, cuts = _row_numbers(numbers, slots, row, columns)
    if not ONLY_GREEDY:
        if (temperature > 0.0) & fine:
            if cuts:
                position = tl.load(positions + row).to(tl.int64)
                low, high = row_key(tl.load(bases + slot), position)
                total = tl.load(sums + row * CHUNKS + chunk, mask=inside, other=0.0)
                mass = tl.sum(total * tl.exp((peaks - highest) / temperature), 0)
                token = draw_with_cuts(
                    logits,
                    row,
                    highest,
                    mass,
                    temperature,
                    top_k,
                    top_p,
                    min_p,
                    low,
                    high,
                    list_size,
                    list_values,
                    list_tokens,
                    VOCABULARY,
                    CAPACITY,
                )
            else:
                best = tl.load(noisy + row * CHUNKS + chunk, mask=inside, other=float("-inf"))
                _best, best_chunk = tl.max(best, 0, return_indices=True)
                token = tl.load(noisy_at + row * CHUNKS + best_chunk)
        tl.store(bins + row * 256 + tl.arange(0, 256), tl.zeros((256,), tl.int32))
        tl.store(list_size + row, 0)
    tl.store(tokens + row, token.to(tl.int64))
    tl.store(valid + row, fine)
    tl.store(last_tokens + slot, token)


def sample(
    logits: torch.Tensor,
    slots: torch.Tensor,
    positions: torch.Tensor,
    table: SamplingTable,
    scratch: SamplingScratch,
    last_tokens: torch.Tensor,
    tokens: torch.Tensor,
    valid: torch.Tensor,
    *,
    only_greedy: bool = False,
    chain: Chain = Chain.OFF,
) -> None:
    """Samples one token a row.

    logits:       [rows, vocabulary], contiguous
    slots:        i32[rows], into the table and last_tokens
    positions:    i32[rows], of the token to be sampled: how many the sequence has before it
    last_tokens:  i32[slots], written
    tokens:       i64[rows], written
    valid:        bool[rows], written: false where a logit is NaN or none is finite; such a row's
                  token means nothing
    only_greedy:  every row has temperature 0
    """
    rows, vocabulary = logits.shape
    chunks = triton.cdiv(vocabulary, CHUNK)
    chunks_block = triton.next_power_of_2(chunks)
    columns = table.numbers.shape[1]
    options = launch_options(chain)
    shape = {"VOCABULARY": vocabulary, "CHUNKS": chunks, "CHAIN": int(chain)}
    _statistics_kernel[(rows, chunks)](
        logits,
        slots,
        table.numbers,
        table.bases,
        positions,
        columns,
        scratch.peak,
        scratch.peak_at,
        scratch.sums,
        scratch.noisy,
        scratch.noisy_at,
        CHUNK_SIZE=CHUNK,
        ONLY_GREEDY=only_greedy,
        num_warps=4,
        **shape,
        **options,
    )
    if not only_greedy:
        _histogram_kernel[(rows, chunks)](
            logits,
            slots,
            table.numbers,
            columns,
            scratch.peak,
            scratch.bins,
            CHUNKS_BLOCK=chunks_block,
            CHUNK_SIZE=CHUNK,
            num_warps=4,
            **shape,
            **options,
        )
        _collect_kernel[(rows, chunks)](
            logits,
            slots,
            table.numbers,
            columns,
            scratch.peak,
            scratch.sums,
            scratch.bins,
            scratch.list_size,
            scratch.list_values,
            scratch.list_tokens,
            CHUNKS_BLOCK=chunks_block,
            CHUNK_SIZE=CHUNK,
            CAPACITY=_CAPACITY,
            num_warps=4,
            **shape,
            **options,
        )
    _choose_kernel[(rows,)](
        logits,
        slots,
        table.numbers,
        table.bases,
        positions,
        columns,
        scratch.peak,
        scratch.peak_at,
        scratch.sums,
        scratch.noisy,
        scratch.noisy_at,
        scratch.bins,
        scratch.list_size,
        scratch.list_values,
        scratch.list_tokens,
        last_tokens,
        tokens,
        valid,
        CHUNKS_BLOCK=chunks_block,
        CAPACITY=_CAPACITY,
        ONLY_GREEDY=only_greedy,
        num_warps=4,
        **shape,
        **options,
    )
