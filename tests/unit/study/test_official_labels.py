"""Forty classes of ImageNet are studied with networks of a thousand outputs."""

import csv
import importlib
import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from pipeline.study import spectrum
from pipeline.study.images import Images
from pipeline.study.options import load_images, study_parser
from tests.conftest import Build

GEOMETRY = ("--resize", "256", "--crop", "224")


@pytest.fixture(scope="module")
def photographs(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Forty photographs, each in the folder of its synset."""
    root = tmp_path_factory.mktemp("photographs")
    for photograph in sorted((shared / "data/imagenet-samples").glob("*.JPEG"))[::12][:40]:
        (root / photograph.name[:9]).mkdir()
        (root / photograph.name[:9] / photograph.name).symlink_to(photograph)
    return root


def tiny(photographs: Path) -> list[str]:
    """The options that read the photographs at 16 pixels."""
    at_16 = ["--resize", "16", "--crop", "16"]
    return ["--dataset", "folder", "--data-dir", str(photographs), "--split", "train", *at_16]


def loaded(*options: object) -> Images:
    return load_images(study_parser("spectrum", "").parse([*map(str, options)]))


def top1(images: Images, shared: Path, monkeypatch: pytest.MonkeyPatch) -> float:
    """The share of images that MobileNetV2 classifies as labelled."""
    monkeypatch.syspath_prepend(str(shared / "data/weights/imagenet"))
    nets, pack = map(importlib.import_module, ("nets", "pack"))

    network = nets.mobilenet_v2().eval()
    network.load_state_dict(pack.unpack(str(shared / "data/weights/imagenet/mobilenet_v2.int8.npz")))
    with torch.no_grad():
        logits = network(torch.from_numpy(images.pixels).permute(0, 3, 1, 2).float() / 255)
    return float((logits.argmax(1).numpy() == images.labels).mean())


def test_a_published_network_recognises_them_by_their_official_labels(
    photographs: Path, shared: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = ("--dataset", "folder", "--data-dir", photographs, "--split", "train", *GEOMETRY)
    official, positions = loaded(*source, "--classes", "imagenet"), loaded(*source)
    assert (len(official.classes), len(positions.classes)) == (1000, 40)
    assert top1(official, shared, monkeypatch) > 0.7
    assert top1(positions, shared, monkeypatch) < 0.2
    assert [official.classes[i] for i in official.labels] == [positions.classes[i] for i in positions.labels]


def test_outputs_keep_the_thousand_or_are_given_them(photographs: Path, build: Build, tmp_path: Path) -> None:
    options = (
        "--dataset",
        "folder",
        "--data-dir",
        photographs,
        "--resize",
        "32",
        "--crop",
        "32",
        "--components",
        "full",
    )
    assert build(*options, "--out", tmp_path / "forty").status == 0
    assert build(*options, "--out", tmp_path / "thousand", "--classes", "imagenet").status == 0
    forty = loaded("--images", tmp_path / "forty", "--split", "train", "--classes", "imagenet")
    thousand = loaded("--images", tmp_path / "thousand", "--split", "train")
    again = loaded("--images", tmp_path / "thousand", "--split", "train", "--classes", "imagenet")
    for images in (thousand, again):
        np.testing.assert_array_equal(forty.labels, images.labels)
        assert forty.classes == images.classes and len(forty.classes) == 1000 and len({*forty.labels.tolist()}) == 40
    by_list = loaded(
        "--images", tmp_path / "forty", "--split", "train", "--classes", tmp_path / "thousand/manifest.json"
    )
    assert (by_list.classes, by_list.labels.tolist()) == (forty.classes, forty.labels.tolist())


def test_the_spectrum_of_a_network_with_a_thousand_outputs(
    photographs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It always answers the first photograph's class, and is right for that one. No row is of a class without images."""
    synset = min(folder.name for folder in photographs.iterdir())
    answer = [*json.loads((Path(__file__).parents[3] / "manifests/imagenet.json").read_text())["synsets"]].index(synset)
    (tmp_path / "constant.py").write_text(
        "import torch\n\nclass Constant(torch.nn.Module):\n    def forward(self, x):\n"
        f"        return torch.nn.functional.one_hot(torch.full((len(x),), {answer}), 1000).float() + 0 * x.sum()\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    sys.modules.pop("constant", None)
    arguments = [*tiny(photographs), "--model", "constant:Constant", "--limit", "4", "--out", str(tmp_path / "out")]
    assert spectrum.main(arguments) == 2
    assert "predicts 1,000 classes, but the images have 40; --classes" in capsys.readouterr().err
    assert spectrum.main([*arguments, "--classes", "imagenet"]) == 0
    with open(tmp_path / "out/classes.csv") as file:
        rows = list(csv.DictReader(file))
    assert len({row["class"] for row in rows}) == 4 and {row["images"] for row in rows} == {"1"}
    assert {row["class"] for row in rows if float(row["accuracy"])} == {synset}


NETWORKS = """
import nets, pack

def load(build, file):
    network = build()
    network.load_state_dict(pack.unpack(f"FOLDER/{file}"))
    return network

def mobilenet(): return load(nets.mobilenet_v2, "mobilenet_v2.int8.npz")
def squeezenet(): return load(nets.SqueezeNet10, "squeezenet10.code.npz")
"""


def test_published_networks_at_their_input_sizes(
    photographs: Path,
    shared: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder = str(shared / "data/weights/imagenet")
    (tmp_path / "published.py").write_text(NETWORKS.replace("FOLDER", folder))
    for path in (folder, str(tmp_path)):
        monkeypatch.syspath_prepend(path)
    models = ["--model", "published:mobilenet", "--model", "published:squeezenet", "--input-size", "227"]
    source = ["--dataset", "folder", "--data-dir", str(photographs), "--split", "train", "--classes", "imagenet"]
    options = [*GEOMETRY, "--limit", "12", "--ranks", "3,100", "--examples", "2", "--out", str(tmp_path / "out")]
    assert spectrum.main([*source, *models, *options]) == 0
    printed = capsys.readouterr()
    assert printed.err == ""
    assert "top-5 accuracy, %" in printed.out
    with open(tmp_path / "out/spectrum.csv") as file:
        rows = {(row["model"], row["rank"]): row for row in csv.DictReader(file)}
    for model in ("published:mobilenet", "published:squeezenet"):
        low, high, full = (float(rows[model, rank]["accuracy"]) for rank in ("3", "100", "224"))
        assert low <= 0.2
        assert high >= 0.4
        assert full >= 0.4
        assert float(rows[model, "224"]["top-5 accuracy"]) >= max(full, 0.6)
    with open(tmp_path / "out/examples.csv") as file:
        assert len(list(csv.DictReader(file))) == 2 * 2 * 2 * 5


def test_a_class_outside_of_the_list_is_one_line(
    photographs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "list.txt").write_text("cat\ndog\n")
    options = ["--classes", str(tmp_path / "list.txt"), "--model", "resnet20", "--out", str(tmp_path / "out")]
    assert spectrum.main([*tiny(photographs), *options]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert "and 39 more" in line and "the 2 names of" in line and "list.txt" in line
