"""Which algorithm of the vendor's library computes a product: kept, restored, measured."""

from __future__ import annotations

import math
import random

import pytest
import torch

from shardline.kernels.cublaslt import CublasLt, LtAlgorithm, LtShape, Setting, _loaded_library
from shardline.kernels.even_tiles import even_tiles
from shardline.kernels.library_products import LibraryProducts, algorithms_to_try

SHAPE = LtShape(96, 64, 32, torch.bfloat16)
ALGORITHM = LtAlgorithm(bytes(range(64)))


class Recorder:
    """Stands for the library: runs what is not refused, and notes it."""

    version = 130200
    multiprocessors = 132

    def __init__(self, refused: tuple[LtAlgorithm, ...] = ()) -> None:
        self.refused = refused
        self.ran: list[LtAlgorithm] = []

    def takes(self, x, weight) -> bool:
        return x.dtype == torch.bfloat16

    def runs(self, shape, algorithm) -> bool:
        return algorithm not in self.refused

    def run(self, x, weight, out, algorithm) -> None:
        self.ran.append(algorithm)
        torch.mm(x, weight.t(), out=out)


def record_of(shape: LtShape, algorithm: LtAlgorithm | None) -> list[dict[str, object]]:
    products = LibraryProducts(Recorder())
    products._chosen[shape] = algorithm
    return products.record()


def test_a_restored_choice_computes_the_product():
    lt = Recorder()
    products = LibraryProducts(lt)
    assert products.restore(record_of(SHAPE, ALGORITHM)) == 1
    x, weight = torch.randn(96, 32).bfloat16(), torch.randn(64, 32).bfloat16()
    assert torch.equal(products.product(x, weight, None), x @ weight.t())
    assert lt.ran == [ALGORITHM]


@pytest.mark.parametrize("rows", [95, 97])
def test_other_numbers_of_rows_go_by_the_rule(rows):
    lt = Recorder()
    products = LibraryProducts(lt)
    products.restore(record_of(SHAPE, ALGORITHM))
    x, weight = torch.randn(rows, 32).bfloat16(), torch.randn(64, 32).bfloat16()
    assert torch.equal(products.product(x, weight, None), x @ weight.t())
    assert lt.ran == []


def test_a_bias_goes_by_the_rule():
    lt = Recorder()
    products = LibraryProducts(lt)
    products.restore(record_of(SHAPE, ALGORITHM))
    x, weight, bias = (
        torch.randn(96, 32).bfloat16(),
        torch.randn(64, 32).bfloat16(),
        torch.randn(64).bfloat16(),
    )
    expected = torch.nn.functional.linear(x, weight, bias)
    assert torch.equal(products.product(x, weight, bias), expected)
    assert lt.ran == []


def test_what_the_library_does_not_run_any_more_is_measured_again():
    products = LibraryProducts(Recorder(refused=(ALGORITHM,)))
    assert products.restore(record_of(SHAPE, ALGORITHM)) == 0
    products.note(torch.empty(64, 32, dtype=torch.bfloat16))
    assert products.unmeasured([96]) == [SHAPE]


def test_that_cublas_was_best_is_kept_too():
    products = LibraryProducts(Recorder())
    assert products.restore(record_of(SHAPE, None)) == 1
    products.note(torch.empty(64, 32, dtype=torch.bfloat16))
    assert products.unmeasured([96, 128]) == [LtShape(128, 64, 32, torch.bfloat16)]


def test_weights_too_small_to_measure_leave_it_to_the_rule():
    products = LibraryProducts(Recorder())
    products.note(torch.empty(64, 32, dtype=torch.bfloat16))
    assert products.measure(SHAPE) is None
    assert products.unmeasured([96]) == []


def test_without_the_library_nothing_is_measured():
    products = LibraryProducts(None)
    products.note(torch.empty(64, 32, dtype=torch.bfloat16))
    assert products.unmeasured([96]) == []
    assert products.restore(record_of(SHAPE, ALGORITHM)) == 0
    assert products.version == 0


@pytest.mark.parametrize(
    "entry",
    [
        None,
        7,
        [],
        {},
        {"rows": 96},
        {"rows": "96", "columns": 64, "inner": 32, "dtype": "bfloat16", "algorithm": None},
        {"rows": 0, "columns": 64, "inner": 32, "dtype": "bfloat16", "algorithm": None},
        {"rows": 96, "columns": 64, "inner": 32, "dtype": "float32", "algorithm": None},
        {"rows": 96, "columns": 64, "inner": 32, "dtype": "bfloat16", "algorithm": "zz"},
        {"rows": 96, "columns": 64, "inner": 32, "dtype": "bfloat16", "algorithm": "00"},
    ],
)
def test_records_that_are_not_ours_are_left_alone(entry):
    products = LibraryProducts(Recorder())
    assert products.restore([entry]) == 0
    assert products.record() == []


@pytest.mark.parametrize("record", [None, {}, "x", 3])
def test_a_record_that_is_no_list_is_left_alone(record):
    assert LibraryProducts(Recorder()).restore(record) == 0


def test_finds_libraries_of_this_process():
    assert _loaded_library("libc.so") is not None
    assert _loaded_library("libnothing.so") is None


@pytest.mark.parametrize("seed", range(200))
def test_even_tiles_cover_the_product_in_the_rounds_they_say(seed):
    draw = random.Random(seed)
    columns, rows = round(2 ** draw.uniform(0, 16)), round(2 ** draw.uniform(5, 12))
    multiprocessors = draw.choice((1, 46, 108, 132, 148))
    tiles = even_tiles(columns, rows, multiprocessors)
    assert [tile.cost for tile in tiles] == sorted(tile.cost for tile in tiles)
    assert rows >= 128 or not tiles
    for tile in tiles:
        count = math.ceil(columns / tile.columns) * math.ceil(rows / tile.rows)
        assert (
            (tile.rounds - 1) * multiprocessors
            < count
            <= tile.rounds * multiprocessors
            <= 6 * multiprocessors
        )
        # A step narrower, and there is a round more.
        narrower = math.ceil(columns / (tile.columns - 8)) * math.ceil(rows / tile.rows)
        assert narrower > tile.rounds * multiprocessors


@pytest.mark.parametrize(
    ("columns", "rows", "first"),
    [(6144, 256, (96, 128)), (4096, 256, (128, 64)), (6144, 192, (144, 64)), (14336, 512, (224, 128))],
)
def test_even_tiles_that_were_fastest_on_an_h200_come_first(columns, rows, first):
    tile = even_tiles(columns, rows, 132)[0]
    assert (tile.columns, tile.rows) == first


class Changer(Recorder):
    """Offers one algorithm and takes every change but those of clusters."""

    def algorithms(self, shape) -> list[LtAlgorithm]:
        return [ALGORITHM]

    def changed(self, algorithm, settings) -> LtAlgorithm | None:
        if settings[Setting.CLUSTER] != 2:
            return None
        data = (settings[setting].to_bytes(2, "little") for setting in Setting)
        return LtAlgorithm(b"".join(data).ljust(64, b"\0"))


def test_offers_and_even_tiles_that_run_are_tried():
    shape = LtShape(256, 6144, 4096, torch.bfloat16)
    offer, *even = algorithms_to_try(Changer(), shape)
    assert offer == ALGORITHM
    # Two tiles in two ways each: the ids of 96 x 128 and 192 x 64 come first.
    assert [int.from_bytes(one.data[:2], "little") for one in even] == [28, 28, 208, 208]
    assert algorithms_to_try(Changer(refused=(even[0], even[3])), shape) == [offer, even[1], even[2]]
    assert algorithms_to_try(Changer(), LtShape(96, 6144, 4096, torch.bfloat16)) == [offer]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("rows", [96, 100, 256, 384])
def test_every_algorithm_gives_the_product(rows):
    device = torch.device("cuda", 0)
    lt = CublasLt.open(device)
    assert lt is not None
    generator = torch.Generator(device).manual_seed(rows)
    x, weight = (
        torch.randn(count, 1024, generator=generator, device=device).bfloat16() for count in (rows, 2048)
    )
    expected = x.float() @ weight.float().t()
    shape = LtShape(rows, 2048, 1024, torch.bfloat16)
    algorithms = algorithms_to_try(lt, shape)
    assert algorithms
    for algorithm in algorithms:
        assert lt.runs(shape, algorithm)
        out = x.new_empty(rows, 2048)
        lt.run(x, weight, out, algorithm)
        torch.testing.assert_close(out.float(), expected, rtol=1.6e-2, atol=0.25)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_measurement_chooses_and_the_choice_is_restored():
    device = torch.device("cuda", 0)
    products = LibraryProducts(CublasLt.open(device))
    for _ in range(4):
        products.note(torch.randn(4096, 4096, device=device).bfloat16())
    shapes = products.unmeasured([96, 192])
    timings = [products.measure(shape) for shape in shapes]
    assert all(timing is not None and timing.best_us <= timing.library_us for timing in timings)
    again = LibraryProducts(CublasLt.open(device))
    assert again.restore(products.record()) == len(shapes)
    assert again.record() == products.record()
