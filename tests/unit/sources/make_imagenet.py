"""Writes small ImageNets of the sample photographs in every form that users have, without the project's code."""

import io
import tarfile
from pathlib import Path
from typing import NamedTuple


class Photograph(NamedTuple):
    """One image: its split, synset, official file name, and content."""

    split: str
    synset: str
    file: str
    content: bytes


def photographs(samples: Path, synsets: int = 20, train: int = 3, val: int = 2) -> list[Photograph]:
    """The first ``synsets`` of ``../shared/data/imagenet-samples``, with these numbers of images in each split.

    Synsets have one photograph each: image n of a synset shows the photograph of the n-th synset after it, so that
    contents differ. Validation numbers run through the synsets in turn, as the official ones mix them.
    """
    files = sorted(samples.glob("n*.JPEG"))[:synsets]
    contents = [file.read_bytes() for file in files]
    names = [file.name[:9] for file in files]
    images = []
    for label, synset in enumerate(names):
        for number in range(train):
            content = contents[(label + number) % len(names)]
            # 10, 9, 8, ...: bytewise order differs from the order of numbers and from that in the archive
            images.append(Photograph("train", synset, f"{synset}_{10 - number}.JPEG", content))
    for number in range(val * len(names)):
        label = number % len(names)
        content = contents[(label + number // len(names)) % len(names)]
        images.append(Photograph("val", names[label], f"ILSVRC2012_val_{number + 1:08d}.JPEG", content))
    return images


def make_archives(folder: Path, images: list[Photograph], labels: str = "devkit") -> None:
    """Writes ``ILSVRC2012_img_train.tar``, ``ILSVRC2012_img_val.tar`` and the labels of val.

    Args:
        labels: ``devkit``, ``unpacked``, ``list``, ``table``, or nothing for none.
    """
    folder.mkdir(parents=True, exist_ok=True)
    train = [image for image in images if image.split == "train"]
    if train:
        tars = []
        for synset in dict.fromkeys(image.synset for image in train):
            files = [(image.file, image.content) for image in train if image.synset == synset]
            tars.append((f"{synset}.tar", tar_bytes(files)))
        (folder / "ILSVRC2012_img_train.tar").write_bytes(tar_bytes(tars))
    val = [(image.file, image.content) for image in images if image.split == "val"]
    if val:
        (folder / "ILSVRC2012_img_val.tar").write_bytes(tar_bytes(val))
    make_labels(folder, images, labels)


def make_tree(folder: Path, images: list[Photograph]) -> None:
    """Writes ``train/<synset>/`` and ``val/<synset>/``."""
    for image in images:
        _write(folder / image.split / image.synset / image.file, image.content)


def make_kaggle(folder: Path, images: list[Photograph]) -> None:
    """Writes ``ILSVRC/Data/CLS-LOC/train/<synset>/``, ``.../val/`` flat, and ``LOC_val_solution.csv``."""
    home = folder / "ILSVRC/Data/CLS-LOC"
    for image in images:
        _write(home / image.split / (image.synset if image.split == "train" else "") / image.file, image.content)
    make_labels(folder, images, "table")


def make_labels(folder: Path, images: list[Photograph], form: str) -> None:
    """Writes the labels of val in one of the forms of ``make_archives``."""
    val = sorted((image for image in images if image.split == "val"), key=lambda image: image.file)
    if form in ("devkit", "unpacked"):
        files = devkit([image.synset for image in val])
        if form == "devkit":
            with tarfile.open(folder / "ILSVRC2012_devkit_t12.tar.gz", "w:gz") as tar:
                for name, content in {"readme.txt": b"a readme", **files}.items():
                    _add(tar, f"ILSVRC2012_devkit_t12/{name}", content)
        else:
            for name, content in files.items():
                _write(folder / "ILSVRC2012_devkit_t12" / name, content)
    elif form == "list":
        lines = "".join(f"{image.synset}\n" for image in val)
        (folder / "imagenet_2012_validation_synset_labels.txt").write_text(lines)
    elif form == "table":
        rows = [f"{image.file.removesuffix('.JPEG')},{image.synset} 85 1 499 272 " for image in reversed(val)]
        (folder / "LOC_val_solution.csv").write_text("\n".join(["ImageId,PredictionString", *rows]) + "\n")


def devkit(labels: list[str], compressed: bool = True) -> dict[str, bytes]:
    """Returns ``data/ILSVRC2012_validation_ground_truth.txt`` and ``data/meta.mat``, whose numbers are not the labels."""
    import numpy as np
    from scipy.io import savemat

    synsets = sorted(set(labels), reverse=True)  # ILSVRC ids are in another order than synsets
    numbers = {synset: number for number, synset in enumerate(synsets, 1)}
    inner = [("n00001740", "entity")]
    rows = [(numbers[synset], synset, "some, words", "a gloss", 0, np.zeros(0), 0, 1300) for synset in synsets]
    rows += [
        (len(numbers) + n, name, words, "", 2, np.array([1.0, 2.0]), 3, 0) for n, (name, words) in enumerate(inner, 1)
    ]
    fields = [
        "ILSVRC2012_ID",
        "WNID",
        "words",
        "gloss",
        "num_children",
        "children",
        "wordnet_height",
        "num_train_images",
    ]
    table = np.empty((len(rows), 1), [(field, object) for field in fields])
    for number, row in enumerate(rows):
        table[number, 0] = row
    file = io.BytesIO()
    savemat(file, {"synsets": table}, do_compression=compressed)
    truth = "".join(f"{numbers[synset]}\n" for synset in labels).encode()
    return {"data/ILSVRC2012_validation_ground_truth.txt": truth, "data/meta.mat": file.getvalue()}


def tar_bytes(files: list[tuple[str, bytes]], form: int = tarfile.GNU_FORMAT) -> bytes:
    """Returns a tar archive of files, as ``tarfile`` writes it."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=form) as tar:
        for name, content in files:
            _add(tar, name, content)
    return buffer.getvalue()


def _add(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(content)
    tar.addfile(member, io.BytesIO(content))


def _write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
