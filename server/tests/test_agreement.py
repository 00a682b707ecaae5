"""Ranks agree between their hosts, over the store at which they met."""

import random
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from torch import distributed

from shardline.dist.agreement import Agreement
from shardline.dist.group import ParallelGroup
from support.ranks import free_port


def connect(port, rank, world_size):
    return distributed.TCPStore(
        "127.0.0.1", port, world_size, is_master=rank == 0, timeout=timedelta(seconds=30)
    )


@pytest.mark.parametrize("world_size", [2, 3])
def test_all_ranks_hear_whether_all_consent(world_size):
    port, randomness = free_port(), random.Random(world_size)
    said = [[randomness.random() < 0.7 for _ in range(world_size)] for _ in range(50)]
    # The first rank's is the store itself: it stays until all have heard the last answer.
    stores = {}

    def heard(rank):
        stores[rank] = connect(port, rank, world_size)
        agreement = Agreement(stores[rank], rank, world_size)
        return [agreement.of_all(consents[rank]) for consents in said]

    with ThreadPoolExecutor(world_size) as threads:
        answers = list(threads.map(heard, range(world_size)))
    assert answers == [[all(consents) for consents in said]] * world_size
    assert {True, False} == set(answers[0])


def test_answers_that_all_have_read_are_forgotten():
    store = distributed.HashStore()
    agreement = Agreement(store, rank=0, world_size=1)
    before = store.num_keys()
    for _ in range(10):
        assert agreement.of_all(True)
    assert store.num_keys() == before + 1


def test_one_rank_agrees_with_itself():
    alone = ParallelGroup.alone()
    assert alone.agree(True) and not alone.agree(False)


def test_a_rank_that_does_not_answer_is_an_error():
    store = connect(free_port(), 0, 1)
    store.set_timeout(timedelta(milliseconds=50))
    with pytest.raises(RuntimeError):
        Agreement(store, rank=0, world_size=2).of_all(True)
