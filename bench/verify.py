"""Compares the time of verifying an output with the time of building it, for whole commands in one run."""

import os
import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path

from bench import inputs

_WORKERS = "2"


def measure(scratch: Path, cifar: Path | None, rounds: int, scale: int) -> None:
    """Prints seconds and ratios: wall time with two workers each, and processor time with one process each."""
    small = cifar or inputs.cifar_shaped(scratch / "cifar")
    large = inputs.photograph_folder(scratch / "folder-verify", 2000 // scale)
    cases = {
        "32 x 32, ranks 3,5,10,20, low, high, full": f"--dataset cifar10 --data-dir {small} --allow-unverified "
        f"--ranks 3,5,10,20 --limit {50_000 // scale}",
        **{
            f"224 x 224, ranks {ranks}, low, high, full": f"--dataset folder --data-dir {large} --resize 256 --crop 224 "
            f"--ranks {ranks} --samples-per-shard {500 // scale}"
            for ranks in ("50", "30,40,50,100")
        },
    }
    for name, options in cases.items():
        print(f"\n{name}: build and verify, whole commands ({rounds} rounds in turn, medians)")
        for build, verify in ((_WORKERS, _WORKERS), ("0", "1")):
            _compare(options.split(), build, verify, scratch / "verified", rounds)


def _compare(options: list[str], build: str, verify: str, out: Path, rounds: int) -> None:
    times: list[tuple[float, ...]] = []
    for _ in range(rounds):
        job = [*options, "--components", "low,high,full", "--quiet", "--workers", build, "--out", str(out)]
        built = _run("build", job)
        verified = _run("verify", [str(out), "--workers", verify, "--fresh"])
        shutil.rmtree(out)
        times.append((*built, *verified, verified[0] / built[0], verified[1] / built[1]))
    medians = [statistics.median(column) for column in zip(*times, strict=True)]
    build_wall, build_cpu, verify_wall, verify_cpu, ratio, cpu_ratio = medians
    if build == "0":
        print(
            f"  one process: build {build_cpu:.1f} s, verify {verify_cpu:.1f} s of processor time, ratio {cpu_ratio:.3f}"
        )
    else:
        print(
            f"  {build} workers: build {build_wall:.1f} s, verify {verify_wall:.1f} s of wall time, ratio {ratio:.3f}"
        )


def _run(command: str, arguments: list[str]) -> tuple[float, float]:
    """Runs a command. Returns its wall time and its processor time (without the workers of a Ray cluster), in seconds."""
    before, start = os.times(), time.perf_counter()
    subprocess.run([sys.executable, "-m", f"pipeline.{command}", *arguments], check=True, stdout=subprocess.DEVNULL)
    after = os.times()
    cpu = after.children_user + after.children_system - before.children_user - before.children_system
    return time.perf_counter() - start, cpu
