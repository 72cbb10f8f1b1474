"""Tests that ``examples/train_small.py`` reports a mistake in one line, before it trains."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.conftest import Build, smooth

ROOT = Path(__file__).resolve().parents[3]
Example = Callable[..., tuple[int, str, str]]


@pytest.fixture
def example() -> Example:
    """Returns a function that runs the example. It returns exit status, stdout and stderr."""

    def run(*arguments: object) -> tuple[int, str, str]:
        command = [sys.executable, "examples/train_small.py", *map(str, arguments)]
        done = subprocess.run(command, cwd=ROOT, env={"PYTHONPATH": str(ROOT)}, capture_output=True, text=True)
        return done.returncode, done.stdout, done.stderr

    return run


def test_a_mistake_is_reported_in_one_line(out: Path, example: Example, tmp_path: Path) -> None:
    status, printed, error = example(out, "--variant", "rank6")
    assert (status, printed, error.count("\n")) == (2, "", 1)
    assert error.startswith("error: variant 'rank6': ")
    assert example(tmp_path / "none")[::2] == (
        1,
        f"error: {tmp_path / 'none'} does not exist; give the folder that pipeline.build wrote\n",
    )


def test_outputs_without_one_image_size_or_a_test_split_are_refused_before_training(
    build: Build, example: Example, tmp_path: Path
) -> None:
    generator, source = np.random.default_rng(0), tmp_path / "pictures"
    for label in ("cat", "dog"):
        (source / "train" / label).mkdir(parents=True)
        for i, width in enumerate((40, 44)):
            Image.fromarray(smooth(generator, 40, width)).save(source / "train" / label / f"{i}.png")
    job = ("--dataset", "folder", "--data-dir", source, "--ranks", "5")
    assert build(*job, "--out", tmp_path / "sizes").status == 0
    assert "differ in size: build it with --resize 64 --crop 64\n" in example(tmp_path / "sizes")[2]
    assert build(*job, "--resize", "32", "--crop", "32", "--out", tmp_path / "train").status == 0
    status, printed, error = example(tmp_path / "train")
    assert (status, printed) == (2, "")
    assert error == f"error: split 'test': {tmp_path / 'train'} has train\n"
