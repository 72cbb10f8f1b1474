"""Where downloads and saved indexes are kept on this machine."""

import os
from pathlib import Path

from pipeline.errors import PipelineError


def cache_folder(dataset: str) -> Path:
    """``$XDG_CACHE_HOME/rank-shards/<dataset>``, by default below ``~/.cache``."""
    home = os.environ.get("XDG_CACHE_HOME", "")
    try:
        base = Path(home) if os.path.isabs(home) else Path.home() / ".cache"  # a relative one is to be ignored (XDG)
    except RuntimeError:
        raise PipelineError(
            "there is no home folder to keep downloads in: set XDG_CACHE_HOME, or give --data-dir"
        ) from None
    return base / "rank-shards" / dataset
