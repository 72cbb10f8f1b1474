"""Loads the compiled loops of a build before its work is timed.

Where they have to be compiled first, it says so. Compilation takes most of a minute of one core, so two processes share it.
"""

import contextlib
import subprocess
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numba.core import event

from pipeline import console
from pipeline.execution import child_process
from pipeline.formats import png, tar
from pipeline.numerics import batch, resample
from pipeline.numerics.kernels.small import LARGEST
from pipeline.planning.shard_task import ShardTask

SIDES = (LARGEST, LARGEST + 1)
"""A side of planes for each of the two kernels, in pixels."""


def sides_of(task: ShardTask) -> tuple[int, ...]:
    """Returns those of ``SIDES`` whose kernels the images of a task need."""
    small, large = SIDES
    if task.side <= LARGEST:
        return (small,)
    return (large,) if task.shape else SIDES


def load(sides: Sequence[int] = SIDES, quiet: bool = False) -> None:
    """Loads every loop that most builds use.

    The driver calls it before the workers start: what one process has compiled, all processes of the machine load.

    Args:
        sides: smaller sides of planes, in pixels: the kernels to load.
        quiet: say nothing.
    """
    with _Compilation(quiet).noticed() as compilation:
        batch.load_compiled_loops(sides)
        compilation.wait()
        _load_formats()


def _load_formats() -> None:
    """Calls the loops that encode and resize images, with a tiny sample."""
    pixels = np.zeros((1, 3, 2, 2), np.uint8)
    png.encode(pixels, png.NONE)
    tar.members(tar.heads(["key"], [0]), png.encode(pixels, png.AVERAGE))
    weights = resample.Weights(np.arange(2), np.full((2, 1), 1, np.int32))
    resample.resize(np.zeros((2, 2, 3), np.uint8), weights, weights, True)


class _Compilation(event.Listener):
    """At the first compilation of this process, prints one line, and starts a process that compiles half of the loops.

    The other process leaves its machine code in numba's cache. If it fails, this process compiles everything.
    """

    def __init__(self, quiet: bool) -> None:
        self._quiet = quiet
        self._process: subprocess.Popen[bytes] | None = None

    @contextlib.contextmanager
    def noticed(self) -> Iterator["_Compilation"]:
        """Notices compilations during the block. Loading machine code from numba's cache is none."""
        try:
            with event.install_listener("numba:compile", self):
                yield self
        finally:
            if self._process:
                self._process.kill()
                self._process.wait()

    def on_start(self, _: Any) -> None:
        if not self._process:
            if not self._quiet:
                console.tell("compiling loops for this processor, once on this machine")
            self._process = child_process.start(
                "pipeline.execution.compiled_loops",
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )

    def on_end(self, _: Any) -> None:
        pass

    def wait(self) -> None:
        """Waits until the other process has compiled its half."""
        if self._process:
            self._process.wait()


if __name__ == "__main__":
    _load_formats()
