"""A training's state on disk: whole or absent, and never taken for another training's."""

import os
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from pipeline.errors import PipelineError, UsageError

NAME = "checkpoint.pt"


def write_whole(path: Path, write: Callable[[Path], object]) -> None:
    """Write a file beside ``path`` and put it in its place when it is on disk.

    Args:
        write: given the path to write to.
    """
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        write(unfinished)
        with unfinished.open("rb") as file:
            os.fsync(file.fileno())
        os.replace(unfinished, path)
    finally:
        unfinished.unlink(missing_ok=True)


def save(folder: Path, identity: dict[str, Any], state: dict[str, Any]) -> None:
    """Keep the state of a training; what was kept before stays until this is on disk.

    Args:
        identity: what decides the training's result, plain values by name.
    """
    write_whole(folder / NAME, lambda path: torch.save({"identity": identity, **state}, path))


def load(folder: Path, identity: dict[str, Any]) -> dict[str, Any] | None:
    """The state kept in ``folder``, or None.

    Raises:
        UsageError: it is of another training; the line says what differs.
        PipelineError: it cannot be read. Only tensors and plain values are ever unpickled.
    """
    path = folder / NAME
    if not path.exists():
        return None
    try:
        with warnings.catch_warnings(action="ignore"):  # of what is refused below in one line
            state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        kept = dict(state["identity"])
    except Exception:  # torch raises what it likes on damaged files
        raise PipelineError(f"{path} is no checkpoint of a training; delete it to begin anew") from None
    other = [f"{name} {kept.get(name)}, not {value}" for name, value in identity.items() if kept.get(name) != value]
    if other:
        raise UsageError(f"{folder} holds a training with {'; '.join(other)}: give the same, or another --out")
    return state
