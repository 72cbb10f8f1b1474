"""Low-rank and high-rank-only image datasets, as WebDataset shards."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pipeline.report.rank_image import rank_image

__version__ = "0.2.0"
__all__ = ["rank_image"]


def __getattr__(name: str) -> Any:
    """Imports ``rank_image`` on first access: every command imports this package, and must start quickly."""
    if name == "rank_image":
        from pipeline.report.rank_image import rank_image

        return rank_image
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
