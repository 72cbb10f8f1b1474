"""The learning curve of a training: one row per epoch, as csv and as TensorBoard events."""

import importlib.util
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

CURVE = "curve.csv"
Row = dict[str, float]  # one epoch; ``loop.train`` lists the columns


def has_tensorboard() -> bool:
    """Returns whether TensorBoard, part of the extra ``study``, is installed."""
    return importlib.util.find_spec("tensorboard") is not None


@contextmanager
def event_writer(folder: Path, finished: int) -> Iterator[Callable[[Row], None]]:
    """Opens TensorBoard's events in ``folder`` and yields a function that adds one epoch.

    Without TensorBoard the function does nothing.

    Args:
        finished: number of finished epochs; TensorBoard drops later events of an interrupted run.
    """
    if not has_tensorboard():
        yield lambda row: None
        return
    from torch.utils.tensorboard import SummaryWriter

    def add(row: Row) -> None:
        for name, value in row.items():
            if name != "epoch":
                writer.add_scalar(name, value, row["epoch"])

    with SummaryWriter(str(folder), purge_step=finished + 1) as writer:
        yield add
