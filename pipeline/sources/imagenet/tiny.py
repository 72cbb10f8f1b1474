"""Recognises Tiny ImageNet as unzipped, which no source reads: the labels of its validation images are in a table."""

from pathlib import Path

from pipeline.errors import PipelineError

_MARKS = ("val/val_annotations.txt", "val_annotations.txt")


def refuse_tiny_imagenet(root: Path) -> None:
    """Raises PipelineError if ``root`` is Tiny ImageNet as unzipped, or its folder ``val``."""
    for mark in _MARKS:
        if (root / mark).is_file():
            raise PipelineError(
                f"{root} is Tiny ImageNet as unzipped: the labels of its validation images are in {mark}, which is not "
                "read. Move each image of val/images into val/<class>/ and those of train/<class>/images into "
                "train/<class>/, remove the .txt files and the folder test, and use --dataset folder"
            )
