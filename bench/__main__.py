"""``python -m bench``: runs this pipeline and the baseline in turn on the same images. Prints tables with ratios."""

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from bench import (
    baseline,
    commands,
    inputs,
    machine,
    planning,
    ranks,
    ray_data,
    readers,
    sources,
    transforms,
    verify,
    views,
)
from pipeline.execution import run
from pipeline.numerics.runtime import prepare
from pipeline.planning.job import Job

SIDES = (16, 32, 64, 128, 256, 512)
# NumPy's and numba's names of a processor with AVX2 and without AVX-512. numba would use the latter without the third.
AVX2 = {"OPENBLAS_CORETYPE": "Haswell", "NUMBA_CPU_NAME": "haswell", "NUMBA_CPU_FEATURES": ""}


@dataclass
class Case:
    """One kind of job.

    Attributes:
        images: number of images for this pipeline.
        baseline_images: number for the baseline, which is slow.
        ray_images: number for Ray Data; 0 leaves it out.
    """

    name: str
    dataset: str
    data: Path
    ranks: str
    images: int
    baseline_images: int
    resize: int | None = None
    crop: int | None = None
    ray_images: int = 0


@dataclass
class Result:
    """Result of one run.

    Attributes:
        rate: images per second.
        stages: seconds per image, by stage.
    """

    rate: float
    stages: dict[str, float]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--cifar", type=Path, help="a real CIFAR-10; default: one that is made from photographs")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--quick", action="store_true", help="use a tenth of the images, to see whether it runs")
    parser.add_argument("--only", help=f"one of {', '.join(measures(parser.parse_args([]), Path()))}")
    options = parser.parse_args()
    prepare()
    with tempfile.TemporaryDirectory(prefix="rank-shards-bench-") as folder:
        every = measures(options, Path(folder))
        if options.only and options.only not in every:
            parser.error(f"--only: {options.only} is none of {', '.join(every)}")
        for name, measure in every.items():
            if options.only in (None, name):
                measure()


def measures(options: argparse.Namespace, scratch: Path) -> dict[str, Callable[[], None]]:
    """Returns what can be measured, by the names that ``--only`` takes."""
    rounds, scale, cifar = options.rounds, 10 if options.quick else 1, options.cifar

    def case(make: Callable[[], Case]) -> Callable[[], None]:
        return lambda: _run_case(make(), scratch / "out", rounds)

    def avx2() -> None:
        print("\nThe script and this pipeline, both limited to AVX2:", flush=True)
        flags = [*(["--cifar", str(cifar)] if cifar else []), *(["--quick"] if options.quick else [])]
        for only in ("cifar", "224x1"):
            command = [sys.executable, "-m", "bench", "--only", only, "--rounds", str(rounds), *flags]
            subprocess.run(command, env=os.environ | AVX2, check=True)

    return {
        "machine": lambda: machine.measure(rounds),
        **{name: case(make) for name, make in _cases(scratch, cifar, scale).items()},
        "avx2": avx2,
        "commands": lambda: commands.measure(scratch, cifar, rounds, scale),
        "planning": lambda: planning.measure(scratch, rounds, scale),
        "readers": lambda: readers.measure(scratch, rounds, scale),
        "views": lambda: views.measure(scratch, rounds, scale),
        "sources": lambda: sources.measure(scratch, rounds, scale),
        "transforms": lambda: transforms.measure(scratch, rounds),
        "ranks": lambda: ranks.measure(scratch, rounds),
        "verify": lambda: verify.measure(scratch, cifar, rounds, scale),
    }


def _cases(scratch: Path, cifar: Path | None, scale: int) -> dict[str, Callable[[], Case]]:
    def small() -> Case:
        data = cifar or inputs.cifar_shaped(scratch / "cifar")
        return Case(
            "32 x 32, ranks 3,5,10,20", "cifar10", data, "3,5,10,20", 20_000 // scale, 2_000 // scale, None, None, 4_000
        )

    def large(ranks: str, images: int, few: int) -> Callable[[], Case]:
        def make() -> Case:
            data = inputs.photograph_folder(scratch / "folder", 400)
            name = f"JPEG of 375 x 500, resized to 256, cropped to 224, ranks {ranks}"
            return Case(name, "folder", data, ranks, images // scale, few // scale, 256, 224)

        return make

    def side(pixels: int) -> Callable[[], Case]:
        def make() -> Case:
            data = inputs.photograph_folder(scratch / "folder", 400)
            rank, images = pixels // 4, max(20, min(400, 20_000_000 // pixels**2)) // scale
            name = f"JPEG of 375 x 500, {pixels} x {pixels}, rank {rank}"
            return Case(name, "folder", data, str(rank), images, max(2, images // 5), pixels, pixels)

        return make

    return {
        "cifar": small,
        "224x1": large("50", 400, 80),
        "224x4": large("30,40,50,100", 400, 40),
        **{f"side{pixels}": side(pixels) for pixels in SIDES},
    }


def _run_case(case: Case, out: Path, rounds: int) -> None:
    sides: dict[str, Callable[[], Result]] = {
        "baseline": lambda: _baseline(case, out),
        "this, in-process": lambda: _pipeline(case, out, 0),
        "this, 1 worker": lambda: _pipeline(case, out, 1),
        "this, 2 workers": lambda: _pipeline(case, out, 2),
    }
    if case.ray_images:
        folder = ray_data.png_folder(_job(case, out, 0, case.ray_images, case.ray_images), out.with_name("png"))
        sides["Ray Data, 2 workers"] = lambda: _ray_data(case, folder, out)
    results: dict[str, list[Result]] = {name: [] for name in sides}
    for _ in range(rounds):
        for name, side in sides.items():
            results[name].append(side())
            shutil.rmtree(out)
    print(f"\n{case.name} (low and high; {rounds} rounds in turn, medians)")
    print(f"{'':20}{'images/s':>10}{'ratio':>8}   ms per image and worker, by stage")
    for name, runs in results.items():
        rate = statistics.median(result.rate for result in runs)
        pairs = zip(runs, results["baseline"], strict=True)
        ratio = statistics.median(result.rate / base.rate for result, base in pairs)
        stages = {stage: statistics.median(1000 * result.stages[stage] for result in runs) for stage in runs[0].stages}
        print(f"{name:20}{rate:10,.1f}{ratio:8.2f}   " + "  ".join(f"{s} {v:.3f}" for s, v in stages.items()))


def _job(case: Case, out: Path, workers: int, limit: int, size: int) -> Job:
    return Job.parse(
        {
            "dataset": case.dataset,
            "data-dir": str(case.data),
            "ranks": case.ranks,
            "resize": case.resize,
            "crop": case.crop,
            "splits": "train",
            "limit": limit,
            "samples-per-shard": size,
            "workers": workers,
            "out": str(out),
            "allow-unverified": True,
            "quiet": True,
        }
    )


def _pipeline(case: Case, out: Path, workers: int) -> Result:
    size = max(1, case.images // 4)  # enough shards for two workers to share evenly
    outcome = run.build(_job(case, out, workers, case.images, size))
    stages = {stage: seconds / outcome.images for stage, seconds in outcome.seconds.items()}
    return Result(outcome.images / outcome.working, stages)


def _ray_data(case: Case, folder: Path, out: Path) -> Result:
    seconds = ray_data.seconds(folder, case.ranks, out, 2)
    return Result(case.ray_images / seconds["job"], {})


def _baseline(case: Case, out: Path) -> Result:
    source, plan = run.plan_job(_job(case, out, 0, case.baseline_images, case.baseline_images))
    ranks = tuple(int(rank) for rank in case.ranks.split(","))
    seconds = baseline.build(source, plan.entries(plan.shards[0]), plan.content.geometry, ranks, out)
    images = case.baseline_images
    return Result(images / sum(seconds.values()), {stage: value / images for stage, value in seconds.items()})


if __name__ == "__main__":
    main()
