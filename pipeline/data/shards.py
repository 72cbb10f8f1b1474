"""The tars of one variant of one split, for webdataset."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

from pipeline.data.dataset import split_of
from pipeline.data.output import open_output
from pipeline.errors import UsageError


class RankShards(NamedTuple):
    """Shards to stream from.

    Attributes:
        urls: absolute paths of the tars, in output order: ``wds.WebDataset(shards.urls, ...)``.
        length: samples in them.
    """

    urls: list[str]
    length: int

    def webdataset(self, shardshuffle: int | bool = False, **options: Any) -> Any:
        """``wds.WebDataset`` over the shards, split by node and then by DataLoader worker.

        Args:
            shardshuffle: how many shards to shuffle among; False keeps their order.
            options: more of ``wds.WebDataset``'s.

        Raises:
            UsageError: the split is empty; when iterated, if there are fewer shards than nodes times workers, of which
                some would get nothing.
        """
        if not self.urls:
            raise UsageError("no shards to read: the split is empty")
        import webdataset

        options.setdefault("nodesplitter", SplitByNode(len(self.urls)))
        return webdataset.WebDataset(self.urls, shardshuffle=shardshuffle, **options)


@dataclass(frozen=True)
class SplitByNode:
    """``wds.split_by_node`` that refuses to leave a node or worker without a shard."""

    shards: int

    def __call__(self, urls: Any) -> Iterator[Any]:
        import webdataset

        _, nodes, _, workers = webdataset.utils.pytorch_worker_info()
        if self.shards < nodes * workers:
            raise UsageError(
                f"{self.shards} shards are too few for {nodes} nodes x {workers} workers, some would read nothing: "
                "use fewer, or build with a smaller --samples-per-shard"
            )
        return iter(webdataset.split_by_node(urls))


def rank_shards(
    root: str | os.PathLike[str], variant: str = "rank5", split: str = "train", train: bool | None = None
) -> RankShards:
    """The shards of one variant of one split, in place and of the sizes that the manifest claims.

    Args:
        train: as torchvision has it; overrides ``split`` by ``train`` or ``test``.

    Raises:
        UsageError, PipelineError: as ``Output.part``.
    """
    part = open_output(root).part(variant, split_of(split, train))
    return RankShards([os.path.abspath(shard.path) for shard in part.shards], part.samples)
