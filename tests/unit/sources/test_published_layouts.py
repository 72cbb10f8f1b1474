"""Layouts of published datasets: Tiny ImageNet, ImageNet-V2, -A, -R and -Sketch, and Imagenette, as they unpack."""

import json
import os
import shutil
from pathlib import Path

import pytest

from pipeline import repair, verify
from pipeline.build import main
from pipeline.errors import PipelineError
from pipeline.sources import open_source
from pipeline.sources.class_list import OFFICIAL
from pipeline.sources.description import describe, describe_left_out
from pipeline.sources.folder.source import Folder
from pipeline.sources.index import SourceIndex
from tests.unit.sources.test_layouts import refused, write

GOLDFISH, SALAMANDER = "n01443537", "n01629819"
TRAIN = [
    f"train/{wnid}/{rest}" for wnid in (GOLDFISH, SALAMANDER) for rest in (f"images/{wnid}_0.JPEG", f"{wnid}_boxes.txt")
]
LISTS = ["wnids.txt", "words.txt", "test/images/test_0.JPEG", "test/images/test_1.JPEG"]


def tiny(root: Path, *more: str, table: str | None = None) -> Path:
    write(root, *TRAIN, *LISTS, "val/images/val_0.JPEG", "val/images/val_1.JPEG", "val/images/val_2.JPEG", *more)
    rows = [("val_0.JPEG", SALAMANDER), ("val_1.JPEG", GOLDFISH), ("val_2.JPEG", SALAMANDER)]
    text = "".join(f"{name}\t{wnid}\t0\t32\t44\t62\n" for name, wnid in rows) if table is None else table
    (root / "val/val_annotations.txt").write_text(text)
    return root


def rows(index: SourceIndex, split: str) -> list[tuple[str, str, int]]:
    """Name, file and label of every entry of a split."""
    entries = index.splits[split]
    return [(entry.name, entry.file, entry.label) for entry in map(entries.entry, range(len(entries)))]


def test_tiny_imagenet_as_unzipped(tmp_path):
    index = Folder(tiny(tmp_path)).index()
    assert index.classes == [GOLDFISH, SALAMANDER] and list(index.splits) == ["train", "val"]
    assert rows(index, "train") == [
        (f"{wnid}/{wnid}_0.JPEG", f"train/{wnid}/images/{wnid}_0.JPEG", label)
        for label, wnid in enumerate((GOLDFISH, SALAMANDER))
    ]
    assert rows(index, "val") == [
        (f"{GOLDFISH}/val_1.JPEG", "val/images/val_1.JPEG", 0),
        (f"{SALAMANDER}/val_0.JPEG", "val/images/val_0.JPEG", 1),
        (f"{SALAMANDER}/val_2.JPEG", "val/images/val_2.JPEG", 1),
    ]
    (line,) = describe_left_out(index)
    assert "test, which have no labels: 2" in line and "lists and boxes of Tiny ImageNet: 5" in line
    assert any("Tiny ImageNet as unzipped" in line for line in describe(index))


def test_it_is_the_same_source_as_after_sorting(tmp_path):
    index = Folder(tiny(tmp_path / "unzipped")).index()
    files = [f"train/{wnid}/{wnid}_0.JPEG" for wnid in index.classes]
    files += [f"val/{wnid}/val_{i}.JPEG" for wnid, i in ((GOLDFISH, 1), (SALAMANDER, 0), (SALAMANDER, 2))]
    assert Folder(write(tmp_path / "sorted", *files)).index().fingerprint() == index.fingerprint()


def test_official_labels_or_those_of_wnids(tmp_path):
    index = Folder(tiny(tmp_path), OFFICIAL).index()
    assert {label for _, _, label in rows(index, "val")} == {1, 25} and len(index.classes) == 1000
    (tmp_path / "wnids.txt").write_text(f"{SALAMANDER}\n{GOLDFISH}\n")
    index = Folder(tmp_path, tmp_path / "wnids.txt").index()
    assert [label for _, _, label in rows(index, "train")] == [1, 0]


@pytest.mark.parametrize(("part", "splits"), [("train", {"train": 2}), ("val", {"val": 3})])
def test_one_of_its_folders(tmp_path, part, splits):
    index = Folder(tiny(tmp_path) / part).index()
    assert {split: len(entries) for split, entries in index.splits.items()} == splits


def test_val_may_be_sorted_by_a_script_that_leaves_the_table(tmp_path):
    root = tiny(tmp_path)
    for name, wnid in (("val_0", SALAMANDER), ("val_1", GOLDFISH), ("val_2", SALAMANDER)):
        (root / "val" / wnid / "images").mkdir(parents=True, exist_ok=True)
        (root / "val/images" / f"{name}.JPEG").rename(root / "val" / wnid / "images" / f"{name}.JPEG")
    for emptied in (True, False):  # the script may leave the empty folder, too
        assert [name for name, _, _ in rows(Folder(root).index(), "val")] == [
            f"{GOLDFISH}/val_1.JPEG",
            f"{SALAMANDER}/val_0.JPEG",
            f"{SALAMANDER}/val_2.JPEG",
        ]
        if emptied:
            (root / "val/images").rmdir()
    (root / "val/val_annotations.txt").unlink()
    assert len(Folder(root).index().splits["val"]) == 3


def test_sorting_that_was_interrupted(tmp_path):
    line = refused(tiny(tmp_path, f"val/{GOLDFISH}/val_9.JPEG"))
    assert "images and n01443537" in line and "interrupted" in line
    line = refused(tiny(tmp_path / "train", f"train/{GOLDFISH}/{GOLDFISH}_7.JPEG"))
    assert f"{GOLDFISH}_7.JPEG" in line and "interrupted" in line


@pytest.mark.parametrize(
    ("table", "part"),
    [
        ("", "no label for val_0.JPEG, one of 3 images"),
        (f"val_0.JPEG {GOLDFISH}\n", "row 1 is not"),
        ("val_0.JPEG\tgoldfish\t0\n", "row 1 is not"),
        (f"val_0.JPEG\t{GOLDFISH}\nval_0.JPEG\t{SALAMANDER}\n", "two classes"),
        ("version https://git-lfs.github.com/spec/v1\n", "git lfs pull"),
        ("\udcff\n", "no UTF-8"),
    ],
)
def test_a_damaged_table_is_refused(tmp_path, table, part):
    root = tiny(tmp_path)
    (root / "val/val_annotations.txt").write_bytes(os.fsencode(table))
    line = refused(root)
    assert part in line and "val_annotations.txt" in line


def test_rows_without_an_image_are_counted(tmp_path):
    root = tiny(tmp_path)
    (root / "val/images/val_1.JPEG").unlink()
    index = Folder(root).index()
    assert "images of val_annotations.txt that are missing: 1" in index.note and len(index.splits["val"]) == 2


def test_a_table_that_is_a_pipe_or_too_large_is_refused(tmp_path):
    root = tiny(tmp_path)
    with open(root / "val/val_annotations.txt", "ab") as table:
        table.truncate(1 << 30)
    assert "far larger" in refused(root)


def test_the_pile_of_val_without_its_table_has_no_labels(tmp_path):
    root = tiny(tmp_path)
    (root / "val/val_annotations.txt").unlink()
    assert "val_annotations.txt" in refused(root) or "labels are unknown" in refused(root)


def test_as_imagenet_it_is_named(tmp_path):
    line = refused(tiny(tmp_path), dataset="imagenet")
    assert "Tiny ImageNet" in line and "--dataset folder" in line and "--classes imagenet" in line


def test_the_thousand_numbered_folders_of_imagenet_v2_are_labels(tmp_path):
    files = [f"{label}/{label:04x}.jpeg" for label in range(1000)]
    index = Folder(write(tmp_path, *files)).index()
    assert all(
        int(index.classes[label]) == label == int(name.partition("/")[0]) for name, _, label in rows(index, "train")
    )
    assert any("0 to 999 are the labels" in line for line in describe(index))
    official = Folder(tmp_path, OFFICIAL).index()
    assert rows(official, "train") == rows(index, "train") and official.classes[1] == GOLDFISH
    shutil.rmtree(tmp_path / "5")  # now a set of numbered classes as any other: sorted as text, unless a list is given
    assert any("--classes" in line for line in describe(Folder(tmp_path).index()))
    assert [int(name.partition("/")[0]) for name, *_ in rows(official, "train")] == [
        label for *_, label in rows(official, "train")
    ]


@pytest.mark.parametrize("top", ["imagenet-a", "imagenet-r", "sketch"])
def test_subsets_of_synset_folders_with_a_readme(tmp_path, top):
    root = write(tmp_path, *(f"{top}/{wnid}/a.jpg" for wnid in (GOLDFISH, SALAMANDER)), f"{top}/README.txt") / top
    index = Folder(root, OFFICIAL).index()
    assert [label for _, _, label in rows(index, "train")] == [1, 25]
    assert "labels: 2 of 1,000 classes have images" in describe(index)
    assert "files outside the class folders: 1" in describe_left_out(index)[0]


@pytest.mark.parametrize("dataset", ["folder", "imagenet"])
def test_imagenette_with_its_table_of_noise(tmp_path, dataset):
    root = write(tmp_path, f"train/{GOLDFISH}/a.JPEG", f"val/{GOLDFISH}/b.JPEG", "noisy_imagenette.csv", ".DS_Store")
    index = open_source(dataset, root, classes=OFFICIAL).index()
    assert rows(index, "train")[0][2] == rows(index, "val")[0][2] == 1 and len(index.classes) == 1000


def test_photographs_of_forty_classes_build_and_verify_with_official_labels(shared, tmp_path, build):
    """The shards hold the labels of Keras' file; ``verify`` compares them with the source."""
    keras = json.loads((shared / "data/imagenet-meta/imagenet_class_index.json").read_text())
    official = {synset: int(label) for label, (synset, _) in keras.items()}
    photographs = sorted((shared / "data/imagenet-samples").glob("*.JPEG"))[::12][:40]
    for photograph in photographs:
        folder = tmp_path / "in" / photograph.name[:9]
        folder.mkdir(parents=True)
        (folder / photograph.name).symlink_to(photograph)
    out = tmp_path / "out"
    options = ("--dataset", "folder", "--data-dir", tmp_path / "in", "--resize", "64", "--crop", "64", "--out", out)
    assert build(*options, "--classes", "imagenet", "--ranks", "5").status == 0
    manifest = json.loads((out / "manifest.json").read_text())
    assert len(manifest["classes"]) == 1000 and "40 of 1,000 classes have images" in manifest["source"]["note"]
    samples = [json.loads(line) for line in (out / "samples/train.jsonl").read_text().splitlines()]
    assert {s["name"][:9]: s["label"] for s in samples} == {p.name[:9]: official[p.name[:9]] for p in photographs}
    assert len((out / "folder-rank5/classnames.txt").read_text().splitlines()) == 1000
    assert "n15075141" in (out / "README.md").read_text()
    source = ["--source", str(tmp_path / "in"), "--workers", "1", "--sample", "4"]
    assert verify.main([str(out), *source, "--classes", "imagenet"]) == 0
    assert verify.main([str(out), *source]) == 1
    assert build(*options, "--classes", "imagenet", "--ranks", "5,9").status == 0
    grown = build(*options, "--ranks", "5,9,12")
    assert grown.status == 1 and "other --classes?" in grown.err


def test_a_class_without_a_place_ends_a_build_in_one_line(tmp_path, refused):
    write(tmp_path / "in", "cat/1.png")
    line = refused(
        "--dataset", "folder", "--data-dir", tmp_path / "in", "--classes", "imagenet", "--ranks", "5", status=1
    )
    assert "the class cat is not in the 1,000 names" in line


def test_no_images_is_no_source(tmp_path):
    with pytest.raises(PipelineError, match="no file in them"):
        Folder(write(tmp_path, "0/", "1/"), OFFICIAL).index()


def test_job_files_and_dry_runs_carry_the_list(shared, tmp_path, build, capsys):
    photograph = sorted((shared / "data/imagenet-samples").glob("*.JPEG"))[0]
    (tmp_path / "in" / photograph.name[:9]).mkdir(parents=True)
    (tmp_path / "in" / photograph.name[:9] / "a.JPEG").symlink_to(photograph)
    job = {"dataset": "folder", "data-dir": str(tmp_path / "in"), "classes": "imagenet", "ranks": "5", "resize": "64"}
    (tmp_path / "job.yaml").write_text(json.dumps({"metadata": {"job": job}}))  # JSON is YAML
    assert build("--config", tmp_path / "job.yaml", "--out", tmp_path / "out").status == 0
    assert len(json.loads((tmp_path / "out/manifest.json").read_text())["classes"]) == 1000
    dry = main(["--config", str(tmp_path / "job.yaml"), "--out", str(tmp_path / "other"), "--dry-run"])
    assert dry == 0 and "labels: 1 of 1,000 classes have images" in capsys.readouterr().err
    assert not (tmp_path / "other").exists()


def test_repair_takes_the_list_of_the_build(tmp_path, pictures, build, capsys):
    folder, names = pictures(), tmp_path / "names.txt"
    names.write_text("".join(f"{name}\n" for name in ("zebra", *sorted(path.name for path in folder.iterdir())[::-1])))
    options = (
        "--dataset",
        "folder",
        "--data-dir",
        folder,
        "--classes",
        names,
        "--ranks",
        "3",
        "--out",
        tmp_path / "out",
    )
    assert build(*options).status == 0
    tar = next((tmp_path / "out").rglob("*.tar"))
    before = tar.read_bytes()
    tar.unlink()
    command = [str(tmp_path / "out"), "--source", str(folder), "--workers", "0"]
    assert repair.main(command) == 1 and "--classes" in capsys.readouterr().err
    assert repair.main([*command, "--classes", str(names)]) == 0 and tar.read_bytes() == before
