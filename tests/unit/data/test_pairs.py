"""Tests that ``pair`` returns the views of the same sample."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from pipeline.data import pair, to_tensor
from pipeline.errors import PipelineError, UsageError
from tests.unit.data.conftest import read_shards


@pytest.mark.parametrize("split", ["train", "test"])
def test_an_item_contains_all_views_of_one_sample(split: str, out: Path) -> None:
    data = pair(out, 5, split)
    expected = {"low": "rank5", "high": "highrank5", "full": "full"}
    read = {view: read_shards(out, variant, split) for view, variant in expected.items()}
    assert len(data) == len(read["full"].keys)
    for i in [*range(len(data)), -1]:
        item = data[i]
        assert list(item) == ["low", "high", "full", "label"]
        assert item["label"] == read["full"].labels[i]
        assert data.key(i) == read["low"].keys[i]
        for view in expected:
            np.testing.assert_array_equal(item[view], read[view].images[i])
    with pytest.raises(IndexError):
        data[len(data)]


def test_low_and_high_add_up_to_full(out: Path) -> None:
    for item in (pair(out, 5)[i] for i in range(100)):
        low, high, full = (np.asarray(item[view], np.int16) for view in ("low", "high", "full"))
        unclipped = (low > 0) & (low < 255) & (high > 0) & (high < 255)
        np.testing.assert_array_equal((low + high - 128)[unclipped], full[unclipped])


def test_transforms_apply_to_each_view_or_to_all_views_together(out: Path) -> None:
    calls: list[list[str]] = []

    def joint(images: dict[str, Any]) -> dict[str, Any]:
        calls.append(list(images))
        return {view: image.rotate(90) for view, image in images.items()}

    data, plain = pair(out, 5, transform=to_tensor, joint_transform=joint), pair(out, 5)
    turned = np.rot90(np.asarray(plain[3]["high"]))
    np.testing.assert_allclose(data[3]["high"].permute(1, 2, 0).numpy() * 255, turned, atol=1e-4)
    assert calls == [["low", "high", "full"]]


def test_targets_that_a_user_sets_replace_the_labels(out: Path) -> None:
    data = pair(out, 5)
    data.targets = [(label + 1) % 10 for label in data.targets]
    assert data[7]["label"] == (read_shards(out, "full", "train").labels[7] + 1) % 10


def test_a_data_loader_batches_views_and_labels(out: Path) -> None:
    data = pair(out, 5, views=["high", "low"], transform=to_tensor)
    loader: DataLoader[Any] = DataLoader(data, batch_size=50, num_workers=2)  # type: ignore[arg-type]
    batches = list(loader)
    assert [sorted(batch) for batch in batches] == [["high", "label", "low"]] * 2
    assert batches[1]["low"].shape == (50, 3, 32, 32)
    assert torch.cat([batch["label"] for batch in batches]).tolist() == read_shards(out, "full", "train").labels


def test_views_that_are_not_built_are_refused(out: Path, exact_out: Path) -> None:
    for call, message in {
        lambda: pair(out, 7): "rank 7: ",
        lambda: pair(out, 7, views=["low"]): "view 'low' needs rank7, which ",
        lambda: pair(out, 5, views=["lo"]): "view 'lo': choose among low, high, full, did you mean 'low'?",
        lambda: pair(out, 5, views=[]): "views is empty",
        lambda: pair(exact_out, 5, views=["high"], exact=True): "view 'high' needs highrank5-exact, which ",
    }.items():
        with pytest.raises(UsageError) as caught:
            call()
        assert str(caught.value).startswith(message)
    item = pair(exact_out, 5, exact=True)[0]
    assert list(item) == ["low", "full", "label"]
    assert item["low"].dtype == np.float32


@pytest.mark.parametrize("change", ["order", "label"])
def test_views_with_different_samples_are_refused(change: str, out: Path) -> None:
    index = out / "cifar10-highrank5" / "cifar10-highrank5-train-000000.idx"
    text = index.read_text()
    if change == "order":
        lines, labels = text.splitlines(keepends=True), read_shards(out, "full", "train").labels
        same = [i for i in range(1, 40) if labels[i] == labels[0]][0] + 1  # noqa: RUF015  only the keys differ, not the labels
        lines[1], lines[same] = lines[same], lines[1]
        index.write_text("".join(lines))
    else:  # labels are read from the tars if their list is missing
        (out / "samples" / "train.jsonl").unlink()
        place = int(text.split()[7])
        with index.with_suffix(".tar").open("r+b") as tar:
            tar.seek(place)
            label = int(tar.read(1))
            tar.seek(place)
            tar.write(b"%d" % ((label + 1) % 10))
    with pytest.raises(PipelineError, match="rank5 and highrank5 do not hold the same samples of train"):
        pair(out, 5)
    pair(out, 5, views=["low", "full"])
    assert json.loads((out / "manifest.json").read_text())["variants"].keys() == {"rank5", "highrank5", "full"}
