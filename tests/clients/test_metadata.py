"""The files for clients that are made from the manifest: the card, class names of all kinds, float variants, mixed sizes."""

import copy
import io
import json
import shutil
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from pipeline.class_names import lines, unique
from pipeline.formats.clients import files
from tests.clients.conftest import VARIANTS, Output

ODD = [
    "it's",
    'a "quoted" \\ name',
    "new\nline",
    "---",
    "a\n---\nb",
    "tab\tand\u2028separator\x85",
    "naïve 犬 🐕",
    "e\u0301 and \u00e9",
    "é and é",
    "no",
    "null",
    "1e3",
    "0",
    "- list: [x, {y}] # & * ! | > % @ `",
    " leading",
    "leading",
    "two  spaces",
    "two spaces",
    "",
    " ",
    "crane",
    "crane",
    "crane (20)",
    "not utf-8 \udcff",
    "not utf-8 \\udcff",
    "x" * 2000,
]


@pytest.fixture
def manifest(cifar: Output) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((cifar.root / "manifest.json").read_text())
    return loaded


def head(card: bytes) -> dict[str, Any]:
    """Returns the YAML of a card, as Hugging Face's hub library parses it."""
    from huggingface_hub import DatasetCard

    loaded: dict[str, Any] = yaml.safe_load(yaml.safe_dump(DatasetCard(card.decode()).data.to_dict()))
    return loaded


def test_the_files_are_made_from_the_manifest_alone(manifest: dict[str, Any], cifar: Output) -> None:
    before = copy.deepcopy(manifest)
    clients = files(manifest)
    assert manifest == before
    assert {name: (cifar.root / name).read_bytes() for name in clients} == clients
    small = {path for path in cifar.root.glob("*/*") if path.parent.name.startswith("cifar10-")}
    small -= {path for path in small if path.suffix in (".tar", ".idx")}
    assert small <= {cifar.root / name for name in clients}


@pytest.mark.parametrize("clean", [unique, lines])
def test_class_names_become_distinct_and_printable(clean: Any) -> None:
    names = clean(ODD)
    assert len(set(names)) == len(ODD)
    assert all(names)
    assert "\n".join(names).encode().decode().count("crane (") == 3
    assert clean(["cat", "dog"]) == ["cat", "dog"]
    if clean is lines:
        assert "\n".join(names).splitlines() == names


def test_class_names_that_already_end_in_a_number_stay_distinct() -> None:
    names = unique(["crane (1)", "crane", "crane"])
    assert len(set(names)) == 3


def test_hugging_face_loads_an_output_of_oddly_named_classes(
    manifest: dict[str, Any], cifar: Output, tmp_path: Path
) -> None:
    from datasets import load_dataset

    manifest["classes"] = ODD
    out = copied(cifar, files(manifest), tmp_path / "out")
    for place, name in ((out, "cifar10-rank5"), (out / "cifar10-rank5", None)):
        data = load_dataset(str(place), name, cache_dir=str(tmp_path / "cache"), split="train")
        assert data.features["cls"].names == unique(ODD)
        assert data["cls"][:] == cifar.labels["train"]
    assert (out / "cifar10-rank5" / "classnames.txt").read_text().splitlines() == lines(ODD)


def test_two_builds_have_different_cards(manifest: dict[str, Any]) -> None:
    """The digest in the card tells the cache of ``datasets`` that the output is another."""
    before = head(files(manifest)["README.md"])["dataset_info"]
    shard = manifest["variants"]["rank5"]["splits"]["train"]["shards"][3]
    shard["sha256"] = shard["sha256"][::-1]
    after = head(files(manifest)["README.md"])["dataset_info"]
    changed = [a["config_name"] for a, b in zip(before, after, strict=True) if a["description"] != b["description"]]
    assert changed == ["cifar10-rank5"]


def test_the_card_states_the_offset_the_clipping_and_the_moments(manifest: dict[str, Any], cifar: Output) -> None:
    card = (cifar.root / "README.md").read_text()
    assert "stored with an offset of 128" in card
    for variant in VARIANTS:
        for split, described in manifest["variants"][variant]["splits"].items():
            stored = [np.frombuffer(sample.pixels, np.uint8).reshape(-1, 3) for sample in cifar.samples(variant, split)]
            pixels = np.concatenate(stored) / 255
            np.testing.assert_allclose(described["mean"], pixels.mean(0), rtol=1e-12)
            np.testing.assert_allclose(described["std"], pixels.std(0), rtol=1e-9)
            mean, std = (", ".join(f"{value:.4f}" for value in described[name]) for name in ("mean", "std"))
            clipped = f"{100 * described['clipped'] / described['subpixels']:.2f} %"
            assert f"| {variant} | {split} | {described['samples']} | {clipped} | {mean} | {std} |" in card
    assert "offset" not in (cifar.folder("rank5") / "README.md").read_text()
    assert "stored with an offset of 128" in (cifar.folder("highrank5") / "README.md").read_text()


def test_open_clip_finds_sizes_and_class_names_in_each_variants_folder(cifar: Output) -> None:
    for variant in VARIANTS:
        folder = cifar.folder(variant)
        sizes = json.loads((folder / "sizes.json").read_text())
        assert sizes == dict(
            zip(sorted(path.name for path in folder.glob("*.tar")), [20] * 4 + [10] + [20] * 8 + [5], strict=True)
        )
        names = (folder / "classnames.txt").read_text().splitlines()
        assert (len(names), names[0], names[9]) == (10, "airplane", "truck")


def with_exact(manifest: dict[str, Any]) -> dict[str, Any]:
    """Returns the manifest of a build with ``--exact``."""
    for name in ("rank5", "highrank5"):
        text = json.dumps(manifest["variants"][name]).replace(f"cifar10-{name}", f"cifar10-{name}-exact")
        variant = json.loads(text) | {"form": "npy"}
        for described in variant["splits"].values():
            described |= {"clipped": 0}
        manifest["variants"][f"{name}-exact"] = variant
    return manifest


def copied(cifar: Output, clients: dict[str, bytes], root: Path) -> Path:
    """Copies the output with other files for clients, and returns the copy."""
    shutil.copytree(cifar.root, root)
    for name, content in clients.items():
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).write_bytes(content)
    return root


def test_the_card_warns_that_float_images_have_no_offset(manifest: dict[str, Any]) -> None:
    cards = {name: content.decode() for name, content in files(with_exact(manifest)).items()}
    folders = ("", "cifar10-highrank5-exact/", "cifar10-highrank5/")
    root, high, png = (cards[f"{folder}README.md"] for folder in folders)
    assert "WITHOUT the offset" in root
    assert "stored with an offset of 128" in root
    assert "WITHOUT the offset" in high
    assert "stored with an offset of 128" not in high
    assert "-exact" not in png
    assert "| highrank5-exact | train | 165 | not clipped |" in root
    assert '.to_tuple("npy", "cls")' in high
    assert "timm" not in high
    assert "wds/" in png


@pytest.mark.parametrize("sizes", ["one size", "native"])
@pytest.mark.parametrize("streaming", [False, True])
def test_hugging_face_loads_float_images(
    sizes: str, streaming: bool, manifest: dict[str, Any], cifar: Output, tmp_path: Path
) -> None:
    from datasets import load_dataset

    manifest = with_exact(manifest)
    if sizes == "native":
        manifest["image"] |= {"height": None, "width": None}
    variant = manifest["variants"]["highrank5-exact"]
    copied(cifar, files(manifest), tmp_path / "out")
    rng = np.random.default_rng(0)
    shape = (32, 32) if sizes == "one size" else (5, 7)
    expected = []
    for described in variant["splits"].values():
        for shard in described["shards"]:
            images = [rng.normal(size=(*shape, 3)).astype(np.float32) for _ in range(shard["samples"])]
            write_npy(tmp_path / "out" / shard["name"], images)
            expected += images
    folder = tmp_path / "out" / "cifar10-highrank5-exact"
    for place, name in ((tmp_path / "out", "cifar10-highrank5-exact"), (folder, None)):
        loaded = load_dataset(str(place), name, cache_dir=str(tmp_path / "cache"), streaming=streaming)
        rows = [row for split in loaded.values() for row in split]
        assert len(rows) == len(expected)
        for row, image in zip(rows, expected, strict=True):
            np.testing.assert_array_equal(np.asarray(row["npy"], np.float32), image)


def write_npy(path: Path, images: list[np.ndarray]) -> None:
    with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as tar:
        for i, image in enumerate(images):
            buffer = io.BytesIO()
            np.save(buffer, image)
            for name, content in ((f"{path.stem}-{i}.npy", buffer.getvalue()), (f"{path.stem}-{i}.cls", b"3")):
                member = tarfile.TarInfo(name)
                member.size = len(content)
                tar.addfile(member, io.BytesIO(content))


def test_the_card_says_that_images_have_different_sizes(manifest: dict[str, Any]) -> None:
    manifest["image"] |= {"height": None, "width": None}
    card = files(manifest)["README.md"].decode()
    assert "each image at its own size" in card
    assert "None" not in card
