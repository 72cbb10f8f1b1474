"""Makes inputs from the photographs that scikit-image ships, so that benchmarks need no download."""

from pathlib import Path

import numpy as np
import skimage
from PIL import Image

from pipeline.sources import manifests


def photographs() -> list[Image.Image]:
    """Returns the photographs of the sample dataset, RGB."""
    folder = Path(skimage.__file__).parent / "data"
    return [Image.open(folder / photo["file"]).convert("RGB") for photo in manifests.load("sample")["photographs"]]


def cifar_shaped(out: Path) -> Path:
    """Makes a full-size CIFAR-10 in the binary layout, from random 32-pixel crops of photographs at half size."""
    folder = out / "cifar-10-batches-bin"
    if (folder / "test_batch.bin").exists():
        return out
    folder.mkdir(parents=True)
    generator = np.random.default_rng(0)
    photos = [np.asarray(photo.reduce(2)) for photo in photographs()]
    for name in [f"data_batch_{i}" for i in range(1, 6)] + ["test_batch"]:
        records = np.empty((10_000, 3073), np.uint8)
        for record in records:
            label = int(generator.integers(len(photos)))
            record[0], record[1:] = (
                label,
                random_crop(photos[label], (32, 32), generator).transpose(2, 0, 1).reshape(-1),
            )
        records.tofile(folder / f"{name}.bin")
    return out


def photograph_folder(out: Path, count: int) -> Path:
    """Makes ``count`` JPEG files of 375 x 500 pixels, ImageNet's usual size, in class folders."""
    generator = np.random.default_rng(0)
    photos = [np.asarray(photo) for photo in photographs()]
    for i in range(count):
        label = i % len(photos)
        path = out / "train" / f"class{label}" / f"{i:05d}.jpg"
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            crop = random_crop(photos[label], (375, 500), generator)
            Image.fromarray(crop).save(path, quality=95)
    return out


def random_crop(photo: np.ndarray, size: tuple[int, int], generator: np.random.Generator) -> np.ndarray:
    """Returns a random crop of ``size`` (height, width). A photograph that is smaller is enlarged first."""
    if any(side < least for side, least in zip(photo.shape, size, strict=False)):
        factor = max(least / side for side, least in zip(photo.shape, size, strict=False))
        height, width = (int(np.ceil(side * factor)) for side in photo.shape[:2])
        photo = np.asarray(Image.fromarray(photo).resize((width, height), Image.Resampling.BICUBIC))
    top, left = (int(generator.integers(side - part + 1)) for side, part in zip(photo.shape, size, strict=False))
    return photo[top : top + size[0], left : left + size[1]]
