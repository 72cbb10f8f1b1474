"""Promise: no secret of the environment is written anywhere, and nothing that is published names the builder."""

import json
import os
import socket
import stat
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipeline.build import main as build
from pipeline.report.__main__ import main as report
from tests.trust.conftest import NAME, SECRET, Run

WORKERS = [0, pytest.param(1, marks=[pytest.mark.ray, pytest.mark.full])]


@pytest.fixture
def images(folder: Path) -> Path:
    """Five images, and a file that is no image."""
    rng = np.random.default_rng(0)
    for name in "ab":
        (folder / "data" / name).mkdir(parents=True)
        for number in range(3):
            pixels = rng.integers(0, 256, (12, 12, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / "data" / name / f"{number}.png")
    (folder / "data" / "b" / "2.png").write_bytes(b"no image")
    return folder / "data"


def holding(folder: Path, *words: str) -> list[str]:
    """Returns the files whose name or content holds one of these words."""
    holders = []
    for path in folder.rglob("*"):
        if path.is_file() and not path.is_symlink():
            content = str(path.relative_to(folder)).encode() + path.read_bytes()
            holders += [f"{path.relative_to(folder)}: {word}" for word in words if word.encode() in content]
    return holders


@pytest.mark.parametrize("workers", WORKERS)
def test_a_build_keeps_secrets_and_names_to_itself(workers: int, run: Run, folder: Path, images: Path) -> None:
    """A build with a reject, a report, arrays and a log. It leaves nothing else in the home folder."""
    job = ("--dataset", "folder", "--data-dir", images, "--name", "pets", "--ranks", 2, "--factors", "--out", "out")
    ran = run("pipeline.build", *job, "--workers", workers, "--log-json", "log.jsonl")
    assert ran.status == 3, ran
    assert run("pipeline.verify", "out").status == 0
    assert run("pipeline.report", "out").status == 0
    assert SECRET not in ran.output
    out = folder / "out"
    assert holding(out, SECRET) == []
    assert SECRET not in (folder / "log.jsonl").read_text()
    assert [line for line in holding(out, NAME) if not line.startswith(".build/")] == []
    host = f'"{socket.gethostname()}"'
    assert [line for line in holding(out, host) if line.partition(":")[0].endswith((".json", ".jsonl", ".md"))] == [
        f".build/runs.jsonl: {host}"
    ]
    assert json.loads((out / ".build" / "runs.jsonl").read_text().splitlines()[0])["host"] == socket.gethostname()
    assert holding(out / ".build", NAME) == []
    assert holding(folder.parent / "ray", SECRET) == []
    assert [path.name for path in (folder / "home").iterdir() if path.name not in (".cache", ".config", ".nv")] == []


def test_a_fault_of_the_program_keeps_secrets_to_itself(run: Run, folder: Path, images: Path) -> None:
    (folder / "broken.py").write_text(
        "import sys\nfrom pipeline.execution import stages\nfrom pipeline.build import main\n"
        "def fails(*_):\n    raise RuntimeError('https://user:hush@proxy/ did not answer')\n"
        "stages.runtime.prepare = fails\nsys.exit(main())\n"
    )
    job = ("--dataset", "folder", "--data-dir", images, "--ranks", 2, "--out", "out", "--workers", 0)
    ran = run("broken", *job, "--log-json", "log.jsonl")
    assert ran.status == 1
    assert "https://***@proxy/ did not answer" in ran.output
    assert "Traceback" in (folder / "out" / ".build" / "error.txt").read_text()
    assert "hush" not in ran.output
    assert holding(folder / "out", "hush", SECRET) == []
    assert "hush" not in (folder / "log.jsonl").read_text()


@pytest.mark.parametrize("umask", [0o027, 0o000])
def test_modes_are_those_that_the_user_wants(umask: int, tmp_path: Path) -> None:
    """A group's folder stays the group's, and the umask holds for every file and folder."""
    before = os.umask(umask)
    try:
        (tmp_path / "shared").mkdir()
        (tmp_path / "shared").chmod(0o2770)
        out = tmp_path / "shared" / "out"
        job = ("--ranks", "3", "--limit", "20", "--factors", "--workers", "0", "--quiet")
        assert build([*job, "--out", str(out)]) == 0
        assert report([str(out)]) == 0
    finally:
        os.umask(before)
    modes = {path.relative_to(out).as_posix(): path.stat().st_mode for path in [out, *out.rglob("*")]}
    files = {name: oct(stat.S_IMODE(mode)) for name, mode in modes.items() if stat.S_ISREG(mode)}
    folders = {name: oct(stat.S_IMODE(mode)) for name, mode in modes.items() if stat.S_ISDIR(mode)}
    assert set(files.values()) == {oct(0o666 & ~umask)}, files
    assert set(folders.values()) == {oct(0o2777 & ~umask)}, folders
