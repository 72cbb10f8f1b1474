"""Measures whole commands, from the command line to the prompt: seconds, and the peak memory of a process that builds."""

import os
import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path

from bench import inputs

_DEMO = "--dataset sample --ranks 3,5,10 --components low,high,full"  # as in the Makefile

_MEASURED = """
import os, sys
actions = [(os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0)]
child = os.posix_spawn(sys.argv[1], sys.argv[1:], os.environ, file_actions=actions)
_, status, usage = os.wait4(child, 0)
print(usage.ru_maxrss)
sys.exit(os.waitstatus_to_exitcode(status))
"""


def measure(scratch: Path, cifar: Path | None, rounds: int, scale: int) -> None:
    """Prints wall time and peak memory of the commands that users run first. The compiled code is cached before."""
    small = f"--dataset cifar10 --data-dir {cifar or inputs.cifar_shaped(scratch / 'cifar')} --allow-unverified"
    large = f"--dataset folder --data-dir {inputs.photograph_folder(scratch / 'folder', 400)} --resize 256 --crop 224"
    limit = f"--limit {20_000 // scale}"
    cases = {
        "CIFAR-10, --ranks 3,5,10,20": f"{small} --ranks 3,5,10,20" + (f" {limit}" if scale > 1 else ""),
        "make demo (build and verify)": _DEMO,
        "32 x 32, --workers 0": f"{small} --ranks 3,5,10,20 {limit} --workers 0",
        "224 x 224, --workers 0": f"{large} --ranks 30,40,50,100 --limit {400 // scale} --workers 0",
    }
    out = scratch / "commands"
    print(f"\nWhole commands ({rounds} rounds in turn, medians)")
    measured: dict[str, list[tuple[float, float]]] = {name: [] for name in cases}
    for number in range(rounds + 1):  # the first round fills caches
        for name, options in cases.items():
            took, memory = run(["pipeline.build", *options.split(), "--quiet", "--out", str(out)])
            if "demo" in name:
                took += run(["pipeline.verify", str(out)])[0]
            shutil.rmtree(out)
            if number:
                measured[name].append((took, memory))
    for name, runs in measured.items():
        took, memory = (statistics.median(column) for column in zip(*runs, strict=True))
        print(f"{name:32}{took:8.1f} s{memory:8.0f} MB at most in one process")


def run(arguments: list[str], environment: dict[str, str] | None = None) -> tuple[float, float]:
    """Runs ``python -m`` with arguments. Returns its wall time in seconds, and the peak memory of the process in MB.

    A process between measures it: the kernel counts the memory of whoever starts a process as part of its peak.
    """
    start = time.perf_counter()
    command = [sys.executable, "-S", "-c", _MEASURED, sys.executable, "-m", *arguments]
    child = subprocess.run(command, env=os.environ | (environment or {}), stdout=subprocess.PIPE, check=True)
    return time.perf_counter() - start, int(child.stdout) / 1024
