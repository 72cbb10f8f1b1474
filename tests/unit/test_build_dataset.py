"""``pipeline.build_dataset`` gives the bytes of a build from files, whatever the dataset's images are."""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pytest
import torch
from PIL import Image

import pipeline
from pipeline import repair, verify
from pipeline.dataset_objects import BuiltDataset
from pipeline.errors import PipelineError, UsageError
from pipeline.sources.objects import source as objects
from tests.conftest import Build

CLASSES = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]
CUTS: dict[str, Any] = {"ranks": [3, 7], "components": "low,high,full", "name": "x", "quiet": True}
FLAGS = ("--ranks", "3,7", "--components", "low,high,full", "--name", "x")


class Listed:
    """A dataset in the style of torchvision: items (image, label), perhaps with the attribute ``classes``."""

    def __init__(
        self, images: Any, labels: Any, classes: list[str] | None = None, item: Callable[..., Any] = lambda x: x
    ) -> None:
        self.images, self.labels, self.item = images, labels, item
        if classes:
            self.classes = classes

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, i: int) -> Any:
        return self.item(self.images[i]), self.labels[i]


def shards(out: Path) -> dict[str, str]:
    """The SHA-256 of every tar and of its index, by name."""
    files = json.loads((out / "manifest.json").read_text())["files"]
    return {name: file["sha256"] for name, file in files.items() if name.endswith((".tar", ".idx"))}


@pytest.fixture(scope="module")
def cifar(shared: Path) -> tuple[np.ndarray, np.ndarray]:
    """(pixels uint8 (200, 32, 32, 3), labels (200,)) of lossless CIFAR-10 images, in the order of their classes."""
    raw = np.fromfile(shared / "data/cifar10/test_batch.first1017.bin", np.uint8).reshape(-1, 3073)[:200]
    raw = raw[np.argsort(raw[:, 0], kind="stable")]
    return raw[:, 1:].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1), raw[:, 0].astype(np.int64)


@pytest.fixture(scope="module")
def of_files(cifar: tuple[np.ndarray, np.ndarray], tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The shards of the same images as PNG files in class folders."""
    from pipeline.build import main

    root = tmp_path_factory.mktemp("files")
    for i, (pixels, label) in enumerate(zip(*cifar, strict=True)):
        (root / "in" / CLASSES[label]).mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(root / "in" / CLASSES[label] / f"{i:05d}.png")
    source = ["--dataset", "folder", "--data-dir", str(root / "in"), "--order", "source", "--workers", "0", "--quiet"]
    assert main([*source, *FLAGS, "--out", str(root / "out")]) == 0
    return shards(root / "out")


def to_tensor(pixels: np.ndarray) -> torch.Tensor:
    """As torchvision's ``ToTensor``."""
    return torch.from_numpy(np.ascontiguousarray(pixels.transpose(2, 0, 1))).to(torch.float32).div(255)


ITEMS: dict[str, Callable[[np.ndarray], Any]] = {
    "PIL": Image.fromarray,
    "array": lambda pixels: pixels,
    "tensor": lambda pixels: torch.from_numpy(pixels.copy()).permute(2, 0, 1),
    "ToTensor": to_tensor,
    "ToDtype": lambda pixels: torch.from_numpy(pixels.copy()).permute(2, 0, 1).float().mul_(1.0 / 255),
    "float64": lambda pixels: pixels / 255,
}


@pytest.mark.parametrize("kind", ITEMS)
def test_torchvision_like_datasets_give_the_bytes_of_files(cifar, of_files, tmp_path, kind):
    dataset = Listed(*cifar, CLASSES, ITEMS[kind])
    built = pipeline.build_dataset(dataset, tmp_path / "out", order="source", **CUTS)
    assert shards(tmp_path / "out") == of_files
    assert (built.splits, built.classes, built.built, built.rejects) == ({"train": 200}, CLASSES, 200, [])
    assert built.variants["rank3"] == tmp_path / "out/x-rank3" and built.variants["rank3"].is_dir()
    assert "200 images" in str(built)


@pytest.mark.parametrize("form", [None, "torch", "numpy"])
def test_hugging_face_datasets_give_the_bytes_of_files(cifar, of_files, tmp_path, form):
    features = datasets.Features(
        {"picture": datasets.Image(), "id": datasets.Value("int64"), "kind": datasets.ClassLabel(names=CLASSES)}
    )
    columns = {"picture": [*cifar[0]], "id": [*range(200)], "kind": cifar[1]}
    dataset = datasets.Dataset.from_dict(columns, features).with_format(form)
    built = pipeline.build_dataset(datasets.DatasetDict(train=dataset), tmp_path / "out", order="source", **CUTS)
    assert shards(tmp_path / "out") == of_files and built.classes == CLASSES


def test_photographs_of_every_size_give_the_bytes_of_files(shared, tmp_path, build: Build):
    """Grey photographs, too: PIL images are converted and counted as files are."""
    photographs = sorted((shared / "data/imagenet-samples").glob("*.JPEG"), key=lambda path: path.stat().st_size)[:30]
    photographs.sort()
    for path in photographs:
        (tmp_path / "in" / path.name[:9]).mkdir(parents=True, exist_ok=True)
        (tmp_path / "in" / path.name[:9] / path.name).symlink_to(path)
    (tmp_path / "in/n00000000").mkdir()
    grey = Image.open(photographs[0]).convert("L")
    grey.save(tmp_path / "in/n00000000/grey.png")
    files = [tmp_path / "in/n00000000/grey.png", *photographs]
    classes = sorted({path.parent.name if "grey" in path.name else path.name[:9] for path in files})
    labels = [classes.index("n00000000"), *(classes.index(path.name[:9]) for path in photographs)]
    source = ("--dataset", "folder", "--data-dir", tmp_path / "in", "--order", "source", "--out", tmp_path / "files")
    assert build(*source, *FLAGS).status == 0
    pipeline.build_dataset(Listed(files, labels, classes, Image.open), tmp_path / "out", order="source", **CUTS)
    assert shards(tmp_path / "out") == shards(tmp_path / "files")
    ours, theirs = (json.loads((tmp_path / out / "manifest.json").read_text())["splits"] for out in ("out", "files"))
    assert ours == theirs and ours["train"]["converted"]["grey"] >= 1
    read = Listed([path.read_bytes() for path in files], labels, classes)
    pipeline.build_dataset(read, tmp_path / "bytes", order="source", **CUTS)
    assert shards(tmp_path / "bytes") == shards(tmp_path / "files")


def test_verify_needs_no_source_and_says_so_if_it_gets_one(cifar, tmp_path, capsys):
    pipeline.build_dataset(Listed(*cifar, CLASSES), tmp_path / "out", **CUTS)
    capsys.readouterr()
    assert verify.main([str(tmp_path / "out"), "--workers", "1"]) == 0
    assert "64 images recomputed" in capsys.readouterr().out
    assert verify.main([str(tmp_path / "out"), "--workers", "1", "--source", str(tmp_path)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "dataset object" in line and "without --source" in line


def test_datasets_sorted_by_class_are_shuffled_and_others_are_not(cifar, tmp_path):
    def order(labels: Any, out: str) -> str:
        built = pipeline.build_dataset(Listed(cifar[0][:20], labels), tmp_path / out, ranks=3, limit=4, quiet=True)
        return str(built.manifest["job"]["order"])

    assert order(np.arange(20) // 10, "sorted") == "shuffled"
    assert order(np.arange(20) % 3, "mixed") == order(np.zeros(20, int), "one") == "source"


# Resuming


class Interrupted(Listed):
    """Is interrupted at its n-th item read."""

    left = 0

    def __getitem__(self, i: int) -> Any:
        self.left -= 1
        if self.left == 0:
            raise KeyboardInterrupt
        return super().__getitem__(i)


def test_the_same_call_resumes_and_extends(cifar, of_files, tmp_path):
    options = CUTS | {"order": "source", "samples_per_shard": 50}
    pipeline.build_dataset(Listed(*cifar, CLASSES), tmp_path / "whole", **options)
    dataset = Interrupted(*cifar, CLASSES)
    dataset.left = 200 + 8 + 120  # in the third shard
    with pytest.raises(KeyboardInterrupt):
        pipeline.build_dataset(dataset, tmp_path / "out", **(options | {"ranks": [3]}))
    assert not (tmp_path / "out/manifest.json").exists()
    resumed = pipeline.build_dataset(dataset, tmp_path / "out", **(options | {"ranks": [3]}))
    assert resumed.built == 100
    assert pipeline.build_dataset(dataset, tmp_path / "out", **options).built == 200
    assert pipeline.build_dataset(dataset, tmp_path / "out", **options).built == 0
    for name in ("manifest.json", "samples/train.jsonl", "README.md"):
        assert (tmp_path / "out" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


@pytest.mark.parametrize("change", ["pixel", "label", "class", "order"])
def test_another_dataset_does_not_continue_an_output(cifar, tmp_path, change):
    pixels, labels = cifar[0][:30].copy(), np.arange(30) % 10
    pipeline.build_dataset(Listed(pixels, labels, CLASSES), tmp_path / "out", **CUTS)
    other = Listed(pixels.copy(), labels.copy(), [*CLASSES])
    if change == "pixel":
        other.images[17, 3, 4, 1] ^= 1
    elif change == "label":
        other.labels[17] += 1
    elif change == "class":
        other.classes[3] = "lion"
    else:
        other.images[[4, 14]] = other.images[[14, 4]]  # of one class
    with pytest.raises(PipelineError, match="source fingerprint"):
        pipeline.build_dataset(other, tmp_path / "out", **CUTS)


# Items that differ or cannot be read


class Transformed(Listed):
    """Changes one grey level of some items each time that they are read."""

    def __init__(self, *arguments: Any, which: Iterator[int] | range) -> None:
        super().__init__(*arguments)
        self.which, self.count = {*which}, 0

    def __getitem__(self, i: int) -> Any:
        image, label = super().__getitem__(i)
        self.count += 1
        if i in self.which:
            image = image.copy()
            image[0, 0, 0] = self.count % 256
        return image, label


@pytest.mark.parametrize(("which", "first"), [(range(200), 0), (range(5, 6), 5), (range(150, 160), 150)])
def test_a_random_transform_is_refused(cifar, tmp_path, which, first):
    with pytest.raises(PipelineError) as caught:
        pipeline.build_dataset(Transformed(*cifar, CLASSES, which=which), tmp_path / "out", order="source", **CUTS)
    assert f"train[{first}] differs" in str(caught.value) and "\n" not in str(caught.value)
    assert not (tmp_path / "out/manifest.json").exists()


def test_items_that_raise_are_rejects(cifar, tmp_path, capsys):
    class Broken(Listed):
        def __getitem__(self, i: int) -> Any:
            if i in (0, 3):
                raise ValueError(f"bad item {i} at {tmp_path}")
            if i == 7:
                raise FileNotFoundError(2, "No such file", "seven.png")
            image, label = super().__getitem__(i)
            return (Image.new("I;16", (32, 32)) if i == 9 else image), label

    dataset = Broken(cifar[0][:40], np.arange(40) % 10, CLASSES)
    built = pipeline.build_dataset(dataset, tmp_path / "out", **(CUTS | {"quiet": False}))
    assert built.splits == {"train": 36} and [int(reject["name"]) for reject in built.rejects] == [0, 3, 7, 9]
    assert built.rejects[1]["reason"] == "the dataset raises ValueError"
    assert built.rejects[1]["error"] == f"ValueError: bad item 3 at {tmp_path}"
    assert "more than 8 bits" in built.rejects[3]["reason"]
    err = capsys.readouterr().err
    assert "items that cannot be read, which become rejects: 4" in err and "4 images were rejected" in err
    assert str(tmp_path) not in (tmp_path / "out/rejects.jsonl").read_text()
    assert verify.main([str(tmp_path / "out"), "--workers", "1"]) == 0
    assert pipeline.build_dataset(dataset, tmp_path / "out", **CUTS).splits == {"train": 36}
    lines = (tmp_path / "out/samples/train.jsonl").read_text().splitlines()
    assert json.loads(lines[9])["label"] == 9  # its image is damaged, its label is known
    tar = next((tmp_path / "out/x-rank3").glob("*.tar"))
    before = tar.read_bytes()
    tar.unlink()
    repaired = pipeline.repair_dataset(dataset, tmp_path / "out")
    assert tar.read_bytes() == before and not repaired.left


def test_a_dataset_without_a_readable_item(cifar, tmp_path):
    def fail(_: Any) -> Any:
        raise RuntimeError("broken")

    with pytest.raises(
        PipelineError, match=r"no item of the dataset can be read; the first, train\[0\]: RuntimeError: broken"
    ):
        pipeline.build_dataset(Listed(*cifar, CLASSES, fail), tmp_path / "out", **CUTS)


@pytest.mark.parametrize("error", [OSError(5, "Input/output error"), ConnectionResetError(), TimeoutError("late")])
def test_failing_disks_and_servers_are_tried_again(cifar, tmp_path, monkeypatch, error):
    monkeypatch.setattr(objects.time, "sleep", lambda seconds: None)
    fails = {12: 2, 13: 0}

    class Flaky(Listed):
        def __getitem__(self, i: int) -> Any:
            if fails.get(i):
                fails[i] -= 1
                raise error
            return super().__getitem__(i)

    dataset = Flaky(cifar[0][:20], np.arange(20) % 10, CLASSES)
    assert not pipeline.build_dataset(dataset, tmp_path / "out", **CUTS).rejects
    fails[13] = 10**6
    with pytest.raises(PipelineError, match=r"train\[13\] cannot be read: .* \(tried 3 times\)"):
        pipeline.build_dataset(dataset, tmp_path / "out", **CUTS)


# Keys, classes and splits


def test_keys_of_dicts_and_places_in_tuples(cifar, tmp_path):
    class Items(Listed):
        def __getitem__(self, i: int) -> Any:
            return self.item(self.images[i], self.labels[i], i)

    def build(item: Callable[..., Any], out: str, **keys: Any) -> dict[str, str]:
        dataset = Items(cifar[0][:20], np.arange(20) % 10, None, item)
        built: BuiltDataset = pipeline.build_dataset(dataset, tmp_path / out, **CUTS, **keys)
        assert built.classes == [str(label) for label in range(10)]
        return shards(tmp_path / out)

    expected = build(lambda image, label, i: (image, label), "pair")
    assert build(lambda image, label, i: {"img": image, "label": np.array([label])[0], "id": i}, "dict") == expected
    assert build(lambda image, label, i: {"a": image, "b": image, "y": label}, "two", image_key="b") == expected
    assert build(lambda image, label, i: (i, image, label), "three", image_key=1, label_key=2) == expected
    assert build(lambda image, label, i: [image, torch.tensor(label)], "list") == expected
    assert build(lambda image, label, i: (image, np.array([label], np.uint8)), "medmnist") == expected


def test_several_splits_subsets_and_class_lists(cifar, tmp_path):
    whole = Listed(*cifar, ["n01440764", "n01443537", "n01484850", "n01491361", *CLASSES[4:]])
    part = torch.utils.data.Subset(whole, [i for i in range(200) if cifar[1][i] in (1, 3)][:20])
    splits = {"train": part, "validation": torch.utils.data.Subset(part, range(5))}
    built = pipeline.build_dataset(splits, tmp_path / "out", **CUTS, classes="imagenet")
    assert built.splits == {"train": 20, "validation": 5} and len(built.classes) == 1000
    labels = {json.loads(line)["label"] for line in (tmp_path / "out/samples/train.jsonl").read_text().splitlines()}
    assert labels == {1, 3} and "2 of 1,000 classes" in built.manifest["source"]["note"]


def test_labels_may_be_names(cifar, tmp_path):
    names = ["dog" if i % 3 else "cat" for i in range(12)]
    assert pipeline.build_dataset(Listed(cifar[0][:12], names), tmp_path / "a", **CUTS).classes == ["cat", "dog"]
    built = pipeline.build_dataset(Listed(cifar[0][:12], names), tmp_path / "b", **CUTS, classes=["cow", "dog", "cat"])
    assert built.classes == ["cow", "dog", "cat"]
    lines = (tmp_path / "b/samples/train.jsonl").read_text().splitlines()
    assert [json.loads(line)["label"] for line in lines] == [1 if name == "dog" else 2 for name in names]


# Repair


def test_repair_rebuilds_what_is_damaged(cifar, tmp_path, capsys):
    dataset, out = Listed(*cifar, CLASSES), tmp_path / "out"
    pipeline.build_dataset(dataset, out, samples_per_shard=50, **CUTS)
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file() and ".build" not in path.parts}
    tar = out / "x-rank3/x-rank3-train-000002.tar"
    damaged = bytearray(before[tar])
    damaged[5000] ^= 1
    tar.write_bytes(damaged)
    (out / "samples/train.jsonl").unlink()
    capsys.readouterr()
    assert repair.main([str(out), "--workers", "0"]) == 1
    assert "call pipeline.repair_dataset(dataset, out)" in capsys.readouterr().err
    assert repair.main([str(out), "--workers", "0", "--source", str(tmp_path)]) == 2
    assert "call pipeline.repair_dataset(dataset, out)" in capsys.readouterr().err
    other = Listed(255 - cifar[0], cifar[1], CLASSES)
    with pytest.raises(PipelineError, match="not the one that the output was built from"):
        pipeline.repair_dataset(other, out)
    repaired = pipeline.repair_dataset(dataset, out)
    assert {*repaired.repaired} == {"x-rank3/x-rank3-train-000002.tar", "samples/train.jsonl"} and not repaired.left
    assert {path: path.read_bytes() for path in before} == before
    assert pipeline.repair_dataset(dataset, out).repaired == []


def test_outputs_of_commands_are_repaired_by_the_command(cifar, tmp_path, build: Build):
    assert build("--ranks", "3", "--limit", "5", "--out", tmp_path / "out").status == 0
    with pytest.raises(PipelineError, match="'sample', not from a dataset object"):
        pipeline.repair_dataset(Listed(*cifar), tmp_path / "out")
    with pytest.raises(PipelineError, match="another job: its"):
        pipeline.build_dataset(Listed(*cifar), tmp_path / "out", ranks=3, name="sample", quiet=True)


# Mistakes


IMAGE = np.zeros((32, 32, 3), np.uint8)
MISTAKES: list[tuple[Any, dict[str, Any], str]] = [
    (Listed([IMAGE], [0]), {"rank": 3}, "unknown option 'rank', did you mean 'ranks'"),
    (Listed([IMAGE], [0]), {"ranks": None}, "ranks: none given"),
    (Listed([IMAGE], [0]), {"ranks": [40]}, "ranks: 40 is too large for 32 x 32 images"),
    (Listed([IMAGE], [0]), {"ranks": [3.5]}, "ranks: "),
    (Listed([IMAGE], [0]), {"workers": 4}, "workers: a dataset object is read and computed in this process"),
    (Listed([IMAGE], [0]), {"dataset_": 1}, "unknown option"),
    (Listed([IMAGE], [0]), {"name": "a.b"}, "name: 'a.b' must be"),
    (Listed([IMAGE], [0]), {"classes": 5}, "classes: it is neither"),
    (Listed([IMAGE], [0]), {"classes": "missing.txt"}, "missing.txt does not exist"),
    (Listed([IMAGE], [3]), {"classes": ["a", "b"]}, "a label is 3, and classes= names 2 classes"),
    (Listed([IMAGE], [3], ["a", "b"]), {}, "a label is 3, and the dataset names 2 classes"),
    (Listed([IMAGE], [0], ["cat"]), {"classes": "imagenet"}, "the class cat is not in the 1,000 names"),
    (Listed([IMAGE, IMAGE], [0, "cat"]), {}, "labels are numbers (0) and names (cat)"),
    (Listed([IMAGE], ["cow"], ["cat"]), {}, "a label is cow, which is none of the 1 classes"),
    (Listed([IMAGE], [10**6]), {}, "does not name its classes"),
    (Listed([IMAGE], [-1]), {}, "train[0] has the label -1"),
    (Listed([IMAGE], [1.5]), {}, "train[0] has the label 1.5, which is neither"),
    (Listed([IMAGE], [True]), {}, "train[0] has the label True, which is neither"),
    (Listed([IMAGE], [np.eye(3)[0]]), {}, "train[0] has the label array"),
    (Listed(["a.png"], [0]), {}, "train[0] is a str; allowed: a PIL image"),
    (Listed([IMAGE.transpose(2, 0, 1)], [0]), {}, "train[0] is an array of uint8, (3, 32, 32); allowed:"),
    (Listed([torch.zeros(32, 32, 3, dtype=torch.uint8)], [0]), {}, "tensors are (3, h, w): permute(2, 0, 1)"),
    (Listed([np.zeros((32, 32, 4), np.uint8)], [0]), {}, "train[0] is an array of uint8, (32, 32, 4)"),
    (Listed([np.zeros(32, np.uint8)], [0]), {}, "train[0] is an array of uint8, (32,)"),
    (Listed([np.zeros((0, 32, 3), np.uint8)], [0]), {}, "train[0] is an array of uint8, (0, 32, 3)"),
    (Listed([IMAGE.astype(np.int64)], [0]), {}, "train[0] is an array of int64"),
    (Listed([torch.randn(3, 32, 32)], [0]), {}, "leave out Normalize"),
    (Listed([torch.full((3, 32, 32), 0.5)], [0]), {}, "0.5, which is no grey level / 255"),
    (Listed([torch.full((3, 32, 32), float("nan"))], [0]), {}, "leave out Normalize"),
    (Listed([IMAGE.astype(np.float16)], [0]), {}, "train[0] is an array of float16"),
    (Listed([torch.zeros(3, 8, 8, dtype=torch.bfloat16)], [0]), {}, "train[0] is a tensor of bfloat16, (3, 8, 8)"),
    (Listed([], []), {}, "train of the dataset holds no images"),
    (iter([(IMAGE, 0)]), {}, "train is a list_iterator, not a map-style dataset"),
    ([IMAGE], {}, "items of the dataset are of type ndarray"),
    ([(IMAGE, 0, 1)], {}, "image_key=0 and label_key=1"),
    ([{"a": IMAGE, "b": IMAGE, "y": 0}], {}, "image_key: it may be 'a' or 'b'"),
    ([{"image": IMAGE, "fine": 0, "coarse": 1}], {}, "label_key: it may be 'fine' or 'coarse'"),
    ([{"image": IMAGE}], {}, "label_key: it is none that is recognised"),
    ([{"image": IMAGE, "label": 0}], {"label_key": "labl"}, "no 'labl', did you mean 'label'"),
    ([{"image": IMAGE, "label": 0}, {"image": IMAGE}], {}, "train[1] has no 'label'"),
    ({}, {}, "the dict of datasets is empty"),
    ({"extra": [(IMAGE, 0)]}, {}, "'extra' is none; allowed"),
    ({"val": [(IMAGE, 0)], "valid": [(IMAGE, 0)]}, {}, "both val"),
    ({"train": Listed([IMAGE], [0], ["a"]), "test": Listed([IMAGE], [0], ["b"])}, {}, "name other classes"),
    ("pictures", {}, "pictures is a path, not a dataset"),
]  # fmt: skip


@pytest.mark.parametrize(("dataset", "options", "part"), MISTAKES)
def test_mistakes_are_one_line(tmp_path, monkeypatch, dataset, options, part):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(PipelineError) as caught:
        pipeline.build_dataset(dataset, tmp_path / "out", **({"ranks": [3], "quiet": True} | options))
    assert part in str(caught.value) and "\n" not in str(caught.value) and len(str(caught.value)) < 400
    assert not (tmp_path / "out").exists()


def test_a_folder_without_a_usable_name_needs_one(cifar, tmp_path):
    with pytest.raises(UsageError, match="give name="):
        pipeline.build_dataset(Listed(*cifar), tmp_path / "my.out", ranks=[3], quiet=True)


# Programs


def test_it_works_in_a_script_without_a_main_guard_and_without_ray(tmp_path):
    script = f"""
import sys
sys.modules["ray"] = None
import numpy as np
import pipeline

class Noise:
    def __len__(self): return 30
    def __getitem__(self, i): return np.random.default_rng(i).integers(0, 256, (16, 12), dtype=np.uint8), i % 3

built = pipeline.build_dataset(Noise(), {str(tmp_path / "out")!r}, ranks=(2,), bands=[(2, 5)], samples_per_shard=10)
print(built)
print(pipeline.repair_dataset(Noise(), {str(tmp_path / "out")!r}))
"""
    (tmp_path / "script.py").write_text(script)
    done = subprocess.run([sys.executable, "script.py"], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert "rank2, highrank2, band2-5 of train 30 images" in done.stdout and "left={}" in done.stdout
    assert done.stdout.count("band2-5") == 1  # no other process has run the script
