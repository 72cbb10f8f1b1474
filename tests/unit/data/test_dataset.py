"""Tests that ``RankDataset`` returns every sample with its label and pixels, in any order and from any process."""

import pickle
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader

from pipeline.data import RankDataset, decode_high, to_tensor
from pipeline.data import dataset as module
from pipeline.errors import PipelineError, UsageError
from tests.conftest import Build, SmallCifar
from tests.unit.data.conftest import Edit, read_shards


@pytest.mark.parametrize("split", ["train", "test"])
@pytest.mark.parametrize("variant", ["rank5", "highrank5", "full"])
def test_samples_equal_those_that_tarfile_and_pillow_read(variant: str, split: str, out: Path) -> None:
    data, expected = RankDataset(out, variant, split), read_shards(out, variant, split)
    assert len(data) == len(expected.keys) == {"train": 100, "test": 20}[split]
    images, labels = zip(*data, strict=True)
    assert all(type(image.convert("RGB")) is Image.Image and image.mode == "RGB" for image in images)
    assert all(type(label) is int for label in labels)
    np.testing.assert_array_equal(np.stack(images), expected.images)
    assert list(labels) == expected.labels == data.targets
    assert data.samples == list(zip(expected.keys, expected.labels, strict=True))
    assert [data.key(i) for i in range(len(data))] == expected.keys
    assert [data.raw(i) for i in range(len(data))] == expected.members
    assert data.data.dtype == np.uint8
    np.testing.assert_array_equal(data.data, expected.images)


def test_pixels_and_labels_equal_the_source(out: Path, cifar_binary: SmallCifar) -> None:
    data = RankDataset(out, "full")
    np.testing.assert_array_equal(data.data, cifar_binary.pixels["train"].transpose(0, 2, 3, 1))
    assert data.targets == cifar_binary.labels["train"].tolist()
    assert data.classes[3] == "cat"
    assert data.class_to_idx["cat"] == 3
    assert len(data.classes) == len(data.class_to_idx) == 10


def test_random_access_with_negative_indices_and_index_errors(out: Path) -> None:
    data, expected = RankDataset(out), read_shards(out, "rank5", "train").images
    for i in np.random.default_rng(0).integers(-100, 100, 300):
        np.testing.assert_array_equal(data[i][0], expected[i])
    assert data.key(-1) == "train-00000099"
    for beyond in (100, -101, 1 << 70):
        with pytest.raises(IndexError):
            data[beyond]
    with pytest.raises(TypeError):
        data[1.0]  # type: ignore[index]


def test_transforms_are_called_with_image_and_label(out: Path) -> None:
    data = RankDataset(out, transform=lambda image: image.size, target_transform=lambda label: -label)
    assert data[7] == ((32, 32), -data.targets[7])


@pytest.mark.parametrize("context", [None, "fork", "spawn"])
def test_a_data_loader_returns_every_sample_once_with_any_start_method(context: str | None, out: Path) -> None:
    data, expected = RankDataset(out, transform=to_tensor), read_shards(out, "rank5", "train")
    data[0], data.data  # open files and decoded images must not be pickled for workers
    loader: DataLoader[Any] = DataLoader(
        data,  # type: ignore[arg-type]
        batch_size=32,
        num_workers=2 if context else 0,
        multiprocessing_context=context,
    )
    batches = list(loader)
    assert [len(labels) for _, labels in batches] == [32, 32, 32, 4]
    pixels, labels = torch.cat([batch for batch, _ in batches]), torch.cat([batch for _, batch in batches])
    assert (pixels.dtype, pixels.shape, labels.dtype) == (torch.float32, (100, 3, 32, 32), torch.int64)
    np.testing.assert_array_equal((pixels * 255).round().byte().permute(0, 2, 3, 1).numpy(), expected.images)
    assert labels.tolist() == expected.labels
    assert 0 <= pixels.min() < pixels.max() <= 1


def test_threads_share_a_dataset(out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data, expected = RankDataset(out), read_shards(out, "rank5", "train").members
    monkeypatch.setattr(data._files, "_limit", 1)  # opening a shard closes the file of another shard
    wrong: list[int] = []

    def read(seed: int) -> None:
        for i in np.random.default_rng(seed).integers(0, 100, 2000):
            if data.raw(i) != expected[i]:
                wrong.append(i)

    threads = [threading.Thread(target=read, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_the_number_of_open_files_is_limited(out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = RankDataset(out)
    monkeypatch.setattr(data._files, "_limit", 2)
    for i in (0, 50, 99, 0, 99, 50):
        data.raw(i)
        assert len(data._files._open) <= 2


def test_open_files_and_decoded_images_are_not_pickled(out: Path) -> None:
    data = RankDataset(out)
    assert data.data.nbytes == 100 * 3072
    data.raw(0)
    copy = pickle.loads(pickle.dumps(data))
    assert len(pickle.dumps(data)) < 30_000
    assert copy._files._open == {}
    np.testing.assert_array_equal(copy.data, data.data)


def test_there_is_no_data_attribute_if_it_would_be_too_large(out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_DATA", 100 * 3072 - 1)
    data = RankDataset(out)
    assert not hasattr(data, "data")
    assert hasattr(data, "samples")
    monkeypatch.setattr(module, "MAX_DATA", 100 * 3072)
    assert hasattr(data, "data")


def test_the_error_for_a_damaged_image_names_its_sample_in_one_line(out: Path) -> None:
    shard = out / "cifar10-rank5" / "cifar10-rank5-train-000000.tar"
    data = RankDataset(out)
    size = len(data.raw(0))
    with shard.open("r+b") as file:
        file.seek(512)
        file.write(bytes(size))
    with pytest.raises(PipelineError, match=r"000000\.tar: sample train-00000000 is damaged") as caught:
        data[0]
    assert "\n" not in str(caught.value)
    assert data[1][0].size == (32, 32)
    shard.write_bytes(b"")
    with pytest.raises(PipelineError, match="ends before byte"):
        data[1]


def test_an_image_whose_size_differs_from_the_manifest_is_not_decoded(out: Path, edit: Edit) -> None:
    edit(lambda manifest: manifest["image"].update(height=16))
    with pytest.raises(PipelineError, match="it is 32 x 32 RGB"):
        RankDataset(out)[0]


def test_exact_variants_return_float32(exact_out: Path) -> None:
    data, expected = RankDataset(exact_out, "rank5-exact"), read_shards(exact_out, "rank5", "train")
    image, label = data[41]
    assert (image.dtype, image.shape, label) == (np.float32, (32, 32, 3), expected.labels[41])
    assert image.flags.writeable
    np.testing.assert_array_equal(image, expected.images[41].astype(np.float32) / 510)
    assert data.data.dtype == np.float32
    np.testing.assert_array_equal(data.data, expected.images.astype(np.float32) / 510)
    tensor = RankDataset(exact_out, "rank5-exact", transform=to_tensor)[41][0]
    np.testing.assert_array_equal(tensor.permute(1, 2, 0).numpy(), image)


def test_a_grey_image_becomes_one_channel_as_in_torchvision(out: Path) -> None:
    data = RankDataset(out, transform=lambda image: to_tensor(image.convert("L")))
    grey = np.asarray(RankDataset(out)[3][0].convert("L"))
    np.testing.assert_array_equal(data[3][0].numpy(), grey[None].astype(np.float32) / 255)
    np.testing.assert_array_equal(to_tensor(grey).numpy(), data[3][0].numpy())
    assert to_tensor(grey.astype(np.float32)).shape == (1, 32, 32)


@pytest.mark.parametrize("damage", [b"\x93NUMPY\x02", b"<f8", b"(31, 32"])
def test_a_float_image_with_a_wrong_header_is_refused(damage: bytes, exact_out: Path) -> None:
    data = RankDataset(exact_out, "rank5-exact")
    start, content = int(data._index.offset[0]), data.raw(0)
    whole = {b"\x93NUMPY\x02": b"\x93NUMPY\x01", b"<f8": b"<f4", b"(31, 32": b"(32, 32"}[damage]
    changed = content.replace(whole, damage)
    assert changed != content
    with (exact_out / "cifar10-rank5-exact" / "cifar10-rank5-exact-train-000000.tar").open("r+b") as file:
        file.seek(start)
        file.write(changed)
    with pytest.raises(PipelineError, match="train-00000000 is damaged"):
        data[0]
    assert data[1][0].shape == (32, 32, 3)


def test_decoded_high_rank_pixels_plus_low_rank_pixels_equal_full(out: Path) -> None:
    low, high, full = (RankDataset(out, variant).data for variant in ("rank5", "highrank5", "full"))
    residual = decode_high(high)
    assert residual.dtype == np.float32
    unclipped = (low > 0) & (low < 255) & (high > 0) & (high < 255)
    assert unclipped.mean() > 0.5
    np.testing.assert_allclose((residual + low / 255)[unclipped], (full / 255)[unclipped], atol=1e-6)
    assert residual.min() < 0 < residual.max()


def test_decode_high_accepts_arrays_images_and_tensors_and_returns_the_same_kind() -> None:
    grey = np.arange(256, dtype=np.uint8).reshape(16, 16, 1).repeat(3, axis=2)
    expected = (grey.astype(np.float64) - 128) / 255
    scaled = torch.from_numpy(grey / 255)
    for pixels in (grey, Image.fromarray(grey), grey / 255, (grey / 255).astype(np.float32)):
        decoded = decode_high(pixels)
        assert isinstance(decoded, np.ndarray)
        np.testing.assert_allclose(decoded, expected, atol=1e-7)
    for tensor in (torch.from_numpy(grey), scaled, scaled.float()):
        decoded = decode_high(tensor)
        assert isinstance(decoded, torch.Tensor)
        assert decoded.dtype == (torch.float32 if tensor.dtype == torch.uint8 else tensor.dtype)
        np.testing.assert_allclose(decoded.numpy(), expected, atol=1e-7)
    assert decode_high(grey / 255).dtype == np.float64
    for wrong in (grey.astype(np.int64), torch.from_numpy(grey).long()):
        with pytest.raises(TypeError):
            decode_high(wrong)


@pytest.mark.parametrize("wrong", [-0.01, 1.01, 128.0, float("nan"), float("inf")])
def test_decode_high_refuses_floats_that_are_no_stored_image(wrong: float) -> None:
    """Images that were normalised, grey levels that were not divided by 255, and ``-exact`` images."""
    for dtype in (np.float32, np.float64):
        array = np.array([[0.5, wrong, 0.25]], dtype)
        for pixels in (array, torch.from_numpy(array), torch.from_numpy(array).requires_grad_(True)):
            with pytest.raises(ValueError, match="are no stored high-rank-only image"):
                decode_high(pixels)
    assert decode_high(np.empty((0, 3), np.float32)).shape == decode_high(torch.empty(0, 3)).shape == (0, 3)


def test_an_empty_split_is_an_empty_dataset(out: Path, edit: Edit) -> None:
    edit(lambda manifest: manifest["variants"]["rank5"]["splits"]["test"].update(shards=[]))
    data = RankDataset(out, "rank5", "test")
    assert (len(data), list(data), data.targets, data.samples, data.data.shape) == (0, [], [], [], (0, 32, 32, 3))


def test_shuffled_orders_keep_image_label_and_key_together(build: Build, pictures: Any, tmp_path: Path) -> None:
    folder = pictures(classes="abc", each=5, size=(8, 8))
    job = ("--dataset", "folder", "--data-dir", folder, "--components", "full", "--samples-per-shard", "4")
    assert build(*job, "--out", tmp_path / "out").status == 0
    data, expected = RankDataset(tmp_path / "out", "full"), read_shards(tmp_path / "out", "full", "train", "folder")
    assert data.targets == expected.labels != sorted(expected.labels)
    files = sorted(folder.rglob("*.png"))
    for i, (image, label) in enumerate(data):
        source = files[int(data.key(i).rpartition("-")[2])]
        assert source.parent.name == data.classes[label]
        np.testing.assert_array_equal(image, Image.open(source))


def test_importing_data_and_export_loads_no_ray_torch_or_zarr() -> None:
    code = (
        "import sys, pipeline.data, pipeline.export\n"
        "print({'ray', 'torch', 'zarr', 'webdataset', 'cupy', 'torchvision'} & {*sys.modules})"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"


def test_data_that_a_user_sets_replaces_the_images(out: Path) -> None:
    """As users of torchvision's datasets do to select a subset and to poison images."""
    dataset, first = RankDataset(out, "rank5"), RankDataset(out, "rank5")
    keep = np.array(dataset.targets) == dataset.targets[7]
    dataset.data = dataset.data[keep]
    dataset.targets = list(np.array(dataset.targets)[keep])
    again = pickle.loads(pickle.dumps(dataset))
    for subset in (dataset, again):
        assert len(subset) == keep.sum()
        for i, place in enumerate(np.flatnonzero(keep)):
            np.testing.assert_array_equal(np.asarray(subset[i][0]), np.asarray(first[int(place)][0]))
            np.testing.assert_array_equal(np.asarray(subset.decode(i)), np.asarray(subset[i][0]))
            assert subset[i][1] == first[int(place)][1]
        for method in (subset.key, subset.raw):
            with pytest.raises(
                UsageError,
                match="data of this rank5 dataset was replaced by images without (keys|files); torch's Subset",
            ):
                method(0)
        assert not hasattr(subset, "samples")
    again.data = 255 - first.data  # as many images as before, so keys and samples still apply
    assert (again.key(7), len(again.samples)) == (first.key(7), len(first))
    np.testing.assert_array_equal(np.asarray(again.decode(7)), 255 - np.asarray(first.decode(7)))
    with pytest.raises(ValueError, match="read-only"):
        first.data[0] = 0


def test_a_shard_replaced_by_another_of_equal_size_is_detected(exact_out: Path) -> None:
    shards = sorted((exact_out / "cifar10-rank5-exact").glob("*-train-*.tar"))
    assert shards[0].stat().st_size == shards[1].stat().st_size
    shards[0].write_bytes(shards[1].read_bytes())
    with pytest.raises(PipelineError, match="does not hold train-00000003 where its index says; run pipeline.verify"):
        RankDataset(exact_out, "rank5-exact")[3]


def test_a_relative_root_stays_valid_after_a_change_of_directory(out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(out.parent)
    dataset = RankDataset(out.name, "rank5")
    monkeypatch.chdir("/")
    assert dataset[0][0].size == (32, 32)


def test_a_folder_name_selects_its_variant_and_a_boolean_variant_is_refused(out: Path) -> None:
    assert RankDataset(out, "cifar10-rank5").variant == "rank5"
    with pytest.raises(UsageError, match="variant True: give the variant, such as 'rank5', and train=True"):
        RankDataset(out, True)  # type: ignore[arg-type]


def test_two_datasets_can_be_concatenated(out: Path) -> None:
    both = RankDataset(out, "rank5") + RankDataset(out, "rank5", train=False)
    assert len(both) == 120
    assert both[119][1] == RankDataset(out, "rank5", "test")[19][1]
