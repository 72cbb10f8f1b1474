"""A spectrum that is killed continues with the same tables; threads, ranks and --dry-run."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from pipeline.study.images import Images
from pipeline.study.networks.network import Network
from pipeline.study.spectra.spectrum import Plan, run
from pipeline.study.spectrum import main
from tests.unit.study.conftest import PUBLISHED, Run, table


def job(weights: Path, records: Path, out: Path) -> list[str]:
    model = ["--model", "cnn_a", "--weights", str(weights / PUBLISHED["cnn_a_adv"][1])]
    return [
        *model,
        "--images",
        str(records),
        "--limit",
        "80",
        "--batch",
        "2",
        "--family",
        "lowpass",
        "--out",
        str(out),
    ]


def finished_parts(out: Path) -> int:
    file = out / "spectrum.parts.jsonl"
    return file.read_bytes().count(b"\n") - 1 if file.exists() else 0


def test_killed_twice_it_gives_the_same_tables(weights: Path, records: Path, command: Run, tmp_path: Path) -> None:
    command_line = [sys.executable, "-m", "pipeline.study.spectrum", *job(weights, records, tmp_path / "killed")]
    before = 0
    for number in (signal.SIGKILL, signal.SIGINT):
        process = subprocess.Popen(
            command_line,
            env=os.environ | {"OMP_NUM_THREADS": "2"},
            stderr=subprocess.PIPE,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # background commands of a shell ignore it
        )
        while finished_parts(tmp_path / "killed") < before + 2:
            assert process.poll() is None, process.stderr and process.stderr.read()
            time.sleep(0.01)
        process.send_signal(number)
        _, error = process.communicate()
        assert (process.returncode, error.decode().splitlines()[-1:]) == (
            (-9, []) if number == signal.SIGKILL else (1, ["stopped; the same command continues"])
        )
        before = finished_parts(tmp_path / "killed")
        assert before < 40
    ran = command(main, *job(weights, records, tmp_path / "killed"))
    assert ran.status == 0
    assert f"continuing: {before * 2 * 66:,} of {80 * 66:,} distorted images are done" in ran.err
    assert command(main, *job(weights, records, tmp_path / "whole")).status == 0
    for name in ("spectrum.csv", "classes.csv", "predictions.csv", "controls.csv", "spectrum.png", "spectrum.json"):
        assert (tmp_path / "killed" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes(), name


def test_a_finished_run_computes_nothing_again(
    weights: Path, records: Path, command: Run, refused: Callable[..., str], tmp_path: Path
) -> None:
    model = ("--model", "cnn_a", "--weights", weights / PUBLISHED["cnn_a_adv"][1], "--images", records, "--limit", 12)
    out = ("--out", tmp_path / "o", "--ranks", "1:6:2")
    assert command(main, *model, *out).status == 0
    parts = (tmp_path / "o" / "spectrum.parts.jsonl").read_bytes()
    again = command(main, *model, *out, "--at", 1)  # another table of the same results
    assert (again.status, again.err) == (0, "")
    assert (tmp_path / "o" / "spectrum.parts.jsonl").read_bytes() == parts
    assert [row["rank"] for row in table(tmp_path / "o" / "spectrum.csv")] == ["1", "3", "5", "32"]
    before = {path.name: path.read_bytes() for path in (tmp_path / "o").iterdir()}
    for other, part in (
        (("--ranks", "1,3"), "ranks was [1, 3, 5, 32], now it is [1, 3, 32]; name another folder"),
        (("--limit", 13), 'images was "12 of test_batch.first1017.bin'),
        (("--mean", "0.5,0.5,0.5"), "networks was"),
        (("--at", 4), "--at 4: the measured ranks are 1, 3, 5"),
    ):
        assert part in refused(main, *model, *out, *other)
    assert {path.name: path.read_bytes() for path in (tmp_path / "o").iterdir()} == before
    (tmp_path / "o" / "spectrum.parts.jsonl").unlink()
    assert "holds results without spectrum.parts.jsonl" in refused(main, *model, *out)


def test_dry_run_writes_nothing(weights: Path, records: Path, command: Run, tmp_path: Path) -> None:
    ran = command(main, *job(weights, records, tmp_path / "o"), "--dry-run")
    assert (ran.status, ran.err) == (0, "")
    assert "80 images, 33 ranks, 2 families, 1 networks: about " in ran.out
    assert not (tmp_path / "o").exists()


def test_threads_and_ranks_change_no_prediction(published: Callable[[str], Network], test_images: Images) -> None:
    images, networks = test_images.first(20), [published("cnn_a_adv"), published("resnet2b")]
    one = run(networks, images, Plan.of(images.size, ("rank", "blur"), batch=4))
    four = run(networks, images, Plan.of(images.size, ("rank", "blur"), batch=4), threads=4)
    np.testing.assert_array_equal(one.predictions, four.predictions)
    np.testing.assert_array_equal(one.error, four.error)
    few = run(networks, images, Plan.of(images.size, ("rank", "blur"), (0, 3, 7, 20), batch=4))
    assert few.ranks == (0, 3, 7, 20, 32)
    np.testing.assert_array_equal(few.predictions, one.predictions[:, :, few.ranks])
    np.testing.assert_allclose(few.error, one.error[:, list(few.ranks)], rtol=1e-5, atol=1e-9)


class Stateful(nn.Module):
    """Stores its input between two steps, as some published networks do: threads must not share it."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.stored = x
        time.sleep(0.001)
        return self.stored.mean((2, 3))


def test_threads_do_not_share_networks(test_images: Images) -> None:
    images = test_images.first(40)
    plan = Plan.of(images.size, ranks=(1, 2), batch=1)
    one, four = (run([Network(Stateful(), "stateful")], images, plan, threads=count) for count in (1, 4))
    np.testing.assert_array_equal(one.predictions, four.predictions)


def test_an_error_in_a_thread_ends_the_run(test_images: Images) -> None:
    class Failing(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        run([Network(Failing(), "failing")], test_images, threads=2)
