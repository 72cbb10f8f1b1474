"""Golden values: pixels and files of the sample at fixed ranks, pinned: a processor or library that alters one is noticed.

``python -m pipeline.verify --sample 48`` has compared all of them with float64 ``numpy.linalg.svd``. Nine subpixels are near
a rounding tie: docs/numerics.md allows them to differ on another processor.
"""

import hashlib
import tarfile
from pathlib import Path

import numpy as np
import pytest

from pipeline.build import main
from pipeline.data import RankDataset

COUNT = 48  # images

# SHA-256 of uint8 (48, 32, 32, 3), decoded: no encoder changes them.
PIXELS = {
    "rank5": "5bdb94e12d319c4a9c5545b1d87d8f385b745c6110955424d9d317c43c8aca00",
    "rank20": "5050d11ce77b69d6f4f5be21c764a179d2c130a53b8949f20adac2a24d780a1e",
    "highrank5": "fe47b617752a8cebccc46e6912ee94d843d0c8186ba1290112ac8e21d522a205",
    "highrank20": "5cd92979cf0f4adc90bef7b6e12789cc0217eed3c22bf242151ab94cedca9b2c",
    "band5-20": "e9c43b46f066a4f545d050ee0ab9cb161575df4f55f600eeeaee2e2a74ce0896",
    "lowpass6": "af0ee3231a26629d6de9bc7a50a47a3f6fb7e2c5b36c825dd11912681612b825",
    "highpass6": "60102b608df27bdf403cfb12200c4500c3be409cab64eb4eed2846eda43b7199",
    "full": "40131466af1bf33b73e8a251995a0077ce530fbaa8c998aeaaf82b7020d723a8",
}

# SHA-256 of the PNG files one after the other, in the order of their keys: docs/format.md defines every byte.
FILES = {
    "rank5": "d17378cd5eb3ac6081a6bf88d4c1b30f1f74be51689c5e43c53feee4786e249b",
    "highrank20": "4a706398cae0a31c6b7aefd0fac9d57d3684e279f301fc91f0d59ddc0f68f104",
    "full": "4b255de1b9baccbcc80d056d03f3347a73885ea4850338280da4cae026867ce4",
}

# Sums of float32 (48, 32, 32, 3) with the weights cos(0), cos(1), ...: the last bits may differ between processors.
SUMS = {
    "rank5-exact": 0.481258,
    "rank20-exact": -0.071782,
    "highrank5-exact": 0.007264,
    "highrank20-exact": 0.560309,
    "band5-20-exact": -0.553045,
    "lowpass6-exact": 0.485078,
    "highpass6-exact": 0.003443,
}


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("golden") / "out"
    job = ["--dataset", "sample", "--splits", "train", "--limit", str(COUNT), "--ranks", "5,20", "--bands", "5:20"]
    job += ["--radii", "6", "--components", "low,high,full", "--exact", "--workers", "0", "--quiet"]
    assert main([*job, "--out", str(folder)]) == 0
    return folder


def pixels(out: Path, variant: str) -> np.ndarray:
    data = RankDataset(out, variant)
    stored = np.stack([np.asarray(data[i][0]) for i in range(len(data))])
    assert stored.shape == (COUNT, 32, 32, 3)
    return stored


@pytest.mark.parametrize("variant", PIXELS)
def test_pixels(variant: str, out: Path) -> None:
    assert hashlib.sha256(pixels(out, variant).tobytes()).hexdigest() == PIXELS[variant]


@pytest.mark.parametrize("variant", SUMS)
def test_exact_values(variant: str, out: Path) -> None:
    values = pixels(out, variant).astype(np.float64).ravel()
    assert values @ np.cos(np.arange(len(values))) == pytest.approx(SUMS[variant], abs=1e-4)
    assert np.abs(values).max() > 0.01  # a sum of zeros would pass


@pytest.mark.parametrize("variant", FILES)
def test_files(variant: str, out: Path) -> None:
    digest, count = hashlib.sha256(), 0
    for shard in sorted(out.glob(f"sample-{variant}/*.tar")):
        with tarfile.open(shard) as tar:
            for member in tar:
                if member.name.endswith(".png"):
                    digest.update(tar.extractfile(member).read())  # type: ignore[union-attr]
                    count += 1
    assert (count, digest.hexdigest()) == (COUNT, FILES[variant])


def test_every_variant_is_pinned(out: Path) -> None:
    folders = {folder.name.removeprefix("sample-") for folder in out.glob("sample-*")}
    assert folders == {*PIXELS, *SUMS}
