"""One story: a random source, a random job, and what happens to its builds. Everything follows from a seed.

An act is a command that grows the output or follows an edit of the source. It is disturbed up to three times, and then runs
undisturbed. These must hold:

- After every run, each file outside ``.build`` belongs to a finished output, and a manifest lists only files that match it.
- A killed run writes nothing to stderr. A failed run writes one line.
- The undisturbed run ends with the bytes of the same commands without accidents, and without scratch files.
- ``verify`` finds no fault. It finds every damaged file, and ``repair`` restores the bytes, even if it was killed before.
"""

import os
import random
import shutil
import signal
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import NamedTuple

from tests.faults.builds import Files, assert_manifest_holds, hashes, scratch
from tests.faults.forked import Forked
from tests.soak.accidents import CALM, EINVAL, KILL, STOP, TIMED_KILL, Accident, draw_accident
from tests.soak.sources import Source
from tests.trust.test_any_job import command, options

DONE, FAILED, REFUSED, REJECTS = 0, 1, 2, 3
_ACTS, _DISTURBED = 3, 3  # at most


class Run(NamedTuple):
    """A run that has ended: its status, its stderr, its operations on the disk, and its seconds."""

    status: int
    err: str
    operations: int
    seconds: float


class Story:
    """The story of a seed.

    Attributes:
        events: what happened so far, one line each.
        counts: of builds, faults, edits and so on.
    """

    def __init__(self, seed: int, folder: Path) -> None:
        self._draw, self._folder = random.Random(seed), folder
        self._out = folder / "out"
        self._reference = folder / "reference"  # the same commands, undisturbed
        self._source = Source(self._draw, folder / "source")
        self.events: list[str] = []
        self.counts: Counter[str] = Counter()

    def run(self) -> None:
        """Runs the story. Raises AssertionError where something does not hold."""
        draw = self._draw
        job = self._source.options | options(draw, self._source.side)
        before: Files = {}
        for act in range(draw.randint(1, _ACTS)):
            if act:
                if draw.random() < 0.4:
                    self._edit_visibly(job)
                    before = hashes(self._out)
                job = grown(draw, job, self._source.side)
                self._log("growth", " ".join(map(str, command(job))))
            finished = self._act(job, before)
            if finished is None:
                return
            before = finished

    def _act(self, job: dict[str, object], before: Files) -> Files | None:
        """Runs a command, disturbed and then undisturbed. Returns the files, or None if the command is refused."""
        whole = self._build(job, self._reference, CALM)
        refused = whole.status in (FAILED, REFUSED)
        expected = before if refused else hashes(self._reference)
        if self._draw.random() < 0.3:
            self._log("edit", self._source.edit(self._draw, visible=False))
        for _ in range(self._draw.randint(0, _DISTURBED)):
            accident = draw_accident(self._draw, whole.operations, whole.seconds)
            self._check_disturbed(accident, self._build(job, self._out, accident), whole.status)
            self._check_files(before, expected)
        calm = self._build(job, self._out, CALM)
        assert calm.status == whole.status, (calm, whole)
        if refused:
            assert "error: the output " in calm.err or whole.status == REFUSED, calm
            check_one_line(calm.err)
            return None
        assert hashes(self._out) == expected
        assert _left(self._out) == []
        self._verify(job, expected)
        return expected

    def _edit_visibly(self, job: dict[str, object]) -> None:
        """Edits the source. The same command must refuse, or build what it builds in an empty folder."""
        draw, kept = self._draw, self._folder / "kept"
        self._source.copy(kept)
        files = hashes(self._out)
        self._log("edit", self._source.edit(draw, visible=True))
        after = self._build(job, self._out, CALM)
        if after.status in (FAILED, REFUSED):
            check_one_line(after.err)
            assert hashes(self._out) == files, "a refused build changes nothing"
            if draw.random() < 0.3:
                job = job | {"overwrite": True}
                after = self._build(job, self._out, CALM)
        if after.status not in (FAILED, REFUSED):
            whole = self._build(job, self._folder / "whole", CALM)
            assert after.status == whole.status, (after, whole)
            assert hashes(self._out) == hashes(self._folder / "whole"), "files of two sources are mixed"
            shutil.rmtree(self._folder / "whole")
        self._source.restore(kept)
        shutil.rmtree(kept)
        shutil.rmtree(self._out)
        shutil.copytree(self._reference, self._out)

    def _verify(self, job: dict[str, object], expected: Files) -> None:
        """Verifies the output, damages it, and repairs it."""
        draw, origin = self._draw, ["--source", str(self._source.folder)]
        self._passes("verify", *(origin if draw.random() < 0.5 else []))
        if draw.random() < 0.5:
            return
        name = draw.choice(sorted(expected))
        self._log("damage", f"{_damage(draw, self._out / name)} {name}")
        found = self._fork("verify", origin, self._out, CALM)
        assert found.status == FAILED, found
        assert Path(name).parts[0] in found.err, found
        if name == "manifest.json":
            again = self._build(job, self._out, CALM)
            assert again.status in (DONE, REJECTS), again
        else:
            if draw.random() < 0.5:
                accident = Accident(frozenset({KILL}), draw.randint(1, 40))
                self._fork("repair", origin, self._out, accident)
            self._passes("repair", *origin)
        assert hashes(self._out) == expected
        assert _left(self._out) == []

    def _passes(self, name: str, *arguments: str) -> None:
        done = self._fork(name, list(arguments), self._out, CALM)
        assert done.status == DONE, done

    def _build(self, job: dict[str, object], out: Path, accident: Accident) -> Run:
        arguments = [str(word) for word in command(job)]
        return self._fork("build", arguments, out, accident)

    def _fork(self, name: str, arguments: list[str], out: Path, accident: Accident) -> Run:
        """Runs a command in a process of its own."""
        start = time.monotonic()
        with tempfile.TemporaryFile() as count:

            def counted(operations: int) -> None:
                os.pwrite(count.fileno(), b"%d" % operations, 0)

            forked = Forked(arguments, out, lambda: accident.install(out, counted), name)
            if accident.names & {STOP, TIMED_KILL}:
                forked.send_after(accident.after, signal.SIGKILL if TIMED_KILL in accident.names else accident.number)
            done = forked.end()
            count.seek(0)
            run = Run(done.status, done.err, int(count.read() or 0), time.monotonic() - start)
        self._log(name, f"{' '.join(arguments)} --out {out.name}: {accident}: {run}")
        self.counts.update([name, *accident.names])
        assert "Traceback" not in run.err, run
        return run

    def _check_disturbed(self, accident: Accident, run: Run, calm: int) -> None:
        """Checks status and stderr of a disturbed run."""
        lines = errors(run.err)
        if run.status == -signal.SIGKILL:
            assert accident.names & {KILL, TIMED_KILL}, run
        elif run.status == FAILED:
            assert lines, run
            stopped = STOP in accident.names and lines[-1].startswith("stopped; ")
            assert stopped or lines[-1].startswith("error: "), run
            assert len(lines) <= (2 if EINVAL in accident.names else 1), run
        elif STOP in accident.names and run.status == -accident.number:
            assert (run.operations, lines) == (0, []), run  # the signal came before the command handles it
        else:
            assert run.status == calm, run

    def _check_files(self, before: Files, after: Files) -> None:
        """Checks that every file is an old or a new one, and that a manifest matches."""
        if not self._out.exists():
            return
        for name, digest in hashes(self._out).items():
            assert digest in (before.get(name), after.get(name)), f"{name} is neither old nor new"
        assert_manifest_holds(self._out)

    def _log(self, kind: str, text: str) -> None:
        self.events.append(f"{kind}: {text}")
        if kind in ("edit", "growth", "damage"):
            self.counts[kind] += 1


def grown(draw: random.Random, job: dict[str, object], side: int) -> dict[str, object]:
    """Returns a larger job: more ranks, all components, no limit. Sometimes it does not name the factors any more."""
    larger = dict(job)
    if draw.random() < 0.5:
        larger.pop("factors", None)
    if draw.random() < 0.5:
        larger["components"] = "low,high,full"
    if draw.random() < 0.5:
        larger.pop("limit", None)
    if "ranks" in larger and draw.random() < 0.7:
        ranks = {*str(larger["ranks"]).split(","), str(draw.randint(1, max(side - 1, 1)))}
        larger["ranks"] = ",".join(sorted(ranks, key=int))
    return larger


def errors(err: str) -> list[str]:
    """Returns the lines of stderr that are no notes."""
    return [line for line in err.splitlines() if not line.startswith(("trying again: ", "left out: "))]


def check_one_line(err: str) -> None:
    """Checks that a refusal is one line."""
    lines = errors(err)
    assert len(lines) == 1, err
    assert lines[0].startswith("error: "), err


def _damage(draw: random.Random, path: Path) -> str:
    """Damages a file. Returns how."""
    content = bytearray(path.read_bytes())
    how = draw.choice(["a bit of", "the end of", "all of"])
    if how == "all of" or not content:
        path.unlink()
    elif how == "the end of" and len(content) > 1:
        path.write_bytes(content[: draw.randrange(len(content))])
    else:
        content[draw.randrange(len(content))] ^= 1 << draw.randrange(8)
        path.write_bytes(content)
    return how


def _left(out: Path) -> list[str]:
    """Returns the scratch files of an output; ``proof`` is where verify keeps its parts."""
    return [name for name in scratch(out) if name != "proof"]
