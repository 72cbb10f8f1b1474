"""The low-rank, high-rank-only and full image of each sample as one item."""

import os
from collections.abc import Callable, Sequence
from typing import Any, SupportsIndex

import numpy as np

from pipeline.data.dataset import RankDataset, Transform
from pipeline.data.output import open_output
from pipeline.errors import PipelineError, UsageError, nearest

VIEWS = ("low", "high", "full")


class PairDataset:
    """Map-style dataset of dicts: the images of one sample by view, and its ``label``.

    Args:
        views: datasets of the same samples in the same order, by name of the view.
        transform: called with each image separately; a random transform draws again for each view.
        joint_transform: called first, with the dict of images. Use it for random choices that all views must share;
            torchvision's v2 transforms accept such a dict.

    Attributes:
        classes: class names (list of str); the position is the label.
        targets: labels (list of int) of the first view.

    Raises:
        PipelineError: the views hold different samples.
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
        """Returns the images and the label of the sample at a position. Errors as in ``RankDataset``."""
        images: dict[str, Any] = {name: view[position][0] for name, view in self.views.items()}
        if self.joint_transform is not None:
            images = self.joint_transform(images)
        if self.transform is not None:
            images = {name: self.transform(image) for name, image in images.items()}
        return images | {"label": self.targets[position]}

    def key(self, position: SupportsIndex) -> str:
        """Returns the key of a sample."""
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
    """Returns the variants of one rank as a PairDataset: ``rankK`` as ``low``, ``highrankK`` as ``high``, and ``full``.

    Args:
        root: folder of the output.
        rank: rank of the cut.
        split: as in ``RankDataset``.
        views: names among ``low``, ``high`` and ``full``; by default all that the output has for this rank.
        exact: whether to use the float32 variants; ``full`` stays 8-bit.
        transform: as in ``PairDataset``.
        joint_transform: as in ``PairDataset``.
        train: torchvision's argument; if given, it overrides ``split`` by ``train`` or ``test``.

    Raises:
        UsageError: a requested view is not in the output, or the output has no variant of this rank.
        PipelineError: as in ``RankDataset`` and ``PairDataset``.
    """
    suffix = "-exact" * exact
    names = {"low": f"rank{rank}{suffix}", "high": f"highrank{rank}{suffix}", "full": "full"}
    existing = open_output(root).variants
    for view in views or ():
        if view not in VIEWS:
            raise UsageError(f"view {view!r}: choose among {', '.join(VIEWS)}{nearest(str(view), VIEWS)}")
        if names[view] not in existing:
            raise UsageError(
                f"view {view!r} needs {names[view]}, which {root} does not have: it has {', '.join(existing)}"
            )
    chosen = [view for view in VIEWS if (names[view] in existing if views is None else view in views)]
    if not {"low", "high"} & {*chosen} and views is None:
        raise UsageError(f"rank {rank}: {root} has no variant of it; it has {', '.join(existing)}")
    if not chosen:
        raise UsageError(f"views is empty: choose among {', '.join(VIEWS)}")
    return PairDataset(
        {view: RankDataset(root, names[view], split, train=train) for view in chosen}, transform, joint_transform
    )
