"""Pixel digests are those of docs/format.md, verify checks them, and ``--same-as`` compares builds by them."""

import io
import json
import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xxhash
from PIL import Image

from pipeline import build, verify

RANKS = ("--ranks", "3", "--components", "low,high,full", "--exact")
Run = Callable[..., tuple[int, str, str]]


def make(out: Path, *options: str) -> Path:
    job = ("--dataset", "sample", "--resize", "24", "--limit", "5", *(options or RANKS), "--workers", "0", "--quiet")
    assert build.main([*job, "--out", str(out)]) == 0
    return out


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make(tmp_path_factory.mktemp("same") / "first", *RANKS, "--samples-per-shard", "2")


@pytest.fixture(scope="module")
def second(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same samples in other shards."""
    return make(tmp_path_factory.mktemp("same") / "second", *RANKS, "--samples-per-shard", "3")


@pytest.fixture
def copy(first: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(first, tmp_path / "copy"))


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    def verified(*arguments: object) -> tuple[int, str, str]:
        capsys.readouterr()
        status = verify.main([*map(str, arguments), "--workers", "1", "--sample", "0"])
        return status, *capsys.readouterr()

    return verified


def manifest(out: Path) -> dict[str, Any]:
    return dict(json.loads((out / "manifest.json").read_text()))


def edit(out: Path, change: Callable[[dict[str, Any]], None]) -> None:
    document = manifest(out)
    change(document)
    (out / "manifest.json").write_text(json.dumps(document, indent=1) + "\n")


def digest(tar: Path) -> int:
    """Computes the digest of a shard by docs/format.md, with tarfile and Pillow or NumPy."""
    total = 0
    with tarfile.open(tar) as archive:
        names = archive.getnames()
        for image, label in zip(names[::2], names[1::2], strict=True):
            data, text = (archive.extractfile(name).read() for name in (image, label))  # type: ignore[union-attr]
            if image.endswith(".png"):
                opened = Image.open(io.BytesIO(data))
                width, height = opened.size
                planes = b"".join(channel.tobytes() for channel in opened.split())
            else:
                array = np.load(io.BytesIO(data))
                height, width, _ = array.shape
                planes = b"".join(array[:, :, channel].tobytes() for channel in range(3))
            seed = xxhash.xxh3_64_intdigest(f"{image.partition('.')[0]} {int(text)} {height} {width}".encode())
            total += xxhash.xxh3_128_intdigest(planes, seed)
    return total


def test_digests_are_those_of_the_documented_format(first: Path) -> None:
    for variant in manifest(first)["variants"].values():
        for split in variant["splits"].values():
            sums = [digest(first / shard["name"]) for shard in split["shards"]]
            assert [shard["pixel_digest"] for shard in split["shards"]] == [f"{n % 2**128:032x}" for n in sums]
            assert split["pixel_digest"] == f"{sum(sums) % 2**128:032x}"


def test_images_of_many_sizes_have_their_own_sizes_in_the_digest(tmp_path: Path, run: Run) -> None:
    for number, size in enumerate([(9, 7), (7, 9), (9, 7), (12, 12)]):
        path = tmp_path / "pictures" / "train" / "ab"[number % 2] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.random.default_rng(number).integers(0, 256, (*size, 3), np.uint8)).save(path)
    job = ["--dataset", "folder", "--data-dir", str(tmp_path / "pictures"), "--name", "x", "--resize", "native"]
    out = tmp_path / "out"
    assert build.main([*job, "--ranks", "2", "--workers", "0", "--quiet", "--out", str(out)]) == 0
    for variant in manifest(out)["variants"].values():
        (shard,) = variant["splits"]["train"]["shards"]
        assert shard["pixel_digest"] == f"{digest(out / shard['name']) % 2**128:032x}"
    assert run(out)[0] == 0


def test_outputs_with_the_same_samples_in_other_shards_are_the_same(first: Path, second: Path, run: Run) -> None:
    for options in ([], ["--quick"]):
        status, text, errors = run(first, "--same-as", second, *options)
        assert (status, errors) == (0, "")
        assert f"10 samples with the keys, labels and pixels of {second}" in text


def test_each_difference_is_one_line(first: Path, tmp_path: Path, run: Run) -> None:
    other = make(
        tmp_path / "other", "--ranks", "3,4", "--components", "low", "--splits", "train", "--samples-per-shard", "2"
    )
    status, text, errors = run(first, "--same-as", other, "--quick")
    lines = errors.splitlines()
    assert (status, text) == (1, "")
    assert any("only the first output has" in line and "highrank3" in line for line in lines)
    assert any("only the second output has" in line and "rank4" in line for line in lines)
    assert any("splits" in line and "test" in line for line in lines)
    assert len(lines) == 3


def test_other_pixels_and_labels_are_found_with_their_shards(first: Path, copy: Path, run: Run) -> None:
    def change(document: dict[str, Any]) -> None:
        split = document["variants"]["rank3"]["splits"]["train"]
        moved = (int(split["shards"][1]["pixel_digest"], 16) + 1) % 2**128
        split["shards"][1]["pixel_digest"] = f"{moved:032x}"
        split["pixel_digest"] = f"{(int(split['pixel_digest'], 16) + 1) % 2**128:032x}"
        document["files"]["samples/test.jsonl"]["sha256"] = "0" * 64

    edit(copy, change)
    status, _, errors = run(first, "--same-as", copy)
    assert status == 1
    assert errors.splitlines() == [
        f"not the same as {copy}: rank3 train: other keys, labels or pixels in 1 shard of 3: 000001",
        f"not the same as {copy}: test: samples/test.jsonl differs: other keys, labels, names or order",
    ]


def test_verify_finds_a_digest_that_is_not_that_of_the_pixels(copy: Path, run: Run) -> None:
    def swap(document: dict[str, Any]) -> None:  # the sum over the shards stays
        shards = document["variants"]["highrank3-exact"]["splits"]["train"]["shards"]
        shards[0]["pixel_digest"], shards[1]["pixel_digest"] = shards[1]["pixel_digest"], shards[0]["pixel_digest"]

    edit(copy, swap)
    status, _, errors = run(copy)
    assert status == 1
    assert [line.partition(" of ")[0] for line in errors.splitlines()] == ["manifest.json: the pixel_digest"] * 2


def test_a_digest_that_is_not_the_sum_over_its_shards_is_a_fault(copy: Path, run: Run) -> None:
    def change(document: dict[str, Any]) -> None:
        document["variants"]["full"]["splits"]["train"]["pixel_digest"] = "0" * 32

    edit(copy, change)
    status, _, errors = run(copy, "--quick")
    assert (status, errors.count("\n")) == (1, 1)
    assert "pixel_digest is not the sum" in errors


def test_an_output_of_format_1_cannot_be_compared(first: Path, tmp_path: Path, run: Run) -> None:
    with tarfile.open(Path(__file__).parents[2] / "compat" / "format1.tar.xz") as archive:
        archive.extractall(tmp_path, filter="data")
    for pair in ((first, "--same-as", tmp_path / "shapes"), (tmp_path / "shapes", "--same-as", first)):
        status, text, errors = run(*pair)
        assert (status, text, errors.count("\n")) == (1, "", 1)
        assert "format 1" in errors and "no pixel digests" in errors


def test_same_as_does_not_go_with_check(first: Path, tmp_path: Path, run: Run) -> None:
    assert run(first, "--check", tmp_path / "report.json", "--same-as", first)[0] == 2
