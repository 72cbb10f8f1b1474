"""``RankDataset``: random access to one variant of one split, with the interface of torchvision's ``CIFAR10``."""

import operator
import os
from collections.abc import Callable, Iterator
from functools import cached_property
from typing import Any, SupportsIndex

import numpy as np
from PIL import Image

from pipeline.data import index, pixels
from pipeline.data.files import Files
from pipeline.data.output import Part, open_output
from pipeline.errors import PipelineError, UsageError, one_line
from pipeline.extras import optional_import

# Bytes. ``RankDataset.data`` refuses to decode more than this into memory.
MAX_DATA = 8 << 30
_BLOCK = 512  # bytes of a tar's header

Transform = Callable[[Any], Any]


def split_of(split: str, train: bool | None) -> str:
    """Returns ``split``, or the split that torchvision's ``train`` argument means."""
    return split if train is None else "train" if train else "test"


def _replaced_data(missing: str, variant: str) -> str:
    return f"data of this {variant} dataset was replaced by images without {missing}; torch's Subset keeps them"


class RankDataset:
    """Map-style dataset over one variant of one split of an output.

    Samples are read from the tar shards in place; nothing is unpacked. The dataset can be pickled, and works in threads and
    in forked and spawned DataLoader workers.

    Args:
        root: folder of the output.
        variant: name of the variant, such as ``rank5``, ``highrank5``, ``rank5-exact`` or ``full``.
        split: name of the split, such as ``train``. ``val``, ``validation`` and ``test`` are aliases of each other.
        transform: called with each image.
        target_transform: called with each label.
        train: torchvision's argument; if given, it overrides ``split`` by ``train`` or ``test``.
        download: ignored, for compatibility with torchvision. Nothing is downloaded.

    Attributes:
        classes: class names (list of str); the position is the label.
        class_to_idx: label of each class name (dict).
        targets: labels of all samples (list of int).

    Raises:
        UsageError: the output has no such variant or split.
        PipelineError: the folder holds no finished output, or its files differ from its manifest.
    """

    def __init__(
        self,
        root: str | os.PathLike[str],
        variant: str = "rank5",
        split: str = "train",
        transform: Transform | None = None,
        target_transform: Transform | None = None,
        train: bool | None = None,
        download: bool = False,
    ) -> None:
        if isinstance(variant, bool):
            raise UsageError(f"variant {variant!r}: give the variant, such as 'rank5', and train={variant}")
        split = split_of(split, train)
        self.part: Part = open_output(root).part(variant, split)
        self.root, self.variant, self.split = self.part.root, self.part.variant, self.part.split
        self.train = self.split == "train"
        self.transform, self.target_transform = transform, target_transform
        self.classes = list(self.part.classes)
        self.class_to_idx = {name: label for label, name in enumerate(self.classes)}
        self._index = index.read(self.part)
        self.targets: list[int] = self._index.labels.tolist()
        self._paths = [str(shard.path) for shard in self.part.shards]
        self._files = Files()
        self._replaced: np.ndarray | None = None  # images that the user assigned to ``data``

    def __len__(self) -> int:
        return len(self._index.labels) if self._replaced is None else len(self._replaced)

    def __getitem__(self, position: SupportsIndex) -> tuple[Any, Any]:
        """Returns (image, label) of the sample at a position in the output's order, after the transforms.

        The image is an RGB PIL image. In ``-exact`` variants it is float32 (h, w, 3), in units of the image in [0, 1].

        Raises:
            IndexError: the position is outside of the dataset; negative positions count from the end.
            PipelineError: the sample cannot be read.
        """
        at = self._position(position)
        image, label = self.decode(at), self.targets[at]
        if self.transform is not None:
            image = self.transform(image)
        return image, label if self.target_transform is None else self.target_transform(label)

    def __iter__(self) -> Iterator[tuple[Any, Any]]:
        return (self[i] for i in range(len(self)))

    def key(self, position: SupportsIndex) -> str:
        """Returns the key of a sample, which is the same in every variant.

        Raises:
            UsageError: ``data`` was replaced by another number of images.
        """
        at = self._position(position)
        if self._unknown_samples:
            raise UsageError(_replaced_data("keys", self.variant))
        return str(self._index.keys[at].decode())

    def raw(self, position: SupportsIndex) -> bytes:
        """Returns the bytes of a sample's image file as stored: PNG, or npy in ``-exact`` variants.

        Raises:
            UsageError: ``data`` was replaced.
            PipelineError: the shard does not hold the sample where its index says.
        """
        at, i = self._position(position), self._index
        if self._replaced is not None:
            raise UsageError(_replaced_data("files", self.variant))
        path, offset = self._paths[i.shard[at]], int(i.offset[at])
        content = self._files.read(path, offset - _BLOCK, int(i.size[at]) + _BLOCK)
        name = i.keys[at] + f".{self.part.form}".encode() + b"\0"
        if not content.startswith(
            name[:100]
        ):  # in the tar header; the size alone cannot tell: exact shards all have one size
            raise PipelineError(
                f"{path} does not hold {self.key(at)} where its index says; run pipeline.verify on the output"
            )
        return content[_BLOCK:]

    @property
    def stored_bytes(self) -> int:
        """The size of all image files together."""
        return int(self._index.size.sum())

    @property
    def samples(self) -> list[tuple[str, int]]:
        """(key, label) of every sample.

        Raises:
            AttributeError: ``data`` was replaced by another number of images. Code that asks
                ``hasattr(dataset, "samples")`` then uses ``data``.
        """
        if self._unknown_samples:
            raise AttributeError(_replaced_data("keys", self.variant))
        return self._samples

    @cached_property
    def _samples(self) -> list[tuple[str, int]]:
        return [(key.decode(), int(label)) for key, label in zip(self._index.keys, self._index.labels, strict=True)]

    @property
    def data(self) -> np.ndarray:
        """All images as one array, decoded on first access: uint8 (n, h, w, 3); float32 in ``-exact`` variants.

        The array is read-only, because items are read from the shards. As with torchvision's ``CIFAR10``, other images
        (with as many ``targets``) can be assigned, and items then come from them. Assigned images have no files. If their
        number differs from the number of samples, they have no keys either. To select samples, use torch's ``Subset``,
        which keeps both.

        Raises:
            AttributeError: the images differ in size, or need more than ``MAX_DATA`` bytes. Code that asks
                ``hasattr(dataset, "data")`` then does without, as it does for ImageFolder.
        """
        return self._decoded if self._replaced is None else self._replaced

    @data.setter
    def data(self, images: np.ndarray) -> None:
        self._replaced = np.asarray(images)

    @cached_property
    def _decoded(self) -> np.ndarray:
        if self.part.shape is None:
            raise AttributeError("no data: the images differ in size; index the dataset instead")
        shape = (len(self), *self.part.shape, 3)
        dtype = np.dtype(np.float32 if self.part.form == "npy" else np.uint8)
        if dtype.itemsize * np.prod(shape, dtype=np.float64) > MAX_DATA:
            raise AttributeError(f"no data: {shape} {dtype} would not fit in memory; index the dataset instead")
        images = np.empty(shape, dtype)
        for at in range(len(self)):
            images[at] = self.decode(at)
        images.flags.writeable = False
        return images

    @property
    def _unknown_samples(self) -> bool:
        """Whether ``data`` was replaced by another number of images, which cannot be matched to samples."""
        return self._replaced is not None and len(self._replaced) != len(self._index.labels)

    def __add__(self, other: Any) -> Any:
        """Returns torch's ``ConcatDataset`` of both datasets. Raises PipelineError if torch is not installed."""
        with optional_import():
            from torch.utils.data import ConcatDataset

        return ConcatDataset([self, other])  # type: ignore[list-item]

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name not in ("_decoded", "_samples")}

    def __repr__(self) -> str:
        return f"RankDataset({str(self.root)!r}, variant={self.variant!r}, split={self.split!r}): {len(self):,} samples"

    def _position(self, position: SupportsIndex) -> int:
        at, length = operator.index(position), len(self)
        if not -length <= at < length:
            raise IndexError(f"position {at} of {length:,} samples")
        return at % length

    def decode(self, position: SupportsIndex) -> Any:
        """Returns a sample's image before any transform; types and errors as in ``__getitem__``."""
        at = self._position(position)
        if self._replaced is not None:
            return Image.fromarray(self._replaced[at]) if self.part.form == "png" else self._replaced[at]
        decode = pixels.decode_npy if self.part.form == "npy" else pixels.decode_png
        try:
            return decode(self.raw(at), self.part.shape)
        except ValueError as error:
            raise PipelineError(
                f"{self._paths[self._index.shard[at]]}: sample {self.key(at)} is damaged, {one_line(error)}; "
                "run pipeline.verify on the output"
            ) from None
