"""Reads the files in ``manifests/``: the official files, checksums, classes and terms of a dataset."""

import json
from pathlib import Path
from typing import Any

from pipeline.errors import PipelineError

FOLDER = Path(__file__).resolve().parents[2] / "manifests"


def load(dataset: str) -> dict[str, Any]:
    """Returns the manifest of a dataset. Raises PipelineError if it is missing or is not one."""
    path = FOLDER / f"{dataset}.json"
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise PipelineError(
            f"{path} is missing: manifests/ belongs beside pipeline/, restore it from the repository"
        ) from None
    except (OSError, ValueError) as error:
        raise PipelineError(f"{path} cannot be read ({error}): restore it from the repository") from None
    if not isinstance(manifest, dict) or manifest.get("dataset") != dataset:
        raise PipelineError(f"{path} is not the manifest of {dataset}: restore it from the repository")
    return manifest
