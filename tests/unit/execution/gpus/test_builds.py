"""Whole builds on a substitute for a GPU, in this process and on Ray: the images of the CPU, whatever fault the GPU has.

A GPU and a CPU core take different algorithms. So their PNG files are equal, and their float32 arrays nearly: singular
vectors may even have another sign. ``verify`` compares all of them with LAPACK. Two builds on GPUs are equal in every byte.
"""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from pipeline import verify
from pipeline.errors import PipelineError
from pipeline.execution import run, scheduler
from pipeline.execution.device import Device
from pipeline.execution.reporting.outcome import Outcome
from pipeline.planning.job import Job
from tests.conftest import Files, contents
from tests.unit.execution.gpus import fake

JOB = {"dataset": "sample", "ranks": "3,10", "components": "low,high,full", "limit": 200, "samples-per-shard": 40}
FULL = {**JOB, "bands": "3:10", "radii": "4", "exact": True, "factors": True}

Build = Callable[..., Outcome]
Cores = Callable[..., Files]


def images(files: Files) -> Files:
    """Returns what does not depend on the device: PNG shards with their indexes, lists, and labels."""
    ends = (".tar", ".idx", ".jsonl", ".txt")
    return {name: content for name, content in files.items() if "-exact/" not in name and name.endswith(ends)}


def assert_images_of_the_cpu(out: Path, cores: Files, *source: str) -> None:
    """Checks that an output has the names and images of one from CPU cores, and passes verification."""
    actual = contents(out)
    assert sorted(actual) == sorted(cores)
    assert len(images(cores)) > 4
    assert images(actual) == images(cores)
    assert verify.main([str(out), "--workers", "1", *source]) == 0


@pytest.fixture
def on_gpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Build:
    """Builds on substitutes for GPUs: ``gpus`` of them, with a number of workers."""

    def build(out: str, workers: int, gpus: int = 1, **options: object) -> Outcome:
        monkeypatch.setattr(Device, "gpus_here", lambda self: gpus if self.kind != "cpu" else 0)
        monkeypatch.setattr(run, "Device", partial(Device, namespace=fake.__name__))
        return run.build(
            Job.parse(
                {**JOB, "device": "cuda", **options, "workers": workers, "quiet": True, "out": str(tmp_path / out)}
            )
        )

    return build


@pytest.fixture
def on_cores(tmp_path: Path) -> Cores:
    """Returns the files of the same build on CPU cores."""

    def build(**options: object) -> dict[str, bytes]:
        out = tmp_path / "cores"
        run.build(Job.parse({**JOB, **options, "workers": 0, "quiet": True, "device": "cpu", "out": str(out)}))
        return contents(out)

    return build


def test_a_gpu_of_this_process_writes_the_images_of_the_cpu(on_gpus: Build, on_cores: Cores, tmp_path: Path) -> None:
    assert on_gpus("out", 0, **FULL).repaired == 0
    assert_images_of_the_cpu(tmp_path / "out", on_cores(**FULL))


def test_a_gpu_computes_images_of_different_sizes(
    on_gpus: Build, on_cores: Cores, tmp_path: Path, pictures: Callable[..., Path]
) -> None:
    pictures("p", classes="ab", each=3, size=(30, 20))
    data = pictures("p", classes="cd", each=3, size=(16, 41))
    options = {
        "dataset": "folder",
        "data-dir": str(data),
        "ranks": "3,18",
        "samples-per-shard": 5,
        "components": "low,high",
    }
    on_gpus("out", 0, **options)
    assert_images_of_the_cpu(tmp_path / "out", on_cores(**options), "--source", str(data))


@pytest.mark.ray
def test_two_servers_on_ray_write_the_bytes_of_one_in_this_process(on_gpus: Build, tmp_path: Path) -> None:
    outcome = on_gpus("out", 2, 2, **FULL)
    assert (outcome.images, outcome.retried.total(), outcome.repaired) == (400, 0, 0)
    on_gpus("alone", 0, **FULL)
    assert contents(tmp_path / "out") == contents(tmp_path / "alone")


@pytest.mark.ray
def test_faults_of_a_gpu_change_no_image(on_gpus: Build, on_cores: Cores, tmp_path: Path) -> None:
    with fake.faults(tmp_path, "memory", "wrong", "diverged", "wrong"):
        outcome = on_gpus("out", 2)
    assert (outcome.images, outcome.retried.total()) == (400, 0)
    assert outcome.repaired == 3
    assert_images_of_the_cpu(tmp_path / "out", on_cores())


@pytest.mark.ray
def test_a_sticky_error_replaces_the_server_and_repeats_its_shards(
    on_gpus: Build, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with fake.faults(tmp_path, "sticky"):
        outcome = on_gpus("out", 2)
    assert outcome.images == 400
    assert 1 <= outcome.retried.total() <= 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == outcome.retried.total()
    assert all("shard " in line for line in lines)
    assert "CUDARuntimeError: cudaErrorIllegalAddress" in lines[0]
    on_gpus("alone", 0)
    assert contents(tmp_path / "out") == contents(tmp_path / "alone")


@pytest.mark.ray
@pytest.mark.full
def test_a_gpu_that_keeps_failing_ends_the_build(on_gpus: Build, tmp_path: Path) -> None:
    with (
        fake.faults(tmp_path, *["sticky"] * 40),
        pytest.raises(scheduler.ShardError, match=r"tried 3 times|has failed 5 times"),
    ):
        on_gpus("out", 1)


def test_a_gpu_that_does_not_work_is_reported(
    on_gpus: Build, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(_: int) -> None:
        raise fake.CUDARuntimeError("cudaErrorECCUncorrectable: uncorrectable ECC error")

    monkeypatch.setattr(fake.cuda.runtime, "getDeviceProperties", broken)
    with pytest.raises(PipelineError, match="--device cuda: 0 of 1 .*uncorrectable ECC error"):
        on_gpus("out", 0)
    assert on_gpus("out", 0, device="auto", limit=4).images == 8
    assert "CUDARuntimeError: cudaErrorECC" in capsys.readouterr().err
