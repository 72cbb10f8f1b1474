"""Measures builds from Parquet files and arrays, compared with a folder of the same images, and their peak memory."""

import shutil
import statistics
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from bench import commands, inputs
from pipeline.execution import run
from pipeline.planning.job import Job

SMALL, LARGE = 4000, 400  # images of 32 pixels, and photographs of 375 x 500
FILE = 300_000_000  # bytes of the Parquet file of which the memory is measured
_GROUP = 1000  # rows


def measure(scratch: Path, rounds: int, scale: int) -> None:
    """Prints images per second of each source, its ratio to the folder, and the memory of a build from a large file."""
    small = _small(scratch / "sources", SMALL // scale)
    photos = inputs.photograph_folder(scratch / "folder", LARGE)
    files = sorted(photos.glob("train/*/*"))
    _write(scratch / "photos" / "train.parquet", files, len(files))
    large = {"folder": photos, "parquet": scratch / "photos"}
    print(f"\nSources ({rounds} rounds in turn, medians)")
    _compare("32 pixels", small, {"ranks": "3,5,10,20"}, scratch / "out", rounds)
    _compare("JPEG of 375 x 500", large, {"ranks": 50, "resize": 256, "crop": 224}, scratch / "out", rounds)
    path = scratch / "large" / "train.parquet"
    _write(path, files, FILE // scale // (sum(file.stat().st_size for file in files) // len(files)))
    options = f"--dataset parquet --data-dir {path.parent} --resize 64 --crop 64 --ranks 5 --workers 0 --quiet"
    memory = commands.run(["pipeline.build", *options.split(), "--out", str(scratch / "out")])[1]
    shutil.rmtree(scratch / "out")
    print(f"Parquet file of {path.stat().st_size / 1e6:,.0f} MB: {memory:,.0f} MB at most in the process that builds")


def _small(root: Path, count: int) -> dict[str, Path]:
    """Writes lossless images of 32 pixels as each source. Returns their places."""
    generator, photos = np.random.default_rng(0), [np.asarray(photo) for photo in inputs.photographs()]
    images = [inputs.random_crop(photos[number % len(photos)], (32, 32), generator) for number in range(count)]
    labels = np.arange(count) % len(photos)
    files = []
    for number, (image, label) in enumerate(zip(images, labels, strict=True)):
        files.append(root / "folder" / "train" / f"class{label}" / f"{number:05d}.png")
        files[-1].parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(files[-1])
    _write(root / "parquet" / "train.parquet", files, count)
    (root / "arrays").mkdir()
    np.save(root / "arrays" / "images.npy", np.stack(images))
    np.save(root / "arrays" / "labels.npy", labels)
    return {name: root / name for name in ("folder", "parquet", "arrays")}


def _write(path: Path, files: list[Path], rows: int) -> None:
    """Writes a Parquet file with ``rows`` images, those of the files again and again, a row group at a time."""
    path.parent.mkdir(parents=True, exist_ok=True)
    schema = pa.schema([("image", pa.struct([("bytes", pa.binary()), ("path", pa.string())])), ("label", pa.string())])
    with pq.ParquetWriter(path, schema, use_dictionary=False) as writer:
        for start in range(0, rows, _GROUP):
            group = [files[row % len(files)] for row in range(start, min(start + _GROUP, rows))]
            images = [{"bytes": file.read_bytes(), "path": file.name} for file in group]
            writer.write_table(pa.table({"image": images, "label": [file.parent.name for file in group]}, schema))


def _compare(name: str, places: dict[str, Path], options: dict[str, object], out: Path, rounds: int) -> None:
    rates: dict[str, list[float]] = {source: [] for source in places}
    for _ in range(rounds):
        for source, place in places.items():
            job = {"dataset": source, "data-dir": str(place), "name": "x", "order": "source", "workers": 0}
            outcome = run.build(Job.parse(job | options | {"out": str(out), "quiet": True}))
            rates[source].append(outcome.images / outcome.working)
            shutil.rmtree(out)
    for source, measured in rates.items():
        ratio = statistics.median(rate / folder for rate, folder in zip(measured, rates["folder"], strict=True))
        print(f"{name:20}{source:10}{statistics.median(measured):10,.1f} images/s{ratio:8.2f} of the folder")
