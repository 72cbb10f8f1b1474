"""Scores equal a recount, and their intervals a bootstrap of one's own; the command writes, resumes and refuses."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from pipeline.study.benchmark import main
from pipeline.study.images import Images
from pipeline.study.spectra.benchmark import CLEAN, DISTORTIONS, FAMILIES, MEAN, Scores, Severities, score
from pipeline.study.spectra.benchmark_text import escaped, latex
from pipeline.study.spectra.spectrum import Spectrum
from tests.unit.study.conftest import PUBLISHED

SEVERITIES = Severities((1, 2), (3,))
RANKS = (1, 2, 3, 4)  # 4 is the image itself
COUNT = 150


def spectrum(right: np.ndarray, matched: np.ndarray | None = None) -> Spectrum:
    """Returns a spectrum of networks that are right where ``right``, (models, families, ranks, n), says so."""
    models, shape = [f"net{m}" for m in range(len(right))], right.shape[1:]
    labels = np.ones(shape[-1], np.int64)
    images = Images(np.zeros((shape[-1], 4, 4, 3), np.uint8), labels, ["key"] * shape[-1], ["a", "b"], "test")
    matched = np.ones(shape, bool) if matched is None else matched
    return Spectrum(images, models, FAMILIES, RANKS, right.astype(np.int16), np.ones(shape, np.float32), matched)


@pytest.fixture(scope="module")
def drawn() -> tuple[np.ndarray, np.ndarray]:
    """Predictions of three networks of different skill, and which images the controls could match."""
    rng = np.random.default_rng(5)
    shape = (len(FAMILIES), len(RANKS), COUNT)
    right = rng.random((3, *shape)) < np.array([0.7, 0.5, 0.9])[:, None, None, None]
    matched = rng.random(shape) < 0.8
    matched[0] = True
    return right, matched


def rows(scores: Scores) -> dict[tuple[str, str], dict[str, float]]:
    return {(row["network"], row["distortion"]): row for row in scores.table()}


def test_scores_equal_a_recount(drawn: tuple[np.ndarray, np.ndarray]) -> None:
    right, matched = drawn
    found = rows(score(spectrum(right, matched), SEVERITIES, "net0"))
    places = {CLEAN: (0, [3]), "low ranks": (0, [0, 1]), "high ranks": (0, [2])}
    places |= {family: (FAMILIES.index(family), [0, 1, 2]) for family in FAMILIES[1:]}
    ratios: dict[str, list[float]] = {name: [] for name in ("net0", "net1", "net2")}
    for distortion, (family, ranks) in places.items():
        counted = [(r, i) for r in ranks for i in range(COUNT) if matched[family, r, i]]
        errors = [sum(not right[m, family, r, i] for r, i in counted) for m in range(3)]
        for m in range(3):
            row = found[f"net{m}", distortion]
            assert row["judged"] == len(counted)
            assert row["accuracy"] == pytest.approx(1 - errors[m] / len(counted))
            assert row["relative error"] == pytest.approx(errors[m] / errors[0])
            if distortion != CLEAN:
                ratios[f"net{m}"].append(errors[m] / errors[0])
    for name, values in ratios.items():
        assert len(values) == len(DISTORTIONS)
        assert found[name, MEAN]["relative error"] == pytest.approx(np.mean(values))


def test_intervals_are_those_of_a_bootstrap_over_images(drawn: tuple[np.ndarray, np.ndarray]) -> None:
    right, matched = drawn
    found = rows(score(spectrum(right, matched), SEVERITIES, "net0"))
    rng, resampled = np.random.default_rng(1), []
    for _ in range(2000):
        i = rng.integers(0, COUNT, COUNT)
        wrong = [(~right[m, 0, :2] & matched[0, :2])[:, i].sum() for m in (2, 0)]
        resampled.append((1 - wrong[0] / (2 * COUNT), wrong[0] / wrong[1]))
    low, high = np.quantile(resampled, (0.025, 0.975), axis=0)
    row = found["net2", "low ranks"]
    assert (row["accuracy low"], row["accuracy high"]) == pytest.approx((low[0], high[0]), abs=0.006)
    assert (row["relative error low"], row["relative error high"]) == pytest.approx((low[1], high[1]), abs=0.03)
    assert found["net0", MEAN]["relative error low"] == found["net0", MEAN]["relative error high"] == 1


def test_a_reference_without_errors_leaves_cells_empty() -> None:
    right = np.zeros((2, len(FAMILIES), len(RANKS), 40), bool)
    right[0, 0, :2] = True  # never wrong at low ranks
    right[:, 0, :, :10] = True
    scores = score(spectrum(right), SEVERITIES, "net0")
    found = rows(scores)
    assert np.isnan(found["net1", "low ranks"]["relative error"])
    assert found["net1", "high ranks"]["relative error"] == 1
    assert found["net1", MEAN]["relative error"] == 1  # of the other four
    assert r"net1 & 25.0 & 25.0 & 25.0 & 0.0 & 0.0 & 0.0 & 100.0 (" in latex(scores)


def test_a_control_that_matches_no_image_does_not_count(drawn: tuple[np.ndarray, np.ndarray]) -> None:
    right, matched = drawn[0], drawn[1].copy()
    matched[FAMILIES.index("jpeg")] = False
    found = rows(score(spectrum(right, matched), SEVERITIES, "net0"))
    assert found["net1", "jpeg"]["judged"] == 0
    assert np.isnan(found["net1", "jpeg"]["accuracy"])
    others = [found["net1", name]["relative error"] for name in DISTORTIONS if name != "jpeg"]
    assert found["net1", MEAN]["relative error"] == pytest.approx(np.mean(others))


@pytest.mark.parametrize(
    ("side", "low", "high"),
    [
        (32, (1, 2, 3, 4, 5), (6, 8, 10, 15, 20)),
        (224, (7, 14, 21, 28, 35), (42, 56, 70, 105, 140)),
        (8, (1,), (2, 3, 5)),
    ],
)
def test_larger_images_have_larger_ranks(side: int, low: tuple[int, ...], high: tuple[int, ...]) -> None:
    assert Severities.of(side) == Severities(low, high)


def test_names_are_safe_in_latex() -> None:
    assert escaped("a_b 5% {x} $y & #1 ~ ^ \\z") == (
        r"a\_b 5\% \{x\} \$y \& \#1 \textasciitilde{} \textasciicircum{} \textbackslash{}z"
    )


# The command


@pytest.fixture
def job(weights: Path, records: Path) -> list[str]:
    words = ["--images", records, "--limit", 12, "--low", "2,1", "--high", "8"]
    for name in ("resnet2b", "cnn_a_adv"):
        spec, file = PUBLISHED[name]
        words += ["--model", f"{name}={spec}", "--weights", weights / file]
    return [str(word) for word in words]


def test_the_command_writes_tables_and_a_figure_and_its_rerun_the_same(
    job: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    for _ in range(2):
        assert main([*job, "--out", str(out)]) == 0
    said = capsys.readouterr()
    assert "low ranks 1, 2; high ranks 8" in said.out
    assert "warning: only 12 images" in said.err
    with (out / "benchmark.csv").open() as file:
        table = list(csv.DictReader(file))
    assert [row["distortion"] for row in table if row["network"] == "cnn_a_adv"] == [CLEAN, *DISTORTIONS, MEAN]
    assert {row["relative error"] for row in table if row["network"] == "resnet2b"} <= {"1.000000", ""}
    settings = json.loads((out / "benchmark.json").read_text())
    assert settings["ranks"] == {"low": [1, 2], "high": [8]}
    assert settings["reference"] == "resnet2b"
    assert (out / "benchmark.tex").read_text().count(r"\\") == 3
    assert (out / "benchmark.png").stat().st_size > 10_000
    first = (out / "benchmark.csv").read_bytes()
    assert main([*job, "--reference", "cnn_a_adv", "--out", str(out)]) == 0  # nothing is computed again
    assert (out / "benchmark.csv").read_bytes() != first


@pytest.mark.parametrize(
    ("more", "line"),
    [
        (
            ["--reference", "resnet2"],
            "--reference: 'resnet2' is not one of resnet2b, cnn_a_adv, did you mean 'resnet2b'",
        ),
        (["--high", "2,8"], "--high begins at 2, not above the largest rank of --low, 2"),
        (["--high", "32"], "--high: 32 is too large; images of 32 pixels have ranks 1 to 31"),
        (["--low", "0"], "--low: '0' is not a whole number from 1"),
    ],
)
def test_mistakes_are_one_line(
    more: list[str], line: str, job: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*job, *more, "--out", str(tmp_path / "out")]) == 2
    said = capsys.readouterr().err
    assert line in said
    assert said.splitlines()[-1].startswith("error: ")
    assert not (tmp_path / "out").exists()


def test_one_network_is_no_comparison(job: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    last = len(job) - 1 - job[::-1].index("--model")
    assert main([*job[:last], "--out", str(tmp_path / "out")]) == 2
    assert capsys.readouterr().err == "error: a benchmark compares networks: give at least two --model\n"


def test_other_settings_into_the_same_folder_are_refused(
    job: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = str(tmp_path / "out")
    assert main([*job, "--out", out]) == 0
    before = (tmp_path / "out" / "benchmark.csv").read_bytes()
    assert main([*job, "--high", "9", "--out", out]) != 0
    assert "name another folder" in capsys.readouterr().err
    assert (tmp_path / "out" / "benchmark.csv").read_bytes() == before
