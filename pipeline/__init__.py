"""Low-rank and high-rank-only image datasets, as WebDataset shards."""

import os
import sys

_PARENT = os.path.dirname(os.path.dirname(os.path.realpath(__file__)))
if sys.argv[:1] == ["-m"] and not sys.flags.safe_path and os.path.realpath(sys.path[0]) != _PARENT:
    # ``python -m`` searches the current folder first, so that a user's random.py or queue.py there would replace Python's.
    # It is searched last instead: networks of the user are imported from it.
    sys.path.append(sys.path.pop(0))
    os.environ["PYTHONSAFEPATH"] = "1"  # for processes that commands start

from typing import TYPE_CHECKING, Any  # noqa: E402  from Python's library

if TYPE_CHECKING:
    from pipeline.dataset_objects import build_dataset, repair_dataset
    from pipeline.report.rank_image import rank_image

__version__ = "1.0.0"
__all__ = ["build_dataset", "rank_image", "repair_dataset"]


def __getattr__(name: str) -> Any:
    """Imports functions on first access: every command imports this package, and must start quickly."""
    if name == "rank_image":
        from pipeline.report.rank_image import rank_image

        return rank_image
    if name in ("build_dataset", "repair_dataset"):
        from pipeline import dataset_objects

        return getattr(dataset_objects, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
