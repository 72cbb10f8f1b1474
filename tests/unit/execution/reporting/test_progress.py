"""Promises of progress: rate and time left from measured work, events for programs, a summary with the next command."""

import contextlib
import fcntl
import io
import itertools
import json
import os
import pty
import re
import struct
import termios
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from pipeline import console
from pipeline.build import main
from pipeline.execution.reporting.events import Events
from pipeline.execution.reporting.outcome import NodeWork, Outcome
from pipeline.execution.reporting.progress import Pace, ProgressLine, describe, per_second
from pipeline.execution.reporting.summary import slowest
from tests.conftest import contents


def test_time_left_counts_a_last_large_shard() -> None:
    """Two workers, shards of 10, 10 and 100 images, one second per image: 110 seconds, not 60."""
    pace = Pace([10, 10, 100], workers=2)
    assert pace.left(5.0) is None
    pace.finished(10, {"svd": 10.0})
    assert pace.rate(10.0) == 1.0
    assert pace.left(10.0) == pytest.approx(100.0)
    pace.finished(10, {"svd": 10.0})
    assert pace.left(60.0) == pytest.approx(50.0)
    pace.finished(100, {"svd": 100.0})
    assert pace.left(110.0) == 0.0


def test_time_left_of_a_build_slower_than_measured_never_turns_negative() -> None:
    pace = Pace([10, 10], workers=1)
    pace.finished(10, {"svd": 1.0})
    assert pace.left(500.0) == pytest.approx(1.0)


def test_with_an_unknown_number_of_workers_the_rate_decides() -> None:
    pace = Pace([10, 30], workers=None)
    pace.finished(10, {"svd": 50.0})
    assert pace.left(5.0) == pytest.approx(15.0)


@given(st.lists(st.integers(1, 50), min_size=1, max_size=7), st.integers(1, 4), st.floats(0.01, 10))
def test_time_left_is_that_of_workers_that_take_the_next_shard(sizes: list[int], workers: int, each: float) -> None:
    """Against a simulation of the time that remains after the first shard."""
    free = [0.0] * workers
    for size in sizes:
        free[free.index(min(free))] += size * each
    first = min(sizes[:workers])
    assume(max(free) > 1.001 * first * each)  # all shards end at once: nothing remains
    pace = Pace(sizes, workers)
    pace.finished(first, {"svd": first * each})
    assert pace.left(first * each) == pytest.approx(max(free) - first * each, abs=1e-6)


def test_the_stage_that_bounds_is_named() -> None:
    pace = Pace([4], workers=1)
    assert pace.bounds() == ""
    pace.working(2, {"read": 0.5, "svd": 1.5})
    assert pace.bounds() == "svd"
    assert describe(pace, 2.0) == (
        "2 of 4 images, 1/s; shards 0 of 1; 2 s left; read 25 %, decode 0 %, svd 75 %, encode 0 %, write 0 %; svd bounds"
    )


@pytest.mark.parametrize(("rate", "text"), [(0.0, "0"), (0.253, "0.25"), (9.4, "9.4"), (12.6, "13"), (1234.5, "1,234")])
def test_a_rate_below_one_is_not_0(rate: float, text: str) -> None:
    assert per_second(rate) == text


def test_lines_come_at_intervals_and_at_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = itertools.count()
    monkeypatch.setattr("pipeline.execution.reporting.progress.time.monotonic", lambda: float(next(clock)))
    pace, stream = Pace([1] * 40, workers=1), io.StringIO()
    line = ProgressLine(pace, quiet=False, stream=stream)
    for _ in range(40):
        pace.finished(1, {"svd": 1.0})
        line.show()
    lines = stream.getvalue().splitlines()
    assert 3 <= len(lines) <= 8
    assert lines[-1].startswith("40 of 40 images")


class Screen:
    """A terminal with this number of columns, and the rows that it shows at the end."""

    def __init__(self, columns: int) -> None:
        self.columns = columns
        self._master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
        self.stream = os.fdopen(slave, "w")

    def rows(self) -> list[str]:
        self.stream.close()
        written = b""
        with contextlib.suppress(OSError):  # no process has it open any more, and all is read
            while more := os.read(self._master, 1 << 16):
                written += more
        os.close(self._master)
        text, rows, column = written.decode(), [""], 0
        for piece in re.findall("\x1b\\[K|.", text, re.DOTALL):
            if piece == "\x1b[K":
                rows[-1] = rows[-1][:column]
            elif piece == "\r":
                column = 0
            elif piece == "\n" or column == self.columns:
                rows.append(piece.strip("\n"))
                column = len(rows[-1])
            else:
                rows[-1] = rows[-1][:column] + piece + rows[-1][column + 1 :]
                column += 1
        return rows


@pytest.mark.parametrize("columns", [40, 80, 200])
def test_a_terminals_line_is_rewritten_in_place_and_messages_replace_it(
    columns: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock, screen = itertools.count(), Screen(columns)
    monkeypatch.setattr("pipeline.execution.reporting.progress.time.monotonic", lambda: float(next(clock)))
    monkeypatch.setattr("sys.stderr", screen.stream)
    pace = Pace([1] * 9, workers=1)
    line = ProgressLine(pace, quiet=False)
    line.start("CPU cores")
    for number in range(9):
        pace.finished(1, {"svd": 1.0})
        line.show()
        if number == 4:
            console.tell("trying again: x")
    line.close()
    first, message, last, end = screen.rows()
    assert (first, message, end) == ("building on CPU cores", "trying again: x", "")
    assert last.startswith("9 of 9 images, ") and len(last) == min(columns - 1, len(describe(pace, 18.0)))


@pytest.fixture
def small(pictures: Callable[..., Path], tmp_path: Path) -> list[str]:
    """Returns a build of eight images in four shards; one of the files is not an image."""
    folder = pictures("data/train").parent
    (folder / "train" / "a" / "00.png").write_bytes(b"no image")
    options = ["--dataset", "folder", "--data-dir", str(folder), "--ranks", "2", "--samples-per-shard", "2"]
    return [*options, "--workers", "0", "--out", str(tmp_path / "out"), "--max-rejects", "1"]


EVENTS = {
    "started": {"out", "images", "shards", "workers", "device"},
    "shard": {
        *("shard", "node", "images", "rejects", "seconds", "images_done", "shards_done"),
        *("images_per_second", "seconds_left", "bounds"),
    },
    "finished": {
        *("out", "variants", "splits", "bytes", "shards_built", "images_built", "seconds", "worked", "retries", "next"),
    },
    "retry": {"shard", "node", "message"},
    "stalled": {"message", "shards"},
    "waiting": {"message", "seconds"},
    "moving": {"message", "shards"},
    "failed": {"status", "message"},
    "message": {"text"},
}


def test_log_json_writes_one_object_per_event(small: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*small, "--log-json"]) == 0
    captured = capsys.readouterr()
    events = [json.loads(line) for line in captured.err.splitlines()]
    assert [event["event"] for event in events] == ["started", *["shard"] * 4, "finished"]
    for event in events:
        assert event.keys() == EVENTS[event["event"]] | {"event", "time"}
    assert events[-2]["images_done"] == events[0]["images"] == 8
    assert events[-2]["seconds_left"] == 0
    assert sum(event["images"] for event in events[1:-1]) == 7
    assert events[-1]["splits"] == {"train": {"samples": 7, "rejects": 1}}
    assert events[-1]["next"] in captured.out


def test_log_json_of_a_failure(small: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*small, "--log-json", "--ranks", "99"]) == 2
    events = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert [event["event"] for event in events] == ["failed", "message"]
    assert events[0]["status"] == 2
    assert "99" in events[0]["message"]


def test_log_json_to_a_file_leaves_stderr_to_people(
    small: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log = tmp_path / "log.jsonl"
    assert main([*small, "--log-json", str(log)]) == 0
    assert "4 of 4" in capsys.readouterr().err
    assert main([*small, "--log-json", str(log)]) == 0
    events = [json.loads(line)["event"] for line in log.read_text().splitlines()]
    assert events == ["started", *["shard"] * 4, "finished", "started", "shard", "finished"]  # a reject is tried again


@pytest.mark.parametrize(
    "content", [b"\x89PNG\r\n\x1a\n", b'{\n "format": 1\n}\n', b'{"key": "train-00000000"}\n', b"[]\n"]
)
def test_a_log_is_not_appended_to_other_files(
    content: bytes, small: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "other").write_bytes(content)
    assert main([*small, "--log-json", str(tmp_path / "other")]) == 2
    assert capsys.readouterr().err.endswith("exists already and holds no events: name another file\n")
    assert (tmp_path / "other").read_bytes() == content


def test_a_log_that_cannot_be_written_is_reported_before_work(
    small: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*small, "--log-json", str(tmp_path / "no" / "log")]) == 1
    assert "--log-json" in capsys.readouterr().err
    assert not (tmp_path / "out" / "manifest.json").exists()


def test_a_log_is_never_one_of_the_outputs_own_files(
    small: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert main(small) == 0
    (out / "samples" / "train.jsonl").unlink()
    before = contents(out)
    for name in ("rejects.jsonl", "samples/train.jsonl", "sample-rank3/x.tar", ".build/driver", "log"):
        capsys.readouterr()
        assert main([*small, "--log-json", str(out / name)]) == 2
        assert (
            capsys.readouterr().err
            == f"error: --log-json {out / name} is inside the output {out}: name a file elsewhere\n"
        )
    assert contents(out) == before


def test_no_target_writes_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Events(None, tmp_path).emit("started")
    assert capsys.readouterr() == ("", "")


def test_the_slowest_nodes_of_a_cluster_are_named() -> None:
    rates = {"a": 10.0, "b": 2.5, "c": 12.0, "d": 4.0, "e": 11.0}
    outcome = Outcome({}, nodes={node: NodeWork(images=100, seconds=100 / rate) for node, rate in rates.items()})
    assert slowest(outcome) == "slowest nodes: b 2.5, d 4 images/s per worker; the median of 5 nodes is 10"


def test_the_events_are_documented() -> None:
    document = (Path(__file__).resolve().parents[4] / "docs" / "progress.md").read_text()
    for event, fields in EVENTS.items():
        assert f"| `{event}` |" in document
        for field in fields:
            assert f"`{field}`" in document


def test_the_summary_shows_the_output_and_the_next_command(
    small: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(small) == 0
    out = tmp_path / "out"
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith(f"{out}: rank2, highrank2 of train 7 images, ")
    assert "built 4 shards from 7 images" in lines[1]
    assert f"rejected: 1, listed in {out}/rejects.jsonl" in lines
    assert lines[-2:] == [f"look: python -m pipeline.report {out}", f"next: python -m pipeline.verify {out}"]
