"""What a start keeps for the next one, and its report."""

import os

import pytest

from shardline.start.cache import StartCache, cache_candidates
from shardline.start.phases import StartPhases, process_age

FACTS = {"gpu": "one", "shape": [4, 8], "version": None}


@pytest.fixture
def cache(tmp_path):
    return StartCache.at([tmp_path / "deep" / "cache"])


def test_what_was_stored_comes_back_for_the_same_facts(cache):
    cache.store("memory", FACTS, {"bytes": 5})
    assert cache.load("memory", dict(FACTS)) == {"bytes": 5}
    assert cache.load("kernels", FACTS) is None
    assert cache.load("memory", FACTS | {"gpu": "two"}) is None
    cache.store("memory", FACTS, {"bytes": 6})
    assert cache.load("memory", FACTS) == {"bytes": 6}
    assert sum(1 for _ in cache.folder.iterdir()) == 1


@pytest.mark.parametrize(
    "content", ["", "[1]", "{", "[" * 100_000, '{"facts": {}, "content": 1}', "\x00\xff"]
)
def test_a_broken_record_is_none(cache, content):
    cache.store("memory", FACTS, 1)
    (path,) = cache.folder.iterdir()
    path.write_text(content, encoding="latin-1")
    assert cache.load("memory", FACTS) is None


def test_a_record_of_other_facts_under_the_same_name_is_none(cache):
    cache.store("memory", FACTS, 1)
    (path,) = cache.folder.iterdir()
    path.write_text(path.read_text().replace("one", "two"))
    assert cache.load("memory", FACTS) is None


def test_a_folder_that_others_may_write_is_not_taken(tmp_path, caplog):
    shared, own = tmp_path / "shared", tmp_path / "own"
    shared.mkdir()
    shared.chmod(0o777)
    own.mkdir()
    link = tmp_path / "link"
    link.symlink_to(own)
    assert StartCache.at([shared, link, own]).folder == own
    assert StartCache.at([shared]).folder is None
    assert "every start compiles" in caplog.text


def test_without_a_folder_nothing_is_kept(tmp_path):
    file = tmp_path / "file"
    file.write_text("")
    cache = StartCache.at([file, file / "below"])
    cache.store("memory", FACTS, 1)
    assert cache.folder is None and cache.load("memory", FACTS) is None


def test_the_users_folder_comes_first(tmp_path):
    assert cache_candidates(tmp_path, 7)[0] == tmp_path
    assert cache_candidates(tmp_path, 7)[1:] == cache_candidates(None, 7)
    assert cache_candidates(None, 7)[0].name == "shardline-7"


def test_phases_add_up_in_the_order_in_which_they_began():
    times = iter([0.0, 1.0, 2.0, 5.0, 6.0, 6.5])
    phases = StartPhases(clock=lambda: next(times))
    phases.note("import", 2.0)
    with phases.phase("load"):
        pass
    with phases.phase("capture"):
        pass
    with phases.phase("load"):
        pass
    assert phases.pairs() == (("import", 2.0), ("load", 1.5), ("capture", 3.0))
    assert phases.line() == "import 2.00 s, load 1.50 s, capture 3.00 s"


@pytest.mark.skipif(not os.path.exists("/proc/self/stat"), reason="Linux tells when a process began")
def test_the_age_of_this_process():
    age = process_age()
    assert 0 < age < 24 * 3600 and process_age() >= age
