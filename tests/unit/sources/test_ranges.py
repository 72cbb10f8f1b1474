"""``read_range`` gives the right bytes or OSError, across forks, threads and replaced files."""

import multiprocessing
import os
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from pipeline.sources.ranges import _descriptor, read_file, read_range


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(bytes(range(256)) * 100)
    return str(path)


def test_the_range_is_read(file):
    assert read_range(file, 250, 10) == bytes([250, 251, 252, 253, 254, 255, 0, 1, 2, 3])


def test_a_range_past_the_end_is_an_os_error(file):
    with pytest.raises(OSError, match="shorter than when it was indexed"):
        read_range(file, 25_590, 20)


def test_a_missing_file_is_an_os_error(tmp_path):
    with pytest.raises(FileNotFoundError):
        read_range(str(tmp_path / "none"), 0, 1)


def test_a_file_that_came_back_whole_is_read_at_the_next_try(file):
    os.truncate(file, 10)
    with pytest.raises(OSError):
        read_range(file, 0, 20)
    os.unlink(file)
    with open(file, "wb") as fresh:
        fresh.write(b"x" * 20)
    assert read_range(file, 0, 20) == b"x" * 20


def test_a_forked_child_and_its_parent_do_not_disturb_each_other(file):
    read_range(file, 0, 1)
    with multiprocessing.get_context("fork").Pool(2) as pool:
        there = pool.starmap(read_range, [(file, start, 256) for start in range(0, 2560, 256)])
    assert there == [bytes(range(256))] * 10
    assert read_range(file, 5, 1) == b"\5"


def test_more_files_than_descriptors_are_read_by_many_threads(tmp_path):
    for number in range(40):
        (tmp_path / str(number)).write_bytes(bytes([number]) * 64)
    with ThreadPoolExecutor(8) as pool:
        numbers = [number % 40 for number in range(4000)]
        contents = list(pool.map(lambda number: read_range(str(tmp_path / str(number)), 0, 64), numbers))
    assert contents == [bytes([number]) * 64 for number in numbers]


def test_descriptors_are_closed_again(tmp_path):
    _descriptor.cache_clear()
    before = len(os.listdir("/proc/self/fd"))
    for number in range(100):
        (tmp_path / str(number)).write_bytes(b"x")
        read_range(str(tmp_path / str(number)), 0, 1)
    assert len(os.listdir("/proc/self/fd")) <= before + 16


def test_a_read_costs_microseconds(file):
    started = time.perf_counter()
    for _ in range(10_000):
        read_range(file, 100, 3072)
    assert (time.perf_counter() - started) / 10_000 < 100e-6  # 2 or 3 on an idle machine


@pytest.mark.parametrize("read", [lambda path: read_range(path, 0, 1), lambda path: read_file(path, 1)])
def test_a_pipe_in_an_images_place_is_an_os_error_and_no_endless_wait(tmp_path, read):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(OSError, match="not a regular file"):
        read(str(tmp_path / "pipe"))


def test_a_device_is_an_os_error():
    with pytest.raises(OSError, match="not a regular file"):
        read_file("/dev/zero", 1)
