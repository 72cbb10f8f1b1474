"""Promise: torchdata's StatefulDataLoader continues exactly where it was stopped, in a stream and by number."""

from typing import Any

import pytest
import webdataset as wds

from tests.clients.conftest import Output, Sample, sample

stateful = pytest.importorskip("torchdata.stateful_dataloader")


def stream(cifar: Output) -> Any:
    data = wds.WebDataset(cifar.tars("rank5", "train"), shardshuffle=False)
    return data.decode("pil").to_tuple("__key__", "cls", "png")


def by_number(cifar: Output) -> Any:
    wids = pytest.importorskip("wids")
    path = str(cifar.folder("rank5") / "wids-train.json")
    data = wids.ShardListDataset(path, localname=lambda url: url)
    return data.add_transform(lambda row: (row["__key__"], row[".cls"], row[".png"]))


def samples(rows: Any) -> list[Sample]:
    return [sample(*row) for row in rows]


@pytest.mark.filterwarnings("ignore:String specifications")
@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("make", [stream, by_number])
def test_it_resumes_exactly(make: Any, workers: int, cifar: Output) -> None:
    def loader() -> Any:
        return stateful.StatefulDataLoader(make(cifar), batch_size=None, num_workers=workers)

    whole = samples(loader())
    assert sorted(whole) == cifar.samples("rank5", "train")
    first = loader()
    rows = iter(first)
    before = samples(next(rows) for _ in range(50))
    state = first.state_dict()
    del rows, first
    resumed = loader()
    resumed.load_state_dict(state)
    rest = samples(resumed)
    assert before == whole[:50]
    assert rest == whole[50:]
