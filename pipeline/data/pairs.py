"""The low-rank, high-rank-only and untouched image of each sample, together."""

import os
from collections.abc import Callable, Sequence
from typing import Any, SupportsIndex

import numpy as np

from pipeline.data.dataset import RankDataset, Transform
from pipeline.data.output import open_output
from pipeline.errors import PipelineError, UsageError, nearest

VIEWS = ("low", "high", "full")


class PairDataset:
    """Map-style dataset of dicts: a view of the same sample under each of its names, and ``label``.

    Args:
        views: datasets of the same samples in the same order, by name.
        transform: called with each image by itself; a random one would draw anew for each view.
        joint_transform: called with the dict of images before that, for what must be drawn once for all views
            (torchvision's v2 transforms take such a dict).

    Attributes:
        classes: names (list of str), position = label.
        targets: labels (list of int), those of the first view until they are set to others.

    Raises:
        PipelineError: the views are not of the same samples.
    """

    def __init__(
        self,
        views: dict[str, RankDataset],
        transform: Transform | None = None,
        joint_transform: Callable[[dict[str, Any]], dict[str, Any]] | None = None,
    ) -> None:
        self.views, self.transform, self.joint_transform = views, transform, joint_transform
        first = next(iter(views.values()))
        for other in views.values():
            same = np.array_equal(first._index.keys, other._index.keys)
            if not same or first.targets != other.targets:
                raise PipelineError(
                    f"{first.variant} and {other.variant} do not hold the same samples of {first.split}; "
                    "run pipeline.verify on the output"
                )
        self.classes, self.targets = first.classes, first.targets
        self._first = first

    def __len__(self) -> int:
        return len(self._first)

    def __getitem__(self, position: SupportsIndex) -> dict[str, Any]:
        """The sample at an output position. Raises IndexError, PipelineError as ``RankDataset``."""
        images: dict[str, Any] = {name: view[position][0] for name, view in self.views.items()}
        if self.joint_transform is not None:
            images = self.joint_transform(images)
        if self.transform is not None:
            images = {name: self.transform(image) for name, image in images.items()}
        return images | {"label": self.targets[position]}

    def key(self, position: SupportsIndex) -> str:
        """The sample's key."""
        return self._first.key(position)


def pair(
    root: str | os.PathLike[str],
    rank: int,
    split: str = "train",
    views: Sequence[str] | None = None,
    exact: bool = False,
    transform: Transform | None = None,
    joint_transform: Callable[[dict[str, Any]], dict[str, Any]] | None = None,
    train: bool | None = None,
) -> PairDataset:
    """The views of one rank: ``rankK`` as ``low``, ``highrankK`` as ``high`` and ``full``.

    Args:
        views: those wanted; default all that the output has of this rank.
        exact: the float32 variants; ``full`` stays 8-bit.
        transform: as in ``PairDataset``.
        joint_transform: as in ``PairDataset``.
        train: as torchvision has it; overrides ``split`` by ``train`` or ``test``.

    Raises:
        UsageError: a wanted view is not built, or none of this rank is.
        PipelineError: as ``RankDataset`` and ``PairDataset``.
    """
    suffix = "-exact" * exact
    names = {"low": f"rank{rank}{suffix}", "high": f"highrank{rank}{suffix}", "full": "full"}
    there = open_output(root).variants
    for view in views or ():
        if view not in VIEWS:
            raise UsageError(f"view {view!r}: there are {', '.join(VIEWS)}{nearest(str(view), VIEWS)}")
        if names[view] not in there:
            raise UsageError(f"view {view!r} needs {names[view]}, which {root} has not: it has {', '.join(there)}")
    wanted = [view for view in VIEWS if (names[view] in there if views is None else view in views)]
    if not {"low", "high"} & {*wanted} and views is None:
        raise UsageError(f"nothing of rank {rank}: {root} has {', '.join(there)}")
    if not wanted:
        raise UsageError(f"no views wanted: there are {', '.join(VIEWS)}")
    return PairDataset(
        {view: RankDataset(root, names[view], split, train=train) for view in wanted}, transform, joint_transform
    )
