"""Promises of outputs with bands and radii: they are built, extended, verified, read and reported like others."""

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from pipeline import build, verify
from pipeline.data import RankDataset, decode_high
from pipeline.report.__main__ import main as report
from pipeline.study.training.data import Selection, read_variant
from tests.unit.verification.test_verify import change_pixel, rehash, tar

SMALL = ("--limit", "20", "--samples-per-shard", "8", "--workers", "0", "--quiet")
FIRST = ("--ranks", "3,12", "--bands", "3:12,5:30", "--radii", "4", "--components", "low,high,full")


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("bands") / "out"
    assert build.main([*FIRST, "--exact", "--out", str(out), *SMALL]) == 0
    return out


@pytest.fixture
def out(built: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(built, tmp_path / "out"))


def hashes(out: Path) -> dict[str, str]:
    files = (path for path in out.rglob("*") if path.is_file() and ".build" not in path.parts)
    return {str(path.relative_to(out)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def faults(out: Path, capsys: pytest.CaptureFixture[str], *arguments: str) -> list[str]:
    capsys.readouterr()
    assert verify.main([str(out), "--workers", "1", *arguments]) == 1
    return capsys.readouterr().err.splitlines()


def test_they_are_verified(built: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert verify.main([str(built), "--workers", "1"]) == 0
    assert "band3-12, band5-30, lowpass4, highpass4" in capsys.readouterr().out


def test_planes_that_lack_the_ranks_of_both_ends_are_verified(
    tmp_path: Path, pictures: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    """Drawings and digits have such planes, which count twice."""
    source = pictures(classes="a", each=2)
    for path in source.rglob("*.png"):
        Image.new("RGB", (16, 16), (7, 70, 200)).save(path)
    job = ("--dataset", "folder", "--data-dir", str(source), "--bands", "2:5", "--components", "full", "--exact")
    assert build.main([*job, "--workers", "0", "--quiet", "--out", str(tmp_path / "out")]) == 0
    counts = json.loads((tmp_path / "out" / "manifest.json").read_text())["variants"]["band2-5"]["splits"]["train"]
    assert counts["deficient_planes"] == 2 * 3 * counts["samples"]
    assert verify.main([str(tmp_path / "out"), "--workers", "1"]) == 0


@pytest.mark.parametrize("side", ["48", "49", "98"])
def test_the_frequency_on_the_disc_is_kept_at_every_size(side: str, tmp_path: Path) -> None:
    """np.fft.fftfreq(49, 1 / 49) gives 1.0000000000000002 for one period."""
    out = tmp_path / "out"
    assert build.main(["--radii", "1,5", "--resize", side, "--out", str(out), *SMALL[2:], "--limit", "4"]) == 0
    assert verify.main([str(out), "--workers", "1"]) == 0


def test_without_full_and_source_no_image_of_radii_is_said_to_be_cut_right(
    pictures: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = ["--dataset", "folder", "--data-dir", str(pictures(size=(96, 96))), "--radii", "4"]
    assert build.main([*given, "--out", str(tmp_path / "out"), *SMALL[2:]]) == 0
    assert verify.main([str(tmp_path / "out"), "--workers", "1"]) == 0
    output = capsys.readouterr().out
    assert "not verified: that the images were cut right; that takes --source DIR, or the variant full" in output


def test_they_are_added_to_a_finished_output(built: Path, tmp_path: Path) -> None:
    out = tmp_path / "grown"
    for more in (["--ranks", "3,12", "--components", "low,high,full"], ["--bands", "5:30,3:12", "--exact"], FIRST):
        exact = ["--exact"] if "--exact" not in more else []
        assert build.main([*more, *exact, "--out", str(out), *SMALL]) == 0
    assert hashes(out) == hashes(built)


@pytest.mark.parametrize("variant", ["band3-12", "lowpass4", "highpass4"])
def test_a_changed_pixel_is_found_in_every_image(out: Path, capsys: pytest.CaptureFixture[str], variant: str) -> None:
    """The sum of the parts shows it, without recomputing anything."""
    parts = [RankDataset(out, name)[1][0] for name in ("rank3", "rank12", "lowpass4", "highpass4", variant)]
    clear = np.logical_and.reduce([(np.asarray(part) > 4) & (np.asarray(part) < 250) for part in parts])
    row, column, channel = np.argwhere(clear)[0].tolist()
    change_pixel(out / tar(variant), "train-00000001", row, column, channel)
    rehash(out)
    assert any(
        line.startswith(f"{tar(variant)}: train-00000001: ")
        or (variant == "highpass4" and "lowpass4 and highpass4" in line)
        for line in faults(out, capsys, "--sample", "0")
    )


@pytest.mark.parametrize("variant", ["band5-30", "lowpass4"])
def test_a_changed_pixel_is_not_that_of_the_reference(
    out: Path, capsys: pytest.CaptureFixture[str], variant: str
) -> None:
    """Also in a band without images at its ends."""
    change_pixel(out / tar(variant), "train-00000001", 7, 9, 1)
    rehash(out)
    lines = faults(out, capsys, "--sample", "1000")
    assert any(
        f"{tar(variant)}: train-00000001: green: 1 of 1,024 bytes are not those of the float64" in line
        for line in lines
    )


@pytest.mark.parametrize(("key", "value"), [("above", 4), ("rank", 11), ("component", "high"), ("radius", 3)])
def test_an_edited_manifest_is_found(out: Path, capsys: pytest.CaptureFixture[str], key: str, value: object) -> None:
    path = out / "manifest.json"
    manifest = json.loads(path.read_text())
    manifest["variants"]["band3-12"][key] = value
    path.write_text(json.dumps(manifest))
    assert "variant band3-12 has another component, form, rank or folder than its name says" in faults(out, capsys)[0]


@pytest.mark.parametrize("variant", ["band3-12", "highpass4"])
def test_readers_give_back_signed_residuals(built: Path, variant: str) -> None:
    stored, exact = (RankDataset(built, f"{variant}{end}") for end in ("", "-exact"))
    assert stored.part.signed
    image, label = stored[3]
    assert label == exact[3][1]
    assert np.abs(decode_high(image) - exact[3][0]).max() <= 1.001 / 255  # each end of a band rounds once


def test_the_card_says_what_they_are_and_which_are_signed(built: Path) -> None:
    card = (built / "README.md").read_text()
    assert {"sample-band3-12", "sample-lowpass4"} <= {
        c["config_name"] for c in yaml.safe_load(card.split("---")[1])["configs"]
    }
    assert "`bandA-B` holds the singular values A + 1 to B" in card
    of_band, of_lowpass = ((built / f"sample-{v}" / "README.md").read_text() for v in ("band3-12", "lowpass4"))
    assert "**Bands are signed and stored with an offset of 128" in of_band
    assert "is the original image exactly" not in of_band
    assert "offset" not in of_lowpass


def test_a_network_takes_them_as_signed(built: Path) -> None:
    chosen = Selection(built)
    assert {v: read_variant(chosen, v).signed for v in ("band3-12", "highpass4", "lowpass4", "rank3")} == {
        "band3-12": True,
        "highpass4": True,
        "lowpass4": False,
        "rank3": False,
    }


@pytest.mark.parametrize("cuts", [FIRST[:6], ("--bands", "3:12"), ("--radii", "4,9", "--components", "high")])
def test_the_report_shows_them(tmp_path: Path, cuts: tuple[str, ...]) -> None:
    out = tmp_path / "out"
    assert build.main([*cuts, "--out", str(out), *SMALL]) == 0
    assert report([str(out)]) == 0
    page = (out / "report.html").read_text()
    assert "band of the singular values 4 to 12" in page or "high-pass image, radius 9" in page
    assert "as stored" in page and "the output has only full images" not in page


@pytest.mark.parametrize(
    ("cuts", "line"),
    [
        (("--bands", "3:32"), "bands: 3:32 is too large for 32 x 32 images; a rank must be from 1 to 31"),
        (("--radii", "23"), "radii: 23 keeps every frequency of 32 x 32 images; a radius must be from 1 to 22"),
    ],
)
def test_what_does_not_fit_the_images_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], cuts: tuple[str, str], line: str
) -> None:
    assert build.main([*cuts, "--out", str(tmp_path / "out"), *SMALL]) == 2
    assert line in capsys.readouterr().err
