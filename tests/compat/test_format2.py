"""Promises to outputs of format 2.

``format2.tar.xz`` holds the output that version 0.2.0 built from the images of ``format1.tar.xz``.
"""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from pipeline.build import main as build
from pipeline.data import RankDataset
from pipeline.repair import main as repair
from pipeline.verify import main as verify
from tests.compat.conftest import JOB, REJECTS, SINCE_CROISSANT, digests, run, unpack


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return unpack("format2.tar.xz", tmp_path_factory.mktemp("format2")) / "shapes"


@pytest.fixture
def out(stored: Path, tmp_path: Path) -> Path:
    """A copy that a test may change."""
    return Path(shutil.copytree(stored, tmp_path / "shapes"))


def whole_numbers(out: Path) -> dict[str, str]:
    """Returns the SHA-256 of the files that do not depend on the processor, nor on hashes or sizes of those that do."""
    return {
        name: digest
        for name, digest in digests(out).items()
        if "exact" not in name
        and not name.startswith(("spectra.zarr", "factors.zarr", "manifest.json", "_info", "README"))
        and not name.endswith(SINCE_CROISSANT)
    }


def test_today_s_build_makes_the_same_files(stored: Path, today: Path) -> None:
    assert {name for name in digests(today) if not name.endswith(SINCE_CROISSANT)} == digests(stored).keys()
    assert whole_numbers(today) == whole_numbers(stored)
    assert sum(name.endswith(".tar") for name in whole_numbers(today)) == 24


def test_today_s_build_has_the_same_pixel_digests(stored: Path, today: Path) -> None:
    before, after = (json.loads((out / "manifest.json").read_text())["variants"] for out in (stored, today))
    for name in (name for name in before if not name.endswith("-exact")):
        assert before[name]["splits"] == after[name]["splits"]


def test_it_is_read(stored: Path) -> None:
    low, high = RankDataset(stored, "rank5"), RankDataset(stored, "highrank5")
    for (x_low, y), (x_high, _), (x, _) in zip(low, high, RankDataset(stored, "full"), strict=True):
        law = np.asarray(x_low, np.int16) + np.asarray(x_high, np.int16) - 128
        unclipped = (np.asarray(x_low) % 255 != 0) & (np.asarray(x_high) % 255 != 0)
        np.testing.assert_array_equal(law[unclipped], np.asarray(x, np.int16)[unclipped])
        assert y in (0, 1)


def test_it_is_verified(stored: Path, pictures: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(verify, stored, "--workers", "1", "--source", pictures, "--same-as", stored) == 0, capsys.readouterr()


def test_it_is_repaired(out: Path, pictures: Path) -> None:
    before = digests(out)
    (out / "shapes-highrank2" / "shapes-highrank2-test-000000.tar").write_bytes(b"damaged")
    run(verify, out, "--workers", "1", "--json", out.parent / "verify.json")
    assert run(repair, out, "--source", pictures, "--report", out.parent / "verify.json") == 0
    assert digests(out) == before


def test_it_grows(out: Path, pictures: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = digests(out)
    assert run(build, *JOB, "--data-dir", pictures, "--out", out, "--ranks", "2,3,5") == REJECTS, capsys.readouterr()
    after = digests(out)
    assert {name: digest for name, digest in before.items() if name.endswith(".tar")}.items() <= after.items()
    assert "rank3" in json.loads((out / "manifest.json").read_text())["job"]["variants"]
    assert run(verify, out, "--workers", "1") == 0


def test_the_same_command_adds_the_croissant_files(
    out: Path, pictures: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = whole_numbers(out)
    assert not list(out.rglob(SINCE_CROISSANT))
    assert run(build, *JOB, "--data-dir", pictures, "--out", out) == REJECTS, capsys.readouterr()
    after = digests(out)
    added = {name for name in after if name.endswith(SINCE_CROISSANT)}
    assert whole_numbers(out) == before
    assert len(added) == 1 + len(json.loads((out / "manifest.json").read_text())["variants"])
    assert run(verify, out, "--workers", "1", "--source", pictures) == 0


def test_a_removed_croissant_file_is_missing(today: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Also if the manifest still lists another one: only an output that lists none may lack them."""
    out = Path(shutil.copytree(today, tmp_path / "today"))
    manifest = json.loads((out / "manifest.json").read_text())
    del manifest["files"]["shapes-rank5/croissant.json"]
    (out / "manifest.json").write_text(json.dumps(manifest))
    assert run(verify, out, "--workers", "1") == 1
    assert "shapes-rank5/croissant.json" in capsys.readouterr().err
