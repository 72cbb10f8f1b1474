"""Saves and loads the state of a training. A checkpoint is written whole, and only continues the training it belongs to."""

import warnings
from pathlib import Path
from typing import Any

import torch

from pipeline.errors import PipelineError, UsageError
from pipeline.study.results.result_files import write_whole

NAME = "checkpoint.pt"


def save(folder: Path, identity: dict[str, Any], state: dict[str, Any]) -> None:
    """Saves the state of a training. The previous checkpoint stays until the new one is on disk.

    Args:
        identity: everything that decides the result of the training, as plain values by name.
    """
    write_whole(folder / NAME, lambda path: torch.save({"identity": identity, **state}, path))


def load(folder: Path, identity: dict[str, Any]) -> dict[str, Any] | None:
    """Returns the state saved in ``folder``, or None if there is none. Only tensors and plain values are unpickled.

    Raises:
        UsageError: the checkpoint belongs to another training; the message says what differs.
        PipelineError: the checkpoint cannot be read.
    """
    path = folder / NAME
    if not path.exists():
        return None
    try:
        with warnings.catch_warnings(action="ignore"):  # torch warns about files that are refused below
            state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        saved = dict(state["identity"])
    except Exception:  # torch may raise anything on damaged files
        raise PipelineError(f"{path} is no checkpoint of a training: delete it to start the training again") from None
    differences = [
        f"{name} {saved.get(name)}, not {value}" for name, value in identity.items() if saved.get(name) != value
    ]
    if differences:
        raise UsageError(f"{folder} holds a training with {'; '.join(differences)}: use its options, or another --out")
    return state
