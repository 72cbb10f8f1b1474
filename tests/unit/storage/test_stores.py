"""Promises of both stores: a local folder and object storage."""

import errno
import hashlib
import os
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline.errors import PipelineError
from pipeline.storage import files
from pipeline.storage.bucket import Bucket
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


def test_a_file_is_read_up_to_the_limit(store: Store, seen: Callable[[], Reading]) -> None:
    with store.lock(RUN):
        store.put("folder/a", b"12345", RUN)
    assert seen().read("folder/a", 5) == b"12345"
    with pytest.raises(ValueError, match="4 bytes"):
        seen().read("folder/a", 4)


def test_an_error_of_a_missing_file(store: Store, seen: Callable[[], Reading]) -> None:
    with pytest.raises(FileNotFoundError):
        seen().sha256("folder/none")


def test_a_snapshot_reads_the_small_files_of_one_folder_together(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    store = open_store(url)
    contents = {"top": b"t", "folder/a": b"1", "folder/b": b"22", "folder/large": b"333", "folder/below/c": b"4"}
    with store.lock(RUN):
        store.put_all(contents, RUN)
    asked: list[str] = []
    read = Bucket.read

    def counted(bucket: Bucket, name: str) -> bytes:
        asked.append(name)
        return read(bucket, name)

    monkeypatch.setattr(Bucket, "read", counted)
    now = store.snapshot()
    assert [now.read("folder/a", 2), now.read("folder/b", 2)] == [b"1", b"22"]
    assert sorted(asked) == ["folder/a", "folder/b"]
    assert now.read("top", 2) == b"t"
    assert now.read("top", 2) == b"t"
    assert asked[2:] == ["top"]
    with pytest.raises(ValueError, match="folder/large has more than 2 bytes"):
        now.read("folder/large", 2)
    assert now.read("folder/large", 3) == b"333"


def test_objects_that_a_server_keeps_are_an_error(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    store = open_store(url)
    with store.lock(RUN):
        store.put("folder/a", b"1", RUN)
    monkeypatch.setattr(Bucket, "delete", lambda bucket, names: None)  # as s3fs does when the answer lists errors
    with pytest.raises(PermissionError) as error:
        store.delete("folder")
    assert (error.value.errno, error.value.strerror) == (errno.EACCES, "no permission to delete")
    assert error.value.filename == f"{url}/folder/a"


def test_a_missing_bucket_is_one_line_and_is_asked_for_without_patience(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    patient: list[bool] = []
    names = Bucket.names

    def noted(bucket: Bucket, folder: str) -> list[str]:
        patient.append(bucket.patient)
        assert folder == ""
        return names(bucket, folder)

    monkeypatch.setattr(Bucket, "names", noted)
    open_store(url).check()
    with pytest.raises(PipelineError) as error:
        open_store("s3://nobody-bucket/out").check()
    assert str(error.value) == "--out s3://nobody-bucket/out: there is no such bucket"
    assert patient == [False, False]


def test_object_storage_has_no_limit_and_a_disk_has_one(url: str, tmp_path: Path) -> None:
    assert open_store(url).free() is None
    free = shutil.disk_usage(tmp_path).free
    assert abs(open_store(tmp_path / "none" / "below").free() - free) < free / 10  # type: ignore[operator]


# A local folder


@pytest.fixture
def folder(tmp_path: Path) -> Store:
    store = open_store(tmp_path / "out")
    store.make_root()
    store.make_folders(["folder"])
    return store


def test_links_pipes_and_folders_in_the_place_of_a_file_are_never_read(folder: Store, tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(b"x")
    (tmp_path / "out/folder/link").symlink_to(tmp_path / "secret")
    for name in ("folder/link", "folder/pipe"):
        if name == "folder/pipe":
            os.mkfifo(tmp_path / "out" / name)
        for act in (folder.read, folder.sha256, lambda name: folder.append(name, b"y")):
            with pytest.raises((PipelineError, OSError)):
                act(name)
        with pytest.raises(PipelineError, match=name):
            folder.check_inside()
        (tmp_path / "out" / name).unlink()
    folder.check_inside()
    assert (tmp_path / "secret").read_bytes() == b"x"


def test_a_root_that_is_no_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(PipelineError, match="file is a file; name a folder"):
        open_store(tmp_path / "file").check()
    (tmp_path / "link").symlink_to(tmp_path / "none")
    with pytest.raises(PipelineError, match="link is a link to .*none, which does not exist"):
        open_store(tmp_path / "link").check()
    open_store(tmp_path / "none").check()
    open_store(tmp_path).check()


def test_a_file_where_a_folder_belongs_is_named(folder: Store, tmp_path: Path) -> None:
    (tmp_path / "out/file").touch()
    for name in ("file", "file/below"):
        with pytest.raises(PipelineError, match=f"^{tmp_path}/out/file is a file where a folder belongs"):
            folder.make_folders([name])


def test_an_error_names_the_file_of_the_output_and_not_its_scratch_file(folder: Store, tmp_path: Path) -> None:
    out = tmp_path / "out"
    with folder.lock(RUN):
        with pytest.raises(FileNotFoundError) as error:
            folder.put("none/x", b"1", RUN)
        assert error.value.filename == str(out / "none")
    with pytest.raises(OSError, match="too long") as long:
        folder.make_folders(["x" * 300])
    assert long.value.filename == str(out / ("x" * 300))


def test_scratch_that_is_not_published_is_removed(folder: Store, tmp_path: Path) -> None:
    with pytest.raises(LostLock):
        folder.put("folder/a", b"x", RUN)
    assert folder.names(".build/tmp") == []
    scratch = folder.scratch(RUN)
    assert scratch.parent == tmp_path / "out/.build/tmp"
    assert scratch.name.startswith(f"{RUN}-")


def test_scratch_that_is_a_link_is_not_followed(folder: Store, tmp_path: Path) -> None:
    (tmp_path / "theirs").mkdir()
    (tmp_path / "theirs/file").touch()
    (tmp_path / "out/.build/tmp").rmdir()
    (tmp_path / "out/.build/tmp").symlink_to(tmp_path / "theirs")
    with pytest.raises((PipelineError, OSError)):
        folder.clear_scratch()
    assert (tmp_path / "theirs/file").exists()


def test_of_a_link_only_the_link_is_deleted(folder: Store, tmp_path: Path) -> None:
    (tmp_path / "theirs").mkdir()
    (tmp_path / "theirs/file").touch()
    (tmp_path / "out/folder/link").symlink_to(tmp_path / "theirs")
    folder.delete("folder/link")
    assert folder.names("folder") == []
    assert (tmp_path / "theirs/file").exists()


def test_every_folder_whose_content_changed_is_synced(
    folder: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[Path] = []
    sync = files.sync

    def noted(path: Path) -> None:
        synced.append(path)
        sync(path)

    monkeypatch.setattr(files, "sync", noted)
    out = tmp_path / "out"
    with folder.lock(RUN):
        folder.put_all({"folder/a": b"1", "top": b"2"}, RUN)
    assert {out, out / "folder"} <= set(synced)
    assert len([path for path in synced if path.parent == out / ".build/tmp"]) == 2
    synced.clear()
    folder.delete("folder/a")
    assert synced == [out / "folder"]
    synced.clear()
    folder.delete("none/x")
    assert synced == []
    folder.make_folders(["new/below"])
    assert {out, out / "new", out / ".build"} <= set(synced)
    synced.clear()
    open_store(tmp_path / "a/b/out").make_root()
    assert {tmp_path, tmp_path / "a", tmp_path / "a/b"} <= set(synced)
