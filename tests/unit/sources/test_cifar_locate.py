"""CIFAR is found in every place where it may be stored; else one line says what to do."""

import functools
import hashlib
import http.server
import io
import os
import tarfile
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from pipeline.errors import PipelineError
from pipeline.sources.cache import cache_folder
from pipeline.sources.cifar.locate import locate
from pipeline.sources.cifar.source import Cifar


def packed(layout, folder, target, change=None):
    """Writes the archive of a layout as ``tar czf`` does. ``change`` may alter each member."""
    target.mkdir(parents=True, exist_ok=True)
    path = target / layout.archive.file
    with tarfile.open(path, "w:gz") as tar:
        tar.add(folder, layout.folder, filter=change)
        extra = tarfile.TarInfo("../outside")
        extra.size = 5
        tar.addfile(extra, io.BytesIO(b"extra"))
    content = path.read_bytes()
    archive = replace(layout.archive, bytes=len(content), md5=hashlib.md5(content).hexdigest())
    return replace(layout, archive=archive)


@pytest.fixture
def archived(small, tmp_path):
    """(manifest, folder of the archives, cache, folder of the layouts). The manifest has the archives' checksums."""
    manifest, _, data = small
    layouts = tuple(packed(layout, data / layout.folder, tmp_path / "archives") for layout in manifest.layouts)
    return replace(manifest, layouts=layouts), tmp_path / "archives", tmp_path / "cache", data


def test_the_folder_that_holds_both_layouts_gives_the_binary_one(small):
    manifest, _, data = small
    folder, layout = locate(manifest, data)
    assert (folder, layout.name) == (data / layout.folder, "binary")


@pytest.mark.parametrize("number", [0, 1])
def test_the_folder_of_a_layout_is_taken(small, number):
    manifest, _, data = small
    layout = manifest.layouts[number]
    assert locate(manifest, data / layout.folder) == (data / layout.folder, layout)


def test_a_relative_folder_becomes_absolute_for_the_workers(small, monkeypatch):
    manifest, _, data = small
    monkeypatch.chdir(data.parent)
    assert locate(manifest, Path(data.name))[0].is_absolute()


def test_a_whole_layout_is_preferred_to_half_of_the_other(small):
    manifest, _, data = small
    binary = manifest.layouts[0]
    (data / binary.folder / binary.files[0].file).unlink()
    assert locate(manifest, data)[1].name == "python"


def test_a_missing_batch_is_named(small):
    manifest, _, data = small
    binary = manifest.layouts[0]
    (data / binary.folder / binary.files[1].file).unlink()
    with pytest.raises(PipelineError, match=f"lacks {binary.files[1].file}: unpack the whole of {binary.archive.file}"):
        locate(manifest, data / binary.folder)


@pytest.mark.parametrize("number", [0, 1])
def test_an_archive_is_unpacked_into_the_cache_and_nothing_else_is(archived, number):
    manifest, archives, cache, _ = archived
    layout = manifest.layouts[number]
    (archives / manifest.layouts[1 - number].archive.file).unlink()
    folder, located = locate(manifest, archives, cache=cache)
    assert located == layout and folder == cache / layout.folder
    assert sorted(os.listdir(folder)) == sorted(file.file for file in layout.files)
    assert os.listdir(cache) == [layout.folder] and not (cache.parent / "outside").exists()
    assert Cifar(manifest, folder, layout).index().verified
    assert locate(manifest, archives, cache=cache)[0] == folder


@pytest.mark.parametrize(
    ("harm", "line"),
    [
        (lambda content: content[:-100], "is half-downloaded"),
        (lambda content: content[:-1] + b"!", "has MD5 .*, the official archive"),
        (lambda content: content + b"!", "has .* bytes, the official archive"),
    ],
)
def test_only_the_official_archive_is_opened(archived, harm, line, monkeypatch):
    manifest, archives, cache, _ = archived
    monkeypatch.setattr(tarfile, "open", lambda *_, **__: pytest.fail("opened"))
    path = archives / manifest.layouts[0].archive.file
    path.write_bytes(harm(path.read_bytes()))
    with pytest.raises(PipelineError, match=line):
        locate(manifest, archives, cache=cache)
    assert not cache.exists() or not os.listdir(cache)


def linked(member):
    if member.isreg():
        member.type, member.linkname, member.size = tarfile.SYMTYPE, "/etc/passwd", 0
    return member


def dropped(member):
    return None if member.name.endswith(("test_batch.bin", "test.bin")) else member


def huge(layout):
    largest = max(file.largest for file in layout.files)
    return replace(layout, files=tuple(replace(file, bytes=largest - 1) for file in layout.files))


@pytest.mark.parametrize(("change", "line"), [(linked, "is no regular file"), (dropped, "lacks .*test")])
def test_an_archive_with_other_members_leaves_nothing_behind(small, tmp_path, change, line):
    manifest, _, data = small
    layout = packed(manifest.layouts[0], data / manifest.layouts[0].folder, tmp_path / "archives", change)
    with pytest.raises(PipelineError, match=line):
        locate(replace(manifest, layouts=(layout,)), tmp_path / "archives", cache=tmp_path / "cache")
    assert os.listdir(tmp_path / "cache") == []


def test_a_member_that_is_too_large_is_not_written(archived):
    manifest, archives, cache, _ = archived
    with pytest.raises(PipelineError, match="is no regular file of the official size"):
        locate(replace(manifest, layouts=(huge(manifest.layouts[0]),)), archives, cache=cache)
    assert os.listdir(cache) == []


def test_half_a_folder_in_the_cache_is_reported(archived):
    manifest, archives, cache, _ = archived
    (cache / manifest.layouts[0].folder).mkdir(parents=True)
    (cache / manifest.layouts[0].folder / "other").touch()
    with pytest.raises(PipelineError, match="is in the way and incomplete: remove it"):
        locate(manifest, archives, cache=cache)


@pytest.mark.parametrize(
    ("make", "line"),
    [
        (lambda path: None, "does not exist: --data-dir takes the folder that holds cifar-10"),
        (lambda path: path.touch(), "is a file: --data-dir takes"),
        (lambda path: path.mkdir(), "holds no CIFAR-10.*: --data-dir takes the folder that holds cifar-10.*tar.gz"),
        (lambda path: (path / "train").mkdir(parents=True), "holds no CIFAR-10"),
    ],
)
def test_a_wrong_folder_is_reported_with_what_is_expected(small, tmp_path, make, line):
    make(tmp_path / "other")
    with pytest.raises(PipelineError, match=line) as caught:
        locate(small[0], tmp_path / "other")
    assert "\n" not in str(caught.value)


def test_without_a_folder_the_archive_is_downloaded_once(archived):
    manifest, archives, cache, _ = archived
    asked, progress = [], []

    class Handler(http.server.SimpleHTTPRequestHandler):
        def log_request(self, *_):
            asked.append(self.path)

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Handler, directory=str(archives)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        for _ in range(2):
            url = f"http://127.0.0.1:{server.server_port}/"
            folder, layout = locate(
                manifest,
                None,
                cache=cache,
                base_url=url,
                download=lambda received, total: progress.append((received, total)),
            )
            assert layout.name == "python" and folder == cache / layout.folder
    finally:
        server.shutdown()
        server.server_close()
    assert asked == [f"/{layout.archive.file}"]
    assert progress[-1] == (layout.archive.bytes,) * 2
    assert sorted(os.listdir(cache)) == sorted([layout.folder, layout.archive.file])


def test_an_archive_that_was_put_into_the_cache_is_taken(archived):
    manifest, archives, _, _ = archived
    assert locate(manifest, None, cache=archives, base_url="http://127.0.0.1:9/")[0].parent == archives


def test_the_cache_follows_xdg(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder("cifar10") == tmp_path / "rank-shards" / "cifar10"
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    assert cache_folder("cifar10") == Path.home() / ".cache" / "rank-shards" / "cifar10"
