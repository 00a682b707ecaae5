"""Products are measured once: within a time before the start is over, the rest in idle moments."""

import pytest
import torch

from shardline.kernels.cublaslt import LtShape
from shardline.start.cache import StartCache
from shardline.start.products import ProductChoices

SHAPES = [LtShape(rows, 64, 32, torch.bfloat16) for rows in (512, 80, 128)]
FACTS = {"gpu": "one"}


class Products:
    """Measures nothing, and remembers what it was asked. `fails`: numbers of rows without memory."""

    version = 7

    def __init__(self, fails=()):
        self.measured = []
        self.fails = fails

    def unmeasured(self, rows):
        return [shape for shape in SHAPES if shape.rows in rows and shape.rows not in self.measured]

    def measure(self, shape):
        if shape.rows in self.fails:
            raise torch.OutOfMemoryError("none left")
        self.measured.append(shape.rows)

    def record(self):
        return list(self.measured)

    def restore(self, record):
        self.measured = list(record or [])
        return len(self.measured)


@pytest.fixture
def cache(tmp_path):
    return StartCache.at([tmp_path / "cache"])


def test_the_fewest_rows_come_first_and_the_rest_waits(cache):
    products, times = Products(), iter([0.0, 0.5, 1.5, 9.0])
    choices = ProductChoices(products, cache, FACTS)
    assert not choices.restore([80, 128, 512]) and not choices.is_complete
    choices.measure_for(1.0, clock=lambda: next(times))
    assert products.measured == [80]
    assert [choices.work_ahead(), choices.work_ahead(), choices.work_ahead()] == [True, True, False]
    assert products.measured == [80, 128, 512]


def test_a_later_start_measures_what_the_first_one_left(cache):
    first, times = Products(), iter([0.0, 0.5, 1.5])
    choices = ProductChoices(first, cache, FACTS)
    choices.restore([80, 128, 512])
    choices.measure_for(1.0, clock=lambda: next(times))
    second = Products()
    choices = ProductChoices(second, cache, FACTS)
    assert choices.restore([80, 128, 512]) and second.measured == [80] and not choices.is_complete
    while choices.work_ahead():
        pass
    third = Products()
    choices = ProductChoices(third, cache, FACTS)
    assert choices.restore([80, 128, 512]) and choices.is_complete
    assert third.measured == [80, 128, 512]


def test_another_library_or_card_knows_nothing(cache):
    choices = ProductChoices(Products(), cache, FACTS)
    choices.restore([80])
    choices.measure_for(1.0)
    assert ProductChoices(Products(), cache, FACTS).restore([80])
    assert not ProductChoices(Products(), cache, {"gpu": "two"}).restore([80])
    other = Products()
    other.version = 8
    assert not ProductChoices(other, cache, FACTS).restore([80])


def test_without_memory_it_is_left_at_what_there_is(cache, caplog):
    products = Products(fails=(128,))
    choices = ProductChoices(products, cache, FACTS)
    choices.restore([80, 128, 512])
    choices.measure_for(100.0)
    assert products.measured == [80] and not choices.work_ahead()
    assert "128 rows and more" in caplog.text
