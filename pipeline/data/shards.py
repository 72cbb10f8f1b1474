"""The tar shards of one variant of one split, for webdataset."""

import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

from pipeline.data.dataset import split_of
from pipeline.data.output import open_output
from pipeline.errors import UsageError
from pipeline.extras import optional_import


class RankShards(NamedTuple):
    """Shards for sequential reading.

    Attributes:
        urls: absolute paths of the tars in the output's order, for ``wds.WebDataset(shards.urls, ...)``.
        length: number of samples.
    """

    urls: list[str]
    length: int

    def webdataset(self, shardshuffle: int | bool = False, **options: Any) -> Any:
        """Returns a ``wds.WebDataset`` of the shards, split by node and then by DataLoader worker.

        Args:
            shardshuffle: size of the buffer that shuffles shards; False keeps their order.
            options: further arguments of ``wds.WebDataset``.

        Raises:
            UsageError: the split is empty. On iteration: there are fewer shards than nodes times workers, so a worker
                would get no shard.
            PipelineError: webdataset is not installed.
        """
        if not self.urls:
            raise UsageError("no shards to read: the split is empty")
        with optional_import():
            import webdataset

        options.setdefault("nodesplitter", SplitByNode(len(self.urls)))
        data = webdataset.WebDataset(self.urls, shardshuffle=shardshuffle, **options)
        openers = (webdataset.cache.StreamingOpen, webdataset.cache.FileCache)  # a cache of local files is themselves
        data.pipeline = [OpenPaths(step.handler) if isinstance(step, openers) else step for step in data.pipeline]
        return data


@dataclass(frozen=True)
class OpenPaths:
    """Opens shards by their paths. webdataset's own opener parses paths as URLs, and cuts them at ``#``, ``?`` and ``;``.

    Attributes:
        handler: called with an error; returns whether to continue with the next shard.
    """

    handler: Callable[[Exception], bool]

    def __call__(self, shards: Iterable[dict[str, str]]) -> Iterator[dict[str, Any]]:
        for shard in shards:
            path = shard["url"]
            try:
                stream = open(path, "rb")  # noqa: SIM115  webdataset closes it
            except Exception as error:
                if self.handler(error):
                    continue
                break
            yield {"url": path, "stream": stream, "local_path": path}


@dataclass(frozen=True)
class SplitByNode:
    """``wds.split_by_node`` with a check that every node and worker gets a shard."""

    shards: int

    def __call__(self, urls: Any) -> Iterator[Any]:
        import webdataset

        _, nodes, _, workers = webdataset.utils.pytorch_worker_info()
        if self.shards < nodes * workers:
            raise UsageError(
                f"{self.shards} shards are too few for {nodes} nodes x {workers} workers: a worker would read nothing; "
                "use fewer, or build with a smaller --samples-per-shard or with --shards-divisible-by"
            )
        return iter(webdataset.split_by_node(urls))


def rank_shards(
    root: str | os.PathLike[str], variant: str = "rank5", split: str = "train", train: bool | None = None
) -> RankShards:
    """Returns the shards of one variant of one split, after checking that they exist and have the manifest's sizes.

    Args:
        root: folder of the output.
        variant: as in ``RankDataset``.
        split: as in ``RankDataset``.
        train: torchvision's argument; if given, it overrides ``split`` by ``train`` or ``test``.

    Raises:
        UsageError: as in ``Output.part``.
        PipelineError: as in ``Output.part``.
    """
    part = open_output(root).part(variant, split_of(split, train))
    return RankShards([os.path.abspath(shard.path) for shard in part.shards], part.samples)
