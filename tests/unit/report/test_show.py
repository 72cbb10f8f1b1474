"""Tests of ``python -m pipeline.show``, of ``rank_image``, and of the list of commands."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipeline import rank_image
from pipeline.errors import PipelineError, UsageError
from pipeline.show import main as show
from tests.conftest import smooth


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    """Returns a PNG file of a smooth random picture, 40 x 24."""
    file = tmp_path / "picture.png"
    Image.fromarray(smooth(np.random.default_rng(5), 24, 40)).save(file)
    return file


def cut(pixels: np.ndarray, rank: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns the low-rank and high-rank-only pixels, float64 (h, w, 3), by LAPACK."""
    u, s, v = np.linalg.svd(pixels.transpose(2, 0, 1).astype(np.float64), full_matrices=False)
    rounded = np.rint((u[..., :rank] * s[:, None, :rank]) @ v[:, :rank]).transpose(1, 2, 0)
    return np.clip(rounded, 0, 255), np.clip(pixels - rounded + 128, 0, 255)


def test_rank_image_returns_the_bytes_that_a_build_stores(picture: Path) -> None:
    pixels = np.asarray(Image.open(picture))
    for image in (picture, str(picture), Image.open(picture), pixels):
        result = rank_image(image, (2, 7))
        assert result.ranks == (2, 7)
        np.testing.assert_array_equal(np.asarray(result.original), pixels)
        for rank in (2, 7):
            low, high = cut(pixels, rank)
            np.testing.assert_array_equal(np.asarray(result.low[rank]), low)
            np.testing.assert_array_equal(np.asarray(result.high[rank]), high)


def test_ranks_may_be_one_number_and_the_rank_of_the_picture(picture: Path) -> None:
    pixels = np.asarray(Image.open(picture))
    result = rank_image(picture, 24)
    np.testing.assert_array_equal(np.asarray(result.low[24]), pixels)
    np.testing.assert_array_equal(np.asarray(result.high[24]), np.full_like(pixels, 128))
    assert result.energy[24] == pytest.approx(1.0)
    assert rank_image(picture, np.int64(24)).ranks == (24,)  # type: ignore[arg-type]


def test_a_black_picture_keeps_all_of_its_energy() -> None:
    result = rank_image(np.zeros((16, 16, 3), np.uint8), (1, 5))
    assert result.energy == {1: 1.0, 5: 1.0}


def test_grey_pictures_become_rgb() -> None:
    grey = smooth(np.random.default_rng(6), 16, 16)[..., 0]
    np.testing.assert_array_equal(np.asarray(rank_image(grey, 3).original), np.stack([grey] * 3, axis=2))


def test_large_pictures_are_reduced_unless_reduce_is_none() -> None:
    pixels = smooth(np.random.default_rng(7), 40, 80)
    assert rank_image(pixels, 1, reduce=20).original.size == (40, 20)
    assert rank_image(pixels, 1, reduce=None).original.size == (80, 40)
    assert rank_image(pixels, 1, reduce=50).original.size == (80, 40)


def test_a_notebook_shows_the_sheet(picture: Path) -> None:
    assert rank_image(picture)._repr_png_().startswith(b"\x89PNG")


@pytest.mark.parametrize("ranks", [0, -1, (), (1.5,), "5", True, 5.0, None])
def test_wrong_ranks_are_refused(picture: Path, ranks: object) -> None:
    with pytest.raises(UsageError, match="ranks"):
        rank_image(picture, ranks)  # type: ignore[arg-type]


@pytest.mark.parametrize("reduce", [0, 1, -5, 1.5, "64", True])
def test_wrong_values_of_reduce_are_refused(picture: Path, reduce: object) -> None:
    with pytest.raises(UsageError, match="reduce .*: give a whole number of pixels from 2, or None"):
        rank_image(picture, 2, reduce)  # type: ignore[arg-type]


@pytest.mark.parametrize("image", [7, np.zeros((4, 4, 3)), np.zeros((4, 4, 2), np.uint8), np.zeros((1, 9), np.uint8)])
def test_an_array_or_value_that_is_no_picture_is_refused(image: object) -> None:
    with pytest.raises(UsageError, match="image"):
        rank_image(image)


@pytest.mark.parametrize("kind", [np.uint16, np.int32, np.float32])
def test_pictures_of_more_than_8_bits_are_refused(kind: type, tmp_path: Path) -> None:
    deep = Image.fromarray((np.arange(400) * 160).reshape(20, 20).astype(kind))
    with pytest.raises(PipelineError, match="more than 8 bits a channel; convert it to 8 bits first"):
        rank_image(deep)
    deep.save(tmp_path / "deep.tif")
    with pytest.raises(PipelineError, match="more than 8 bits a channel; convert it to 8 bits first"):
        rank_image(tmp_path / "deep.tif")


def test_the_error_names_a_file_that_is_no_picture(tmp_path: Path) -> None:
    (tmp_path / "text.png").write_text("no picture")
    with pytest.raises(PipelineError, match="text.png: not an image"):
        rank_image(tmp_path / "text.png")
    with pytest.raises(PipelineError, match="No such file"):
        rank_image(tmp_path / "none.png")


def test_importing_the_package_loads_no_large_library() -> None:
    code = "import sys, pipeline; assert not {'numpy', 'PIL', 'matplotlib', 'ray'} & {*sys.modules}"
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


def test_show_writes_a_sheet_of_a_picture(picture: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "sheet.png"
    assert show([str(picture), "--ranks", "2,7", "--out", str(out), "--tile", "80"]) == 0
    sheet = np.asarray(Image.open(out))
    assert f"{sheet.shape[1]} x {sheet.shape[0]} pixels" in capsys.readouterr().out
    enlarged = cut(np.asarray(Image.open(picture)), 7)[0].astype(np.uint8).repeat(2, axis=0).repeat(2, axis=1)
    places = np.argwhere((sheet == enlarged[0, 0]).all(axis=2)).tolist()
    assert any(np.array_equal(sheet[y : y + 48, x : x + 80], enlarged) for y, x in places)


def test_show_accepts_a_folder(picture: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    for number in range(4):
        (folder / f"{number}.png").write_bytes(picture.read_bytes())
    (folder / "notes.txt").touch()
    heights = []
    for limit in ("1", "4"):
        assert show([str(folder), "--limit", limit, "--out", str(tmp_path / "sheet.png")]) == 0
        heights.append(Image.open(tmp_path / "sheet.png").height)
    assert heights[1] > 3 * heights[0]
    assert "the first 1 of 4 pictures" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message", "status"),
    [
        (["nothing.png", "--out", "x.png"], "No such file", 1),
        ([".", "--out", "x.png"], "contains no picture", 1),
        (["a.png", "--out", "x.jpg"], ".png", 2),
        (["a.png", "--ranks", "5,x"], "--ranks", 2),
        (["a.png", "--ranks", "0"], "--ranks", 2),
        (["a.png", "--reduce", "some"], "--reduce", 2),
        (["a.png", "--rank", "5"], "did you mean '--ranks'", 2),
    ],
)
def test_a_mistake_is_reported_in_one_line(
    arguments: list[str],
    message: str,
    status: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert show(arguments) == status
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


def test_the_error_without_a_display_names_the_option_out(
    picture: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MPLBACKEND", "agg")
    assert show([str(picture)]) == 1
    assert "--out FILE.png" in capsys.readouterr().err


def test_a_window_shows_the_sheet(picture: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import matplotlib
    from matplotlib import pyplot

    figures = []
    monkeypatch.setattr(matplotlib, "get_backend", lambda: "TkAgg")
    monkeypatch.setattr(pyplot, "show", lambda: figures.append(pyplot.gcf()))
    assert show([str(picture), "--ranks", "2"]) == 0
    assert len(figures[0].axes[0].images) == 1
    pyplot.close("all")


@pytest.mark.parametrize("module", ["report", "show"])
def test_help_loads_no_large_library(module: str) -> None:
    code = (
        f"import sys; from pipeline.{module}{'.__main__' * (module == 'report')} import main\ntry: main(['--help'])\n"
    )
    code += "except SystemExit: pass\nassert not {'numpy', 'matplotlib', 'jinja2'} & {*sys.modules}, 'heavy'"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.startswith(f"usage: python -m pipeline.{module}")


def test_an_input_picture_is_not_overwritten(picture: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = picture.read_bytes()
    assert show([str(picture), "--ranks", "2", "--out", str(picture)]) == 2
    assert "is one of the pictures" in capsys.readouterr().err
    assert picture.read_bytes() == before


def test_only_a_sheet_of_the_command_itself_is_overwritten(
    picture: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    dog = tmp_path / "dog.png"
    for content in (picture.read_bytes(), b"no picture", b""):
        dog.write_bytes(content)
        assert show([str(picture), "--ranks", "2", "--out", str(dog)]) == 2
        assert "exists already and is no picture" in capsys.readouterr().err
        assert dog.read_bytes() == content
    dog.unlink()
    for ranks in ("2", "3"):
        assert show([str(picture), "--ranks", ranks, "--out", str(dog)]) == 0


def test_a_pipe_is_refused_as_a_picture(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    assert show([str(tmp_path / "pipe.png"), "--ranks", "2", "--out", str(tmp_path / "out.png")]) == 1
    assert "pipe.png: not a regular file" in capsys.readouterr().err


def test_bad_pictures_in_a_folder_are_skipped(
    picture: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "a.png").write_bytes(b"")
    (folder / "b.png").write_bytes(b"no picture")
    assert show([str(folder), "--ranks", "2", "--out", str(tmp_path / "sheet.png")]) == 1
    assert capsys.readouterr().err.splitlines()[-1] == f"error: {folder}: none of 2 pictures can be read"
    (folder / "c.png").write_bytes(picture.read_bytes())
    assert show([str(folder), "--ranks", "2", "--out", str(tmp_path / "sheet.png")]) == 0
    assert capsys.readouterr().err.count("left out: ") == 2
