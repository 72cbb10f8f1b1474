"""``RankView``: images of any rank, cut when they are read."""

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
    """Map-style dataset of one component at any rank, or at a random rank per access (rank augmentation).

    Low-rank images are cut from the output's factors if it has them (``--factors``), else by SVD of its variant ``full``.
    High-rank-only images always need ``full``. The dataset can be pickled, and works in forked and spawned DataLoader
    workers.

    Args:
        root: folder of the output.
        rank: a rank, or a sequence of ranks from which each access draws one. It draws with Python's ``random``, which a
            DataLoader seeds in each worker and epoch.
        component: ``low`` or ``high``.
        split: name of the split, such as ``train``. ``val``, ``validation`` and ``test`` are aliases of each other.
        form: ``png`` gives the content of PNG variants: 8-bit RGB PIL images, ``high`` with its offset of 128. From factors,
            one subpixel in 100,000 differs by a grey level; from float16 factors, one in 30. ``npy`` gives the content of
            ``-exact`` variants: float32 (h, w, 3), neither rounded nor clipped, ``high`` signed.
        transform: called with each image.
        target_transform: called with each label.
        factors: False to use the SVD even if the output has factors.
        train: torchvision's argument; if given, it overrides ``split`` by ``train`` or ``test``.

    Attributes:
        classes: class names (list of str); the position is the label.
        targets: labels (list of int).

    Raises:
        UsageError: the split, component or form does not exist; a rank is outside of the image or above the largest rank of
            the factors; or the output has neither factors nor ``full``.
        PipelineError: the folder holds no finished output, or its files differ from its manifest.
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
        for argument, value, allowed in (("component", component, COMPONENTS), ("form", form, FORMS)):
            if value not in allowed:
                hint = nearest(str(value), allowed)
                raise UsageError(f"{argument} {value!r}: choose among {', '.join(allowed)}{hint}")
        output = open_output(root)
        self._output, self._use_factors = output, factors and output.factors is not None
        self.ranks = self._checked(rank)
        self.component, self.form = component, form
        self.transform, self.target_transform = transform, target_transform
        if "full" not in output.variants and (component == "high" or not self._use_factors):
            reason = "high-rank-only images need" if self._use_factors else "without factors, a RankView needs"
            raise UsageError(f"{root}: {reason} the variant full; build it with --components full")
        variant = "full" if "full" in output.variants else output.variants[0]
        self._samples = RankDataset(root, variant, split, train=train)
        self.split, self.classes, self.targets = self._samples.split, self._samples.classes, self._samples.targets
        self.class_to_idx = self._samples.class_to_idx
        self._cutter: _Cutter = _Factors(output, self._samples) if self._use_factors else _Svd(output)

    @property
    def samples(self) -> list[tuple[str, int]]:
        """(key, label) of every sample."""
        return self._samples.samples

    def __len__(self) -> int:
        return len(self._samples)

    def __getitem__(self, position: SupportsIndex) -> tuple[Any, Any]:
        """Returns (image, label) of the sample at a position, after the transforms.

        Raises:
            IndexError: the position is outside of the dataset; negative positions count from the end.
            PipelineError: the sample cannot be read.
        """
        at = range(len(self))[operator.index(position)]
        rank = self.ranks[0] if len(self.ranks) == 1 else random.choice(self.ranks)
        image, label = self._cut(at, rank), self.targets[at]
        if self.transform is not None:
            image = self.transform(image)
        return image, label if self.target_transform is None else self.target_transform(label)

    def cut(self, position: SupportsIndex, rank: int) -> Any:
        """Returns the image at the given rank, before any transform; errors as in the constructor and ``__getitem__``."""
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
        """Returns the key of a sample."""
        return self._samples.key(position)

    def __repr__(self) -> str:
        how = "factors" if isinstance(self._cutter, _Factors) else "SVD"
        return f"RankView({self.component} at {self.ranks} from {how}, split={self.split!r}): {len(self):,} samples"

    def _checked(self, rank: int | Sequence[int]) -> tuple[int, ...]:
        return _ranks(rank, self._output, self._output.factors if self._use_factors else None)


def _ranks(value: int | Sequence[int], output: Output, largest: int | None) -> tuple[int, ...]:
    """Returns the ranks as a tuple, checked against the images' size and ``largest``, the largest rank of the factors."""
    ranks = tuple(value) if isinstance(value, Sequence | np.ndarray) else (value,)
    if not ranks or not all(isinstance(rank, int | np.integer) and not isinstance(rank, bool) for rank in ranks):
        raise UsageError(f"rank {value!r}: give a whole number, or a sequence of them")
    side = min(output.shape) if output.shape else None
    for rank in ranks:
        if rank < 1 or (side is not None and rank >= side):
            raise UsageError(
                f"rank {rank}: a rank of these images is at least 1{f' and at most {side - 1}' if side else ''}"
            )
        if largest is not None and rank > largest:
            raise UsageError(
                f"rank {rank}: the factors of {output.root} reach rank {largest}; factors=False cuts from full instead"
            )
    return tuple(map(int, ranks))


class _Cutter(Protocol):
    def low(self, position: int, pixels: np.ndarray, rank: int) -> np.ndarray:
        """Returns A_k, float (3, h, w), in units of the image in [0, 1]. ``pixels``: uint8 (3, h, w); empty if not read."""
        ...


class _Factors:
    """Cuts from the output's factors, whose rows count rejected images too."""

    def __init__(self, output: Output, samples: RankDataset) -> None:
        self._triplets = Triplets(output, samples.split)
        rejected = _rejected(output, samples.split)
        positions = np.arange(len(samples) + len(rejected))
        self._rows = positions[~np.isin(positions, rejected)]
        if len(self._rows) != len(samples):
            raise PipelineError(
                f"{output.root / 'rejects.jsonl'} does not agree with the manifest; build the output again"
            )

    def low(self, position: int, pixels: np.ndarray, rank: int) -> np.ndarray:
        return self._triplets.low(int(self._rows[position]), rank)


class _Svd:
    """Cuts by the pipeline's SVD, in float64.

    The compiled loops are loaded here, before a DataLoader starts workers: where they are not on disk yet, each worker would
    compile them for itself.
    """

    def __init__(self, output: Output) -> None:
        from pipeline.numerics import cpu
        from pipeline.numerics.kernels.small import LARGEST

        for height, width in (output.shape,) if output.shape else ((3, 3), (LARGEST + 1, LARGEST + 1)):
            if min(height, width) > 1:
                cpu.solve(np.zeros((1, height, width), np.uint8), (1,), exact=True)

    def low(self, position: int, pixels: np.ndarray, rank: int) -> np.ndarray:
        from pipeline.numerics import cpu
        from pipeline.numerics.runtime import prepare_loader_worker

        prepare_loader_worker()
        full_rank = rank >= min(pixels.shape[1:])
        planes: np.ndarray = pixels if full_rank else cpu.solve(pixels, (rank,), exact=True).truncated(rank).planes
        return planes / 255


def _rejected(output: Output, split: str) -> list[int]:
    """Returns the output positions of a split's rejected images."""
    path = output.root / "rejects.jsonl"
    try:
        lines = [json.loads(line) for line in read_regular(path, _MAX_REJECTS).splitlines()]
        return [int(line["position"]) for line in lines if str(line["key"]).rpartition("-")[0] == split]
    except OSError as error:
        raise PipelineError(f"{path}: {error.strerror}; copy the output again, or build it again") from None
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError):
        raise PipelineError(f"{path} is damaged; copy the output again, or build it again") from None
