"""Shows the progress of a command's trainings on one line."""

import sys
import time

from torch import Tensor

from pipeline.console import tell
from pipeline.liveness import duration

_INTERVAL = {True: 0.2, False: 10.0}  # seconds between updates, on a terminal and elsewhere


class TrainingProgress:
    """Shows epoch, loss, images per second and remaining time.

    On a terminal it rewrites one line; elsewhere it prints a line every ten seconds.

    Args:
        networks: number of networks that the command trains.
        epochs: epochs of each network.
        batch: images per batch.
        quiet: show nothing.
    """

    def __init__(self, networks: int, epochs: int, batch: int, quiet: bool) -> None:
        self._networks, self._epochs, self._batch, self._quiet = networks, epochs, batch, quiet
        self._terminal = sys.stderr.isatty()
        self._name, self._number, self._batches = "", 0, 0
        self._started = self._updated = time.monotonic()

    def begin(self, name: str) -> None:
        """Starts counting the next network."""
        self._name, self._number = name, self._number + 1

    def show(self, epoch: int, step: int, steps: int, loss: Tensor) -> None:
        """Counts a batch (see ``loop.Report``). The loss is copied from a GPU only when it is shown."""
        self._batches += 1
        now = time.monotonic()
        if self._quiet or now - self._updated < _INTERVAL[self._terminal]:
            return
        self._updated = now
        rate = self._batches / (now - self._started)
        remaining = (self._networks - self._number) * self._epochs * steps + (self._epochs - epoch + 1) * steps - step
        text = (
            f"{self._name} ({self._number} of {self._networks}): epoch {epoch} of {self._epochs}, "
            f"{100 * step // steps} %, loss {float(loss):.3f}; {rate * self._batch:,.0f} images/s; "
            f"{duration(remaining / rate)} left"
        )
        tell(f"\r\x1b[K{text}" if self._terminal else text, end="" if self._terminal else "\n")

    def close(self) -> None:
        """Clears the line."""
        if self._terminal and not self._quiet:
            tell("\r\x1b[K", end="")
