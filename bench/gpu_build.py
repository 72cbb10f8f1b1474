"""Whole builds of 224-pixel images on cards, and what the card and the cores did meanwhile."""

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
from pipeline.execution import ray_local, run
from pipeline.execution.attempt import Failure, attempt
from pipeline.execution.device import Device
from pipeline.execution.gpus.client import place
from pipeline.execution.run import Outcome
from pipeline.numerics.batch import Computed, Recipe, compute
from pipeline.numerics.cut import Cut
from pipeline.planning.job import Job
from pipeline.planning.shard_task import Progress, ShardTask

_DISTINCT = 400  # JPEG files; more images are links to them


def measure(folder: Path, images: int, workers: int | None, namespace: str) -> Iterator[dict[str, Any]]:
    """A build on cards, and the same with nothing computed: images/s, and the share of the time of each stage."""
    data = _linked(inputs.photograph_folder(folder / "distinct", min(_DISTINCT, images)), folder / "data", images)
    cores = workers or os.cpu_count() or 1
    fake = namespace != "cupy"

    def on_cards() -> Outcome:
        with (
            patch.object(run, "Device", partial(Device, namespace=namespace)),
            patch.object(Device, "cards_here", lambda _: 1) if fake else nullcontext(),
        ):
            return run.build(_job(data, folder / "out", images, cores, "cuda"))

    def left_out() -> Outcome:
        with patch.object(ray_local, "attempt_on_cards", _without):
            return run.build(_job(data, folder / "out", images, cores, "cpu"))

    for name, build in (("on cards", on_cards), ("svd left out", left_out)):
        with Watch() as watch:
            outcome = build()
        worked = sum(outcome.seconds.values())
        yield {
            "what": "build",
            "name": name,
            "images": outcome.images,
            "workers": cores,
            "images_per_s": round(outcome.images / outcome.working, 1),
            "stages": {stage: round(seconds / worked, 3) for stage, seconds in outcome.seconds.items()},
            "of_workers_time": round(worked / (outcome.working * cores), 3),
            "repaired": outcome.repaired,
            "retries": outcome.retried.total(),
            **watch.seen(outcome.working),
        }
        shutil.rmtree(folder / "out")


def _job(data: Path, out: Path, images: int, workers: int, device: str) -> Job:
    size = max(1, min(250, images // (2 * workers)))
    options = {"dataset": "folder", "data-dir": str(data), "ranks": "50", "resize": 256, "crop": 224, "out": str(out)}
    return Job.parse({**options, "samples-per-shard": size, "workers": workers, "device": device, "quiet": True})


def _linked(distinct: Path, out: Path, images: int) -> Path:
    """A folder of so many images, links to the distinct ones."""
    files = sorted(path for path in distinct.rglob("*.jpg"))
    for i in range(images):
        path = out / "train" / files[i % len(files)].parent.name / f"{i:06d}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        os.link(files[i % len(files)], path)
    return out


def _without(_: Any, task: ShardTask) -> Progress | Failure:
    """One try at a shard whose every image has the cuts of the first that this process saw: encoding them takes as long."""

    def begin(pixels: np.ndarray, recipe: Recipe, /) -> Callable[[], Computed]:
        if recipe not in _first:
            _first[recipe] = compute(pixels[:1], recipe)
        one = _first[recipe]
        cuts = {
            variant: Cut(np.repeat(cut.pixels, len(pixels), 0), cut.statistics) for variant, cut in one.cuts.items()
        }
        rows = {name: np.repeat(row, len(pixels), 0) for name, row in one.rows.items()}
        return lambda: Computed(cuts, rows)

    return attempt(task, place=place(begin, task))


_first: dict[Recipe, Computed] = {}


class Watch:
    """Samples the machine once a second: shares of the card and the cores that are busy, and memory, in MB."""

    def __enter__(self) -> "Watch":
        self._samples: list[tuple[float, float, float, float]] = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._sample, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def seen(self, seconds: float) -> dict[str, Any]:
        """Of the ``seconds`` in which the cores did most: means, and how memory grew from the first third to the last."""
        every, count = np.array(self._samples), max(3, int(seconds))
        if len(every) < count:
            return {}
        done = np.convolve(every[:, 1], np.ones(count), "valid")
        among = every[done.argmax() :][:count]
        busy, cores, card, host = among.mean(axis=0)
        third = len(among) // 3
        grown = among[-third:, 2:].mean(axis=0) - among[:third, 2:].mean(axis=0)
        shares = {"gpu_busy": round(busy / 100, 3), "cores_busy": round(cores, 3)}
        return shares | {
            "gpu_mb": round(card),
            "host_mb": round(host),
            "gpu_mb_grown": round(grown[0]),
            "host_mb_grown": round(grown[1]),
        }

    def _sample(self) -> None:
        before = _cpu()
        while not self._stop.wait(1.0):
            now = _cpu()
            total = max(1, now[1] - before[1])
            self._samples.append((*_card()[:1], (now[0] - before[0]) / total, *_card()[1:], _host()))
            before = now


def _cpu() -> tuple[int, int]:
    """Ticks that the cores were busy, and all."""
    ticks = [int(value) for value in Path("/proc/stat").read_text().splitlines()[0].split()[1:9]]
    return sum(ticks) - ticks[3] - ticks[4], sum(ticks)


def _card() -> tuple[float, float]:
    """Percent of the time that the first card was busy, and megabytes that it has in use; zeros without one."""
    query = ["nvidia-smi", "-i", "0", "--query-gpu=utilization.gpu,memory.used", "--format=csv,noheader,nounits"]
    try:
        busy, used = subprocess.run(query, capture_output=True, text=True, check=True, timeout=5).stdout.split(",")
        return float(busy), float(used)
    except (OSError, ValueError, subprocess.SubprocessError):
        return 0.0, 0.0


def _host() -> float:
    """Megabytes of memory in use."""
    lines = dict(line.split(":") for line in Path("/proc/meminfo").read_text().splitlines())
    return (int(lines["MemTotal"].split()[0]) - int(lines["MemAvailable"].split()[0])) / 1024
