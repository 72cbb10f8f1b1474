"""``python -m tests.faults.kills``: many builds, each killed again and again between its first and its last commit.

Every build is killed with SIGKILL and started again by the same command several times. Then it must end with
the bytes of an undisturbed one. Kills come at a random time, or at an operation: before or in the middle of a random
write, fsync, rename, unlink or mkdir, which hits short moments more often. Some builds run on Ray, where a worker, the
driver or the raylet is killed.
"""

import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from pipeline.console import Parser, run, whole
from tests.faults.builds import MEMORY, Build, hashes, scratch
from tests.faults.failing_disk import KILL, Disk
from tests.faults.forked import Done, Forked, warm_up
from tests.faults.moments import STAGES, Whole

CLOCK, OPERATION = "at a random time", "at an operation"
WORKER, DRIVER, RAYLET = "Ray worker", "Ray driver", "raylet"
HOW = (CLOCK, OPERATION, WORKER, DRIVER, RAYLET)
_PARTS = 10  # of a build, in the histogram of its progress
_RAY_UNTIL = 0.6  # of its shards: two workers commit many shards while one of them is killed
_BEFORE_SHARDS = 30  # operations before a build's first shard, at least


class Case(NamedTuple):
    """A command, and the finished build that it extends, if any. ``operations``: on the disk, per shard, roughly."""

    command: tuple[str, ...]
    operations: int
    before: tuple[str, ...] = ()


def _job(more: str, limit: int = 80, rows: int = 2) -> tuple[str, ...]:
    return tuple(f"--dataset sample --limit {limit} --samples-per-shard {rows} {more}".split())


CASES = {
    "new": Case(_job("--ranks 3"), 30),
    "exact, factors": Case(_job("--ranks 3 --exact --factors"), 60),
    "growth": Case(_job("--ranks 3,5"), 30, _job("--ranks 3")),
}
ON_RAY = Case(_job("--ranks 3", limit=3000, rows=20), 0)


class Kill(NamedTuple):
    """One kill: its kind, what the build was doing, and the share of it that was committed, 0 to 1."""

    how: str
    stage: str
    share: float


class Place:
    """A folder for the builds of one case, and the result of an undisturbed build."""

    def __init__(self, case: Case, folder: Path) -> None:
        self.case, self.out, self._initial = case, folder / "out", folder / "initial"
        before = None
        if case.before:
            _ends_well(Forked(case.before, self._initial).end())
            before = hashes(self._initial)
        self.begin()
        _ends_well(Forked(case.command, self.out).end())
        self.whole = Whole(self.out, before)

    def begin(self) -> None:
        shutil.rmtree(self.out, ignore_errors=True)
        if self._initial.exists():
            shutil.copytree(self._initial, self.out)

    def goal(self, chance: random.Random, left: int, last: float = 1) -> int:
        """Returns how many commits to wait for, so that ``left`` kills spread over the remaining shards, up to a share."""
        done = self.whole.committed(self.out)
        step = (int(self.whole.shards * last) - 1 - done) // max(left, 1)
        return max(done + chance.randint(0, max(step, 0)), 1)

    def fell(self, how: str, earlier: dict[str, int]) -> list[Kill]:
        """Returns the kill that has just happened, if it was between the first and the last commit."""
        done = self.whole.committed(self.out)
        self.whole.check_partial(self.out)
        if not 0 < done < self.whole.shards:
            return []
        return [Kill(how, self.whole.stage(self.out, earlier), done / self.whole.shards)]

    def check_end(self) -> None:
        assert hashes(self.out) == self.whole.files
        assert scratch(self.out) == []


def in_one_process(place: Place, kills: int, chance: random.Random) -> list[Kill]:
    """Runs one build without Ray from nothing to its end, and kills it ``kills`` times."""
    fell: list[Kill] = []
    place.begin()
    while len(fell) < kills:
        earlier = place.whole.placed(place.out) if place.out.exists() else {}
        how = chance.choice((CLOCK, OPERATION))
        goal = place.goal(chance, kills - len(fell))
        build = _by_the_clock(place, goal, chance) if how == CLOCK else _by_the_operation(place, goal, chance)
        done = build.end()
        if done.status == 0:
            break  # the last commit came before the kill
        assert done == (-signal.SIGKILL, ""), done
        fell += place.fell(how, earlier)
        if place.whole.committed(place.out) == place.whole.shards:
            break
    _ends_well(Forked(place.case.command, place.out).end())
    place.check_end()
    return fell


def _by_the_clock(place: Place, goal: int, chance: random.Random) -> Forked:
    build = Forked(place.case.command, place.out)
    while build.alive() and place.whole.committed(place.out) < goal:
        time.sleep(0.0005)
    time.sleep(chance.uniform(0, 0.02))  # about the time of a shard
    build.kill()
    return build


def _by_the_operation(place: Place, goal: int, chance: random.Random) -> Forked:
    shards = goal - place.whole.committed(place.out)
    at = _BEFORE_SHARDS + shards * place.case.operations + chance.randrange(2 * place.case.operations)
    return Forked(place.case.command, place.out, lambda: Disk(place.out, KILL, at).install())


def on_ray(place: Place, kills: int, chance: random.Random) -> list[Kill]:
    """Runs one build on two Ray workers. Kills workers, then the driver or the raylet, and starts the build again."""
    fell: list[Kill] = []
    place.begin()
    while len(fell) < kills and place.whole.committed(place.out) < _RAY_UNTIL * place.whole.shards:
        earlier = place.whole.placed(place.out) if place.out.exists() else {}
        with Build(*place.case.command, "--workers", 2, out=place.out) as build:
            for how in (WORKER, chance.choice((DRIVER, DRIVER, RAYLET))):
                build.wait_for_commits(place.goal(chance, kills - len(fell), _RAY_UNTIL))
                time.sleep(chance.uniform(0, 0.02))
                _kill(build, how, chance)
                fell += place.fell(how, earlier)
            status = build.end().status
            assert status != 0
    with Build(*place.case.command, "--workers", 2, out=place.out) as build:
        ended = build.end()
        _ends_well(Done(ended.status, ended.err))
    place.check_end()
    return fell


def _kill(build: Build, how: str, chance: random.Random) -> None:
    if how == WORKER:
        os.kill(build.some_worker(chance), signal.SIGKILL)
    elif how == DRIVER:
        build.send(signal.SIGKILL)
    else:
        os.kill(build.raylet(), signal.SIGKILL)


def _ends_well(done: Done) -> None:
    assert done == (0, ""), done


def histogram(fell: Sequence[Kill]) -> str:
    """Returns two tables in Markdown: by what the build was doing, and by the share that was committed."""
    kinds = [how for how in HOW if any(kill.how == how for kill in fell)]

    def table(title: str, rows: Sequence[str], row_of: list[str]) -> list[str]:
        counts = Counter(zip(row_of, (kill.how for kill in fell), strict=True))
        lines = [f"| {title} | " + " | ".join(kinds) + " | all |", "|---" * (len(kinds) + 2) + "|"]
        for row in rows:
            numbers = [counts[row, how] for how in kinds]
            lines.append(f"| {row} | " + " | ".join(map(str, numbers)) + f" | {sum(numbers)} |")
        return lines

    parts = [f"{100 * part // _PARTS} to {100 * (part + 1) // _PARTS} %" for part in range(_PARTS)]
    return "\n".join(
        [
            *table("what the build was doing", STAGES, [kill.stage for kill in fell]),
            "",
            *table("committed", parts, [parts[int(kill.share * _PARTS)] for kill in fell]),
        ]
    )


def main() -> int:
    parser = Parser(prog="python -m tests.faults.kills", description=__doc__)
    parser.add_argument("--builds", type=whole("--builds"), default=100)
    parser.add_argument("--kills", type=whole("--kills"), default=500, help="in all, between first and last commit")
    parser.add_argument(
        "--ray", type=whole("--ray", 0), default=8, help="of the builds, the last ones, on two Ray workers"
    )
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse(None)
    chance, start, fell = random.Random(options.seed), time.monotonic(), list[Kill]()
    warm_up()
    with tempfile.TemporaryDirectory(prefix="fault-", dir=MEMORY) as folder:
        places = {}
        for name, case in (CASES | {"Ray": ON_RAY}).items():
            (Path(folder) / name).mkdir()
            places[name] = Place(case, Path(folder) / name)
        for number in range(options.builds):
            share = -(-(options.kills - len(fell)) // (options.builds - number))
            if number >= options.builds - options.ray:
                fell += on_ray(places["Ray"], max(share, 1), chance)
            else:
                fell += in_one_process(places[chance.choice(list(CASES))], max(share, 1), chance)
            print(
                f"build {number + 1}: {len(fell)} kills, {time.monotonic() - start:.0f} s", file=sys.stderr, flush=True
            )
    print(histogram(fell))
    print(f"\n{len(fell)} SIGKILLs between the first and the last commit of {options.builds} builds, no byte differs")
    print(f"({time.monotonic() - start:.0f} s, seed {options.seed})")
    return 0 if len(fell) >= options.kills else 1


if __name__ == "__main__":
    sys.exit(run(main, "stopped"))
