"""Ranks that hold a model together have the same sizes captured, at the same places among their steps."""

import random
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest

from shardline.runner.graph_store import GraphStore, GraphWork

KEYS = [f"{size}{sampling}" for size in "abcde" for sampling in "12"]


class Meeting:
    """Where ranks agree: each waits until all have said what they say. One that does not come breaks it."""

    def __init__(self, ranks):
        self.said = [False] * ranks
        self.barrier = Barrier(ranks, timeout=30)

    def agree(self, rank, consent):
        self.said[rank] = consent
        self.barrier.wait()
        all_consent = all(self.said)
        self.barrier.wait()
        return all_consent


class Rank:
    """A store over a device. `room`: graphs it has memory for; `fails`: keys whose captures fail."""

    def __init__(self, number, meeting, most=8, room=1000, fails=()):
        self.log = []
        self.room = room
        self.fails = fails
        self.store = GraphStore(
            GraphWork(
                run=lambda key: self.log.append(f"run {key}"),
                loads=lambda key: key[0],
                capture=self.capture,
                has_room=lambda: self.room > 0,
                settle=lambda: self.log.append("settle"),
                agree=lambda consent: meeting.agree(number, consent),
            ),
            most,
        )

    def capture(self, key):
        self.log.append(f"capture {key}")
        if key in self.fails:
            raise RuntimeError("CUDA out of memory")
        self.room -= 1
        return f"graph {key}"

    def kept(self):
        return {key for key in KEYS if key in self.store}


def on_all(ranks, work):
    """What `work` of each rank returns; it runs on all of them at once."""
    with ThreadPoolExecutor(len(ranks)) as threads:
        return list(threads.map(work, ranks))


def pair(*differences, most=8):
    meeting = Meeting(len(differences))
    return [Rank(number, meeting, most, **difference) for number, difference in enumerate(differences)]


def find_twice(rank):
    return [rank.store.find(key) for key in ("a1", "a1", "b1", "b1", "c1", "c1", "a1", "b1")]


def test_ranks_capture_the_same_sizes_in_the_same_order(caplog):
    caplog.set_level("DEBUG", "shardline.graphs")
    first, second = pair({}, {})
    found = on_all([first, second], find_twice)
    assert first.log == second.log == ["capture a1", "capture b1", "capture c1"]
    assert found[0] == found[1] and found[0][-2:] == ["graph a1", "graph b1"]
    told = [record.getMessage() for record in caplog.records]
    assert sorted(told) == sorted(
        2 * [f"captured {key}, {n} in all" for n, key in enumerate(("a1", "b1", "c1"), 1)]
    )


@pytest.mark.parametrize("full", [0, 1])
def test_a_rank_without_room_closes_all(full, caplog):
    ranks = pair(*({"room": 1} if number == full else {} for number in range(2)))
    found = on_all(ranks, find_twice)
    assert [rank.log for rank in ranks] == [["capture a1"]] * 2
    assert found == [[None, "graph a1", None, None, None, None, "graph a1", None]] * 2
    causes = sorted(record.getMessage().partition(": ")[2].partition(".")[0] for record in caplog.records)
    assert causes == [
        "another rank's device has no memory for another one",
        "the device has no memory for another one",
    ]


@pytest.mark.parametrize("failing", [0, 1])
def test_a_graph_that_one_rank_cannot_capture_is_kept_by_none(failing, caplog):
    ranks = pair(*({"fails": ["b1"]} if number == failing else {} for number in range(2)))
    found = on_all(ranks, find_twice)
    assert [rank.log for rank in ranks] == [["capture a1", "capture b1"]] * 2
    assert found == [[None, "graph a1", None, None, None, None, "graph a1", None]] * 2
    assert [rank.kept() for rank in ranks] == [{"a1"}] * 2
    assert "CUDA out of memory" in caplog.text and "another rank could not capture it" in caplog.text


def test_a_lost_rank_is_an_error_and_no_failed_capture():
    class Gone(RuntimeError):
        pass

    def lost(consent):
        raise Gone

    device = Rank(0, Meeting(1))
    store = GraphStore(
        GraphWork(
            run=device.log.append,
            loads=lambda key: key,
            capture=device.capture,
            has_room=lambda: True,
            settle=lambda: None,
            agree=lost,
        ),
        most=8,
    )
    assert store.find("a") is None
    with pytest.raises(Gone):
        store.find("a")


def random_work(randomness):
    """What a rank is asked for, as a function of its store."""
    key = randomness.choice(KEYS)
    planned = randomness.sample(KEYS, randomness.randint(0, 6))
    return randomness.choices(
        [
            lambda store: store.find(key) is not None,
            lambda store: store.work_ahead(),
            lambda store: store.work_between(),
            lambda store: store.capture(key),
            lambda store: store.plan(planned),
        ],
        weights=[12, 4, 4, 1, 1],
    )[0]


@pytest.mark.parametrize("seed", range(100))
def test_whatever_comes_all_ranks_keep_the_same(seed):
    randomness = random.Random(seed)
    count, most = randomness.randint(2, 3), randomness.randint(1, 12)
    ranks = pair(
        *(
            {
                "room": randomness.randint(0, 40),
                "fails": randomness.sample(KEYS, randomness.choice((0, 0, 1))),
            }
            for _ in range(count)
        ),
        most=most,
    )
    asked = [random_work(randomness) for _ in range(120)]

    def work(rank):
        seen = []
        for one in asked:
            seen.append((one(rank.store), rank.kept()))
        return seen

    seen = on_all(ranks, work)
    assert seen.count(seen[0]) == count
    assert [rank.log for rank in ranks] == [ranks[0].log] * count
    assert all(len(kept) <= most for _, kept in seen[0])
