"""Ranks give each other their GPUs' memory; the driver is a stand-in that names addresses."""

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest

from shardline.dist.cuda_memory import CudaError, CudaMemory
from shardline.dist.peers import meet

HOST = b"one host"


class Driver:
    """One rank's. `fails`: the call that does not succeed."""

    def __init__(self, rank, fails=""):
        self.rank, self.fails = rank, fails
        self.calls = []

    def _call(self, function):
        self.calls.append(function)
        if function == self.fails:
            raise CudaError(function, "CUDA_ERROR_INVALID_VALUE")

    def allocate(self, num_bytes):
        self._call("allocate")
        assert num_bytes == 4096
        return 1000 + self.rank

    def name(self, address):
        self._call("name")
        return str(address).encode()

    def map(self, name):
        self._call("map")
        return 100_000 * (self.rank + 1) + int(name)


def all_meet(drivers, hosts=None):
    """What each rank gets."""
    barrier, offers = Barrier(len(drivers)), [b""] * len(drivers)

    def one(rank):
        def exchange(own):
            offers[rank] = own
            barrier.wait(timeout=30)
            return list(offers)

        def settled():
            drivers[rank].calls.append("settle")

        return meet(drivers[rank], exchange, rank, 4096, (hosts or [HOST] * len(drivers))[rank], settled)

    with ThreadPoolExecutor(len(drivers)) as threads:
        return list(threads.map(one, range(len(drivers))))


def test_each_rank_has_its_own_and_maps_the_others():
    drivers = [Driver(rank) for rank in range(3)]
    assert all_meet(drivers) == [
        [1000, 101001, 101002],
        [201000, 1001, 201002],
        [301000, 301001, 1002],
    ]
    # The memory is zero before another rank knows of it.
    assert drivers[0].calls == ["allocate", "name", "settle", "map", "map"]


@pytest.mark.parametrize("fails", ["allocate", "name"])
def test_none_gets_memory_when_one_has_none_to_give(fails):
    assert all_meet([Driver(0), Driver(1, fails), Driver(2)]) == [None, None, None]


def test_a_rank_without_a_driver_takes_part():
    assert all_meet([Driver(0), None]) == [None, None]


def test_a_rank_that_cannot_map_has_none():
    assert all_meet([Driver(0), Driver(1, "map")]) == [[1000, 101001], None]


def test_ranks_of_two_hosts_have_none():
    assert all_meet([Driver(0), Driver(1)], hosts=[b"host one", b"host two"]) == [None, None]


class Library:
    """Of the driver's functions, called by `CudaMemory` through ctypes' conventions."""

    class Function:
        def __init__(self, code, note=None):
            self.code, self.note, self.argtypes = code, note, None

        def __call__(self, *arguments):
            if self.note:
                self.note(*arguments)
            return self.code

    def __init__(self, code=0):
        self.given = []
        self.cuIpcOpenMemHandle_v2 = self.Function(code, lambda out, handle, flags: self.given.append(handle))
        self.cuMemAlloc_v2 = self.Function(code)
        self.cuGetErrorName = self.Function(0, self.say)

    @staticmethod
    def say(code, name):
        name._obj.value = b"CUDA_ERROR_PEER_ACCESS_UNSUPPORTED"


def test_the_driver_gets_a_name_as_it_was_given():
    library, name = Library(), bytes(range(64))
    CudaMemory(library).map(name)
    assert bytes(library.given[0].data) == name


def test_a_call_that_does_not_succeed_is_an_error_with_its_name():
    with pytest.raises(CudaError, match="cuMemAlloc_v2 gave CUDA_ERROR_PEER_ACCESS_UNSUPPORTED"):
        CudaMemory(Library(code=217)).allocate(64)


def test_a_name_of_another_length_is_refused():
    with pytest.raises(ValueError, match="64 bytes, not 3"):
        CudaMemory(Library()).map(b"abc")
