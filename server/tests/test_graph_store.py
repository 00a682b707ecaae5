"""When a size of steps is captured, and what happens when there is no room."""

import pytest

from shardline.runner.graph_store import GraphStore, GraphWork


class Device:
    """Counts what it is asked for. `fails`: sizes whose capture runs out of memory."""

    def __init__(self, room=1000, fails=()):
        self.log = []
        self.room = room
        self.fails = fails

    def capture(self, key):
        self.log.append(f"capture {key}")
        if key in self.fails:
            raise RuntimeError("CUDA out of memory\nand details")
        self.room -= 1
        return f"graph {key}"

    def work(self, agree=bool):
        return GraphWork(
            run=lambda key: self.log.append(f"run {key}"),
            loads=lambda key: key[0],
            capture=self.capture,
            has_room=lambda: self.room > 0,
            settle=lambda: self.log.append("settle"),
            agree=agree,
        )


def test_the_first_step_runs_the_second_captures_the_third_replays():
    device = Device()
    store = GraphStore(device.work(), most=8)
    assert [store.find("a"), store.find("a"), store.find("a")] == [None, "graph a", "graph a"]
    assert device.log == ["capture a"]


def test_idle_moments_do_one_thing_each_in_the_planned_order():
    device = Device()
    store = GraphStore(device.work(), most=8)
    store.plan(["a", "b"])
    done = 0
    while store.work_ahead():
        done += 1
        assert len(device.log) == done
    assert device.log == ["run a", "capture a", "run b", "capture b"]
    assert not store.work_ahead()


def test_a_size_that_a_request_brought_is_not_run_again():
    device = Device()
    store = GraphStore(device.work(), most=8)
    store.plan(["a", "b", "c"])
    store.find("a")
    store.find("b")
    store.find("b")
    while store.work_ahead():
        pass
    assert device.log == ["capture b", "capture a", "run c", "capture c"]


def test_the_size_not_used_for_longest_makes_room_once_nothing_runs():
    device = Device()
    store = GraphStore(device.work(), most=2)
    for key in ("a", "b", "a"):
        store.capture(key)
    store.find("a")
    store.capture("c")
    assert device.log == ["run a", "capture a", "run b", "capture b", "run c", "settle", "capture c"]
    assert "a" in store and "c" in store and "b" not in store
    assert store.find("b") == "graph b"


def test_work_ahead_pushes_nothing_out():
    device = Device()
    store = GraphStore(device.work(), most=1)
    store.capture("a")
    store.plan(["b"])
    while store.work_ahead():
        pass
    assert "a" in store and len(store) == 1


@pytest.mark.parametrize("device", [Device(room=1), Device(fails=("b",))], ids=["no room", "out of memory"])
def test_without_memory_it_stays_at_what_there_is(device, caplog):
    store = GraphStore(device.work(), most=8)
    store.capture("a")
    store.plan(["b", "c"])
    while store.work_ahead():
        pass
    assert [store.find("b"), store.find("c"), store.find("c")] == [None, None, None]
    assert store.find("a") == "graph a"
    assert len(caplog.records) == 1 and "1 sizes of steps are captured" in caplog.text


def test_dropping_everything_waits_for_what_runs_and_ends_captures():
    device = Device()
    store = GraphStore(device.work(), most=8)
    store.capture("a")
    store.clear()
    assert device.log[-1] == "settle"
    assert [store.find("a"), store.find("a")] == [None, None]


def test_none_are_captured_where_none_may_be():
    device = Device()
    store = GraphStore(device.work(), most=0)
    assert [store.find("a"), store.find("a")] == [None, None]
    assert device.log == []


def test_sizes_that_share_kernels_are_run_once():
    device = Device()
    store = GraphStore(device.work(), most=8)
    store.plan(["a1", "a2"])
    assert store.find("a2") is None
    while store.work_ahead():
        pass
    assert device.log == ["capture a1", "capture a2"]


def test_a_size_known_to_be_loaded_is_captured_when_it_first_comes():
    device = Device()
    store = GraphStore(device.work(), most=8)
    store.note_loaded("a")
    assert store.find("a") == "graph a"
    assert device.log == ["capture a"]


def test_between_steps_only_what_is_loaded_is_captured():
    device = Device()
    store = GraphStore(device.work(), most=8)
    store.plan(["a", "b", "c"])
    store.note_loaded("b")
    assert store.work_between() and store.work_between()
    assert device.log == ["capture b"]
    store.find("c")
    assert store.work_between()
    assert device.log == ["capture b", "capture c"]
    store.note_loaded("a")
    assert store.work_between()
    assert not store.work_between()
    assert device.log == ["capture b", "capture c", "capture a"]


def test_between_steps_nothing_is_pushed_out_and_a_failure_is_the_end(caplog):
    device = Device(fails=("b",))
    store = GraphStore(device.work(), most=8)
    store.plan(["a", "b", "c"])
    for key in "abc":
        store.note_loaded(key)
    assert store.work_between() and not store.work_between()
    assert device.log == ["capture a", "capture b"]
    full = GraphStore(Device().work(), most=1)
    full.capture("a")
    full.plan(["b"])
    full.note_loaded("b")
    assert not full.work_between() and len(full) == 1
