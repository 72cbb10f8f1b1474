"""``--resize`` and ``--crop`` give torchvision's sizes and pixels, and images of every size are cut exactly."""

import io
import json
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import zarr
from PIL import Image

from pipeline import verify
from pipeline.errors import Undecodable
from pipeline.numerics.batch import Place
from pipeline.numerics.geometry import Geometry
from tests.conftest import Build, contents
from tests.unit.verification.test_verify import write_clients

Refused = Callable[..., str]


def torchvision_size(size: int, height: int, width: int) -> tuple[int, int]:
    """Returns (height, width) after torchvision 0.28's ``Resize(size)``, by the formula of its functional module."""
    short, long = (width, height) if width <= height else (height, width)
    new_short, new_long = size, int(size * long / short)
    new_width, new_height = (new_short, new_long) if width <= height else (new_long, new_short)
    return new_height, new_width


def torchvision_pixels(image: Image.Image, resize: int, crop: int | None) -> np.ndarray:
    """Returns the pixels after ``Resize(resize), CenterCrop(crop)``, written after torchvision's functional module."""
    height, width = torchvision_size(resize, image.height, image.width)
    image = image.resize((width, height), Image.Resampling.BILINEAR)
    if crop:
        top, left = round((height - crop) / 2.0), round((width - crop) / 2.0)
        image = image.crop((left, top, left + crop, top + crop))
    return np.asarray(image)


@pytest.fixture(scope="module")
def photographs(shared: Path) -> list[Path]:
    return sorted((shared / "data" / "imagenet-samples").glob("*.JPEG"))[::50]


@pytest.mark.parametrize(("resize", "crop"), [(256, 224), (64, 64), (160, None), (257, 224), (33, 32)])
def test_pixels_are_those_of_torchvision_on_photographs(photographs: list[Path], resize: int, crop: int | None) -> None:
    geometry = Geometry(resize, crop)
    for path in photographs:
        image = Image.open(path).convert("RGB")
        actual = geometry.apply(np.asarray(image).transpose(2, 0, 1))
        expected = torchvision_pixels(image, resize, crop)
        assert geometry.size(image.height, image.width) == expected.shape[:2]
        np.testing.assert_array_equal(actual, expected.transpose(2, 0, 1))


@pytest.mark.parametrize("shape", [(1, 1), (1, 500), (500, 1), (3, 7), (256, 256), (255, 257), (997, 13)])
def test_sizes_are_those_of_torchvision(shape: tuple[int, int]) -> None:
    image = np.zeros((3, *shape), np.uint8)
    for resize in (2, 31, 256):
        assert Geometry(resize).size(*shape) == torchvision_size(resize, *shape)
        if max(torchvision_size(resize, *shape)) > 15_000:
            assert not Geometry(resize).takes(*shape)
            with pytest.raises(Undecodable, match="too large when resized"):
                Geometry(resize).apply(image)
            continue
        assert Geometry(resize).apply(image).shape[1:] == torchvision_size(resize, *shape)


# --- builds ---


@pytest.fixture
def mixed(tmp_path: Path, shared: Path) -> Path:
    """Makes a folder of photographs, and of images smaller than the ranks, in every mode that Pillow converts."""
    folder = tmp_path / "mixed"
    photographs = sorted((shared / "data" / "imagenet-samples").glob("*.JPEG"))[:6]
    for number, path in enumerate(photographs):
        image = Image.open(path).convert("RGB")
        image.thumbnail((40 + 7 * number, 90 - 9 * number))
        (folder / "photo").mkdir(parents=True, exist_ok=True)
        image.save(folder / "photo" / f"{number}.png")
    (folder / "odd").mkdir()
    base = Image.open(folder / "photo" / "3.png")
    for mode in ("L", "LA", "P", "RGBA", "1"):
        base.convert(mode).save(folder / "odd" / f"{mode}.png")
    base.convert("CMYK").save(folder / "odd" / "CMYK.jpg")
    base.save(folder / "odd" / "moves.gif", save_all=True, append_images=[base.rotate(90)])
    base.resize((3, 60)).save(folder / "odd" / "narrow.png")
    base.resize((1, 1)).save(folder / "odd" / "pixel.png")
    return folder


def pixels_of(out: Path, variant: str) -> dict[str, np.ndarray]:
    images = {}
    for path in sorted((out / f"folder-{variant}").glob("*.tar")):
        with tarfile.open(path) as tar:
            for member in tar:
                if member.name.endswith(".png"):
                    file = tar.extractfile(member)
                    assert file is not None
                    images[member.name[:-4]] = np.asarray(Image.open(io.BytesIO(file.read())))
    return images


def test_images_of_every_size_are_cut_exactly(build: Build, mixed: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    job = ("--dataset", "folder", "--data-dir", mixed, "--ranks", "2,10", "--components", "low,high,full")
    assert build(*job, "--out", out).status == 0
    names = {line["key"]: line["name"] for line in map(json.loads, (out / "samples" / "train.jsonl").open())}
    full = pixels_of(out, "full")
    assert len(full) == 15
    spectra = np.asarray(zarr.open_group(str(out / "spectra.zarr"), mode="r")["train"])
    for position, (key, name) in enumerate(names.items()):
        source = np.asarray(Image.open(mixed / name).convert("RGB"))
        np.testing.assert_array_equal(full[key], source)
        side = min(source.shape[:2])
        left, sigma, right = np.linalg.svd(source.transpose(2, 0, 1).astype(np.float64), full_matrices=False)
        np.testing.assert_allclose(255 * spectra[position, :, :side], sigma, atol=1e-3)
        assert np.isnan(spectra[position, :, side:]).all()
        for rank in (2, 10):
            low, high = pixels_of(out, f"rank{rank}")[key], pixels_of(out, f"highrank{rank}")[key]
            if rank >= side:
                np.testing.assert_array_equal(low, source)
                assert (high == 128).all()
                continue
            exact = ((left[..., :rank] * sigma[:, None, :rank]) @ right[:, :rank]).transpose(1, 2, 0)
            comparable = np.abs(exact - np.rint(exact)) < 0.5 - 1e-5
            unique = (sigma[:, rank - 1] - sigma[:, rank] > 1e-9 * sigma[:, 0]) | (sigma[:, rank] < 1e-9 * sigma[:, 0])
            comparable &= unique
            rounded = np.rint(exact)
            np.testing.assert_array_equal(low[comparable], np.clip(rounded, 0, 255)[comparable])
            np.testing.assert_array_equal(high[comparable], np.clip(source - rounded + 128, 0, 255)[comparable])
    manifest = json.loads((out / "manifest.json").read_bytes())
    assert (manifest["image"]["height"], manifest["image"]["width"]) == (None, None)
    converted = {"alpha": 2, "animated": 1, "CMYK": 1, "grey": 2, "palette": 1}
    assert manifest["splits"]["train"]["converted"] == converted
    assert manifest["variants"]["full"]["splits"]["train"]["subpixels"] == sum(image.size for image in full.values())


def test_mixed_sizes_do_not_depend_on_batches_or_workers(
    build: Build, mixed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = ("--dataset", "folder", "--data-dir", mixed, "--ranks", "2,10", "--samples-per-shard", 6, "--exact")
    assert build(*job, "--out", tmp_path / "a").status == 0
    monkeypatch.setattr("pipeline.execution.gpus.choose.HERE", Place(batch_pixels=2))
    assert build(*job, "--out", tmp_path / "b").status == 0
    monkeypatch.setattr("pipeline.execution.stages._LARGE", 100)  # channel by channel, as for large images
    assert build(*job, "--out", tmp_path / "c").status == 0
    assert contents(tmp_path / "a") == contents(tmp_path / "b") == contents(tmp_path / "c")


def test_a_thin_image_that_would_become_huge_is_a_reject(build: Build, mixed: Path, tmp_path: Path) -> None:
    Image.new("RGB", (6000, 2)).save(mixed / "photo" / "thin.png")
    job = ("--dataset", "folder", "--data-dir", mixed, "--ranks", "2", "--resize", "256")
    for crop in ("none", "224"):
        result = build(*job, "--crop", crop, "--limit", 16, "--out", tmp_path / crop)
        assert result.status == 3
        assert "photo/thin.png: too large when resized: 256 x 768000 pixels" in result.err


def test_verify_accepts_mixed_sizes_exact_images_and_factors(
    build: Build, mixed: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    job = ("--dataset", "folder", "--data-dir", mixed, "--ranks", "2,10", "--components", "low,high,full", "--exact")
    assert build(*job, "--out", tmp_path / "varied").status == 0
    assert build(*job, "--resize", 24, "--factors", "--out", tmp_path / "fixed").status == 0
    for name in ("varied", "fixed"):
        capsys.readouterr()
        status = verify.main([str(tmp_path / name), "--source", str(mixed), "--workers", "1"])
        output = capsys.readouterr()
        assert (status, output.err) == (0, "")
        assert "15 images" in output.out


def test_subpixels_of_mixed_sizes_are_those_of_the_images(
    build: Build, mixed: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert build("--dataset", "folder", "--data-dir", mixed, "--components", "full", "--out", out).status == 0
    manifest = json.loads((out / "manifest.json").read_bytes())
    counts = manifest["variants"]["full"]["splits"]["train"]
    counts["subpixels"] += 3
    write_clients(out, manifest)
    assert verify.main([str(out), "--workers", "1"]) == 1
    error = capsys.readouterr().err
    assert "manifest.json" in error
    assert str(counts["subpixels"]) in error
    assert f"{counts['subpixels'] - 3:,}" in error


def test_a_fixed_size_makes_mixed_images_one_shape(build: Build, mixed: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    job = ("--dataset", "folder", "--data-dir", mixed, "--ranks", "5", "--components", "full", "--resize", "36")
    assert build(*job, "--crop", "32", "--out", out).status == 0
    names = {line["key"]: line["name"] for line in map(json.loads, (out / "samples" / "train.jsonl").open())}
    for key, pixels in pixels_of(out, "full").items():
        source = Image.open(mixed / names[key]).convert("RGB")
        np.testing.assert_array_equal(pixels, torchvision_pixels(source, 36, 32))
    image = json.loads((out / "manifest.json").read_bytes())["image"]
    assert (image["height"], image["width"], image["geometry"]) == (32, 32, {"resize": 36, "crop": 32})


@pytest.mark.parametrize(
    ("options", "line"),
    [
        (["--resize", "1"], "resize: 1 is too small, the least is 2"),
        (["--resize", "x"], "resize: 'x' is neither a number of pixels nor 'native'"),
        (["--crop", "-3"], "crop: -3 is too small, the least is 2"),
        (["--resize", "32", "--crop", "33"], "crop: 33 needs a --resize of at least as much"),
        (["--crop", "33"], "crop: 33 needs a --resize of at least as much"),
        (["--resize", "native", "--crop", "8"], "crop: 8 needs a --resize of at least as much"),
        (["--resize", "8"], "ranks: 10 is too large for 8 x 8 images; a rank must be from 1 to 7"),
        (["--factors"], "factors: are kept of images of one size only; give them one with --resize and --crop"),
        (["--ranks", "80"], "ranks: 80 is too large for images of up to 48 pixels; a rank must be from 1 to 47"),
    ],
)
def test_mistakes_are_one_line(refused: Refused, mixed: Path, tmp_path: Path, options: list[str], line: str) -> None:
    job = ["--dataset", "folder", "--data-dir", mixed, *([] if "--ranks" in options else ["--ranks", "10"])]
    assert refused(*job, *options, "--out", tmp_path / "out") == line
    assert not (tmp_path / "out").exists()


def test_large_images_need_no_rank(build: Build, tmp_path: Path, shared: Path) -> None:
    """From 96 pixels only the needed singular vectors are computed: here none, in either build."""
    (tmp_path / "pictures/photo").mkdir(parents=True)
    photo = Image.open(next((shared / "data" / "imagenet-samples").glob("*.JPEG"))).convert("RGB").resize((100, 120))
    photo.save(tmp_path / "pictures/photo/1.png")
    job = ("--dataset", "folder", "--data-dir", tmp_path / "pictures", "--out", tmp_path / "out")
    assert build(*job, "--components", "full").status == 0
    assert build(*job, "--radii", "9").status == 0
    np.testing.assert_array_equal([*pixels_of(tmp_path / "out", "full").values()], [np.asarray(photo)])
    spectra = zarr.open_array(str(tmp_path / "out" / "spectra.zarr" / "train"), mode="r")
    values = np.linalg.svd(np.asarray(photo).transpose(2, 0, 1) / 255, compute_uv=False)
    np.testing.assert_allclose(np.asarray(spectra)[0], values, atol=1e-6 * values.max())


def test_images_of_one_pixel_can_only_be_built_whole(build: Build, refused: Refused, tmp_path: Path) -> None:
    (tmp_path / "dots/grey").mkdir(parents=True)
    Image.new("RGB", (1, 1), (1, 2, 3)).save(tmp_path / "dots/grey/1.png")
    job = ("--dataset", "folder", "--data-dir", tmp_path / "dots", "--out", tmp_path / "out")
    assert "--components full" in refused(*job, "--ranks", "1")
    assert "--components full" in refused(*job, "--radii", "1")
    assert build(*job, "--components", "full").status == 0
    assert [pixels.tolist() for pixels in pixels_of(tmp_path / "out", "full").values()] == [[[[1, 2, 3]]]]


def test_a_radius_may_be_as_large_as_the_longest_image_has_frequencies(
    build: Build, refused: Refused, tmp_path: Path
) -> None:
    (tmp_path / "wide/noise").mkdir(parents=True)
    rng = np.random.default_rng(0)
    for width in (60, 62):
        pixels = rng.integers(0, 256, (10, width, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"wide/noise/{width}.png")
    job = (
        "--dataset",
        "folder",
        "--data-dir",
        tmp_path / "wide",
        "--components",
        "low,full",
        "--out",
        tmp_path / "out",
    )
    assert "from 1 to 31" in refused(*job, "--radii", "32")
    assert build(*job, "--radii", "30").status == 0
    low, full = (pixels_of(tmp_path / "out", variant) for variant in ("lowpass30", "full"))
    for key, image in full.items():
        _, u, v = np.meshgrid(range(3), *(np.rint(np.fft.fftfreq(n, 1 / n)) for n in image.shape[:2]), indexing="ij")
        cut = np.fft.ifft2(np.fft.fft2(image.transpose(2, 0, 1)) * (u**2 + v**2 <= 30**2)).real.transpose(1, 2, 0)
        assert np.abs(low[key] - np.clip(cut, 0, 255)).max() < 0.501


def test_another_geometry_is_another_output(build: Build, refused: Refused, mixed: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    job = ("--dataset", "folder", "--data-dir", mixed, "--ranks", "5", "--out", out)
    assert build(*job, "--resize", "32").status == 0
    line = refused(*job, "--resize", "32", "--crop", "30", status=1)
    assert "its geometry is 'shorter side 32, centre crop 32', not 'shorter side 32, centre crop 30'" in line
