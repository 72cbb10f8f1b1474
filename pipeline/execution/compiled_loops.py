"""Loads the compiled loops of a build before its work is timed, and says so where they have to be compiled first."""

import contextlib
from collections.abc import Iterator
from typing import Any

import numpy as np
from numba.core import event

from pipeline import console
from pipeline.formats import png, tar
from pipeline.numerics import batch, resample


def load(quiet: bool = False) -> None:
    """Loads every loop that most builds use.

    The driver calls it before the workers start: what one process has compiled, all processes of the machine load.

    Args:
        quiet: say nothing.
    """
    with contextlib.nullcontext() if quiet else _announced():
        _load()


def _load() -> None:
    """Calls the loops of every stage, by building a tiny sample."""
    batch.load_compiled_loops()
    pixels = np.zeros((1, 3, 2, 2), np.uint8)
    png.encode(pixels, png.NONE)
    tar.members(tar.heads(["key"], [0]), png.encode(pixels, png.AVERAGE))
    weights = resample.Weights(np.arange(2), np.full((2, 1), 1, np.int32))
    resample.resize(np.zeros((2, 2, 3), np.uint8), weights, weights, True)


class _Announcement(event.Listener):
    """Prints one line when the first loop is compiled."""

    def __init__(self) -> None:
        self._said = False

    def on_start(self, _: Any) -> None:
        if not self._said:
            self._said = True
            console.tell("compiling loops for this processor, once on this machine")

    def on_end(self, _: Any) -> None:
        pass


@contextlib.contextmanager
def _announced() -> Iterator[None]:
    """Announces compilations during the block. Loading machine code from numba's cache is none."""
    with event.install_listener("numba:compile", _Announcement()):
        yield
