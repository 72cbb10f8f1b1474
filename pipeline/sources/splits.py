"""Names of splits, as Hugging Face datasets recognises them in names of folders and files.

Source: ``datasets.data_files``, ``SPLIT_KEYWORDS``: a keyword is delimited by ``-``, ``_``, ``.``, a space or a digit.
"""

import re
from collections.abc import Collection, Iterable, Mapping

from pipeline.errors import PipelineError

SPLITS = ("train", "val", "validation", "test")  # in the order in which they are built
_KEYWORDS = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "dev": "val",
    "validation": "validation",
    "test": "test",
    "testing": "test",
    "eval": "test",
    "evaluation": "test",
}
_WORDS = re.compile(r"[^-_.\s\d]+")
SPELLINGS = "train, training, val, valid, validation, dev, test, testing or eval"  # for messages


def exact_split(name: str) -> str | None:
    """Returns the split that a name is a keyword of, in any case: ``Training`` is ``train``. Else None."""
    return _KEYWORDS.get(name.lower())


def splits_in(name: str) -> list[str]:
    """Returns the splits whose keywords are in a name, each once: ``seg_train`` and ``train2017`` name ``train``."""
    words = (_KEYWORDS.get(word) for word in _WORDS.findall(name.lower()))
    return list(dict.fromkeys(split for split in words if split))


def split_in(name: str) -> str | None:
    """Returns the split that a name names, None if it names none or several."""
    splits = splits_in(name)
    return splits[0] if len(splits) == 1 else None


def in_source(asked: str, splits: Collection[str]) -> str:
    """Returns the split of a source that the user asked for: ``valid`` is ``val``, ``fog-3`` is ``fog_3``.

    Unknown names stay as they are.
    """
    if asked in splits:
        return asked
    return next((split for split in (exact_split(asked), asked.replace("-", "_")) if split in splits), None) or asked


def in_order(splits: Iterable[str]) -> list[str]:
    """Returns the splits in the order in which they are built: those of other names come last, sorted."""
    return sorted(splits, key=lambda split: (SPLITS.index(split) if split in SPLITS else len(SPLITS), split))


def folders_by_split(place: object, splits: Mapping[str, str]) -> dict[str, str]:
    """Returns the folder of each split, in the order of ``splits``.

    Args:
        place: the folder that they are in, for the error.
        splits: the split of each folder, by the folder's path.

    Raises:
        PipelineError: two folders are one split.
    """
    folders: dict[str, str] = {}
    for folder, split in splits.items():
        if split in folders:
            raise PipelineError(
                f"{place} has two folders for the split {split}, {folders[split]} and {folder}: move one of them elsewhere"
            )
        folders[split] = folder
    return folders
