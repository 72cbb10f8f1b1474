"""A training's curve: a row an epoch, and the events that TensorBoard shows."""

import importlib.util
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

CURVE = "curve.csv"
Row = dict[str, float]  # of one epoch, see ``training.train``


def has_tensorboard() -> bool:
    """Whether events can be written: TensorBoard comes with the extra ``study``."""
    return importlib.util.find_spec("tensorboard") is not None


@contextmanager
def events(folder: Path, done: int) -> Iterator[Callable[[Row], None]]:
    """Gives what adds an epoch to TensorBoard's events in ``folder``; it does nothing where there is no TensorBoard.

    Args:
        done: epochs that are there; TensorBoard forgets what an interrupted run wrote beyond them.
    """
    if not has_tensorboard():
        yield lambda row: None
        return
    from torch.utils.tensorboard import SummaryWriter

    def add(row: Row) -> None:
        for name, value in row.items():
            if name != "epoch":
                writer.add_scalar(name, value, row["epoch"])

    with SummaryWriter(str(folder), purge_step=done + 1) as writer:
        yield add
