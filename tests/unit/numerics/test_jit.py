"""Promises: numba's cache is optional. A damaged, full or missing one costs time, one line on stderr, and no result."""

import errno
import hashlib
import importlib.util
import multiprocessing
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numba
import pytest

from pipeline.numerics import jit

SOURCE = """
def total(values):
    sum = 0.0
    for value in values:
        sum += value
    return sum

def product(values):
    result = 1.0
    for value in values:
        result *= value
    return result
"""
Damage = Callable[[bytes], bytes]


def zero_machine_code(content: bytes) -> bytes:
    """Zeros in the place of machine code: a file system may leave such blocks after a power failure."""
    start = content.index(b"\x7fELF") + 0x200
    return content[:start] + bytes(0x100) + content[start + 0x100 :]


@pytest.fixture
def functions(tmp_path: Path) -> Any:
    """A module with two functions, which numba caches in ``tmp_path / "cache"``."""
    file = tmp_path / "loops.py"
    file.write_text(SOURCE)
    spec = importlib.util.spec_from_file_location("loops", file)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setattr(numba.config, "CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setattr(jit, "_said", False)
    yield tmp_path / "cache"


def files(cache: Path, suffix: str) -> list[Path]:
    return sorted(cache.rglob(f"*{suffix}"))


def run(function: Any) -> tuple[float, bool]:
    """Compiles the function as a new process would. Returns its result, and whether it came from the cache."""
    dispatcher = jit.compiled(function)
    result = dispatcher((1.0, 2.0, 4.0))
    return result, Counter(dispatcher.stats.cache_hits).total() == 1


def test_a_second_process_compiles_nothing(functions: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(functions.total) == (7.0, False)
    assert run(functions.total) == (7.0, True)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("suffix", "damage"),
    [
        pytest.param(".nbi", lambda _: b"", id="an empty index"),
        pytest.param(".nbi", lambda content: content[: len(content) // 2], id="a cut index"),
        pytest.param(".nbi", lambda content: content[::-1], id="a reversed index"),
        pytest.param(".nbi", lambda content: bytes(len(content)), id="an index of zeros"),
        pytest.param(".nbi", lambda content: content[:-1] + b"x", id="an index with a wrong digest"),
        pytest.param(".nbc", lambda _: b"", id="empty code"),
        pytest.param(".nbc", lambda content: content[:-1], id="cut code"),
        pytest.param(".nbc", zero_machine_code, id="zeros in the code"),
        pytest.param(".nbc", lambda content: content + b"x", id="more than the code"),
    ],
)
def test_a_damaged_cache_is_reported_once_and_written_again(
    functions: Any, cache: Path, suffix: str, damage: Damage, capsys: pytest.CaptureFixture[str]
) -> None:
    for function in (functions.total, functions.product):
        run(function)
    for file in files(cache, suffix):
        file.write_bytes(damage(file.read_bytes()))
    assert run(functions.total) == (7.0, False)
    assert run(functions.product) == (8.0, False)
    error = capsys.readouterr().err
    assert (error.count("\n"), error.count(str(cache))) == (1, 1)
    assert "damaged" in error
    for kind in (".nbi", ".nbc"):
        assert len(files(cache, kind)) == 2
        for file in files(cache, kind):
            content = file.read_bytes()
            assert hashlib.sha256(content[:-32]).digest() == content[-32:], file


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EIO])
def test_a_cache_that_cannot_be_written_is_reported_once(
    functions: Any, number: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "replace", fail)
    assert run(functions.total) == (7.0, False)
    assert run(functions.product) == (8.0, False)
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert os.strerror(number) in error


def test_a_cache_that_cannot_be_read_is_reported_once(
    functions: Any, cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(functions.total)
    for file in files(cache, ".nbi"):
        file.unlink()
        file.mkdir()
    assert run(functions.total) == (7.0, False)
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert os.strerror(errno.EISDIR) in error


def test_without_a_cache_folder_each_process_compiles(
    functions: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(jit._Place, "_locator_classes", [])
    assert run(functions.total) == (7.0, False)
    assert run(functions.product) == (8.0, False)
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "NUMBA_CACHE_DIR" in error


def test_workers_leave_the_message_to_their_parent(
    functions: Any, cache: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run(functions.total)
    files(cache, ".nbi")[0].write_bytes(b"")
    monkeypatch.setattr(multiprocessing, "parent_process", lambda: object())
    assert run(functions.total) == (7.0, False)
    assert capsys.readouterr().err == ""


@pytest.mark.ray
def test_commands_report_a_damaged_cache_once_and_end_well(
    cache: Path, pictures: Callable[..., Path], tmp_path: Path
) -> None:
    """Also with several processes: Ray's workers, and the workers of ``verify``."""

    def command(*arguments: object) -> str:
        environment = os.environ | {"NUMBA_CACHE_DIR": str(cache)}
        words = [sys.executable, "-m", *map(str, arguments)]
        done = subprocess.run(words, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stderr

    build = ("pipeline.build", "--dataset", "folder", "--data-dir", pictures(), "--ranks", "3",
             "--components", "low,high,full",
             "--samples-per-shard", "4", "--quiet", "--workers")  # fmt: skip
    verify = ("pipeline.verify", tmp_path / "one", "--fresh", "--workers", "2")
    assert command(*build, 0, "--out", tmp_path / "one") == ""
    assert command(*verify) == ""
    # Loops that a build and a verification run. The others would only take time to compile again.
    damaged = [file for file in files(cache, ".nbi") if file.name.startswith(("rounding.", "moments.", "complement."))]
    assert len(damaged) > 3
    for number, arguments in enumerate(((*build, 2, "--out", tmp_path / "two"), verify)):
        for file in damaged:
            file.write_bytes(b"")
        error = command(*arguments)
        assert (error.count("\n"), error.count(str(cache))) == (1, 1), (number, error)
    assert command(*verify) == ""


def test_a_change_in_another_module_of_the_folder_compiles_again(functions: Any, tmp_path: Path) -> None:
    """A compiled function may contain functions of that module, and numba alone looks at the function's own module only."""
    assert run(functions.total) == (7.0, False)
    (tmp_path / "called.py").write_text("")
    jit._sources.cache_clear()  # as in a new process
    assert run(functions.total) == (7.0, False)
    assert run(functions.total) == (7.0, True)
