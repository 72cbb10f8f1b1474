"""Promise: mlcroissant validates ``croissant.json`` and reads all samples, and the fields of NeurIPS are there."""

import hashlib
import io
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.class_names import unique
from pipeline.data import RankDataset
from pipeline.formats.clients import croissant, files
from pipeline.verify import main as verify
from tests.clients.conftest import COUNTS, VARIANTS, Output, own_cache, same_once, sample
from tests.clients.test_metadata import ODD
from tests.conftest import Build

# https://neurips.cc/Conferences/2026/EvaluationsDatasetsHosting, "minimal RAI".
REQUIRED = [
    "rai:dataLimitations",
    "rai:dataBiases",
    "rai:personalSensitiveInformation",
    "rai:dataUseCases",
    "rai:dataSocialImpact",
    "rai:hasSyntheticData",
    "prov:wasDerivedFrom",
    "prov:wasGeneratedBy",
]


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own_cache(tmp_path, monkeypatch)


def opened(file: Path) -> Any:
    """Returns the dataset. Its only complaint may be that it is not published."""
    from mlcroissant import Dataset

    dataset = Dataset(str(file))
    issues = dataset.metadata.ctx.issues
    assert not issues.errors
    assert [issue for issue in issues.warnings if "datePublished" not in issue] == []
    return dataset


def records(
    dataset: Any, variant: str, field: str = "image", split: str | None = None
) -> list[tuple[str, str, int, Any]]:
    """Returns split, key, label and image of every record."""
    filters = {f"{variant}/split": split} if split else None
    return [
        (
            record[f"{variant}/split"].decode(),
            record[f"{variant}/key"].decode(),
            record[f"{variant}/label"],
            record[f"{variant}/{field}"],
        )
        for record in dataset.records(variant, filters)
    ]


@pytest.fixture
def document(cifar: Output) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((cifar.root / "croissant.json").read_text())
    return loaded


@pytest.mark.parametrize(("variant", "at_root"), [("rank5", True), ("highrank5", False)])
def test_mlcroissant_reads_all_samples_of_a_variant(variant: str, at_root: bool, cifar: Output) -> None:
    dataset = opened((cifar.root if at_root else cifar.folder(variant)) / "croissant.json")
    read = records(dataset, variant)
    for split, count in COUNTS.items():
        rows = [sample(key, label, image) for s, key, label, image in read if s == split]
        assert len(rows) == count
        same_once(rows, cifar.samples(variant, split))


def test_mlcroissant_reads_one_split(cifar: Output) -> None:
    read = records(opened(cifar.root / "croissant.json"), "rank5", split="test")
    same_once([sample(key, label, image) for _, key, label, image in read], cifar.samples("rank5", "test"))


def test_every_variant_has_a_record_set(cifar: Output) -> None:
    dataset = opened(cifar.root / "croissant.json")
    names = [each.id for each in dataset.metadata.record_sets]
    assert [name for name in names if "-by-key" not in name] == ["classes", *VARIANTS]
    assert [record["classes/name"] for record in dataset.records("classes")] == RankDataset(cifar.root, "full").classes


def test_photographs_of_several_sizes_are_those_of_our_reader(shared: Path, build: Build, tmp_path: Path) -> None:
    for i, photo in enumerate(sorted((shared / "data" / "imagenet-samples").rglob("*.JPEG"))[:6]):
        folder = tmp_path / "photos" / ("train" if i < 4 else "val") / "ab"[i % 2]
        folder.mkdir(parents=True, exist_ok=True)
        (folder / photo.name).write_bytes(photo.read_bytes())
    job = ("--dataset", "folder", "--data-dir", tmp_path / "photos", "--ranks", "5", "--components", "low,full")
    assert build(*job, "--resize", "native", "--out", tmp_path / "out", "--samples-per-shard", "3").status == 0
    dataset = opened(tmp_path / "out" / "croissant.json")
    for variant in ("rank5", "full"):
        read = {(split, key): (label, np.asarray(image)) for split, key, label, image in records(dataset, variant)}
        assert len(read) == 6
        for split in ("train", "val"):
            ours = RankDataset(tmp_path / "out", variant, split)
            keys = [json.loads(line)["key"] for line in (tmp_path / f"out/samples/{split}.jsonl").open()]
            for key, (image, label) in zip(keys, ours, strict=True):
                assert read[split, key][0] == label
                np.testing.assert_array_equal(read[split, key][1], np.asarray(image))


def test_float_images_are_the_bytes_of_npy_files(build: Build, pictures: Callable[..., Path], tmp_path: Path) -> None:
    job = ("--dataset", "folder", "--data-dir", pictures(), "--ranks", "3", "--components", "high", "--exact")
    assert build(*job, "--out", tmp_path / "out").status == 0
    ours = RankDataset(tmp_path / "out", "highrank3-exact", "train")
    keys = [json.loads(line)["key"] for line in (tmp_path / "out/samples/train.jsonl").open()]
    dataset = opened(tmp_path / "out" / "folder-highrank3-exact" / "croissant.json")
    read = {key: (label, data) for _, key, label, data in records(dataset, "highrank3-exact", "array")}
    for key, (image, label) in zip(keys, ours, strict=True):
        assert read[key][0] == label
        np.testing.assert_array_equal(np.load(io.BytesIO(read[key][1])), np.asarray(image))


def test_every_shard_has_the_hash_of_its_file(document: dict[str, Any], cifar: Output) -> None:
    listed = {file["contentUrl"]: file for file in document["distribution"] if "contentUrl" in file}
    tars = {str(path.relative_to(cifar.root)) for path in cifar.root.glob("*/*.tar")}
    assert listed.keys() == tars
    assert {"samples", "rejects", "spectra"} == {file["@id"] for file in document["distribution"][-3:]}
    for name, file in listed.items():
        content = (cifar.root / name).read_bytes()
        assert (file["sha256"], file["contentSize"]) == (hashlib.sha256(content).hexdigest(), f"{len(content)} B")
    folder = json.loads((cifar.folder("rank5") / "croissant.json").read_text())
    names = {file["contentUrl"] for file in folder["distribution"] if "contentUrl" in file}
    assert names == {Path(path).name for split in COUNTS for path in cifar.tars("rank5", split)}


def test_mlcroissant_refuses_a_shard_with_other_content(rebuilt: Callable[[bool], Output]) -> None:
    from mlcroissant._src.core.issues import GenerationError

    out = rebuilt(False)
    tar = Path(out.tars("rank5", "test")[0])
    content = bytearray(tar.read_bytes())
    content[700] ^= 1
    tar.write_bytes(content)
    with pytest.raises(GenerationError):
        records(opened(out.root / "croissant.json"), "rank5")


@pytest.mark.parametrize("at_root", [True, False])
def test_the_fields_that_neurips_requires_are_there(at_root: bool, cifar: Output) -> None:
    folder = cifar.root if at_root else cifar.folder("highrank5")
    document = json.loads((folder / "croissant.json").read_text())
    for name in [*REQUIRED, "rai:dataCollection", "license", "name", "description", "creator", "citeAs"]:
        assert document[name] not in ("", [], {}, None), name
    assert document["rai:hasSyntheticData"] is False
    metadata = opened(folder / "croissant.json").metadata  # mlcroissant understands them, too
    assert metadata.data_social_impact == document["rai:dataSocialImpact"]
    assert sorted(metadata.data_biases) == sorted(document["rai:dataBiases"])
    assert {*metadata.conforms_to} == {*document["conformsTo"]}
    assert "samples_per_shard" in str(metadata.extra_properties["prov:wasGeneratedBy"])


def test_the_provenance_names_the_source_and_the_options(document: dict[str, Any], cifar: Output) -> None:
    manifest = json.loads((cifar.root / "manifest.json").read_text())
    origin, activity = document["prov:wasDerivedFrom"], document["prov:wasGeneratedBy"]
    assert origin["prov:label"] == "CIFAR-10"
    assert manifest["source"]["fingerprint"] in origin["sc:description"]
    assert manifest["source"]["terms"] in origin["sc:description"]
    assert manifest["source"]["terms"] == document["license"]["description"]
    options = json.loads(activity["sc:description"].partition("options: ")[2])
    assert options["variants"] == list(VARIANTS)
    assert (options["samples_per_shard"], options["seed"], options["order"]) == (20, 0, "source")


def test_it_has_no_time_and_no_address_of_its_own(cifar: Output) -> None:
    text = (cifar.root / "croissant.json").read_text()
    assert not re.search(r"\b20[2-9]\d-\d\d-\d\d", text)
    assert "datePublished" not in text
    assert str(cifar.root) not in text


def test_a_published_copy_has_its_date_and_addresses(cifar: Output) -> None:
    manifest = json.loads((cifar.root / "manifest.json").read_text())
    page = "https://huggingface.co/datasets/lab/ranks"
    manifest["published"] = {"repository": "lab/ranks", "revision": "v1", "url": page, "date": "2026-12-01"}
    made = {name: json.loads(data) for name, data in files(manifest).items() if name.endswith(croissant.NAME)}
    root, folder = made["croissant.json"], made["cifar10-rank5/croissant.json"]
    assert (root["datePublished"], root["url"], root["publisher"]["name"]) == ("2026-12-01", page, "lab")
    assert folder["url"] == f"{page}/tree/v1/cifar10-rank5"
    addresses = {file["contentUrl"] for file in folder["distribution"] if "contentUrl" in file}
    assert f"{page}/resolve/v1/cifar10-rank5/cifar10-rank5-train-000000.tar" in addresses
    assert addresses < {file.get("contentUrl") for file in root["distribution"]}


def test_class_names_of_all_kinds_are_valid(cifar: Output, tmp_path: Path) -> None:
    manifest = json.loads((cifar.root / "manifest.json").read_text())
    manifest["classes"] = ODD
    manifest["source"]["title"] = "folder \udcff of\npictures"
    (tmp_path / "croissant.json").write_bytes(files(manifest)["croissant.json"])
    names = [record["classes/name"] for record in opened(tmp_path / "croissant.json").records("classes")]
    assert names == unique(ODD)


def test_verify_finds_an_edited_file(rebuilt: Callable[[bool], Output], capsys: pytest.CaptureFixture[str]) -> None:
    out = rebuilt(False)
    file = out.folder("rank5") / "croissant.json"
    file.write_bytes(file.read_bytes().replace(b"Nothing was annotated", b"Much was annotated.!!"))
    assert verify([str(out.root), "--workers", "1", "--sample", "0"]) == 1
    assert "cifar10-rank5/croissant.json: differs" in capsys.readouterr().err
