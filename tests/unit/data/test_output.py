"""Tests of opening an output: a fault is reported in one line, and a manifest cannot name files outside of the folder."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pipeline.data import RankDataset, open_output
from pipeline.errors import PipelineError, UsageError
from tests.conftest import Build
from tests.unit.data.conftest import Edit


def error_line(call: Callable[[], object], kind: type[PipelineError] = PipelineError) -> str:
    """Returns the message of the error that a call raises, after checking that it is one line."""
    with pytest.raises(PipelineError) as caught:
        call()
    assert type(caught.value) is kind
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_an_output_lists_its_variants_splits_classes_and_shards(out: Path) -> None:
    output = open_output(out)
    assert output.variants == ("rank5", "highrank5", "full")
    assert output.splits == ("train", "test")
    assert output.classes[:2] == ("airplane", "automobile")
    part = output.part("highrank5", "train")
    assert (part.component, part.rank, part.form, part.shape, part.samples) == ("high", 5, "png", (32, 32), 100)
    assert [shard.samples for shard in part.shards] == [40, 40, 20]
    assert all(shard.path.is_file() and shard.index.is_file() for shard in part.shards)


def test_the_repr_of_an_output_is_short(out: Path) -> None:
    text = repr(open_output(out))
    assert "variants=('rank5', 'highrank5', 'full')" in text
    assert "sha256" not in text


@pytest.mark.parametrize("alias", ["val", "validation", "test"])
def test_the_test_split_has_three_names(alias: str, out: Path) -> None:
    assert open_output(out).part("full", alias).split == "test"


def test_a_split_name_selects_the_split_of_that_name_first(
    build: Build, pictures: Callable[..., Path], tmp_path: Path
) -> None:
    for split, each in {"train": 3, "val": 1, "test": 2}.items():
        pictures(f"pictures/{split}", each=each, size=(8, 8))
    job = ("--dataset", "folder", "--data-dir", tmp_path / "pictures", "--ranks", "3", "--out", tmp_path / "out")
    assert build(*job).status == 0
    names = {"train": "train", "val": "val", "test": "test", "validation": "val"}
    assert {name: open_output(tmp_path / "out").part("rank3", name).split for name in names} == names
    assert RankDataset(tmp_path / "out", "rank3", train=False).split == "test"


def test_errors_for_unknown_names_list_the_names_that_exist(out: Path) -> None:
    message = error_line(lambda: RankDataset(out, "rnk5"), UsageError)
    assert message == f"variant 'rnk5': {out} has rank5, highrank5, full, did you mean 'rank5'?"
    message = error_line(lambda: RankDataset(out, split="tran"), UsageError)
    assert message == f"split 'tran': {out} has train, test, did you mean 'train'?"
    assert error_line(lambda: RankDataset(out, True), UsageError).startswith("variant True: ")  # type: ignore[arg-type]


def test_the_error_for_a_path_that_is_no_output_says_why(out: Path, tmp_path: Path) -> None:
    assert "does not exist" in error_line(lambda: open_output(tmp_path / "nowhere"))
    assert "is a file" in error_line(lambda: open_output(out / "manifest.json"))
    assert "is not an output" in error_line(lambda: open_output(tmp_path))
    assert f"give the output, {out}," in error_line(lambda: open_output(out / "cifar10-rank5"))
    (out / "manifest.json").unlink()
    assert "unfinished" in error_line(lambda: open_output(out))


@pytest.mark.parametrize("change", ["missing", "short", "long", "folder"])
def test_a_shard_that_differs_from_the_manifest_is_detected_on_opening(change: str, out: Path) -> None:
    shard = out / "cifar10-rank5" / "cifar10-rank5-train-000001.tar"
    content = shard.read_bytes()
    shard.unlink()
    if change == "folder":
        shard.mkdir()
    elif change != "missing":
        shard.write_bytes(content[:-512] if change == "short" else content + bytes(512))
    assert str(shard) in error_line(lambda: RankDataset(out))
    RankDataset(out, "full")  # other variants can still be read


def replaced(value: Any, *path: Any) -> Callable[[dict[str, Any]], None]:
    """Returns a function that sets the value at a path of keys in a manifest."""

    def change(manifest: dict[str, Any]) -> None:
        parent: Any = manifest
        for key in path[:-1]:
            parent = parent[key]
        parent[path[-1]] = value

    return change


SHARD = ("variants", "rank5", "splits", "train", "shards", 0)
WRONG = [
    replaced(3, "format"),
    replaced(None, "variants"),
    replaced([], "splits"),
    replaced({"0": "cat"}, "classes"),
    replaced([1, 2], "classes"),
    replaced("32", "image", "height"),
    replaced(None, "image"),
    replaced("five", "variants", "rank5"),
    replaced(-5, "variants", "rank5", "rank"),
    replaced("gif", "variants", "rank5", "form"),
    replaced({}, "variants", "rank5", "splits"),
    replaced("x", *SHARD),
    replaced(True, *SHARD, "samples"),
    replaced(-1, *SHARD, "bytes"),
    replaced(1.5, *SHARD, "samples"),
    replaced(41, *SHARD, "samples"),
    replaced("/etc/passwd.tar", *SHARD, "name"),
    replaced("../other.tar", *SHARD, "name"),
    replaced("cifar10-rank5/../../x.tar", *SHARD, "name"),
    replaced("a\\..\\x.tar", *SHARD, "name"),
    replaced("a\n\x1b[31m.tar", *SHARD, "name"),
    replaced("README.md", *SHARD, "name"),
    replaced({}, "splits", "../../evil"),
]


@pytest.mark.parametrize("number", range(len(WRONG)))
def test_an_edited_manifest_is_refused_in_one_line(number: int, out: Path, edit: Edit) -> None:
    edit(WRONG[number])
    message = error_line(lambda: RankDataset(out))
    assert message.isprintable()


@pytest.mark.parametrize("absolute", [False, True])
def test_a_shard_outside_of_the_output_is_refused_even_if_it_is_valid(absolute: bool, out: Path, edit: Edit) -> None:
    for suffix in (".tar", ".idx"):
        shutil.copy(out / f"cifar10-rank5/cifar10-rank5-train-000000{suffix}", out.parent / f"x{suffix}")
    edit(replaced(str(out.parent / "x.tar") if absolute else "cifar10-rank5/../../x.tar", *SHARD, "name"))
    assert "not a place inside the output" in error_line(lambda: RankDataset(out))


@pytest.mark.parametrize("text", ["", "[]", "{", "null", "[" * 100_000, "\xff"])
def test_a_file_that_is_no_manifest_is_refused_in_one_line(text: str, out: Path) -> None:
    (out / "manifest.json").write_bytes(text.encode("latin-1"))
    assert "manifest.json is damaged" in error_line(lambda: RankDataset(out))


def damage(text: str) -> list[str]:
    """Returns texts of an index, each with one fault."""
    return [
        "",
        text.replace("v1.2 40", "v1.2 39"),
        text[: text.rindex("png")],
        text[:-3],
        text.replace("png 512 ", "png 99999999 ", 1),
        text.replace("png 512 ", "png -1 ", 1),
        text.replace("png 512 ", "png 9999999999999999999999 ", 1),
        text.replace("train-00000000.png", "../train-0.png").replace("train-00000000.cls", "../train-0.cls"),
        text.replace("train-00000000.cls", "train-00000001.cls"),
        text.replace("png", "gif"),
    ]


@pytest.mark.parametrize("number", range(10))
def test_a_damaged_index_is_refused_in_one_line(number: int, out: Path) -> None:
    index = out / "cifar10-rank5" / "cifar10-rank5-train-000000.idx"
    text = index.read_text()
    damaged = damage(text)[number]
    assert damaged != text
    index.write_text(damaged)
    assert str(index) in error_line(lambda: RankDataset(out))


def test_a_damaged_list_of_labels_is_refused_in_one_line(out: Path, edit: Edit) -> None:
    listed = out / "samples" / "train.jsonl"
    text = listed.read_text()
    for wrong in (
        '{"key": 1}\n',
        "[]\n",
        "",
        text.replace('"label": ', '"label": "x", "l": '),
        text.replace("key", "k"),
    ):
        listed.write_text(wrong)
        assert str(listed) in error_line(lambda: RankDataset(out))
    listed.write_text(text)
    edit(replaced(["only", "two"], "classes"))
    assert "labels beyond the 2 classes" in error_line(lambda: RankDataset(out))


def test_labels_are_read_from_the_tars_if_their_list_is_missing(out: Path) -> None:
    listed = RankDataset(out).targets
    shutil.rmtree(out / "samples")
    assert RankDataset(out).targets == listed
