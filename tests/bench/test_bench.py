"""The benchmark is fair: the baseline makes the same pixels as the pipeline."""

import argparse
import io
import tarfile
from pathlib import Path

import numpy as np
from PIL import Image

from bench import baseline, inputs, planning, ray_data
from bench.__main__ import measures
from pipeline.execution import run
from pipeline.planning.job import Job
from pipeline.sources.imagenet.source import open_imagenet


def pixels(tar: Path) -> dict[int, np.ndarray]:
    with tarfile.open(tar) as shard:
        images = {m.name: shard.extractfile(m) for m in shard.getmembers() if m.name.endswith(".png")}
        return {
            int(name.removesuffix(".png").rpartition("-")[2]): np.asarray(Image.open(io.BytesIO(file.read())))
            for name, file in images.items()
            if file is not None
        }


def test_baseline_and_pipeline_make_the_same_pixels(tmp_path: Path) -> None:
    options = {"dataset": "sample", "ranks": "3,10", "limit": 60, "splits": "train", "workers": 0, "quiet": True}
    job = Job.parse(options | {"out": str(tmp_path / "ours")})
    run.build(job)
    source, plan = run.plan_job(job)
    baseline.build(source, plan.entries(plan.shards[0]), plan.content.geometry, (3, 10), tmp_path / "baseline")
    for name in ("rank3", "rank10", "highrank3", "highrank10"):
        actual = pixels(tmp_path / "ours" / f"sample-{name}" / f"sample-{name}-train-000000.tar")
        expected = pixels(tmp_path / "baseline" / name / "000000.tar")
        assert len(actual) == 60
        assert actual.keys() == expected.keys()
        assert all((actual[key] == expected[key]).all() for key in actual)


def test_photograph_folders_have_the_usual_size_of_imagenet(tmp_path: Path) -> None:
    inputs.photograph_folder(tmp_path, 9)
    files = sorted(tmp_path.rglob("*.jpg"))
    assert len(files) == 9
    assert {Image.open(file).size for file in files} == {(500, 375)}


def test_the_job_by_ray_data_makes_the_same_pixels(tmp_path: Path) -> None:
    options = {"dataset": "sample", "ranks": "3,10", "limit": 20, "splits": "train", "workers": 0, "quiet": True}
    job = Job.parse(options | {"out": str(tmp_path / "ours")})
    run.build(job)
    paths = sorted(ray_data.png_folder(job, tmp_path / "png").rglob("*.png"), key=lambda path: path.stem)
    images = np.stack([np.asarray(Image.open(path)) for path in paths])
    batch = ray_data.cut_batch({"image": images, "path": [str(path) for path in paths]}, (3, 10))
    for name in ("rank3", "rank10", "highrank3", "highrank10"):
        expected = pixels(tmp_path / "ours" / f"sample-{name}" / f"sample-{name}-train-000000.tar")
        actual = dict(zip(map(int, batch["__key__"]), batch[f"{name}.png"], strict=True))
        assert actual.keys() == expected.keys() and len(actual) == 20
        assert all((actual[key] == expected[key]).all() for key in actual)


def test_the_archives_for_planning_are_an_imagenet(tmp_path: Path) -> None:
    index = open_imagenet(planning.make_archives(tmp_path / "imagenet", 1000)).index()
    assert len(index.classes) == 1000
    assert {split: len(part) for split, part in index.splits.items()} == {"train": 2000, "val": 50}


def test_every_measure_has_a_name() -> None:
    options = argparse.Namespace(rounds=1, quick=True, cifar=None)
    names = set(measures(options, Path()))
    assert {
        "cifar",
        "224x1",
        "224x4",
        "side16",
        "side512",
        "avx2",
        "commands",
        "planning",
        "machine",
        "sources",
    } <= names
