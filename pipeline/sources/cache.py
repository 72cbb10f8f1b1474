"""The folder for downloads and saved indexes on this machine."""

import os
from pathlib import Path

from pipeline.errors import PipelineError


def cache_folder(dataset: str) -> Path:
    """Returns ``$XDG_CACHE_HOME/rank-shards/<dataset>``, by default ``~/.cache/rank-shards/<dataset>``.

    Raises:
        PipelineError: there is neither ``XDG_CACHE_HOME`` nor a home folder.
    """
    home = os.environ.get("XDG_CACHE_HOME", "")
    try:
        base = Path(home) if os.path.isabs(home) else Path.home() / ".cache"  # XDG: ignore a relative path
    except RuntimeError:
        raise PipelineError(
            "there is no home folder for downloads and unpacked archives: set XDG_CACHE_HOME, or give --data-dir with the "
            "unpacked files"
        ) from None
    return base / "rank-shards" / dataset
