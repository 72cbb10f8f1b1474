"""Real images in every layout give one output: a folder, Parquet files of two writers, and arrays of each kind.

Lossless images of CIFAR-10 and photographs are written with ``datasets``, pyarrow and NumPy, without this project's code.
Images have the same keys in all layouts if each is built in the source's order.
"""

import io
import json
import os
from pathlib import Path
from typing import NamedTuple

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from pipeline.export import main as export
from pipeline.repair import main as repair
from pipeline.verify import main as verify
from tests.conftest import contents

NAMES = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]
COUNT = 60  # images of each split
BYTES = pa.struct([("bytes", pa.binary()), ("path", pa.string())])


class Cifar(NamedTuple):
    """Images uint8 (n, 32, 32, 3), sorted by class as in a folder, and labels int64 (n,), by split."""

    images: dict[str, np.ndarray]
    labels: dict[str, np.ndarray]


@pytest.fixture(scope="module")
def cifar(shared: Path) -> Cifar:
    images, labels = {}, {}
    for split, name in (("train", "data_batch_1.first4000.bin"), ("test", "test_batch.first1017.bin")):
        records = np.fromfile(shared / "data" / "cifar10" / name, np.uint8, COUNT * 3073).reshape(-1, 3073)
        records = records[np.argsort(records[:, 0], kind="stable")]
        images[split] = records[:, 1:].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1).copy()
        labels[split] = records[:, 0].astype(np.int64)
    return Cifar(images, labels)


def png(image: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(image).save(file, "PNG")
    return file.getvalue()


def write_folder(root: Path, cifar: Cifar) -> None:
    for split in cifar.images:
        for number, (image, label) in enumerate(zip(cifar.images[split], cifar.labels[split], strict=True)):
            folder = root / split / NAMES[label]
            folder.mkdir(parents=True, exist_ok=True)
            (folder / f"{number:05d}.png").write_bytes(png(image))


def write_hub(root: Path, cifar: Cifar) -> None:
    """As ``push_to_hub`` and ``hf download`` leave it: two files per split, by ``datasets`` itself."""
    features = datasets.Features({"img": datasets.Image(), "label": datasets.ClassLabel(names=NAMES)})
    (root / "data").mkdir(parents=True)
    (root / ".cache" / "huggingface" / "download").mkdir(parents=True)
    (root / "README.md").write_text("---\n---\n")
    for split in cifar.images:
        rows = {"img": [Image.fromarray(image) for image in cifar.images[split]], "label": cifar.labels[split].tolist()}
        data = datasets.Dataset.from_dict(rows, features=features)
        for number in range(2):
            data.shard(2, number, contiguous=True).to_parquet(root / "data" / f"{split}-{number:05d}-of-00002.parquet")


def write_pyarrow(root: Path, cifar: Cifar) -> None:
    """Compressed files with names as labels."""
    root.mkdir()
    for split in cifar.images:
        column = pa.array([{"bytes": png(image), "path": None} for image in cifar.images[split]], BYTES)
        names = [NAMES[label] for label in cifar.labels[split]]
        pq.write_table(pa.table({"image": column, "label": names}), root / f"{split}.parquet", row_group_size=17)


def write_npy(root: Path, cifar: Cifar) -> None:
    for split in cifar.images:
        (root / split).mkdir(parents=True)
        np.save(root / split / "images.npy", cifar.images[split])
        np.save(root / split / "labels.npy", cifar.labels[split])
        (root / split / "classes.txt").write_text("\n".join(NAMES))


def write_npz(root: Path, cifar: Cifar) -> None:
    """As MedMNIST has them."""
    root.mkdir()
    arrays = {f"{split}_images": images for split, images in cifar.images.items()}
    arrays |= {f"{split}_labels": labels[:, None] for split, labels in cifar.labels.items()}
    np.savez_compressed(root / "xmnist.npz", allow_pickle=False, **arrays)
    (root / "classes.txt").write_text("\n".join(NAMES))


LAYOUTS = {
    "folder": ("folder", write_folder),
    "hub": ("parquet", write_hub),
    "pyarrow": ("parquet", write_pyarrow),
    "npy": ("arrays", write_npy),
    "npz": ("arrays", write_npz),
}


@pytest.fixture(scope="module")
def layouts(cifar, tmp_path_factory) -> Path:
    """Returns the folder with a folder for each of ``LAYOUTS``."""
    root: Path = tmp_path_factory.mktemp("layouts")
    for name, (_, write) in LAYOUTS.items():
        write(root / name, cifar)
    return root


@pytest.fixture(autouse=True)
def cache(tmp_path_factory, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))


def options(layouts: Path, layout: str, out: Path) -> list[object]:
    dataset = ("--dataset", LAYOUTS[layout][0], "--data-dir", layouts / layout)
    return [*dataset, "--out", out, "--name", "x", "--ranks", 3, "--order", "source", "--samples-per-shard", 25]


def digests(out: Path) -> dict[str, dict[str, str]]:
    """Returns the pixel digests of all variants and splits: over keys, labels and pixels."""
    manifest = json.loads((out / "manifest.json").read_text())
    assert manifest["classes"] == NAMES
    return {
        name: {split: part["pixel_digest"] for split, part in variant["splits"].items()}
        for name, variant in manifest["variants"].items()
    }


def test_every_layout_gives_the_keys_labels_and_pixels_of_the_folder(tmp_path, layouts, build):
    expected = None
    for layout in LAYOUTS:
        result = build(*options(layouts, layout, tmp_path / layout))
        assert (result.status, result.err) == (0, "")
        expected = expected or digests(tmp_path / layout)
        assert digests(tmp_path / layout) == expected


@pytest.mark.parametrize("layout", [layout for layout in LAYOUTS if layout != "folder"])
def test_an_output_is_verified_repaired_and_extended_from_its_source(tmp_path, layouts, build, capsys, layout):
    out, source = tmp_path / "out", str(layouts / layout)
    assert build(*options(layouts, layout, out), "--limit", 30).status == 0
    assert build(*options(layouts, layout, out)).status == 0  # it grows
    whole = contents(out)
    assert build(*options(layouts, layout, tmp_path / "once")).status == 0
    assert contents(tmp_path / "once") == whole
    assert verify([str(out), "--source", source, "--workers", "1"]) == 0
    assert "recomputed from the source" in capsys.readouterr().out
    assert verify([str(out), "--workers", "1"]) == 0
    tar = out / "x-rank3" / "x-rank3-train-000001.tar"
    tar.write_bytes(tar.read_bytes()[:-5000])
    assert verify([str(out), "--source", source, "--workers", "1"]) == 1
    capsys.readouterr()
    assert repair([str(out), "--source", source, "--workers", "0"]) == 0
    assert contents(out) == whole


def test_a_source_with_another_label_is_not_that_of_the_output(tmp_path, cifar, build, capsys):
    root = tmp_path / "data"
    root.mkdir()
    write_pyarrow(root / "hub", cifar)
    arguments = ["--dataset", "parquet", "--data-dir", root / "hub", "--out", tmp_path / "out", "--ranks", 2]
    assert build(*arguments, "--limit", 20).status == 0
    changed = pq.read_table(root / "hub" / "train.parquet").to_pydict()
    changed["label"][0] = "truck"
    pq.write_table(pa.table(changed), root / "hub" / "train.parquet")
    assert verify([str(tmp_path / "out"), "--source", str(root / "hub"), "--workers", "1"]) == 1
    assert "made from other data" in capsys.readouterr().err
    line = build(*arguments, "--limit", 20).err
    assert "source fingerprint" in line and "--label-key" in line
    assert "earlier version" not in line  # no earlier version reads parquet files


def test_what_export_writes_is_a_source_with_the_same_pixels(tmp_path, layouts, build, capsys):
    assert build(*options(layouts, "hub", tmp_path / "out"), "--components", "full,low").status == 0
    for split in ("train", "test"):
        arguments = [
            str(tmp_path / "out"),
            "--variant",
            "full",
            "--split",
            split,
            "--to",
            str(tmp_path / "npy" / split),
        ]
        assert export([*arguments, "--quiet"]) == 0
    again = ["--dataset", "arrays", "--data-dir", tmp_path / "npy", "--out", tmp_path / "again", "--name", "x"]
    assert build(*again, "--ranks", 3, "--components", "full,low").status == 0
    assert digests(tmp_path / "again") == digests(tmp_path / "out")
    arguments = [str(tmp_path / "out"), "--variant", "rank3", "--to", str(tmp_path / "rank3"), "--quiet"]
    assert export(arguments) == 0 and (tmp_path / "rank3" / "images.npy").exists()


def test_photographs_are_those_of_the_folder(tmp_path, shared, build):
    files = sorted((shared / "data" / "imagenet-samples").glob("*.JPEG"))[:24]
    for file in files:
        folder = tmp_path / "folder" / file.name.split("_")[0]
        folder.mkdir(parents=True)
        (folder / file.name).write_bytes(file.read_bytes())
    rows = [{"bytes": file.read_bytes(), "path": file.name} for file in files]
    written = pa.table({"image": pa.array(rows, BYTES), "label": [file.name.split("_")[0] for file in files]})
    for compression in ("none", "zstd"):
        (tmp_path / compression).mkdir()
        pq.write_table(written, tmp_path / compression / "train-00000-of-00001.parquet", compression=compression)
    found = []
    for name, dataset in (("folder", "folder"), ("none", "parquet"), ("zstd", "parquet")):
        for geometry in (("--resize", 64, "--crop", 48), ()):
            out = tmp_path / f"out-{name}-{len(geometry)}"
            arguments = ["--dataset", dataset, "--data-dir", tmp_path / name, "--out", out, "--name", "x"]
            geometry = geometry or ("--resize", "native", "--limit", 3)
            assert build(*arguments, "--ranks", 5, "--order", "source", *geometry).status == 0
            manifest = json.loads((out / "manifest.json").read_text())
            parts = [variant["splits"]["train"]["pixel_digest"] for variant in manifest["variants"].values()]
            found.append((parts, manifest["classes"], manifest["image"]["side"]))
    assert found[0:2] == found[2:4] == found[4:6]


def test_a_dry_run_counts_and_writes_nothing(tmp_path, layouts, capsys):
    from pipeline.build import main

    for layout in ("hub", "npz"):
        words = [str(word) for word in options(layouts, layout, tmp_path / "out")]
        assert main([*words, "--dry-run", "--workers", "0"]) == 0
        printed = capsys.readouterr()
        assert (
            f"train: {COUNT} images" in printed.out
            and f"train {COUNT} images, test {COUNT} images; 10 classes" in printed.err
        )
        assert not os.path.exists(tmp_path / "out")
