"""``RankView``: any rank of an output's images, cut when they are asked for."""

import json
import operator
import os
import random
from collections.abc import Sequence
from typing import Any, Protocol, SupportsIndex

import numpy as np
from PIL import Image

from pipeline.data.dataset import RankDataset, Transform
from pipeline.data.output import Output, open_output
from pipeline.data.triplets import Triplets
from pipeline.errors import PipelineError, UsageError, nearest
from pipeline.numerics.variants import OFFSET
from pipeline.storage.files import read_regular

COMPONENTS = ("low", "high")
FORMS = ("png", "npy")
_MAX_REJECTS = 1 << 26  # bytes of rejects.jsonl


class RankView:
    """Map-style dataset of one component at any rank, or at a rank drawn for each sample (rank augmentation).

    Images are cut from the output's factors where it keeps them (``--factors``), else by SVD from its variant ``full``;
    high-rank-only ones take ``full`` in both cases. It pickles, and works in forked and spawned DataLoader workers.

    Args:
        root: the output's folder.
        rank: one rank, or several of which each access draws one, with Python's ``random`` (which a DataLoader seeds in
            each of its workers, anew in every epoch).
        component: ``low`` or ``high``.
        split: ``train``, ``test``...; ``val``, ``validation`` and ``test`` answer for each other.
        form: ``png`` gives what the PNG variants hold, an 8-bit RGB PIL image, high with its offset of 128 (from factors,
            one subpixel in 100,000 is a grey level off; from float16 ones, one in 30); ``npy`` gives what the ``-exact``
            ones hold, float32 (h, w, 3), neither rounded nor clipped, high signed.
        transform: called with each image.
        target_transform: called with each label.
        factors: False for SVD although the output keeps factors.
        train: as torchvision has it; overrides ``split`` by ``train`` or ``test``.

    Attributes:
        classes: names (list of str), position = label.
        targets: labels (list of int).

    Raises:
        UsageError: there is no such split, component or form; a rank is outside the image or above the factors' largest;
            or the output has neither factors nor ``full``.
        PipelineError: there is no finished output, or its files are not those of its manifest.
    """

    def __init__(
        self,
        root: str | os.PathLike[str],
        rank: int | Sequence[int],
        component: str = "low",
        split: str = "train",
        form: str = "png",
        transform: Transform | None = None,
        target_transform: Transform | None = None,
        factors: bool = True,
        train: bool | None = None,
    ) -> None:
        for what, given, allowed in (("component", component, COMPONENTS), ("form", form, FORMS)):
            if given not in allowed:
                hint = nearest(str(given), allowed)
                raise UsageError(f"{what} {given!r}: there are {', '.join(allowed)}{hint}")
        output = open_output(root)
        self._output, self._use_factors = output, factors and output.factors is not None
        self.ranks = self._checked(rank)
        self.component, self.form = component, form
        self.transform, self.target_transform = transform, target_transform
        if "full" not in output.variants and (component == "high" or not self._use_factors):
            what = "high-rank-only images take" if self._use_factors else "without factors a RankView takes"
            raise UsageError(f"{root}: {what} the variant full, which it has not; build it with --components full")
        variant = "full" if "full" in output.variants else output.variants[0]
        self._samples = RankDataset(root, variant, split, train=train)
        self.split, self.classes, self.targets = self._samples.split, self._samples.classes, self._samples.targets
        self.class_to_idx = self._samples.class_to_idx
        self._cutter: _Cutter = _Factors(output, self._samples) if self._use_factors else _Svd()

    @property
    def samples(self) -> list[tuple[str, int]]:
        """(key, label) of every sample."""
        return self._samples.samples

    def __len__(self) -> int:
        return len(self._samples)

    def __getitem__(self, position: SupportsIndex) -> tuple[Any, Any]:
        """The sample at a position: image and label, after the transforms.

        Raises:
            IndexError: there is no such position; negative ones count from the end.
            PipelineError: the sample cannot be read.
        """
        at = range(len(self))[operator.index(position)]
        rank = self.ranks[0] if len(self.ranks) == 1 else random.choice(self.ranks)
        image, label = self._cut(at, rank), self.targets[at]
        if self.transform is not None:
            image = self.transform(image)
        return image, label if self.target_transform is None else self.target_transform(label)

    def cut(self, position: SupportsIndex, rank: int) -> Any:
        """The image at one rank, before any transform. Raises as the constructor and ``__getitem__`` do."""
        return self._cut(range(len(self))[operator.index(position)], self._checked(rank)[0])

    def _cut(self, at: int, rank: int) -> Any:
        from_full = self.component == "high" or isinstance(self._cutter, _Svd)
        pixels = np.asarray(self._samples.decode(at)).transpose(2, 0, 1) if from_full else np.empty(0)
        low = self._cutter.low(at, pixels, rank)
        if self.form == "npy":
            image = low if self.component == "low" else pixels / np.float32(255) - low
            return np.ascontiguousarray(image.transpose(1, 2, 0), np.float32)
        rounded = np.rint(255 * low)
        stored = rounded if self.component == "low" else pixels - rounded + OFFSET
        return Image.fromarray(np.ascontiguousarray(np.clip(stored, 0, 255).transpose(1, 2, 0).astype(np.uint8)))

    def key(self, position: SupportsIndex) -> str:
        """The sample's key."""
        return self._samples.key(position)

    def __repr__(self) -> str:
        how = "factors" if isinstance(self._cutter, _Factors) else "SVD"
        return f"RankView({self.component} at {self.ranks} from {how}, split={self.split!r}): {len(self):,} samples"

    def _checked(self, given: int | Sequence[int]) -> tuple[int, ...]:
        return _ranks(given, self._output, self._output.factors if self._use_factors else None)


def _ranks(given: int | Sequence[int], output: Output, most: int | None) -> tuple[int, ...]:
    """One rank or several, checked against the images and ``most``, the largest that the factors give."""
    ranks = tuple(given) if isinstance(given, Sequence | np.ndarray) else (given,)
    if not ranks or not all(isinstance(rank, int | np.integer) and not isinstance(rank, bool) for rank in ranks):
        raise UsageError(f"rank {given!r}: is neither a whole number nor several")
    side = min(output.shape) if output.shape else None
    for rank in ranks:
        if rank < 1 or (side is not None and rank >= side):
            raise UsageError(f"rank {rank}: a rank of these images is from 1 {f'to {side - 1}' if side else 'upwards'}")
        if most is not None and rank > most:
            raise UsageError(
                f"rank {rank}: the factors of {output.root} reach rank {most}; factors=False cuts from full instead"
            )
    return tuple(map(int, ranks))


class _Cutter(Protocol):
    def low(self, position: int, pixels: np.ndarray, rank: int) -> np.ndarray:
        """A_k in [0, 1] units, float (3, h, w). ``pixels``: uint8 (3, h, w), where they were read."""
        ...


class _Factors:
    """Cuts from the output's triplets; their rows also count the images that were rejected."""

    def __init__(self, output: Output, samples: RankDataset) -> None:
        self._triplets = Triplets(output, samples.split)
        rejected = _rejected(output, samples.split)
        every = np.arange(len(samples) + len(rejected))
        self._rows = every[~np.isin(every, rejected)]
        if len(self._rows) != len(samples):
            raise PipelineError(
                f"{output.root / 'rejects.jsonl'} is not what the manifest says; build the output again"
            )

    def low(self, position: int, pixels: np.ndarray, rank: int) -> np.ndarray:
        return self._triplets.low(int(self._rows[position]), rank)


class _Svd:
    """Cuts by the pipeline's own SVD, in float64."""

    def low(self, position: int, pixels: np.ndarray, rank: int) -> np.ndarray:
        from pipeline.numerics import svd

        decomposed = svd.decompose(pixels, rank)
        whole = rank >= min(pixels.shape[1:])
        planes: np.ndarray = (svd.untouched(decomposed) if whole else svd.truncate(decomposed, rank)).planes
        return planes / 255


def _rejected(output: Output, split: str) -> list[int]:
    """Output positions of a split without an image."""
    path = output.root / "rejects.jsonl"
    try:
        lines = [json.loads(line) for line in read_regular(path, _MAX_REJECTS).splitlines()]
        return [int(line["position"]) for line in lines if str(line["key"]).rpartition("-")[0] == split]
    except OSError as error:
        raise PipelineError(f"{path}: {error.strerror}; copy the output again, or build it again") from None
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError):
        raise PipelineError(f"{path} is damaged; copy the output again, or build it again") from None
