"""Datasets over the shards of an output, for training and analysis.

Importing this package loads neither Ray nor torch.
"""

from pipeline.data.dataset import RankDataset
from pipeline.data.export import export_cifar_c, export_folder, export_imagenet_c, export_npy, export_parquet
from pipeline.data.output import Output, Part, open_output
from pipeline.data.pairs import PairDataset, pair
from pipeline.data.pixels import decode_high, to_tensor
from pipeline.data.shards import RankShards, rank_shards
from pipeline.data.view import RankView

__all__ = [
    "Output",
    "PairDataset",
    "Part",
    "RankDataset",
    "RankShards",
    "RankView",
    "decode_high",
    "export_cifar_c",
    "export_folder",
    "export_imagenet_c",
    "export_npy",
    "export_parquet",
    "open_output",
    "pair",
    "rank_shards",
    "to_tensor",
]
