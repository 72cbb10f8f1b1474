"""Measures whole builds of 224-pixel images on GPUs, and how busy the GPU and the cores are meanwhile."""

import os
import shutil
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np

from bench import inputs
from pipeline.execution import run
from pipeline.execution.build_shard import try_build_shard
from pipeline.execution.device import Device
from pipeline.execution.failure import Failure
from pipeline.execution.gpus.client import place
from pipeline.execution.ray import local
from pipeline.execution.reporting.outcome import Outcome
from pipeline.numerics.batch import Computed, compute
from pipeline.numerics.cut import Cut
from pipeline.numerics.recipe import Recipe
from pipeline.planning.job import Job
from pipeline.planning.shard_task import Progress, ShardTask

_DISTINCT = 400  # JPEG files; further images are hard links to them


def measure(folder: Path, images: int, workers: int | None, namespace: str) -> Iterator[dict[str, Any]]:
    """Builds on GPUs, and again without any computation. Yields images/s, and each stage's share of the time."""
    data = _linked(inputs.photograph_folder(folder / "distinct", min(_DISTINCT, images)), folder / "data", images)
    cores = workers or os.cpu_count() or 1
    fake = namespace != "cupy"

    def on_gpus() -> Outcome:
        with (
            patch.object(run, "Device", partial(Device, namespace=namespace)),
            patch.object(Device, "gpus_here", lambda _: 1) if fake else nullcontext(),
        ):
            return run.build(_job(data, folder / "out", images, cores, "cuda"))

    def without_svd() -> Outcome:
        with patch.object(local, "build_on_gpus", _build_without_svd):
            return run.build(_job(data, folder / "out", images, cores, "cpu"))

    for name, build in (("on GPUs", on_gpus), ("without the SVD stage", without_svd)):
        with Watch() as watch:
            outcome = build()
        worked = sum(outcome.seconds.values())
        yield {
            "name": name,
            "images": outcome.images,
            "workers": cores,
            "images_per_s": round(outcome.images / outcome.working, 1),
            "stages": {stage: round(seconds / worked, 3) for stage, seconds in outcome.seconds.items()},
            "of_workers_time": round(worked / (outcome.working * cores), 3),
            "repaired": outcome.repaired,
            "retries": outcome.retried.total(),
            **watch.summary(outcome.working),
        }
        shutil.rmtree(folder / "out")


def _job(data: Path, out: Path, images: int, workers: int, device: str) -> Job:
    size = max(1, min(250, images // (2 * workers)))
    options = {"dataset": "folder", "data-dir": str(data), "ranks": "50", "resize": 256, "crop": 224, "out": str(out)}
    return Job.parse({**options, "samples-per-shard": size, "workers": workers, "device": device, "quiet": True})


def _linked(distinct: Path, out: Path, images: int) -> Path:
    """Makes a folder of ``images`` links to the distinct files. Returns the folder."""
    files = sorted(path for path in distinct.rglob("*.jpg"))
    for i in range(images):
        path = out / "train" / files[i % len(files)].parent.name / f"{i:06d}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        os.link(files[i % len(files)], path)
    return out


def _build_without_svd(_: Any, task: ShardTask) -> Progress | Failure:
    """Builds a shard in which each image has the cuts of the first image of this process. Encoding takes the usual time."""
    first: dict[Recipe, Computed] = {}

    def begin(pixels: np.ndarray, recipe: Recipe, /) -> Callable[[], Computed]:
        if recipe not in first:
            first[recipe] = compute(pixels[:1], recipe)
        cuts = {
            variant: Cut(np.repeat(cut.pixels, len(pixels), 0), cut.statistics)
            for variant, cut in first[recipe].cuts.items()
        }
        rows = {name: np.repeat(row, len(pixels), 0) for name, row in first[recipe].rows.items()}
        return lambda: Computed(cuts, rows)

    return try_build_shard(task, place=place(begin, task))


class Watch:
    """Samples once per second how busy the GPU and the cores are, and how much memory is in use, in MB."""

    def __enter__(self) -> "Watch":
        self._samples: list[tuple[float, float, float, float]] = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._sample, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def summary(self, seconds: float) -> dict[str, Any]:
        """Summarises the ``seconds`` in which the cores were busiest.

        Returns:
            Means, and how much the memory grew from the first third to the last; empty where the time was too short.
        """
        samples, count = np.array(self._samples), max(3, int(seconds))
        if len(samples) < count:
            return {}
        busy = np.convolve(samples[:, 1], np.ones(count), "valid")
        window = samples[busy.argmax() :][:count]
        gpu_busy, cores_busy, gpu_mb, host_mb = window.mean(axis=0)
        third = len(window) // 3
        growth = window[-third:, 2:].mean(axis=0) - window[:third, 2:].mean(axis=0)
        return {
            "gpu_busy": round(gpu_busy / 100, 3),
            "cores_busy": round(cores_busy, 3),
            "gpu_mb": round(gpu_mb),
            "host_mb": round(host_mb),
            "gpu_mb_grown": round(growth[0]),
            "host_mb_grown": round(growth[1]),
        }

    def _sample(self) -> None:
        before = _cpu_ticks()
        while not self._stop.wait(1.0):
            now = _cpu_ticks()
            gpu_busy, gpu_mb = _gpu()
            cores_busy = (now[0] - before[0]) / max(1, now[1] - before[1])
            self._samples.append((gpu_busy, cores_busy, gpu_mb, _host_mb()))
            before = now


def _cpu_ticks() -> tuple[int, int]:
    """Returns how many ticks the cores were busy, and all ticks."""
    ticks = [int(value) for value in Path("/proc/stat").read_text().splitlines()[0].split()[1:9]]
    return sum(ticks) - ticks[3] - ticks[4], sum(ticks)


def _gpu() -> tuple[float, float]:
    """Returns the percentage of time that the first GPU was busy, and its used memory in MB; zeros without a GPU."""
    query = ["nvidia-smi", "-i", "0", "--query-gpu=utilization.gpu,memory.used", "--format=csv,noheader,nounits"]
    try:
        busy, used = subprocess.run(query, capture_output=True, text=True, check=True, timeout=5).stdout.split(",")
        return float(busy), float(used)
    except (OSError, ValueError, subprocess.SubprocessError):
        return 0.0, 0.0


def _host_mb() -> float:
    """Returns the used memory of this machine in MB."""
    lines = dict(line.split(":") for line in Path("/proc/meminfo").read_text().splitlines())
    return (int(lines["MemTotal"].split()[0]) - int(lines["MemAvailable"].split()[0])) / 1024
