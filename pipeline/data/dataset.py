"""``RankDataset``: random access to one variant of one split, called as torchvision's CIFAR10 is called."""

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

# Where the decoded images of a part would take more than this, ``data`` says so instead of filling the memory.
MAX_DATA = 8 << 30
_BLOCK = 512  # bytes of a tar's header

Transform = Callable[[Any], Any]


def split_of(split: str, train: bool | None) -> str:
    """The split that torchvision's ``train`` means, where it is given."""
    return split if train is None else "train" if train else "test"


def _set_to(what: str, variant: str) -> str:
    return f"data of this {variant} was set to images that have no {what}; torch's Subset keeps those of the samples"


class RankDataset:
    """Map-style dataset over the shards of an output; reads each sample where it lies, unpacks nothing.

    It pickles, and works in forked and spawned DataLoader workers and in threads.

    Args:
        root: the output's folder.
        variant: as in the output, such as ``rank5``, ``highrank5``, ``rank5-exact`` or ``full``.
        split: ``train``, ``test``...; ``val``, ``validation`` and ``test`` answer for each other.
        transform: called with each image.
        target_transform: called with each label.
        train: as torchvision has it; overrides ``split`` by ``train`` or ``test``.
        download: ignored; nothing is ever downloaded.

    Attributes:
        classes: names (list of str), position = label.
        class_to_idx: label by name.
        targets: labels (list of int).

    Raises:
        UsageError: there is no such variant or split.
        PipelineError: there is no finished output, or its files are not those of its manifest.
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
        self._own: np.ndarray | None = None  # what ``data`` was set to

    def __len__(self) -> int:
        return len(self._index.labels) if self._own is None else len(self._own)

    def __getitem__(self, position: SupportsIndex) -> tuple[Any, Any]:
        """The sample at an output position: image and label, after the transforms.

        Returns:
            an RGB PIL image and an int; in ``-exact`` variants, float32 (h, w, 3), units of the image in [0, 1].

        Raises:
            IndexError: there is no such position; negative ones count from the end.
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
        """The sample's key, the same in every variant. Raises UsageError where ``data`` was set to more or fewer images."""
        at = self._position(position)
        if self._other:
            raise UsageError(_set_to("keys", self.variant))
        return str(self._index.keys[at].decode())

    def raw(self, position: SupportsIndex) -> bytes:
        """The sample's image file as stored, PNG or npy. Raises UsageError where ``data`` was set."""
        at, i = self._position(position), self._index
        if self._own is not None:
            raise UsageError(_set_to("files", self.variant))
        path, offset = self._paths[i.shard[at]], int(i.offset[at])
        content = self._files.read(path, offset - _BLOCK, int(i.size[at]) + _BLOCK)
        name = i.keys[at] + f".{self.part.form}".encode() + b"\0"
        if not content.startswith(name[:100]):  # the tar's header: an exact shard has the size of every other
            raise PipelineError(
                f"{path} does not hold {self.key(at)} where its index says; run pipeline.verify on the output"
            )
        return content[_BLOCK:]

    @property
    def samples(self) -> list[tuple[str, int]]:
        """(key, label) of every sample. Raises AttributeError where ``data`` was set to more or fewer images."""
        if self._other:  # code that asks hasattr(dataset, "samples") then takes ``data``
            raise AttributeError(_set_to("keys", self.variant))
        return self._samples

    @cached_property
    def _samples(self) -> list[tuple[str, int]]:
        return [(key.decode(), int(label)) for key, label in zip(self._index.keys, self._index.labels, strict=True)]

    @property
    def data(self) -> np.ndarray:
        """All images, decoded when first asked for: uint8 (n, h, w, 3); float32 in ``-exact`` variants.

        It is read-only, because items come from the shards. Set it to other images (with as many ``targets``) and they
        come from there instead, as with torchvision's CIFAR10. These have no files, and where they are more or fewer no
        keys either; torch's ``Subset`` keeps both.

        Raises:
            AttributeError: they differ in size, or take more than ``MAX_DATA`` bytes. Code that asks
                ``hasattr(dataset, "data")`` then goes without, as it does for ImageFolder.
        """
        return self._decoded if self._own is None else self._own

    @data.setter
    def data(self, images: np.ndarray) -> None:
        self._own = np.asarray(images)

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
    def _other(self) -> bool:
        """Whether ``data`` was set to images of which nobody knows what samples they are."""
        return self._own is not None and len(self._own) != len(self._index.labels)

    def __add__(self, other: Any) -> Any:
        """Both, one after the other: torch's ``ConcatDataset``."""
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
        """The sample's image before any transform. Returns and raises as ``__getitem__``."""
        at = self._position(position)
        if self._own is not None:
            return Image.fromarray(self._own[at]) if self.part.form == "png" else self._own[at]
        decode = pixels.decode_npy if self.part.form == "npy" else pixels.decode_png
        try:
            return decode(self.raw(at), self.part.shape)
        except ValueError as error:
            raise PipelineError(
                f"{self._paths[self._index.shard[at]]}: sample {self.key(at)} is damaged, {one_line(error)}; "
                "run pipeline.verify on the output"
            ) from None
