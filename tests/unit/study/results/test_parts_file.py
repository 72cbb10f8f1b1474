"""Results that are appended part by part: what a kill leaves, other settings, and two processes."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from pipeline.errors import PipelineError, UsageError
from pipeline.study.results.parts_file import open_parts

SETTINGS = {"ranks": [1, 2], "images": "abc"}
ARRAYS = {"error": np.array([[0.1, np.inf]], np.float32), "right": np.array([True, False]), "none": np.zeros((0, 3))}


def write_two(path: Path) -> None:
    with open_parts(path, SETTINGS) as file:
        file.append("a", ARRAYS)
        file.append("b", {"x": np.arange(3, dtype=np.int16)})


def test_parts_are_read_again_exactly(tmp_path: Path) -> None:
    write_two(tmp_path / "parts")
    with open_parts(tmp_path / "parts", SETTINGS) as file:
        assert [*file.parts] == ["a", "b"]
        for name, array in ARRAYS.items():
            read = file.parts["a"][name]
            assert (read.dtype, read.shape) == (array.dtype, array.shape)
            np.testing.assert_array_equal(read, array)


def test_a_kill_at_any_byte_leaves_the_parts_before_it(tmp_path: Path) -> None:
    path = tmp_path / "parts"
    write_two(path)
    whole = path.read_bytes()
    ends = [place + 1 for place, byte in enumerate(whole) if byte == 10]
    assert len(ends) == 3
    for length in [*range(0, len(whole), 7), *(end + d for end in ends for d in (-2, -1, 0))]:
        path.write_bytes(whole[:length])
        with open_parts(path, SETTINGS) as file:
            assert [*file.parts] == ["a", "b"][: max(0, sum(end <= length for end in ends) - 1)]
            if "b" not in file.parts:
                file.append("b", {"x": np.arange(3, dtype=np.int16)})
        with open_parts(path, SETTINGS) as file:
            assert file.parts["b"]["x"].tolist() == [0, 1, 2]


def test_other_settings_are_refused_in_one_line(tmp_path: Path) -> None:
    path = tmp_path / "parts"
    write_two(path)
    before = path.read_bytes()
    for changed, part in (
        ({"ranks": [1]}, r"other settings: ranks was \[1, 2\], now it is \[1\]; name another folder"),
        ({"batch": 4}, "batch was null, now it is 4"),
    ):
        with pytest.raises(UsageError, match=part), open_parts(path, SETTINGS | changed):
            pass
    assert path.read_bytes() == before


def test_another_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "parts").write_text("{}\n")
    with pytest.raises(PipelineError, match="holds no results of a study"), open_parts(tmp_path / "parts", SETTINGS):
        pass


def test_a_second_process_is_refused(tmp_path: Path) -> None:
    code = (
        "from pathlib import Path; from pipeline.study.results.parts_file import open_parts\n"
        f"try:\n  with open_parts(Path({str(tmp_path / 'parts')!r}), {SETTINGS}): pass\n"
        "except Exception as error: print(error)"
    )
    with open_parts(tmp_path / "parts", SETTINGS):
        ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "another process computes this study" in ran.stdout
