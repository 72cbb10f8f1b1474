"""Promises to outputs of format 1: they are read, verified, exported and reported, and builds leave them as they are.

``format1.tar.xz`` holds ten small random images (``pictures``), a file that is not an image, and the output (``shapes``)
that version 0.1.0 built from them: low-rank, high-rank-only, band, low-pass and high-pass images, exact variants, factors.
"""

import hashlib
import io
import re
import shutil
import tarfile
from pathlib import Path

import numpy as np
import pytest
import zarr
from PIL import Image

from pipeline.build import main as build
from pipeline.data import RankDataset, RankView, open_output, pair
from pipeline.export import main as export
from pipeline.repair import main as repair
from pipeline.report.__main__ import main as report
from pipeline.verify import main as verify
from tests.compat.conftest import JOB, REJECTS, SINCE_CROISSANT, digests, run

# Of the arrays that version 0.1.0 exported from rank 5.
IMAGES = "305955ee4e29c4ae71001192e08d402e45506842e071dbf45204bc6e1d5ccf8f"
LABELS = "f038f03f1fd021444ff7bfdd5232198bfaa1b49a865b9a437e980aa27a513c6c"


@pytest.fixture
def out(unpacked: Path, tmp_path: Path) -> Path:
    """A copy of the old output that a test may change."""
    return Path(shutil.copytree(unpacked / "shapes", tmp_path / "shapes"))


def samples(tar: Path) -> dict[str, object]:
    """Returns the members of a shard by name, PNG files as their pixels."""
    with tarfile.open(tar) as archive:
        contents = {name: archive.extractfile(name).read() for name in archive.getnames()}  # type: ignore[union-attr]
    return {
        name: Image.open(io.BytesIO(data)).tobytes() if name.endswith(".png") else data
        for name, data in contents.items()
    }


def test_today_s_build_makes_the_same_pixels_and_lists(unpacked: Path, today: Path) -> None:
    after, before = digests(today), digests(unpacked / "shapes")
    assert {name for name in after if not name.endswith(SINCE_CROISSANT)} == before.keys()
    for tar in (name for name in before if name.endswith(".tar")):
        assert samples(today / tar) == samples(unpacked / "shapes" / tar)
    # Sizes and hashes of PNG files are in these, too.
    others = ("manifest.json", "README.md", "_info.json", ".tar", ".idx", "sizes.json")
    chunk = re.compile(r"(spectra|factors)\.zarr/.*c\.\d")  # float32: the last bits differ
    same = [name for name in before if not name.endswith(others) and "/wids-" not in name and not chunk.match(name)]
    assert len(same) > 15
    assert [after[name] for name in same] == [before[name] for name in same]
    spectra = [
        np.asarray(zarr.open_array(out / "spectra.zarr" / "train", mode="r")) for out in (today, unpacked / "shapes")
    ]
    np.testing.assert_allclose(spectra[0], spectra[1], rtol=1e-6, atol=1e-6)


def test_it_is_read(unpacked: Path) -> None:
    low, high = RankDataset(unpacked / "shapes", "rank5"), RankDataset(unpacked / "shapes", "highrank5")
    full = RankDataset(unpacked / "shapes", "full")
    assert (len(low), low.classes) == (6, ["circle", "square"])
    for (x_low, y), (x_high, _), (x, _) in zip(low, high, full, strict=True):
        law = np.asarray(x_low, np.int16) + np.asarray(x_high, np.int16) - 128
        unclipped = (np.asarray(x_low) % 255 != 0) & (np.asarray(x_high) % 255 != 0)
        np.testing.assert_array_equal(law[unclipped], np.asarray(x, np.int16)[unclipped])
        assert y in (0, 1)
    assert {"low", "high", "label"} <= set(pair(unpacked / "shapes", rank=5)[0])
    assert np.asarray(RankView(unpacked / "shapes", rank=3)[0][0]).shape == (16, 20, 3)
    assert "highpass3-exact" in open_output(unpacked / "shapes").variants


def test_it_is_verified(out: Path, pictures: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(verify, out, "--workers", "1", "--source", pictures) == 0, capsys.readouterr()
    shard = out / "shapes-rank5" / "shapes-rank5-train-000001.tar"
    content = bytearray(shard.read_bytes())
    content[600] ^= 1
    shard.write_bytes(content)
    capsys.readouterr()
    assert run(verify, out, "--workers", "1") == 1
    assert shard.name in capsys.readouterr().err


def test_it_is_exported(unpacked: Path, tmp_path: Path) -> None:
    assert run(export, unpacked / "shapes", "--variant", "rank5", "--split", "train", "--to", tmp_path / "arrays") == 0
    for name, expected in (("images.npy", IMAGES), ("labels.npy", LABELS)):
        assert hashlib.sha256((tmp_path / "arrays" / name).read_bytes()).hexdigest() == expected


def test_it_is_reported(unpacked: Path, tmp_path: Path) -> None:
    assert run(report, unpacked / "shapes", "--out", tmp_path / "report.html") == 0
    assert "square/broken.png" in (tmp_path / "report.html").read_text()


def test_it_is_not_repaired(out: Path, pictures: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (out / "shapes-highrank2" / "shapes-highrank2-test-000000.tar").write_bytes(b"damaged")
    before = digests(out)
    run(verify, out, "--workers", "1", "--json", out.parent / "verify.json")
    for report_of_verify in ([], ["--report", out.parent / "verify.json"]):
        capsys.readouterr()
        assert run(repair, out, "--source", pictures, *report_of_verify) == 1
        names_the_version(capsys.readouterr().err)
    assert digests(out) == before


@pytest.mark.parametrize("finished", [True, False])
@pytest.mark.parametrize("options", [[], ["--ranks", "2,3,5"]])
def test_it_is_neither_resumed_nor_extended(
    finished: bool, options: list[str], out: Path, pictures: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if not finished:
        (out / "manifest.json").unlink()
        next((out / ".build" / "records").glob("*train-000001*")).unlink()
    before = digests(out)
    assert run(build, *JOB, "--data-dir", pictures, "--out", out, *options) == 1
    names_the_version(capsys.readouterr().err)
    assert digests(out) == before


def test_it_is_replaced_if_asked(out: Path, pictures: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(build, *JOB, "--data-dir", pictures, "--out", out, "--overwrite") == REJECTS
    assert run(verify, out, "--workers", "1") == 0, capsys.readouterr()


def names_the_version(message: str) -> None:
    assert message.count("\n") == 1
    assert "format 1" in message
    assert "rank-shards 0.1" in message
