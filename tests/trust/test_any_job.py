"""Promise: any job is refused in one line, or its output passes verification, also after it has grown."""

import random
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipeline import verify
from tests.conftest import Build, smooth

SIZES = [(1, 1), (2, 3), (5, 5), (9, 17), (16, 16), (31, 33), (32, 32), (49, 49), (50, 20), (97, 100), (128, 96)]


def picture(draw: random.Random, height: int, width: int) -> Image.Image:
    """Returns a photograph, or an image that differs from all photographs: flat, noise, two colours, of low rank."""
    rng = np.random.default_rng(draw.randrange(2**32))
    shape = (height, width, 3)
    pixels = draw.choice(
        [
            lambda: smooth(rng, height, width),
            lambda: np.full(shape, rng.integers(0, 256, 3)),
            lambda: rng.integers(0, 256, shape),
            lambda: 255 * rng.integers(0, 2, shape),
            lambda: np.repeat(rng.integers(0, 256, (height, width, 1)), 3, axis=2),
            lambda: np.broadcast_to(rng.integers(0, 256, (height, 1, 3)), shape),
            lambda: np.outer(np.arange(height), np.arange(width))[:, :, None] * [1, 2, 3] % 256,
            lambda: np.kron(rng.integers(0, 256, shape), np.ones((4, 4, 1)))[:height, :width],
        ]
    )()
    return Image.fromarray(np.ascontiguousarray(pixels, np.uint8))


def write_folder(draw: random.Random, folder: Path) -> int:
    """Writes images of one size or of several, in several formats, and sometimes a file that is no image. Returns a side."""
    size = draw.choice(SIZES) if draw.random() < 0.5 else None
    for split in draw.choice([[""], ["train"], ["train", "test"]]):
        for name in "abc"[: draw.randint(1, 3)]:
            place = folder / split / name
            place.mkdir(parents=True)
            for number in range(draw.randint(1, 5)):
                image = picture(draw, *(size or (draw.randint(1, 60), draw.randint(1, 60))))
                kind = draw.choice(["png", "png", "jpg", "bmp", "webp"])
                mode = draw.choice(["RGB", "RGB", "RGB", "L", "P"]) if kind == "png" else "RGB"
                image.convert(mode).save(place / f"{number}.{kind}")
            if draw.random() < 0.1:
                (place / "other.png").write_bytes(b"no image")
    return min(size) if size else 40


def options(draw: random.Random, side: int) -> dict[str, object]:
    """Returns the options of a job for images with sides of ``side`` pixels: mostly valid, sometimes not."""
    chosen: dict[str, object] = {}
    if draw.random() < 0.3:
        side = chosen["resize"] = draw.choice([8, 20, 33, 100])
        if draw.random() < 0.5:
            side = chosen["crop"] = draw.choice([size for size in (4, 8, 20, 97) if size <= side])
    most = max(side - 1, 1)
    ranks = sorted(draw.sample(range(1, most + 1), min(most, draw.randint(1, 3))))
    likely = {
        "ranks": (0.85, ",".join(map(str, ranks))),
        "components": (0.8, draw.choice(["low", "high", "full", "low,high", "low,high,full"])),
        "bands": (0.3, f"{max(ranks[0] // 2, 1)}:{ranks[-1]}"),
        "radii": (0.3, f"{draw.randint(1, max(1, side // 2))}"),
        "factors": (0.3, draw.choice(["float16", "float32"])),
        "exact": (0.3, True),
        "order": (0.4, "shuffled"),
        "limit": (0.3, draw.randint(1, 8)),
        "samples-per-shard": (0.5, draw.randint(1, 7)),
    }
    chosen |= {name: value for name, (chance, value) in likely.items() if draw.random() < chance}
    return chosen | ({"seed": draw.randint(0, 9)} if "order" in chosen else {})


def command(job: dict[str, object]) -> list[object]:
    """Returns the options as flags."""
    return [part for name, value in job.items() for part in ([f"--{name}"] if value is True else [f"--{name}", value])]


@pytest.mark.parametrize("seeds", [range(24), pytest.param(range(24, 1000), marks=pytest.mark.full)])
def test_every_output_passes_verification(
    seeds: range, tmp_path: Path, build: Build, capsys: pytest.CaptureFixture[str]
) -> None:
    verified = 0
    for seed in seeds:
        draw, here = random.Random(seed), tmp_path / str(seed)
        side = write_folder(draw, here / "data")
        first = {"dataset": "folder", "data-dir": here / "data", "out": here / "out", **options(draw, side)}
        grown = {name: value for name, value in first.items() if name != "factors"} | {"components": "low,high,full"}
        for job in (first, grown):
            result = build(*command(job))
            note = f"seed {seed}: {command(job)}: {result.err}"
            if result.status not in (0, 3):
                assert result.status == 2, note
                assert result.err.startswith("error: "), note
                assert result.err.count("\n") == 1, note
                break
            source = ["--source", str(here / "data")] if draw.random() < 0.8 else []
            status = verify.main([str(here / "out"), "--workers", "1", *source])
            assert status == 0, note + capsys.readouterr().err
            verified += 1
    assert verified > len(seeds)
