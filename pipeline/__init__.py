"""Low-rank and high-rank-only image datasets, as WebDataset shards."""

__version__ = "0.1.0"
