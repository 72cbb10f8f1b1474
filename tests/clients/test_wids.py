"""Promise: wids (webdataset's random access) reads an output by its index, and with ``localname`` never an older copy."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from torch.utils.data import DataLoader

from tests.clients.conftest import COUNTS, SHARDS, VARIANTS, Output, Sample, same_once, sample

wids = pytest.importorskip("wids")
pytestmark = pytest.mark.filterwarnings("ignore:String specifications")


def index(folder: Path, split: str) -> Any:
    return wids.ShardListDataset(str(folder / f"wids-{split}.json"), localname=lambda url: url)


def to_sample(row: Any) -> Sample:
    """Returns a row of wids as a sample."""
    return sample(row["__key__"], row[".cls"], row[".png"])


@pytest.mark.parametrize("split", ["train", "test"])
@pytest.mark.parametrize("variant", VARIANTS)
def test_it_reads_every_sample_by_number(variant: str, split: str, cifar: Output) -> None:
    data = index(cifar.folder(variant), split)
    assert len(data) == COUNTS[split]
    assert [to_sample(data[i]) for i in range(len(data))] == cifar.samples(variant, split)


def test_it_finds_its_shards_from_the_folder_itself(cifar: Output, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(cifar.folder("full"))
    data = wids.ShardListDataset("wids-test.json", localname=lambda url: url)
    assert [to_sample(data[i]) for i in range(len(data))] == cifar.samples("full", "test")


@pytest.mark.parametrize("workers", [0, 2])
def test_a_shuffling_loader_gives_every_sample_once(workers: int, cifar: Output) -> None:
    data = index(cifar.folder("highrank10"), "train")
    loader = DataLoader(data, batch_size=None, shuffle=True, num_workers=workers, collate_fn=to_sample)
    shuffled = list(loader)
    assert shuffled != cifar.samples("highrank10", "train")
    same_once(shuffled, cifar.samples("highrank10", "train"))


def test_a_rebuild_in_place_gives_the_new_pixels(rebuilt: Callable[[bool], Output]) -> None:
    for backwards in (False, True):
        out = rebuilt(backwards)
        data = index(out.folder("rank5"), "train")
        assert [to_sample(data[i]) for i in range(len(data))] == out.samples("rank5", "train")


def test_without_localname_it_would_read_the_older_build(rebuilt: Callable[[bool], Output], tmp_path: Path) -> None:
    """The reason why docs/clients.md says to pass ``localname``. If this test fails, wids was fixed: remove the advice."""
    labels = []
    for backwards in (False, True):
        out = rebuilt(backwards)
        data = wids.ShardListDataset(
            str(out.folder("full") / "wids-train.json"), cache_dir=str(tmp_path / "c"), keep=True
        )
        labels.append([to_sample(data[i]) for i in range(20)] == out.samples("full", "train")[:20])
    assert labels == [True, False]


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_index_counts_every_shard(variant: str, cifar: Output) -> None:
    for split, counts in SHARDS.items():
        described = json.loads((cifar.folder(variant) / f"wids-{split}.json").read_text())
        assert described["wids_version"] == 1
        assert [shard["nsamples"] for shard in described["shardlist"]] == counts
        assert all((cifar.folder(variant) / shard["url"]).is_file() for shard in described["shardlist"])
