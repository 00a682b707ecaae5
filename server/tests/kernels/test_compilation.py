"""Kernels are noted by a dry run, and known again by name at the next start."""

from dataclasses import asdict

import pytest

pytest.importorskip("triton")

from shardline.kernels.compilation import KernelVariant, sources_digest
from shardline.start.kernels import known_variants

VARIANT = KernelVariant("shardline.kernels.swiglu", "_swiglu_kernel", "{}")


def test_a_record_of_variants_comes_back():
    assert known_variants([asdict(VARIANT)]) == [VARIANT]
    assert known_variants([]) == []


@pytest.mark.parametrize(
    "record",
    [
        None,
        {},
        [1],
        [{}],
        [{**asdict(VARIANT), "more": ""}],
        [{**asdict(VARIANT), "description": 3}],
        [{**asdict(VARIANT), "module": "os"}],
        [{**asdict(VARIANT), "module": "shardline.serve"}],
    ],
)
def test_what_is_no_record_of_ours_is_none(record):
    assert known_variants(record) is None


def test_the_digest_is_of_the_sources():
    assert sources_digest() == sources_digest()
    assert len(sources_digest()) == 64
