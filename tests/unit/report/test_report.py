"""Tests of the report that need no browser: its figures, outputs without optional parts, and users' mistakes."""

import json
import os
import re
import shutil
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from pipeline.data import RankDataset
from pipeline.report.__main__ import main as report
from pipeline.report.contents import make
from pipeline.report.plots import svg
from pipeline.report.plots.palette import PAPER
from tests.conftest import contents
from tests.unit.report.conftest import CLASSES, run_build

BuildOutput = Callable[..., Path]


@pytest.fixture
def build_output(cifar_tree: Path, tmp_path: Path) -> BuildOutput:
    """Returns a function that builds an output of the CIFAR images with some options."""

    def build(*options: object) -> Path:
        out = tmp_path / "out"
        ranks = [] if "--ranks" in options or "full" in options else ["--ranks", "3,5"]
        job = ("--dataset", "folder", "--data-dir", cifar_tree, "--out", out, "--limit", 30, *ranks, *options)
        assert run_build(*job) == 0
        return out

    return build


def text_of(file: Path) -> str:
    """Returns the text of a page, without tags, styles and scripts."""
    return re.sub(
        r"\s+", " ", re.sub(r"<style.*?</style>|<script.*?</script>|<[^>]*>", " ", file.read_text(), flags=re.S)
    )


def refused(capsys: pytest.CaptureFixture[str], *arguments: object, status: int) -> str:
    """Returns the error line of a report that fails with an exit status, after checking that it is all of the output."""
    capsys.readouterr()
    assert report([*map(str, arguments)]) == status
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("error: ")
    assert captured.err.count("\n") == 1
    return captured.err


def reference(image: np.ndarray, rank: int) -> tuple[np.ndarray, float]:
    """Returns rint(A_k), float64 (h, w, 3), and the share of the energy that it keeps, by LAPACK."""
    u, s, v = np.linalg.svd(image.transpose(2, 0, 1).astype(np.float64), full_matrices=False)
    low = np.rint((u[..., :rank] * s[:, None, :rank]) @ v[:, :rank]).transpose(1, 2, 0)
    return low, float((s[:, :rank] ** 2).sum() / (s**2).sum())


def test_the_figures_equal_an_independent_computation(cifar: Path, cifar_tree: Path) -> None:
    page = make(cifar, sample=1000)
    images = {
        split: [np.asarray(Image.open(file)) for file in sorted((cifar_tree / split).rglob("*.png"))]
        for split in ("train", "test")
    }
    assert page.measured == len(images["train"]) == 120
    assert page.spectra == (160, 160)
    every = [*images["train"], *images["test"]]
    energy = np.quantile([reference(image, 5)[1] for image in every], 0.5)
    row = {row[0]: row for row in page.plots["energy"].table.rows}["5"]
    assert float(row[3].removesuffix(" %")) == pytest.approx(100 * energy, abs=0.006)
    lows = [np.clip(reference(image, 5)[0], 0, 255) for image in images["train"]]
    errors = [np.mean((low - image) ** 2) for low, image in zip(lows, images["train"], strict=True)]
    decibels = np.quantile(10 * np.log10(255**2 / np.array(errors)), 0.5, method="nearest")
    row = {row[0]: row for row in page.plots["psnr"].table.rows}["rank5"]
    assert float(row[3]) == pytest.approx(decibels, abs=0.051)
    unclipped = np.stack([reference(image, 3)[0] for image in every])
    clipped = np.mean((unclipped < 0) | (unclipped > 255))
    row = {row[0]: row for row in page.plots["clipping"].table.rows}["rank3"]
    assert float(row[1].removesuffix(" %")) == pytest.approx(100 * clipped, abs=6e-4)


def test_ssim_equals_its_definition() -> None:
    """The definition is equation 13 of Wang et al. 2004, with their 11 x 11 Gaussian window."""
    from pipeline.report.measures import ssim

    generator = np.random.default_rng(3)
    first = generator.integers(0, 256, (16, 16, 3)).astype(np.float64)
    second = np.clip(first + generator.normal(0, 20, first.shape), 0, 255)
    line = np.exp(-(np.arange(-5, 6) ** 2) / (2 * 1.5**2))
    window = np.outer(line, line) / line.sum() ** 2
    values = []
    for channel in range(3):
        for top in range(6):
            for left in range(6):
                a, b = (of[top : top + 11, left : left + 11, channel] for of in (first, second))
                mean_a, mean_b = (window * a).sum(), (window * b).sum()
                var_a, var_b = (window * a * a).sum() - mean_a**2, (window * b * b).sum() - mean_b**2
                both = (window * a * b).sum() - mean_a * mean_b
                c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
                top_part = (2 * mean_a * mean_b + c1) * (2 * both + c2)
                values.append(top_part / ((mean_a**2 + mean_b**2 + c1) * (var_a + var_b + c2)))
    assert ssim(first, second) == pytest.approx(np.mean(values), abs=1e-6)


def test_classes_are_counted_by_split(cifar: Path) -> None:
    table = make(cifar).plots["classes"].table
    assert table.head == ("class", "train", "test")
    assert table.rows == tuple((name, "12", "4") for name in CLASSES)


def test_two_reports_of_one_output_are_equal(cifar: Path, tmp_path: Path) -> None:
    for name in "ab":
        assert report([str(cifar), "--out", str(tmp_path / name)]) == 0
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_the_page_contains_no_host_path_or_time(cifar: Path) -> None:
    page = (cifar / "report.html").read_text()
    run = json.loads((cifar / ".build" / "runs.jsonl").read_text().splitlines()[0])
    assert str(cifar) not in page
    assert run["time"] not in page
    assert f">{run['host']}<" not in page


class Addresses(HTMLParser):
    """Collects the ids of a page, and the addresses that a browser loads without a click."""

    def __init__(self) -> None:
        super().__init__()
        self.ids: list[str] = []
        self.loaded: list[str] = []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        values = dict(attributes)
        self.ids += [value for name, value in attributes if name == "id" and value]
        if tag != "a":
            self.loaded += [
                values[name] or "" for name in ("src", "href", "xlink:href", "data", "poster") if name in values
            ]
        self.loaded += re.findall(r"url\((.*?)\)", values.get("style") or "")


@pytest.mark.parametrize("output", ["cifar", "imagenet"])
def test_ids_are_unique_and_nothing_is_loaded_from_outside(output: str, request: pytest.FixtureRequest) -> None:
    page = (request.getfixturevalue(output) / "report.html").read_text()
    addresses = Addresses()
    addresses.feed(page)
    assert len(addresses.ids) == len(set(addresses.ids))
    assert all(address.startswith(("data:image/", "data:,", "#")) for address in addresses.loaded)
    assert "url(" not in page.partition("<style>")[2].partition("</style>")[0]
    assert "default-src 'none'" in page


def test_a_plot_takes_its_colours_from_the_page(cifar: Path) -> None:
    for plot in make(cifar).plots.values():
        drawn = svg.inline(plot)
        assert "var(--ink)" in drawn
        assert not re.search(r"(fill|stroke): #", drawn)
        assert "font-family" not in drawn


def test_the_report_is_small(cifar: Path, imagenet: Path) -> None:
    assert (cifar / "report.html").stat().st_size < 3e6
    assert (imagenet / "report.html").stat().st_size < 5e6


def test_rejects_are_listed_with_their_reason(imagenet: Path) -> None:
    text = text_of(imagenet / "report.html")
    assert "1 image of the source is not in the output" in text
    assert "cut off.JPEG" in text
    assert json.loads((imagenet / "rejects.jsonl").read_text())["reason"] in text


def test_rejects_are_counted_if_their_list_is_missing(imagenet: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(imagenet, copy, ignore=shutil.ignore_patterns("rejects.jsonl", "report.html"))
    assert report([str(copy)]) == 0
    text = text_of(copy / "report.html")
    assert "1 image of the source is not in the output; the list of them (rejects.jsonl) is missing." in text
    assert "every image" not in text


def test_png_writes_the_sheets_and_every_plot(cifar: Path, tmp_path: Path) -> None:
    assert report([str(cifar), "--out", str(tmp_path / "r.html"), "--png", str(tmp_path / "deep" / "png")]) == 0
    names = {file.stem for file in (tmp_path / "deep" / "png").iterdir()}
    plots = {"spectrum", "energy", "psnr", "ssim", "clipping", "classes", "stages"}
    assert names == plots | {"contact-sheet", "figure-2", "figure-3", "figure-9"}
    for name in plots:
        image = Image.open(tmp_path / "deep" / "png" / f"{name}.png")
        assert image.width > 1400
        assert round(float(image.info["dpi"][0])) == 300
    sheet = np.asarray(Image.open(tmp_path / "deep" / "png" / "contact-sheet.png").convert("RGB"))
    data = RankDataset(cifar, "full")
    first = np.asarray(data[data.targets.index(0)][0])
    enlarged = first.repeat(8, axis=0).repeat(8, axis=1)
    places = np.argwhere((sheet == enlarged[0, 0]).all(axis=2))[:4000].tolist()
    assert any(np.array_equal(sheet[y : y + 256, x : x + 256], enlarged) for y, x in places)


@pytest.mark.parametrize(
    ("options", "present", "absent"),
    [
        (("--components", "low"), {"spectrum", "clipping"}, {"psnr", "ssim"}),
        (("--components", "high"), {"spectrum", "clipping"}, {"psnr", "ssim"}),
        (("--components", "full"), {"classes"}, {"psnr", "ssim", "clipping"}),
        (("--components", "low,high"), {"psnr", "ssim", "clipping"}, set()),
        (("--components", "low,high", "--exact"), {"psnr", "ssim", "clipping"}, set()),
        (("--components", "low,full", "--factors"), {"psnr", "ssim"}, set()),
    ],
)
def test_plots_depend_on_the_variants_of_the_output(
    build_output: BuildOutput,
    options: tuple[str, ...],
    present: set[str],
    absent: set[str],
    capsys: pytest.CaptureFixture[str],
) -> None:
    out = build_output(*options)
    assert report([str(out)]) == 0, capsys.readouterr().err
    plots = set(make(out).plots)
    assert present <= plots
    assert not absent & plots
    text = text_of(out / "report.html")
    assert ("PSNR and SSIM need the original images" in text) == ("psnr" in absent and "full" not in options)
    assert ("There is nothing to compare with the original images" in text) == ("full" in options)
    assert "of 0 evenly spaced images" not in text


def test_originals_are_restored_from_an_exact_pair(build_output: BuildOutput, cifar_tree: Path) -> None:
    files = [np.asarray(Image.open(file)) for file in (cifar_tree / "train").rglob("*.png")]
    originals = [ladder.original for ladder in make(build_output("--components", "low,high", "--exact")).ladders]
    assert originals
    for original in originals:
        assert original is not None
        assert any(np.array_equal(original.pixels, file) for file in files)


def test_an_output_of_mixed_sizes_has_a_report(
    imagenet_tree: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ("--dataset", "folder", "--data-dir", imagenet_tree, "--ranks", "5,20", "--max-rejects", 1, "--limit", 3)
    assert run_build(*options, "--out", tmp_path / "out") == 0
    assert report([str(tmp_path / "out"), "--png", str(tmp_path / "png")]) == 0, capsys.readouterr().err
    assert "of many sizes" in text_of(tmp_path / "out" / "report.html")


def test_the_page_says_that_spectra_and_log_are_missing(cifar: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(cifar, copy, ignore=shutil.ignore_patterns(".build", "spectra.zarr", "report.html"))
    assert report([str(copy)]) == 0
    text = text_of(copy / "report.html")
    assert "has no singular values" in text
    assert ".build/runs.jsonl) is missing" in text


def test_images_too_small_for_ssim_have_no_ssim_plot(pictures: Callable[..., Path], tmp_path: Path) -> None:
    folder = pictures("data/train", size=(8, 8)).parent
    options = ("--dataset", "folder", "--data-dir", folder, "--ranks", 2, "--components", "low,high,full")
    assert run_build(*options, "--out", tmp_path / "out") == 0
    plots = make(tmp_path / "out").plots
    assert "psnr" in plots
    assert "ssim" not in plots


@pytest.mark.parametrize(
    ("sizes", "options"),
    [
        ([(1, 1)], ("--components", "full")),
        ([(1, 9)], ("--components", "full")),
        ([(1, 7), (12, 9)], ("--components", "full")),
        ([(1, 7), (12, 9)], ("--ranks", 2)),
    ],
)
def test_images_of_one_row_have_no_ranks(
    pictures: Callable[..., Path], tmp_path: Path, sizes: list[tuple[int, int]], options: tuple[object, ...]
) -> None:
    for name, size in zip("ab", sizes, strict=False):
        folder = pictures("data/train", classes=name, size=size).parent
    job = ("--dataset", "folder", "--data-dir", folder, *options, "--out", tmp_path / "out")
    assert run_build(*job) == 0
    assert report([str(tmp_path / "out"), "--png", str(tmp_path / "png")]) == 0
    page = make(tmp_path / "out")
    assert [ladder.chosen.label for ladder in page.ladders] == ["a", "b"][1 : len(sizes)]
    assert bool(page.figures) == (len(sizes) > 1)
    assert (tmp_path / "png" / "contact-sheet.png").is_file()


def test_a_mistake_is_reported_in_one_line(cifar: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    unfinished = tmp_path / "unfinished"
    shutil.copytree(cifar, unfinished, ignore=shutil.ignore_patterns("manifest.json", "*.tar"))
    assert "unfinished" in refused(capsys, unfinished, status=1)
    assert "does not exist" in refused(capsys, tmp_path / "nothing", status=1)
    assert "did you mean 'train'" in refused(capsys, cifar, "--split", "trian", status=2)
    assert "--sample" in refused(capsys, cifar, "--sample", "none", status=2)
    assert "object storage" in refused(capsys, "s3://bucket/out", status=2)
    assert "did you mean" in refused(capsys, cifar, "--pgn", status=2)
    assert "--out" in refused(capsys, cifar, "--out", tmp_path / "no" / "report.html", status=1)
    (tmp_path / "file").touch()
    before = contents(cifar)
    assert "is a file" in refused(capsys, cifar, "--out", tmp_path / "r.html", "--png", tmp_path / "file", status=2)
    assert "empty" in refused(capsys, cifar, "--png", "", status=2)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "spectrum.png").write_bytes(b"my own")
    message = refused(capsys, cifar, "--out", tmp_path / "r.html", "--png", tmp_path / "mine", status=2)
    assert "spectrum.png exists already" in message and not (tmp_path / "r.html").exists()
    for name in ("manifest.json", "rejects.jsonl", "README.md"):  # files that verification needs
        assert "is inside the output" in refused(capsys, cifar, "--out", cifar / name, status=2)
        (tmp_path / name).write_bytes((cifar / name).read_bytes())
        assert "is not a report" in refused(capsys, cifar, "--out", tmp_path / name, status=2)
    assert "is inside" in refused(capsys, cifar, "--out", cifar / "samples" / "r.html", status=2)
    os.mkfifo(tmp_path / "pipe")
    assert "is not a regular file" in refused(capsys, cifar, "--out", tmp_path / "pipe", status=2)
    assert not (tmp_path / "r.html").exists()
    assert contents(cifar) == before


def test_a_truncated_line_of_the_log_is_skipped(cifar: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(cifar, copy, ignore=shutil.ignore_patterns("report.html"))
    with (copy / ".build" / "runs.jsonl").open("a") as log:
        log.write('{"event": "fini\n[]\n{"event": "finished", "images": 3}\n')
    assert report([str(copy)]) == 0
    assert "stages" in make(copy).plots


def test_the_axis_of_image_counts_has_whole_numbers(pictures: Callable[..., Path], tmp_path: Path) -> None:
    folder = pictures("data/train", size=(8, 8)).parent
    options = ("--dataset", "folder", "--data-dir", folder, "--ranks", 2, "--components", "full")
    assert run_build(*options, "--out", tmp_path / "out") == 0
    figure = Figure()
    axes = figure.add_subplot()
    make(tmp_path / "out").plots["classes"].paint(axes, PAPER)
    ticks = [axes.xaxis.get_major_formatter()(tick) for tick in axes.get_xticks()]
    assert len(set(ticks)) == len(ticks)


@pytest.mark.parametrize("key", ["source", "job", "numerics", "variants"])
def test_a_damaged_manifest_is_reported_in_one_line(
    cifar: Path, tmp_path: Path, key: str, capsys: pytest.CaptureFixture[str]
) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(cifar, copy, ignore=shutil.ignore_patterns(".build"))
    manifest = json.loads((copy / "manifest.json").read_bytes())
    if key == "variants":
        del manifest["variants"]["rank3"]["splits"]["train"]["clipped"]
    else:
        manifest[key] = 7
    (copy / "manifest.json").write_text(json.dumps(manifest))
    assert "damaged" in refused(capsys, copy, status=1)


@pytest.mark.full
def test_a_report_on_cifar10_takes_twenty_seconds_and_five_megabytes(shared: Path, tmp_path: Path) -> None:
    """On the whole dataset, as ../tools/make_cifar10.py assembles it."""
    import subprocess
    import sys
    import time

    subprocess.run([sys.executable, shared / "tools" / "make_cifar10.py", tmp_path / "data"], check=True)
    options = ("--dataset", "cifar10", "--data-dir", tmp_path / "data", "--allow-unverified", "--ranks", "3,5,10,20")
    assert run_build(*options, "--components", "low,high,full", "--out", tmp_path / "out") == 0
    start = time.perf_counter()
    subprocess.run([sys.executable, "-m", "pipeline.report", tmp_path / "out"], check=True)
    seconds, size = time.perf_counter() - start, (tmp_path / "out" / "report.html").stat().st_size
    print(f"{seconds:.1f} s, {size / 1e6:.1f} MB")
    assert seconds < 20
    assert size < 5e6
