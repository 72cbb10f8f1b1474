"""How many cores this process may use: the default number of workers of every command, and of torch's threads."""

import contextlib
import math
import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath


def usable_cores(root: Path = Path("/")) -> int:
    """Returns the cores that CPU affinity and cgroup quotas leave to this process, at least 1.

    A quota of 2.5 cores counts as 3. The quota of a group holds for all groups below it.

    Args:
        root: folder that holds ``proc`` and the mount points of the cgroup file systems.
    """
    try:
        cores = len(os.sched_getaffinity(0))
    except AttributeError:  # macOS
        cores = os.cpu_count() or 1
    return max(1, min([cores, *map(math.ceil, _quotas(root))]))


def _quotas(root: Path) -> Iterator[float]:
    """Yields the quotas in cores of this process's groups: its own and those above it. cgroups(7), proc(5)."""
    groups: dict[str, str] = {}  # path of the group in its hierarchy, by controller; "" is the hierarchy of version 2
    for line in _lines(root / "proc/self/cgroup"):
        _, controllers, path = line.split(":", 2)
        groups |= dict.fromkeys(controllers.split(","), path)
    for line in _lines(root / "proc/self/mountinfo"):
        mount, _, file_system = (part.split() for part in line.partition(" - "))
        controller = {"cgroup2": "", "cgroup": "cpu"}.get(file_system[0])
        if controller not in groups or (controller and controller not in file_system[2].split(",")):
            continue
        top = root / mount[4].lstrip("/")
        with contextlib.suppress(ValueError):  # the process's group is not below the one that is mounted
            group: Path = top / PurePosixPath(groups[controller]).relative_to(mount[3])
            while True:
                yield from _quota(group)
                if group == top or group == group.parent:
                    break
                group = group.parent


def _quota(group: Path) -> Iterator[float]:
    """Yields the quota of one group, if it has one: ``max 100000`` (version 2) and ``-1`` (version 1) are none."""
    numbers = " ".join(
        _lines(group / "cpu.max") or _lines(group / "cpu.cfs_quota_us") + _lines(group / "cpu.cfs_period_us")
    )
    quota, _, period = numbers.partition(" ")
    if quota.isdigit() and period.isdigit() and int(period):
        yield int(quota) / int(period)


def _lines(file: Path) -> list[str]:
    try:
        return file.read_text(errors="replace").splitlines()
    except OSError:  # no Linux, or no such controller
        return []
