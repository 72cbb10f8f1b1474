"""``export --format cifar-c`` and ``imagenet-c``: which variant is which severity, names, and one line per mistake."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from pipeline.build import main as build
from pipeline.data import export_cifar_c, export_imagenet_c
from pipeline.data.export import corruptions
from pipeline.errors import PipelineError
from tests.conftest import make_official, write_small_cifar
from tests.unit.data.conftest import Export, read_shards

MILDEST_FIRST = {
    "low_rank": [f"rank{k}" for k in (9, 7, 5, 3, 2)],
    "high_rank": [f"highrank{k}" for k in (2, 3, 5, 7, 9)],
    "low_pass": [f"lowpass{r}" for r in (6, 5, 4, 3, 2)],
    "high_pass": [f"highpass{r}" for r in (2, 3, 4, 5, 6)],
    "band": ["band1-2", "band2-3", "band3-4", "band1-5", "band5-9"],
}
COUNT = 20


@pytest.fixture(scope="module")
def severe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An output with five variants of every component, shuffled. Read it only."""
    folder = tmp_path_factory.mktemp("severe")
    small, manifest = write_small_cifar(folder / "cifar")
    job = ["--dataset", "cifar10", "--data-dir", str(small.folder), "--samples-per-shard", "7", "--order", "shuffled"]
    job += ["--ranks", "2,3,5,7,9", "--radii", "2,3,4,5,6", "--bands", "1:2,2:3,3:4,1:5,5:9", "--splits", "test"]
    job += ["--components", "low,high,full", "--exact", "--workers", "0", "--quiet", "--out", str(folder / "out")]
    with pytest.MonkeyPatch.context() as patch:
        make_official(manifest, patch)
        assert build(job) == 0
    return folder / "out"


@pytest.fixture(autouse=True)
def few_images(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(corruptions, "CIFAR_IMAGES", COUNT)


def in_order_of_the_source(out: Path, variant: str) -> tuple[np.ndarray, list[int]]:
    samples = read_shards(out, variant, "test")
    order = np.argsort(samples.keys)
    return samples.images[order], [samples.labels[i] for i in order]


def test_cifar_c_has_an_array_for_each_component_mildest_first(severe: Path, tmp_path: Path, export: Export) -> None:
    to = tmp_path / "CIFAR-10-C"
    status, printed, error = export(severe, "--format", "cifar-c", "--to", to)
    assert (status, error) == (0, "")
    assert f"low_rank in {to}: severity 1 to 5 are rank9, rank7, rank5, rank3, rank2\n" in printed
    labels = np.load(to / "labels.npy")
    for name, variants in MILDEST_FIRST.items():
        if name == "band":
            variants = sorted(variants, key=lambda band: [int(end) for end in band[4:].split("-")[::-1]])
        array = np.load(to / f"{name}.npy")
        assert (array.dtype, array.shape) == (np.uint8, (5 * COUNT, 32, 32, 3))
        for severity, variant in enumerate(variants):
            images, expected = in_order_of_the_source(severe, variant)
            rows = slice(COUNT * severity, COUNT * (severity + 1))
            np.testing.assert_array_equal(array[rows], images)
            assert labels[rows].tolist() == expected
            assert f"{name} {severity + 1}: {variant}\n" in (to / "README.txt").read_text()


def test_five_chosen_variants_are_sorted_and_bands_keep_their_order(
    severe: Path, tmp_path: Path, export: Export
) -> None:
    chosen = "rank3,rank9,rank2,rank5,rank7,band5-9,band1-2,band3-4,band2-3,band1-5"
    assert export(severe, "--format", "cifar-c", "--variant", chosen, "--to", tmp_path / "c", "--quiet") == (0, "", "")
    assert sorted(path.name for path in (tmp_path / "c").glob("*.npy")) == ["band.npy", "labels.npy", "low_rank.npy"]
    for name, first in (("low_rank", "rank9"), ("band", "band5-9")):
        images, _ = in_order_of_the_source(severe, first)
        np.testing.assert_array_equal(np.load(tmp_path / "c" / f"{name}.npy")[:COUNT], images)


def test_imagenet_c_has_the_stored_bytes_under_the_names_of_the_source(
    severe: Path, tmp_path: Path, export: Export
) -> None:
    """CIFAR's names have no folder of a class, so its classes give the folders."""
    chosen = ",".join(MILDEST_FIRST["high_rank"])
    status, printed, _ = export(severe, "--format", "imagenet-c", "--variant", chosen, "--to", tmp_path / "c")
    assert status == 0
    assert "high_rank in" in printed
    lines = map(json.loads, (severe / "samples" / "test.jsonl").open())
    names = {line["key"]: Path(line["name"]).name for line in lines}
    classes = json.loads((severe / "manifest.json").read_text())["classes"]
    for severity, variant in enumerate(MILDEST_FIRST["high_rank"], 1):
        samples, root = read_shards(severe, variant, "test"), tmp_path / "c" / "high_rank" / str(severity)
        expected = zip(samples.keys, samples.labels, samples.members, strict=True)
        files = {f"{classes[label]}/{names[key]}": content for key, label, content in expected}
        assert {p.relative_to(root).as_posix(): p.read_bytes() for p in root.rglob("*") if p.is_file()} == files
        assert sorted(path.name for path in root.iterdir()) == sorted(classes)


def test_imagenet_c_takes_the_folders_of_the_source(
    pictures: Callable[..., Path], tmp_path: Path, export: Export
) -> None:
    job = ["--dataset", "folder", "--data-dir", str(pictures()), "--ranks", "1,2,3,4,5", "--workers", "0", "--quiet"]
    assert build([*job, "--out", str(tmp_path / "out")]) == 0
    status, _, error = export(tmp_path / "out", "--format", "imagenet-c", "--split", "train", "--to", tmp_path / "c")
    assert (status, error) == (0, "")
    for component in ("low_rank", "high_rank"):
        for severity in "12345":
            place = tmp_path / "c" / component / severity
            assert sorted(p.relative_to(place).as_posix() for p in place.rglob("*.png")) == [
                f"{name}/{number:02d}.png" for name in "ab" for number in range(4)
            ]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--variant", "rank2,rank3"], "--variant: 2 of low (rank2, rank3); the five severities are five variants"),
        (["--variant", "rank2,rank3,rank5,rank7,rank9,band1-2"], "1 of band (band1-2); the five severities"),
        (["--variant", "rank2,rank3,rank5,rank7,rank2"], "--variant: rank2 is given twice"),
        (["--variant", "rank2,rank3,rank5,rank7,rank8"], "variant 'rank8': "),
        (["--variant", "full"], "--variant: full is no 8-bit cut, which severities are"),
        (["--variant", "rank2-exact"], "--variant: rank2-exact is no 8-bit cut, which severities are"),
        (["--split", "train"], "has test"),
    ],
)
def test_mistakes_are_one_line(
    arguments: list[str], message: str, severe: Path, tmp_path: Path, export: Export
) -> None:
    for form in ("cifar-c", "imagenet-c"):
        status, printed, error = export(severe, "--format", form, "--to", tmp_path / "c", *arguments)
        assert (status, printed, error.count("\n")) == (2, "", 1)
        assert message in error
    assert not (tmp_path / "c").exists()


def test_other_numbers_and_sizes_of_images_are_refused_by_cifar_c(
    severe: Path,
    out: Path,
    pictures: Callable[..., Path],
    tmp_path: Path,
    export: Export,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(corruptions, "CIFAR_IMAGES", 10_000)
    _, _, error = export(severe, "--format", "cifar-c", "--to", tmp_path / "c")
    assert "the split test has 20 images, not the 10,000 of a severity of CIFAR-10-C" in error
    _, _, error = export(out, "--format", "cifar-c", "--to", tmp_path / "c")
    assert "has 1 of low (rank5); 1 of high (highrank5); the five severities are five variants of a component" in error
    monkeypatch.setattr(corruptions, "CIFAR_IMAGES", 8)
    job = ["--dataset", "folder", "--data-dir", str(pictures()), "--ranks", "1,2,3,4,5", "--workers", "0", "--quiet"]
    assert build([*job, "--out", str(tmp_path / "small")]) == 0
    _, _, error = export(tmp_path / "small", "--format", "cifar-c", "--split", "train", "--to", tmp_path / "c")
    assert "the images have 12 x 12 pixels, not the 32 x 32 of CIFAR-10-C" in error
    assert not (tmp_path / "c").exists()


@pytest.mark.parametrize("write", [export_cifar_c, export_imagenet_c])
def test_a_failed_export_leaves_nothing(write: Callable[..., Path], severe: Path, tmp_path: Path) -> None:
    out = shutil.copytree(severe, tmp_path / "out")
    shard = sorted((out / "cifar10-rank3").glob("*.tar"))[1]
    shard.write_bytes(bytes(shard.stat().st_size))
    with pytest.raises(PipelineError):
        write(out, tmp_path / "to")
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


@pytest.mark.parametrize("content", ["", "{}\n", '{"key": "test-00000000", "name": "x"}\n', "[" * 10_000])
def test_a_damaged_list_of_names_is_one_line(content: str, severe: Path, tmp_path: Path, export: Export) -> None:
    out = shutil.copytree(severe, tmp_path / "out")
    lines = [json.loads(line) for line in (out / "samples" / "test.jsonl").open()]
    same = "".join(json.dumps(line | {"name": "a/same.png"}) + "\n" for line in lines)
    for text in (same, content):
        (out / "samples" / "test.jsonl").write_text(text)
        status, _, error = export(out, "--format", "imagenet-c", "--to", tmp_path / "c")
        assert (status in (1, 2), error.count("\n")) == (True, 1)
    assert not (tmp_path / "c").exists()


def test_hostile_names_stay_in_the_folder(severe: Path, tmp_path: Path, export: Export) -> None:
    out = shutil.copytree(severe, tmp_path / "out")
    lines = [json.loads(line) for line in (out / "samples" / "test.jsonl").open()]
    hostile = [f"../{'../' * (i % 5)}evil{i}" if i % 2 else f"/etc/.x\0{i}" for i in range(len(lines))]
    text = "".join(json.dumps(line | {"name": name}) + "\n" for line, name in zip(lines, hostile, strict=True))
    (out / "samples" / "test.jsonl").write_text(text)
    to = tmp_path / "a" / "c"
    before = set(tmp_path.rglob("*"))
    assert export(out, "--format", "imagenet-c", "--to", to)[0] == 0
    new = set(tmp_path.rglob("*")) - before
    assert {path for path in new if to not in path.parents} == {to, to.parent}
    assert len([path for path in new if path.is_file()]) == 1 + 5 * 5 * COUNT
