"""Promise: ``verify`` names what is wrong with float32 images, factors and means, also under hashes that fit."""

import hashlib
import io
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from pipeline import verify
from pipeline.build import main
from pipeline.numerics import svd
from pipeline.verification.arrays.reference import wrong_factors
from pipeline.verification.manifest.claims import FACTORS_ROUNDING
from tests.unit.verification.test_verify import read_manifest, read_members, rehash, write_manifest, write_members

KEY = "train-00000004"


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("exact") / "out"
    job = [
        "--dataset",
        "sample",
        "--ranks",
        "3,9",
        "--limit",
        "12",
        "--exact",
        "--factors",
        "--workers",
        "0",
        "--quiet",
    ]
    assert main([*job, "--out", str(out)]) == 0
    return out


@pytest.fixture
def out(built: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(built, tmp_path / "out"))


@pytest.fixture
def faults(capsys: pytest.CaptureFixture[str], out: Path) -> Callable[[], list[str]]:
    def lines() -> list[str]:
        capsys.readouterr()
        assert verify.main([str(out), "--workers", "1", "--sample", "1000"]) == 1
        return capsys.readouterr().err.splitlines()

    return lines


def change(out: Path, variant: str, edit: Callable[[np.ndarray], np.ndarray]) -> str:
    """Another array for one sample, under hashes that fit; gives the tar's name."""
    name = f"sample-{variant}/sample-{variant}-train-000000.tar"
    members = []
    for member, content in read_members(out / name):
        if member == f"{KEY}.npy":
            file = io.BytesIO()
            np.save(file, edit(np.load(io.BytesIO(content))))
            content = file.getvalue()
        members.append((member, content))
    write_members(out / name, members)
    rehash(out)
    return name


def moved(image: np.ndarray) -> np.ndarray:
    image[3, 4, 1] += 1e-4
    return image


def test_an_exact_output_is_verified(out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert verify.main([str(out), "--workers", "1"]) == 0
    told = capsys.readouterr()
    assert "rank3-exact" in told.out
    assert told.err == ""


@pytest.mark.parametrize("variant", ["rank3-exact", "highrank9-exact"])
def test_a_value_a_little_off_is_named(out: Path, faults: Callable[[], list[str]], variant: str) -> None:
    name = change(out, variant, moved)
    lines = [line for line in faults() if KEY in line]
    assert any(line.startswith(f"{name}: {KEY}: green: 1 of 1,024 values are not those") for line in lines)


@pytest.mark.parametrize(
    ("edit", "line"),
    [
        (lambda image: image.astype(np.float64), "float64 of shape (32, 32, 3), not float32 (h, w, 3)"),
        (lambda image: image[:31], "not float32 of shape (32, 32, 3)"),
        (lambda image: image * np.nan, "it has values that are no numbers"),
        (lambda image: np.asfortranarray(image), "float32 of shape (32, 32, 3), not float32 (h, w, 3)"),
        (lambda image: np.array([{}, 1], object), "object of shape (2,), not float32 (h, w, 3)"),
    ],
)
def test_a_member_that_is_no_float_image_is_named(
    out: Path, faults: Callable[[], list[str]], edit: Callable[[np.ndarray], np.ndarray], line: str
) -> None:
    name = change(out, "rank3-exact", edit)
    assert any(told.startswith(f"{name}: {KEY}.npy: ") and line in told for told in faults())


@pytest.mark.parametrize("part", ["u", "s", "v"])
def test_changed_factors_are_named(out: Path, faults: Callable[[], list[str]], part: str) -> None:
    path = next((out / "factors.zarr" / "train" / part).glob("c.*"))
    values = np.fromfile(path, "<f4")
    row = len(values) // 1250
    values[4 * row] += 0.01
    values.tofile(path)
    rehash(out)
    assert any(line.startswith(f"factors.zarr/train: {KEY}: row 4: red: at rank 1 ") for line in faults())


def cross() -> np.ndarray:
    """A bright row and a bright column on black, uint8 (224, 224, 3): much of the light meets where they cross."""
    image = np.zeros((224, 224, 3), np.uint8)
    image[10], image[:, 20] = 240, 234
    return image


def factors_of(image: np.ndarray, dtype: str) -> dict[str, np.ndarray]:
    u, s, v = svd.factors(svd.decompose(np.ascontiguousarray(image.transpose(2, 0, 1))), 2)
    return {"u": u.astype(dtype), "s": s.astype(np.float32), "v": v.astype(dtype)}


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_rounding_of_the_factors_of_a_drawing_is_no_fault(dtype: str) -> None:
    row = factors_of(cross(), dtype)
    u, s, v = (part[0].astype(np.float64) for part in row.values())
    assert (np.abs(255 * u * s @ v.T - cross()[..., 0]).max() > 1) == (dtype == "float16")  # grey levels; its rank is 2
    assert wrong_factors(cross(), row, FACTORS_ROUNDING[dtype]) == ""


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_factors_that_are_off_by_more_than_rounding_are_a_fault(dtype: str) -> None:
    row = factors_of(cross(), dtype)
    row["u"][1, 10, 0] *= 1.004
    assert wrong_factors(cross(), row, FACTORS_ROUNDING[dtype]).startswith("green: at rank 1 they are ")


def tiles() -> np.ndarray:
    """All singular values of a plane are equal, so that no low-rank image of it is unique."""
    return np.stack([np.roll(np.eye(24, dtype=np.uint8) * level, at, 0) for at, level in enumerate((255, 97, 3))], 2)


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_factors_of_images_whose_cuts_are_not_unique_leave_out_what_they_must(dtype: str) -> None:
    row = factors_of(tiles(), dtype)
    assert wrong_factors(tiles(), row, FACTORS_ROUNDING[dtype]) == ""
    for part, value in (("u", 0.5), ("v", np.nan), ("s", 0.3)):
        wrong = {name: array.copy() for name, array in row.items()}
        wrong[part][1, ..., 0] += value
        told = wrong_factors(tiles(), wrong, FACTORS_ROUNDING[dtype])
        assert told.startswith("green: what they leave out at rank 1 has norm ")


def test_lost_factors_are_named(out: Path, faults: Callable[[], list[str]]) -> None:
    shutil.rmtree(out / "factors.zarr" / "test")
    assert any(line.startswith("factors.zarr/test/u/zarr.json: missing") for line in faults())


@pytest.mark.parametrize("name", ["mean", "std"])
@pytest.mark.parametrize("variant", ["rank3", "highrank9-exact"])
def test_a_mean_that_is_not_that_of_the_pixels_is_named(
    out: Path, faults: Callable[[], list[str]], variant: str, name: str
) -> None:
    manifest = read_manifest(out)
    manifest["variants"][variant]["splits"]["test"][name][1] += 3e-5  # the card has four digits
    write_manifest(out, manifest)
    rehash(out)
    assert any(f"{variant} test: the {name} is not that of its pixels" in line for line in faults())


@pytest.mark.parametrize("store", ["spectra.zarr", "factors.zarr", "factors.zarr/train"])
def test_a_group_that_describes_arrays_otherwise_is_a_fault(
    out: Path, faults: Callable[[], list[str]], store: str
) -> None:
    path = out / store / "zarr.json"
    group = json.loads(path.read_text())
    array = json.loads((out / "spectra.zarr/train/zarr.json").read_text())
    array["codecs"][0]["configuration"]["endian"] = "big"
    inline = {"kind": "inline", "must_understand": False, "metadata": {"train": array}}
    descriptions: list[Any] = [group | {"consolidated_metadata": inline}, {"x": 1}, group | {"attributes": 3}, []]
    for edited in descriptions:
        path.write_text(json.dumps(edited))
        rehash(out)
        (line,) = faults()
        assert line.startswith(f"{store}/zarr.json: ")


@pytest.mark.parametrize(
    ("section", "key", "value", "line"),
    [
        ("numerics", "high_scale", "7", "numerics is not the contract"),
        ("numerics", "contract", 9, "numerics is not the contract"),
        ("job", "limit", 3, "job.limit is 3, but a split has more entries"),
        ("image", "side", 31, "shape is [12, 3, 32], not [12, 3, 31]"),
        ("factors", "rank", 8, "not [12, 3, 32, 8]"),
    ],
)
def test_an_edited_manifest_is_named(
    out: Path, faults: Callable[[], list[str]], section: str, key: str, value: object, line: str
) -> None:
    manifest = read_manifest(out)
    manifest[section][key] = value
    write_manifest(out, manifest)
    assert any(line in told for told in faults())


def test_large_chunks_of_half_floats_are_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A chunk of float16 between 32 and 64 MB; values that fit are written without the SVD of large images."""
    from pipeline.formats.factors import Factors
    from pipeline.verification.arrays import spectra
    from pipeline.verification.manifest.claims import Factors as Claim
    from pipeline.verification.manifest.claims import FileClaim

    arrays = Factors(100, "float16").arrays("train", (224, 224), 1000)
    assert 32 << 20 < arrays["u"].chunk_rows * arrays["u"].row_bytes <= 64 << 20
    for name, data in Factors(100, "float16").metadata({"train": 1}, (224, 224), 1000).items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(data)
    for array in arrays.values():
        with (tmp_path / array.chunk(0)).open("wb") as file:
            file.truncate(array.chunk_rows * array.row_bytes)
    files = {
        str(path.relative_to(tmp_path)): FileClaim(path.stat().st_size, hashlib.sha256(path.read_bytes()).hexdigest())
        for path in tmp_path.rglob("*")
        if path.is_file()
    }
    split = SimpleNamespace(entries=1)
    manifest = SimpleNamespace(root=tmp_path, shape=(224, 224), splits={"train": split}, files=files)
    row = spectra.factors_row(manifest, Claim(100, "float16"), "train", 0)  # type: ignore[arg-type]
    assert row["u"].shape == (3, 224, 100)
