"""One line that says where the trainings of a command stand."""

import sys
import time

from torch import Tensor

from pipeline.console import tell
from pipeline.execution.progress import duration

_EVERY = {True: 0.2, False: 10.0}  # seconds between lines, on a terminal and elsewhere


class TrainingProgress:
    """Shows epoch, loss, rate and time left; rewritten in place on a terminal, plain lines now and then elsewhere.

    Args:
        networks: how many the command trains.
        epochs: of each.
        batch: images of a batch.
        quiet: show nothing.
    """

    def __init__(self, networks: int, epochs: int, batch: int, quiet: bool) -> None:
        self._networks, self._epochs, self._batch, self._quiet = networks, epochs, batch, quiet
        self._terminal = sys.stderr.isatty()
        self._name, self._number, self._batches = "", 0, 0
        self._started = self._shown = time.monotonic()

    def begin(self, name: str) -> None:
        """The next network's turn."""
        self._name, self._number = name, self._number + 1

    def show(self, epoch: int, step: int, steps: int, loss: Tensor) -> None:
        """A batch is done (``training.Report``); the loss is only fetched from a GPU where it is shown."""
        self._batches += 1
        now = time.monotonic()
        if self._quiet or now - self._shown < _EVERY[self._terminal]:
            return
        self._shown = now
        rate = self._batches / (now - self._started)
        left = (self._networks - self._number) * self._epochs * steps + (self._epochs - epoch + 1) * steps - step
        text = (
            f"{self._name} ({self._number} of {self._networks}): epoch {epoch} of {self._epochs}, "
            f"{100 * step // steps} %, loss {float(loss):.3f}; {rate * self._batch:,.0f} images/s; "
            f"{duration(left / rate)} left"
        )
        tell(f"\r\x1b[K{text}" if self._terminal else text, end="" if self._terminal else "\n")

    def close(self) -> None:
        """Take the line away."""
        if self._terminal and not self._quiet:
            tell("\r\x1b[K", end="")
