"""Tests that webdataset reads every sample of ``rank_shards`` exactly once, on all nodes and workers together."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import webdataset as wds
from torch.utils.data import DataLoader

from pipeline.data import rank_shards
from pipeline.errors import UsageError
from tests.unit.data.conftest import Edit, read_shards


def keys(samples: Any) -> list[str]:
    return [sample["__key__"] for sample in samples]


@pytest.mark.parametrize("split", ["train", "test"])
def test_webdataset_reads_the_urls_and_length_counts_their_samples(
    split: str, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(out)
    shards, expected = rank_shards(".", "highrank5", split), read_shards(out, "highrank5", split)
    monkeypatch.chdir("/")  # the URLs do not depend on the working directory
    assert shards.length == len(expected.keys)
    data = wds.WebDataset(shards.urls, shardshuffle=False).decode("pil").to_tuple("__key__", "png", "cls")
    read, images, labels = zip(*data, strict=True)
    assert (list(read), list(labels)) == (expected.keys, expected.labels)
    np.testing.assert_array_equal(np.stack(images), expected.images)


def test_the_webdataset_method_reads_the_same_samples(out: Path) -> None:
    expected = read_shards(out, "rank5", "train").keys
    shards = rank_shards(out, "rank5", "train")
    assert keys(shards.webdataset()) == expected
    shuffled = [keys(shards.webdataset(shardshuffle=3, seed=seed)) for seed in range(8)]
    assert all(sorted(order) == sorted(expected) for order in shuffled)
    assert any(order != expected for order in shuffled)


def test_shards_are_divided_among_nodes(out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shards, read = rank_shards(out), []
    monkeypatch.setenv("WORLD_SIZE", "2")
    for rank in range(2):
        monkeypatch.setenv("RANK", str(rank))
        own = keys(shards.webdataset())
        assert own
        read += own
    assert sorted(read) == read_shards(out, "rank5", "train").keys


@pytest.mark.parametrize(
    "folder",
    [
        "run#1",
        "run?1",
        "a;b",
        "a space",
        "{1..3}",
        "[1]",
        "a::b",
        "user@host:1",
        "100%25",
        "\N{SNOWMAN}é",
        "tab\tline\n",
        "\udcff",
    ],
)
def test_the_webdataset_method_reads_every_folder(folder: str, out: Path, tmp_path: Path) -> None:
    """webdataset parses paths as URLs, in which some characters have a meaning."""
    expected = read_shards(out, "rank5", "train").keys
    shards = rank_shards(out.rename(tmp_path / folder))
    assert keys(shards.webdataset()) == expected
    assert keys(shards.webdataset(cache_dir=str(tmp_path))) == expected


def test_errors_of_a_shard_reach_the_handler(out: Path) -> None:
    shards = rank_shards(out)
    Path(shards.urls[1]).unlink()
    with pytest.raises(FileNotFoundError):
        keys(shards.webdataset())
    left = keys(shards.webdataset(handler=lambda _: True))
    assert 0 < len(left) < shards.length


@pytest.mark.parametrize("context", ["fork", "spawn"])
def test_shards_are_divided_among_workers(context: str, out: Path) -> None:
    data = rank_shards(out).webdataset()
    loader: DataLoader[Any] = DataLoader(data, batch_size=None, num_workers=2, multiprocessing_context=context)
    assert sorted(keys(loader)) == read_shards(out, "rank5", "train").keys


@pytest.mark.parametrize(("nodes", "workers"), [(1, 4), (4, 1), (2, 2)])
def test_fewer_shards_than_workers_are_an_error_on_every_worker(
    nodes: int, workers: int, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also with ``empty_check=False``, and on workers that would get a shard."""
    monkeypatch.setenv("WORLD_SIZE", str(nodes))
    monkeypatch.setenv("NUM_WORKERS", str(workers))
    for rank in range(nodes):
        for worker in range(workers):
            monkeypatch.setenv("RANK", str(rank))
            monkeypatch.setenv("WORKER", str(worker))
            with pytest.raises(UsageError, match=f"3 shards are too few for {nodes} nodes x {workers} workers"):
                list(rank_shards(out).webdataset(empty_check=False))


def test_an_empty_split_is_refused(out: Path, edit: Edit) -> None:
    edit(lambda manifest: manifest["variants"]["rank5"]["splits"]["test"].update(shards=[]))
    shards = rank_shards(out, "rank5", "test")
    assert (shards.urls, shards.length) == ([], 0)
    with pytest.raises(UsageError, match="the split is empty"):
        shards.webdataset()


def test_an_unknown_variant_is_refused(out: Path) -> None:
    with pytest.raises(UsageError, match="did you mean 'highrank5'"):
        rank_shards(out, "highrnk5")
