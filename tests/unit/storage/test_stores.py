"""Promises of both stores: a local folder and object storage."""

import hashlib
import pickle
from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline.storage.location import Location
from pipeline.storage.lock import LostLock
from pipeline.storage.store import Reading, Store, open_store

RUN = "run"
LARGE = bytes(range(256)) * (17 * 2**12)  # 17 MB: uploaded in parts


@pytest.fixture(params=["local", "s3"])
def location(request: pytest.FixtureRequest, tmp_path: Path) -> Location:
    if request.param == "local":
        return tmp_path / "out"
    url: str = request.getfixturevalue("url")
    return url


@pytest.fixture
def store(location: Location) -> Store:
    store = open_store(location)
    store.check()
    store.make_root()
    store.make_folders(["folder", "folder/below"])
    return store


@pytest.fixture(params=["as it is", "snapshot"])
def seen(request: pytest.FixtureRequest, store: Store) -> Callable[[], Reading]:
    return store.snapshot if request.param == "snapshot" else lambda: store


def test_what_is_put_can_be_read(store: Store, seen: Callable[[], Reading]) -> None:
    with store.lock(RUN):
        store.put("top", b"1", RUN)
        store.put_all({"folder/a": b"22", "folder/below/b": b"", "folderol": b"333"}, RUN)
    now = seen()
    assert {name: now.read(name) for name in ("top", "folder/a", "folder/below/b", "folder/none", "none/x")} == {
        "top": b"1", "folder/a": b"22", "folder/below/b": b"", "folder/none": None, "none/x": None,
    }  # fmt: skip
    assert [now.size(name) for name in ("top", "folder/a", "folder/below/b", "folder/none")] == [1, 2, 0, None]
    assert [now.size(name) for name in ("folder", "fold", "none/x")] == [None, None, None]
    assert now.names("folder") == ["a", "below"]
    assert now.names("") == [".build", "folder", "folderol", "top"]
    assert now.names("none") == []
    assert now.sha256("folder/a") == hashlib.sha256(b"22").hexdigest()


@pytest.mark.parametrize("content", [b"", b"small", LARGE], ids=["empty", "small", "large"])
def test_published_files_are_whole(content: bytes, store: Store, seen: Callable[[], Reading]) -> None:
    with store.lock(RUN):
        paths = {f"folder/{number}": store.scratch(RUN) for number in range(3)}
        for path in paths.values():
            path.write_bytes(content)
        store.publish(paths, RUN)
    now = seen()
    for name in paths:
        assert now.size(name) == len(content)
        assert now.sha256(name) == hashlib.sha256(content).hexdigest()


def test_a_second_time_replaces(store: Store) -> None:
    with store.lock(RUN):
        for content in (b"first", b"second", b"x"):
            store.put("folder/a", content, RUN)
            assert store.read("folder/a") == content
            assert store.size("folder/a") == len(content)


def test_a_snapshot_of_object_storage_and_of_nothing_new_stays(store: Store) -> None:
    with store.lock(RUN):
        store.put("folder/a", b"1", RUN)
        assert store.snapshot().size("folder/b") is None
        store.put("folder/b", b"1", RUN)
        assert store.snapshot().size("folder/b") == 1


def test_deleting_a_file_or_a_folder_leaves_its_neighbours(store: Store) -> None:
    names = ("folder/a", "folder/below/b", "folder/belowx", "folderol")
    with store.lock(RUN):
        store.put_all(dict.fromkeys(names, b"x"), RUN)
    store.delete("folder/below")
    assert [store.read(name) for name in names] == [b"x", None, b"x", b"x"]
    store.delete("folder/a")
    assert [store.read(name) for name in names] == [None, None, b"x", b"x"]
    store.delete("folder/a")
    store.delete("none/x")
    store.delete("folder")
    assert [store.read(name) for name in names] == [None, None, None, b"x"]


def test_logs_grow(store: Store) -> None:
    for line in (b"one\n", b"two\n"):
        store.append(".build/log", line)
    assert store.read(".build/log") == b"one\ntwo\n"


def test_a_run_that_does_not_own_the_output_publishes_nothing(store: Store) -> None:
    with store.lock("old"):
        store.put("folder/a", b"old", "old")
    with store.lock("new"):
        late = store.scratch("old")
        late.write_bytes(b"late")
        with pytest.raises(LostLock):
            store.publish({"folder/a": late, "folder/b": late}, "old")
        with pytest.raises(LostLock):
            store.put("folder/a", b"late", "old")
        assert store.read("folder/a") == b"old"
        assert store.read("folder/b") is None
        store.put("folder/a", b"new", "new")
    with pytest.raises(LostLock):  # the last owner has released it
        store.put("folder/a", b"late", "new")


def test_scratch_is_cleared(store: Store) -> None:
    with store.lock(RUN):
        path = store.scratch(RUN)
        path.write_bytes(b"x")
        store.clear_scratch()
        assert not path.exists()
        assert store.scratch(RUN) != path


def test_a_store_is_its_location_and_goes_to_workers(store: Store, location: Location) -> None:
    assert store.location == location
    assert open_store(store.location) == store == pickle.loads(pickle.dumps(store))
    with store.lock(RUN):
        store.put("folder/a", b"x", RUN)
        assert pickle.loads(pickle.dumps(store)).read("folder/a") == b"x"


def test_traces_are_what_a_run_leaves_first(store: Store) -> None:
    with store.lock(RUN):
        assert store.traces - {"job.json"} <= set(store.names(".build")) <= store.traces | {"lock", "tmp"}
