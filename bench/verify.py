"""What proving an output costs of what building it cost: both commands, whole, with as many workers, in one run."""

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
    """Print seconds and ratios by the clock, and in one process of each by the processor's time."""
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
            _compare(options.split(), build, verify, scratch / "proven", rounds)


def _compare(options: list[str], build: str, verify: str, out: Path, rounds: int) -> None:
    times: list[tuple[float, ...]] = []
    for _ in range(rounds):
        making = [*options, "--components", "low,high,full", "--quiet", "--workers", build, "--out", str(out)]
        built = _run("build", making)
        proven = _run("verify", [str(out), "--workers", verify, "--fresh"])
        shutil.rmtree(out)
        times.append((*built, *proven, proven[0] / built[0], proven[1] / built[1]))
    clock, cpu, proof, proof_cpu, ratio, cpu_ratio = (statistics.median(column) for column in zip(*times, strict=True))
    if build == "0":
        print(f"  one process: build {cpu:.1f} s, verify {proof_cpu:.1f} s of processor time, ratio {cpu_ratio:.3f}")
    else:
        print(f"  {build} workers: build {clock:.1f} s, verify {proof:.1f} s by the clock, ratio {ratio:.3f}")


def _run(command: str, arguments: list[str]) -> tuple[float, float]:
    """Seconds by the clock, and of processor time (without those of a Ray cluster's workers)."""
    before, start = os.times(), time.perf_counter()
    subprocess.run([sys.executable, "-m", f"pipeline.{command}", *arguments], check=True, stdout=subprocess.DEVNULL)
    after = os.times()
    cpu = after.children_user + after.children_system - before.children_user - before.children_system
    return time.perf_counter() - start, cpu
