"""Promise: webdataset reads every sample of an output once, however many nodes and workers share the shards."""

from collections.abc import Callable
from typing import Any

import pytest
import webdataset as wds
from torch.utils.data import DataLoader

from tests.clients.conftest import VARIANTS, Output, Sample, same_once, sample


def whole(sample: Any) -> Any:
    return sample


def read(tars: list[str], workers: int = 0, shardshuffle: int | bool = False, shuffle: int = 0) -> list[Sample]:
    data = wds.WebDataset(tars, shardshuffle=shardshuffle, nodesplitter=wds.split_by_node, seed=3)
    if shuffle:
        data = data.shuffle(shuffle)
    data = data.decode("pil").to_tuple("__key__", "cls", "png")
    loader = DataLoader(data, batch_size=None, num_workers=workers, collate_fn=whole)
    return [sample(key, label, image) for key, label, image in loader]


@pytest.mark.parametrize("split", ["train", "test"])
@pytest.mark.parametrize("variant", VARIANTS)
def test_it_reads_every_variant_in_order(variant: str, split: str, cifar: Output) -> None:
    assert read(cifar.tars(variant, split)) == cifar.samples(variant, split)


@pytest.mark.parametrize("workers", [2, 4])
@pytest.mark.parametrize("variant", ["rank3", "highrank20", "full"])
def test_loader_workers_share_the_samples(variant: str, workers: int, cifar: Output) -> None:
    for split in ("train", "test"):
        same_once(read(cifar.tars(variant, split), workers), cifar.samples(variant, split))


@pytest.mark.parametrize("workers", [0, 2, 4])
def test_two_nodes_share_the_samples(workers: int, cifar: Output, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    parts = []
    for rank in ("0", "1"):
        monkeypatch.setenv("RANK", rank)
        parts.append(read(cifar.tars("highrank5", "train"), workers))
    assert all(parts)
    same_once(parts[0] + parts[1], cifar.samples("highrank5", "train"))


@pytest.mark.parametrize("workers", [0, 2, 4])
def test_shuffling_changes_only_the_order(workers: int, cifar: Output) -> None:
    expected = cifar.samples("rank10", "train")
    shuffled = read(cifar.tars("rank10", "train"), workers, shardshuffle=100, shuffle=50)
    assert shuffled != expected
    same_once(shuffled, expected)


def test_low_high_and_full_of_an_image_have_the_same_key(cifar: Output) -> None:
    keys = [[sample.key for sample in read(cifar.tars(variant, "test"))] for variant in VARIANTS]
    assert keys == [keys[0]] * len(VARIANTS)


def test_a_rebuild_in_place_is_read_at_once(rebuilt: Callable[[bool], Output]) -> None:
    for backwards in (False, True):
        out = rebuilt(backwards)
        assert read(out.tars("rank5", "train")) == out.samples("rank5", "train")


def test_fewer_shards_than_workers_is_an_error_and_not_a_loss(cifar: Output, monkeypatch: pytest.MonkeyPatch) -> None:
    """As docs/clients.md says: five test shards do not serve two nodes of four workers."""
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "1")
    with pytest.raises(ValueError, match="No samples found"):
        read(cifar.tars("full", "test"), workers=4)


def test_several_nodes_without_a_splitter_are_an_error(cifar: Output, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "0")
    with pytest.raises(ValueError, match="nodesplitter"):
        list(wds.WebDataset(cifar.tars("full", "test"), shardshuffle=False))
