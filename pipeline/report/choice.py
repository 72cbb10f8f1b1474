"""Chooses the images that a report shows."""

from dataclasses import dataclass

import numpy as np

from pipeline.data import RankDataset
from pipeline.errors import one_line
from pipeline.report.gallery import SMALL
from pipeline.report.spectra import spread

_CLASSES = 10


@dataclass(frozen=True)
class Chosen:
    """An image to show.

    Attributes:
        position: in the split, counted from 0.
        key: of its sample.
        label: name of its class.
    """

    position: int
    key: str
    label: str

    @property
    def name(self) -> str:
        return f"{self.label}, {self.key}"


def choose(data: RankDataset, each: int) -> list[Chosen]:
    """Returns ``each`` evenly spaced images of up to ten classes, evenly spaced among the classes that have images."""
    targets = np.array(data.targets, np.int64)
    labels = np.unique(targets)
    chosen = []
    for label in labels[spread(len(labels), _CLASSES)] if len(labels) else ():
        places = np.flatnonzero(targets == label)
        for place in places[spread(len(places), each)].tolist():
            chosen.append(Chosen(place, data.key(place), one_line(data.classes[label])))
    return chosen


def per_class(shape: tuple[int, int] | None) -> int:
    """Returns how many images of each class to show: three if they are small, else one."""
    return 3 if shape and max(shape) <= SMALL else 1
