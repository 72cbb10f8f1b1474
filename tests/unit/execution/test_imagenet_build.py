"""Promise: ImageNet's archives, folders and Kaggle's tree give byte-identical outputs; as a WebDataset, the same pixels."""

import io
import json
import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipeline import verify
from tests.conftest import Build, contents
from tests.unit.sources.make_imagenet import Photograph, make_archives, make_kaggle, make_tree, photographs

JOB = ("--ranks", "5,20", "--samples-per-shard", "20", "--name", "imagenet")
SMALL = ("--resize", "64")


@pytest.fixture(scope="module")
def images(shared: Path) -> list[Photograph]:
    return photographs(shared / "data" / "imagenet-samples")


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache"


def imagenet(folder: Path) -> tuple[object, ...]:
    return ("--dataset", "imagenet", "--data-dir", folder, *JOB)


def pixels(out: Path, variant: str, split: str) -> dict[str, tuple[np.ndarray, int]]:
    """Returns image and label by the stem of the original name, read by tarfile and Pillow."""
    names = {line["key"]: line["name"] for line in map(json.loads, (out / "samples" / f"{split}.jsonl").open())}
    found = {}
    for path in sorted((out / f"imagenet-{variant}").glob(f"*-{split}-*.tar")):
        with tarfile.open(path) as tar:
            files = {member.name: tar.extractfile(member).read() for member in tar}  # type: ignore[union-attr]
        for name in files:
            key, _, form = name.rpartition(".")
            if form == "png":
                image = np.asarray(Image.open(io.BytesIO(files[name])))
                found[Path(names[key]).stem] = (image, int(files[f"{key}.cls"]))
    return found


def test_every_form_of_imagenet_gives_the_same_bytes(
    build: Build, images: list[Photograph], cache: Path, tmp_path: Path
) -> None:
    make_archives(tmp_path / "archives", images)
    make_tree(tmp_path / "tree", images)
    make_kaggle(tmp_path / "kaggle", images)
    outs = [tmp_path / f"out-{form}" for form in ("archives", "tree", "kaggle")]
    for out in outs:
        assert build(*imagenet(tmp_path / out.name.removeprefix("out-")), *SMALL, "--out", out).status == 0
    assert contents(outs[0]) == contents(outs[1]) == contents(outs[2])
    assert build(*imagenet(tmp_path / "kaggle"), *SMALL, "--components", "full", "--out", outs[0]).status == 0


def test_a_webdataset_of_it_gives_the_same_pixels_and_labels(
    build: Build, images: list[Photograph], cache: Path, tmp_path: Path
) -> None:
    make_tree(tmp_path / "tree", images)
    classes = sorted({image.synset for image in images})
    (tmp_path / "names.txt").write_text("\n".join(classes))
    for split in ("train", "val"):
        (tmp_path / "shards").mkdir(exist_ok=True)
        with tarfile.open(tmp_path / "shards" / f"x-{split}-000000.tar", "w") as tar:
            for image in (image for image in images if image.split == split):
                label = json.dumps({"target": classes.index(image.synset)}).encode()
                for suffix, content in (("jpg", image.content), ("json", label)):
                    member = tarfile.TarInfo(f"{Path(image.file).stem}.{suffix}")
                    member.size = len(content)
                    tar.addfile(member, io.BytesIO(content))
    shards = ("--dataset", "webdataset", "--data-dir", tmp_path / "shards", "--label-key", "target")
    named = ("--classes", tmp_path / "names.txt")
    assert build(*imagenet(tmp_path / "tree"), *SMALL, "--out", tmp_path / "a").status == 0
    assert build(*shards, *named, *JOB, *SMALL, "--out", tmp_path / "b").status == 0
    for split in ("train", "val"):
        for variant in ("rank5", "highrank20"):
            one, other = (pixels(tmp_path / name, variant, split) for name in "ab")
            assert one.keys() == other.keys()
            for stem, (found, number) in one.items():
                np.testing.assert_array_equal(found, other[stem][0])
                assert number == other[stem][1]
    source = ["--source", str(tmp_path / "shards"), "--label-key", "target", "--classes", str(tmp_path / "names.txt")]
    assert verify.main([str(tmp_path / "b"), *source, "--workers", "1"]) == 0


def test_the_default_is_224_pixels_as_torchvision_makes_them(
    build: Build, images: list[Photograph], cache: Path, tmp_path: Path
) -> None:
    make_archives(tmp_path / "archives", images)
    job = (*imagenet(tmp_path / "archives"), "--components", "full,low", "--limit", "3", "--out", tmp_path / "out")
    assert build(*job).status == 0
    photographs = {Path(image.file).stem: image.content for image in images}
    for split in ("train", "val"):
        full = pixels(tmp_path / "out", "full", split)
        assert len(full) == 3
        for stem, (made, _) in full.items():
            image = Image.open(io.BytesIO(photographs[stem])).convert("RGB")
            short, long = sorted(image.size)
            size = (256, int(256 * long / short)) if image.width <= image.height else (int(256 * long / short), 256)
            image = image.resize(size, Image.Resampling.BILINEAR)
            left, top = round((image.width - 224) / 2), round((image.height - 224) / 2)
            np.testing.assert_array_equal(made, np.asarray(image.crop((left, top, left + 224, top + 224))))
    assert verify.main([str(tmp_path / "out"), "--source", str(tmp_path / "archives"), "--workers", "1"]) == 0
