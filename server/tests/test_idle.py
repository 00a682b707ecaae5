"""Idle moments of all ranks, found out over the store at which they met."""

import random
from concurrent.futures import ThreadPoolExecutor

import pytest
from torch import distributed

from shardline.dist.group import ParallelGroup
from shardline.dist.idle import IdleMoments

STEPS = 30


def all_of(world_size):
    store = distributed.HashStore()
    return [IdleMoments(store, rank, world_size) for rank in range(world_size)]


@pytest.mark.parametrize("world_size", [2, 3, 4])
def test_all_are_together_once_all_are_idle_at_the_same_place(world_size):
    first, *others = all_of(world_size)
    assert not first.together(5)
    assert not any(other.together(5) for other in others)
    assert first.together(5)
    assert all(other.together(5) for other in others)
    # Each moment is for one piece of work.
    assert not first.together(5)


def test_one_that_is_elsewhere_lets_the_others_go():
    first, second, third = all_of(3)
    assert not second.together(5) and not third.together(4)
    assert not first.together(5)
    assert not second.together(5)
    assert not second.leave() and not third.leave()
    assert not first.together(5)


def test_a_step_waits_for_what_all_do_before_it():
    first, second = all_of(2)
    assert not second.together(7)
    assert first.together(7)
    assert second.leave()
    assert not second.leave()


def test_one_that_left_is_not_waited_for():
    first, second = all_of(2)
    assert not second.together(7)
    assert not second.leave()
    assert not first.together(7)


def test_a_group_of_one_has_none():
    assert ParallelGroup.alone().idle_moments is None


@pytest.mark.parametrize("seed", range(40))
def test_whatever_the_moments_are_all_do_the_same_at_the_same_places(seed):
    """Each rank is idle as often as it happens to be before each of its steps."""
    world_size = 2 + seed % 3
    ranks = all_of(world_size)

    def places(rank):
        chance = random.Random(1000 * seed + rank)
        found = []
        for place in range(STEPS):
            while chance.random() < 0.8:
                if ranks[rank].together(place):
                    found.append(place)
            if ranks[rank].leave():
                found.append(place)
        return found

    with ThreadPoolExecutor(world_size) as threads:
        found = list(threads.map(places, range(world_size)))
    assert found == [found[0]] * world_size
