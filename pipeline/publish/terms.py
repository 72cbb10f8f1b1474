"""Whether the terms of an output's source let somebody share it."""

import re
from typing import Any

from pipeline.errors import PipelineError, one_line

# Sources whose terms, in the manifest and on the card, state no restriction of sharing.
_SHARED = {"cifar10", "cifar100", "sample"}
# Sources whose terms forbid it: whoever wants the images has to accept the terms of the owner.
_FORBIDDEN = {"imagenet"}
_WORDNET = re.compile(r"n\d{8}")


def check(manifest: dict[str, Any], confirmed: bool) -> None:
    """Checks that an output may be published.

    Args:
        confirmed: whether the user states that they may share images whose terms are unknown.

    Raises:
        PipelineError: the terms of the source forbid it, or they are unknown and the user has not confirmed.
    """
    dataset, text = str(manifest["dataset"]), one_line(manifest["source"]["terms"])
    if dataset in _FORBIDDEN:
        raise PipelineError(
            f"images of {dataset} cannot be published, because its terms forbid it: {text} Share the job file instead: with "
            "it everybody who has the source builds the same files"
        )
    if dataset in _SHARED or confirmed:
        return
    hint = ""
    if _looks_like_imagenet(manifest["classes"]):
        hint = " Its classes look like those of ImageNet, whose terms forbid sharing."
    raise PipelineError(
        f"the terms of the images are not known: {text}{hint} If you may share them, say so with --i-have-the-right-to-share"
    )


def _looks_like_imagenet(classes: list[str]) -> bool:
    return bool(classes) and all(_WORDNET.match(name) for name in classes)
