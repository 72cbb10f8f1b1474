"""The files in ``manifests/`` are complete and consistent; a missing one is reported in one line."""

import pytest

from pipeline.errors import PipelineError
from pipeline.sources import manifests
from pipeline.sources.cifar import manifest


@pytest.mark.parametrize("dataset", ["cifar10", "cifar100"])
def test_sizes_counts_and_checksums_agree(dataset):
    document = manifests.load(dataset)
    assert document["splits"] == {"train": 50_000, "test": 10_000}
    assert len(set(document["classes"])) == {"cifar10": 10, "cifar100": 100}[dataset]
    assert document["classes"] == sorted(document["classes"])
    batches = []
    for layout in manifest.load(dataset).layouts:
        for split, images in document["splits"].items():
            assert sum(file.images for file in layout.files if file.split == split) == images
        for file in layout.files:
            assert len(bytes.fromhex(file.md5)) == 16
            assert file.bytes in (None, file.images * (layout.label_bytes + 3072))
        assert layout.archive.url == f"https://www.cs.toronto.edu/~kriz/{layout.archive.file}"
        assert len(bytes.fromhex(layout.archive.md5)) == 16 and 168e6 < layout.archive.bytes < 171e6
        batches.append([(file.batch, file.split, file.images) for file in layout.files])
    assert batches[0] == batches[1]


@pytest.mark.parametrize("dataset", ["cifar10", "cifar100", "sample"])
def test_every_manifest_states_its_terms(dataset):
    assert "No licence" in manifests.load(dataset)["terms"]


def test_a_missing_or_damaged_manifest_is_reported(tmp_path, monkeypatch):
    monkeypatch.setattr(manifests, "FOLDER", tmp_path)
    with pytest.raises(PipelineError, match=r"cifar10\.json is missing"):
        manifests.load("cifar10")
    for content in ("{", "[]", '{"dataset": "other"}', "\xff"):
        (tmp_path / "cifar10.json").write_text(content, encoding="latin1")
        with pytest.raises(PipelineError, match=r"cifar10\.json .*restore it"):
            manifests.load("cifar10")
