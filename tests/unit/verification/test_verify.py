"""Promises of ``python -m pipeline.verify``: every damage is found, and named by its file and its sample."""

import functools
import hashlib
import io
import json
import operator
import os
import random
import shutil
import subprocess
import sys
import tarfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from pipeline import build as build_command
from pipeline import verify
from pipeline.formats import clients
from pipeline.verification.arrays import zarr_rows
from pipeline.verification.arrays.reference import compare
from pipeline.verification.faults import Faults
from pipeline.verification.manifest.claims import Variant
from pipeline.verification.manifest.document import load
from pipeline.verification.shards.complement import Bounds
from pipeline.verification.shards.tar import TarError, members
from tests.conftest import Result, smooth

ROOT = Path(__file__).resolve().parents[3]
TRAIN0 = "train-000000"
Members = list[tuple[str, bytes]]
Verify = Callable[..., Result]
Lines = Callable[..., list[str]]


def tar(variant: str, shard: str = TRAIN0) -> str:
    return f"sample-{variant}/sample-{variant}-{shard}.tar"


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """20 train and 20 test images in shards of 8, without ``.build``."""
    out = tmp_path_factory.mktemp("verify") / "out"
    given = ["--ranks", "3,12", "--components", "low,high,full", "--samples-per-shard", "8", "--limit", "20"]
    assert build_command.main([*given, "--out", str(out), "--workers", "0", "--quiet"]) == 0
    shutil.rmtree(out / ".build")
    return out


@pytest.fixture
def out(built: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(built, tmp_path / "out"))


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Verify:
    """The command in this process."""

    def run(*arguments: object) -> Result:
        given = [str(argument) for argument in arguments]
        given += [] if "--workers" in given else ["--workers", "1"]
        capsys.readouterr()
        status = verify.main(given)
        captured = capsys.readouterr()
        assert "Traceback" not in captured.err
        return Result(status, captured.out, captured.err)

    return run


@pytest.fixture
def faults(run: Verify) -> Lines:
    """The lines of faults of an output that must have some."""

    def lines(*arguments: object) -> list[str]:
        result = run(*arguments)
        assert result.status == 1
        assert result.out == ""
        return result.err.splitlines()

    return lines


def flip(path: Path, at: int) -> None:
    content = bytearray(path.read_bytes())
    content[at] ^= 1
    path.write_bytes(content)


def read_members(path: Path) -> Members:
    with tarfile.open(path) as archive:
        return [(member.name, archive.extractfile(member).read()) for member in archive]  # type: ignore[union-attr]


def write_members(path: Path, members: Members) -> None:
    """A tar by ``tarfile``, and the DALI index that belongs to it."""
    with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as archive:
        for name, content in members:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    with tarfile.open(path) as archive:
        entries = [f"{m.name[-3:]} {m.offset_data} {m.size} {m.name}" for m in archive]
    lines = [f"{a} {b}\n" for a, b in zip(entries[::2], entries[1::2], strict=True)]
    path.with_suffix(".idx").write_text(f"v1.2 {len(lines)}\n" + "".join(lines))


def change_pixel(path: Path, key: str, row: int, column: int, channel: int, by: int = 1) -> None:
    """Another grey level in one subpixel that stays unclipped, encoded by Pillow."""
    changed = []
    for name, content in read_members(path):
        if name == f"{key}.png":
            pixels = np.asarray(Image.open(io.BytesIO(content))).copy()
            assert 1 < pixels[row, column, channel] < 254
            pixels[row, column, channel] += by
            file = io.BytesIO()
            Image.fromarray(pixels).save(file, "PNG")
            content = file.getvalue()
        changed.append((name, content))
    write_members(path, changed)


def read_manifest(out: Path) -> dict[str, Any]:
    manifest: dict[str, Any] = json.loads((out / "manifest.json").read_bytes())
    return manifest


def write_manifest(out: Path, manifest: dict[str, Any]) -> None:
    (out / "manifest.json").write_text(json.dumps(manifest))


def rehash(out: Path) -> None:
    """Make the manifest's sizes and hashes fit the files."""
    manifest = read_manifest(out)
    files = manifest["files"]
    for name in files:
        content = (out / name).read_bytes()
        files[name] = {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    for variant in manifest["variants"].values():
        for split in variant["splits"].values():
            for shard in split["shards"]:
                shard |= files[shard["name"]]
            split["bytes"] = sum(shard["bytes"] for shard in split["shards"])
    write_manifest(out, manifest)


def write_clients(out: Path, manifest: dict[str, Any]) -> None:
    """A manifest, cards and client files made from it, under hashes that fit."""
    for name, content in clients.files(manifest).items():
        (out / name).write_bytes(content)
    write_manifest(out, manifest)
    rehash(out)


def unclipped(out: Path, key: str, shard: str = TRAIN0) -> tuple[int, int, int]:
    """A subpixel of a sample that is clipped in no variant."""
    clear = np.ones((32, 32, 3), bool)
    for variant in read_manifest(out)["variants"]:
        pixels = np.asarray(Image.open(io.BytesIO(dict(read_members(out / tar(variant, shard)))[f"{key}.png"])))
        clear &= (pixels > 2) & (pixels < 253)
    row, column, channel = np.argwhere(clear)[0]
    return int(row), int(column), int(channel)


# What is right


def test_a_finished_output_is_verified_without_its_build_folder(out: Path, run: Verify) -> None:
    result = run(out)
    assert result.status == 0
    assert result.err == ""
    assert (
        "40 samples (20 train, 20 test), 0 rejects, in each of rank3, rank12, highrank3, highrank12, full" in result.out
    )
    assert "low and high add up to the image: 80 pairs" in result.out
    assert "40 images recomputed from the source" in result.out
    assert "not verified" not in result.out


def test_two_workers_give_the_result_of_one(out: Path, run: Verify) -> None:
    assert run(out, "--workers", 2) == run(out)
    flip(out / tar("rank3"), 700)
    (out / tar("full", "test-000001")).unlink()
    assert run(out, "--workers", 2) == run(out)


def test_neither_the_projects_svd_nor_its_png_is_loaded(out: Path) -> None:
    code = (
        "import sys; from pipeline.verify import main; status = main(sys.argv[1:]);"
        "writers = ('pipeline.numerics.svd', 'pipeline.formats.png');"
        "sys.exit(status or ', '.join(m for m in writers if m in sys.modules) or None)"
    )
    done = subprocess.run([sys.executable, "-c", code, out, "--workers", "1"], cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    modules = "pipeline.sources.folder.source, pipeline.sources.cifar.source, pipeline.verification.verify_output"
    loads = f"import sys; import {modules}; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", loads], cwd=ROOT, capture_output=True, text=True, check=True)
    assert not {"pipeline.numerics.svd", "pipeline.formats.png"} & set(loaded.stdout.split())


def test_other_files_in_the_output_are_ignored(out: Path, run: Verify) -> None:
    (out / "notes.txt").write_text("mine")
    (out / "sample-rank3" / "thumbnails.html").write_text("mine")
    (out / "elsewhere").mkdir()
    (out / "elsewhere" / "old.tar").write_bytes(b"mine")
    assert run(out).status == 0


def test_as_many_images_are_recomputed_as_asked_for(out: Path, run: Verify) -> None:
    assert "\n  6 images recomputed" in run(out, "--sample", 6).out
    assert "not verified: that the images were cut right; that takes --sample" in run(out, "--sample", 0).out


# Files


def test_a_torn_tar_is_named_with_what_it_lacks(out: Path, faults: Lines) -> None:
    path = out / tar("rank3")
    size = path.stat().st_size
    os.truncate(path, size - 3000)
    lines = faults(out)
    assert lines[0] == f"{tar('rank3')}: torn: {size - 3000:,} of {size:,} bytes"
    assert any(line.startswith(f"{tar('rank3')}: train-00000007: missing") for line in lines)
    assert all(line.startswith(tar("rank3")) for line in lines)


def test_a_tar_torn_to_nothing_is_torn_and_not_swapped(out: Path, faults: Lines) -> None:
    size = (out / tar("rank3")).stat().st_size
    os.truncate(out / tar("rank3"), 0)
    lines = faults(out)
    assert lines[0] == f"{tar('rank3')}: torn: 0 of {size:,} bytes"
    assert f"{tar('rank3')}: 8 samples missing, the first train-00000000" in lines


def swap(out: Path, one: str, other: str) -> None:
    (out / one).rename(out / "aside")
    (out / other).rename(out / one)
    (out / "aside").rename(out / other)


@pytest.mark.parametrize("other", [tar("rank3", "train-000001"), tar("rank12"), tar("highrank3", "test-000002")])
def test_swapped_shards_are_named(out: Path, faults: Lines, other: str) -> None:
    swap(out, tar("rank3"), other)
    assert sorted(faults(out)) == sorted(
        [f"{tar('rank3')}: swapped: it is {other}", f"{other}: swapped: it is {tar('rank3')}"]
    )


def test_swapped_shards_are_found_under_hashes_that_fit(out: Path, faults: Lines) -> None:
    swap(out, tar("rank3"), tar("rank3", "train-000001"))
    rehash(out)
    lines = faults(out)
    assert f"{tar('rank3')}: 8 samples not of this shard, the first train-00000008" in lines
    assert f"{tar('rank3')}: 8 samples missing, the first train-00000000" in lines


def test_swapped_variants_are_found_under_hashes_that_fit(out: Path, faults: Lines) -> None:
    swap(out, tar("rank3"), tar("rank12"))
    swap(out, tar("rank3").replace(".tar", ".idx"), tar("rank12").replace(".tar", ".idx"))
    rehash(out)
    lines = faults(out)
    assert any("train-00000001: rank3 and highrank3 do not add up to the image" in line for line in lines)
    assert any(line.startswith(f"{tar('rank12')}: train-00000001: red: ") for line in lines)
    assert lines[-1].startswith("and ")


def test_a_missing_shard_is_named(out: Path, faults: Lines) -> None:
    (out / tar("highrank12")).unlink()
    assert faults(out) == [f"{tar('highrank12')}: missing"]


def test_a_shard_too_many_is_named(out: Path, faults: Lines) -> None:
    extra = tar("rank3", "train-000099")
    shutil.copy(out / tar("rank3"), out / extra)
    assert faults(out) == [f"{extra}: not in the manifest, but *.tar in sample-rank3 reads it"]


def test_a_shard_too_many_is_named_though_the_manifest_claims_it(out: Path, faults: Lines) -> None:
    extra = tar("rank3", "train-000099")
    shutil.copy(out / tar("rank3"), out / extra)
    manifest = read_manifest(out)
    manifest["files"][extra] = {}
    write_clients(out, manifest)
    assert faults(out) == [f"manifest.json: files has {extra}, which is no shard of it, but *.tar may read it"]


@pytest.mark.parametrize("name", ["README.md", "sample-full/_info.json", "sample-rank3/classnames.txt"])
def test_an_edited_small_file_is_named(out: Path, faults: Lines, name: str) -> None:
    flip(out / name, 5)
    assert faults(out) == [f"{name}: differs from the manifest (SHA-256)"]


def test_a_pipe_or_a_folder_in_place_of_a_file_is_a_fault(out: Path, faults: Lines) -> None:
    (out / tar("rank3")).unlink()
    os.mkfifo(out / tar("rank3"))
    (out / "README.md").unlink()
    (out / "README.md").mkdir()
    assert faults(out) == [
        "README.md: cannot be read: not a regular file",
        f"{tar('rank3')}: cannot be read: not a regular file",
    ]


def test_an_intact_shard_with_zeros_behind_its_end_still_reads_well(out: Path, faults: Lines) -> None:
    with (out / tar("rank3")).open("ab") as file:
        file.write(bytes(512))
    (line,) = faults(out)
    assert line.startswith(tar("rank3"))
    assert line.endswith(", but every sample reads well")


def test_twenty_faults_are_shown_and_the_others_counted(out: Path, faults: Lines) -> None:
    for path in [*out.rglob("*.tar"), *out.rglob("*.idx")]:
        path.unlink()
    lines = faults(out)
    assert len(lines) == 21
    assert lines[-1] == "and 40 more faults"


# Samples


def test_a_label_edited_in_place_is_named(out: Path, faults: Lines) -> None:
    path = out / tar("rank3")
    with tarfile.open(path) as archive:
        at = archive.getmember("train-00000005.cls").offset_data
    right = path.read_bytes()[at : at + 1].decode()
    flip(path, at)
    wrong = path.read_bytes()[at : at + 1].decode()
    assert faults(out) == [f"{path.relative_to(out)}: train-00000005: label {wrong}, should be {right}"]
    rehash(out)
    named, card = faults(out)
    assert named == f"{path.relative_to(out)}: train-00000005: label {wrong}, should be {right}"
    assert card == "manifest.json: says other things than README.md (4 such files), which is made from it"


@pytest.mark.parametrize("edit", ["classes", "mean", "clipped", "title"])
def test_a_manifest_edited_alone_is_found(edit: str, out: Path, faults: Lines) -> None:
    described = read_manifest(out)
    train = described["variants"]["rank3"]["splits"]["train"]
    if edit == "classes":
        described["classes"].reverse()
    elif edit == "title":
        described["source"]["title"] = "ImageNet"
    else:
        train[edit] = [0.0, 0.0, 0.0] if edit == "mean" else train[edit] + train["subpixels"]
    (out / "manifest.json").write_text(json.dumps(described))
    assert any(line.startswith("manifest.json: says other things than ") for line in faults(out))


def _clipped(manifest: dict[str, Any]) -> str:
    train = manifest["variants"]["highrank3"]["splits"]["train"]
    train["clipped"] = train["subpixels"]
    return "highrank3 train: 61440 subpixels clipped, but "


def _clipped_full(manifest: dict[str, Any]) -> str:
    manifest["variants"]["full"]["splits"]["test"]["clipped"] = 1
    return "full test: 1 subpixels clipped, but 0 can be"


def _converted(manifest: dict[str, Any]) -> str:
    manifest["splits"]["train"]["converted"] = {"grey": 15, "CMYK": 6}
    return "train: 21 images converted, there are 20"


def _converted_unknown(manifest: dict[str, Any]) -> str:
    manifest["splits"]["train"]["converted"] = {"<b>": 1}
    return "train: images converted from <b>, which is unknown"


def _versions(manifest: dict[str, Any]) -> str:
    manifest["versions"][0]["numpy"] = "the newest"
    return "versions holds others than those of the libraries that make images"


@pytest.mark.parametrize("edit", [_clipped, _clipped_full, _converted, _converted_unknown, _versions])
def test_impossible_counts_in_a_manifest_are_faults(
    out: Path, faults: Lines, edit: Callable[[dict[str, Any]], str]
) -> None:
    """Also where everything that is made from it says the same, as after an edited record."""
    manifest = read_manifest(out)
    said = edit(manifest)
    write_manifest(out, manifest)
    for name, content in clients.files(manifest).items():
        (out / name).write_bytes(content)
    rehash(out)
    (line,) = faults(out)
    assert line.startswith(f"manifest.json: {said}")


def test_a_manifest_with_a_key_that_comes_twice_is_refused(out: Path, faults: Lines) -> None:
    path = out / "manifest.json"
    path.write_text('{"name": "another", ' + path.read_text()[1:])
    assert faults(out)[0].endswith("the key 'name' comes twice")


def test_a_byte_flipped_in_a_pixel_names_the_sample(out: Path, faults: Lines) -> None:
    path = out / tar("highrank3")
    with tarfile.open(path) as archive:
        member = archive.getmember("train-00000002.png")
    flip(path, member.offset_data + member.size // 2)
    assert faults(out) == [
        f"{tar('highrank3')}: train-00000002.png: damaged: the checksum of its chunk 'IDAT' is wrong"
    ]


def test_a_byte_flipped_in_a_header_names_the_sample(out: Path, faults: Lines) -> None:
    path = out / tar("rank3")
    with tarfile.open(path) as archive:
        flip(path, archive.getmember("train-00000003.cls").offset + 140)
    assert faults(out)[0] == f"{tar('rank3')}: train-00000003.cls: its tar header is damaged (checksum)"


@pytest.mark.parametrize("variant", ["rank3", "highrank12", "full"])
@pytest.mark.parametrize("fitting", [False, True])
def test_a_changed_pixel_in_a_valid_image_is_named(out: Path, faults: Lines, variant: str, fitting: bool) -> None:
    change_pixel(out / tar(variant), "train-00000001", *unclipped(out, "train-00000001"))
    if fitting:
        rehash(out)
    lines = faults(out, "--sample", 0)
    assert all("train-00000001" in line for line in lines if ".idx" not in line and not line.startswith("manifest"))
    assert any(line.startswith(f"{tar(variant)}: train-00000001: ") for line in lines)


def test_a_changed_pixel_is_found_without_the_full_images(
    tmp_path: Path, pictures: Callable[..., Path], faults: Lines
) -> None:
    out = tmp_path / "cut"
    given = ["--dataset", "folder", "--data-dir", str(pictures()), "--name", "sample", "--ranks", "2,4,8"]
    assert build_command.main([*given, "--out", str(out), "--workers", "0", "--quiet"]) == 0
    change_pixel(out / tar("rank4"), "train-00000001", *_unclipped_by_all(out, "train-00000001"))
    rehash(out)
    lines = faults(out)
    assert "train-00000001: rank4 and highrank4 are of another image than the parts of other ranks" in lines[0]


def _unclipped_by_all(out: Path, key: str) -> tuple[int, int, int]:
    clear = np.ones(1, bool)
    for variant in read_manifest(out)["variants"]:
        pixels = np.asarray(Image.open(io.BytesIO(dict(read_members(out / tar(variant)))[f"{key}.png"])))
        clear = clear & (pixels > 2) & (pixels < 253)
    row, column, channel = np.argwhere(clear)[0]
    return int(row), int(column), int(channel)


def shuffled(members: Members) -> Members:
    return [*members[2:4], *members[:2], *members[4:]]


def lacking(members: Members) -> Members:
    return [*members[:4], *members[6:]]


def doubled(members: Members) -> Members:
    return [*members, *members[-2:]]


def renamed(members: Members) -> Members:
    return [(name.replace("train-00000004", "train-00000404"), content) for name, content in members]


def resized(members: Members) -> Members:
    file = io.BytesIO()
    Image.new("RGB", (33, 32)).save(file, "PNG")
    return [(members[0][0], file.getvalue()), *members[1:]]


def grey(members: Members) -> Members:
    file = io.BytesIO()
    Image.new("L", (32, 32)).save(file, "PNG")
    return [(members[0][0], file.getvalue()), *members[1:]]


def jpeg(members: Members) -> Members:
    file = io.BytesIO()
    Image.new("RGB", (32, 32)).save(file, "JPEG")
    return [(members[0][0], file.getvalue()), *members[1:]]


def gamma(members: Members) -> Members:
    content = members[0][1]
    chunk = b"gAMA" + (45455).to_bytes(4)
    return [
        (members[0][0], content[:33] + b"\0\0\0\4" + chunk + zlib.crc32(chunk).to_bytes(4) + content[33:]),
        *members[1:],
    ]


@pytest.mark.parametrize(
    ("edit", "line"),
    [
        (shuffled, "train-00000000: twice or out of order"),
        (lacking, "train-00000002: missing"),
        (doubled, "train-00000007: twice or out of order"),
        (renamed, "train-00000404: not of this shard"),
        (resized, "train-00000000.png: 32 x 33 pixels, not 32 x 32"),
        (grey, "train-00000000.png: not an 8-bit RGB image"),
        (jpeg, "train-00000000.png: no PNG file"),
        (gamma, "train-00000000.png: it has a chunk 'gAMA', which may change its colours"),
    ],
)
def test_members_that_are_not_as_listed_are_named(
    out: Path, faults: Lines, edit: Callable[[Members], Members], line: str
) -> None:
    write_members(out / tar("rank12"), edit(read_members(out / tar("rank12"))))
    assert f"{tar('rank12')}: {line}" in faults(out)
    rehash(out)
    assert f"{tar('rank12')}: {line}" in faults(out)


@pytest.mark.parametrize(
    ("at", "field"),
    [(100, b"0004755\0"), (108, b"0001750\0"), (136, b"14731742000\0"), (157, b"/etc/passwd"), (265, b"me")],
)
def test_a_header_that_says_who_made_it_or_when_is_named(out: Path, faults: Lines, at: int, field: bytes) -> None:
    path = out / tar("rank3")
    content = bytearray(path.read_bytes())
    content[at : at + len(field)] = field
    content[148:156] = b" " * 8
    content[148:156] = b"%06o\0 " % sum(content[:512])
    path.write_bytes(content)
    rehash(out)
    write_clients(out, read_manifest(out))
    header = "its tar header has another mode, owner or time than 0644, 0 and 0, or names"
    assert faults(out) == [f"{tar('rank3')}: train-00000000.png: {header}"]


def test_a_member_that_is_no_pair_is_named(out: Path, faults: Lines) -> None:
    path = out / tar("rank3")
    content = path.read_bytes()
    info = tarfile.TarInfo("extra.json")
    path.write_bytes(info.tobuf(tarfile.USTAR_FORMAT) + content)
    assert f"{tar('rank3')}: extra.json: neither an image nor the label of the image before it" in faults(out)


def test_an_image_bomb_is_not_decoded(out: Path, faults: Lines) -> None:
    (name, content), *others = read_members(out / tar("rank3"))
    header = b"IHDR" + (60_000).to_bytes(4) * 2 + content[24:29]
    write_members(
        out / tar("rank3"), [(name, content[:12] + header + zlib.crc32(header).to_bytes(4) + content[33:]), *others]
    )
    rehash(out)
    assert f"{tar('rank3')}: train-00000000.png: 60000 x 60000 pixels, not 32 x 32" in faults(out)


# Index, lists, singular values


@pytest.mark.parametrize("fitting", [False, True])
def test_an_edited_index_is_named_with_its_line(out: Path, faults: Lines, fitting: bool) -> None:
    name = tar("rank3").replace(".tar", ".idx")
    lines = (out / name).read_text().splitlines(keepends=True)
    (out / name).write_text("".join([*lines[:3], lines[3].replace("png ", "png 1"), *lines[4:]]))
    if fitting:
        rehash(out)
    fault = next(line for line in faults(out) if "line 4 is" in line)
    assert fault.startswith(f"{name}: ")
    assert "train-00000002.png" in fault


@pytest.mark.parametrize("fitting", [False, True])
def test_an_edited_label_in_the_samples_file_is_named(out: Path, faults: Lines, fitting: bool) -> None:
    path = out / "samples" / "train.jsonl"
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    rows[9]["label"] = (rows[9]["label"] + 1) % 3
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    if fitting:
        rehash(out)
    lines = faults(out)
    assert any(line.startswith("samples/train.jsonl: train-00000009: ") and "in the source" in line for line in lines)
    if not fitting:  # then it is known which of the two was edited
        assert "samples/train.jsonl: differs from the manifest (SHA-256)" in lines
        assert all(line.startswith("samples/train.jsonl: ") for line in lines)


@pytest.mark.parametrize(
    ("old", "new", "fault"),
    [
        (b'"key": "train-00000009"', b'"key": "train-00000008"', "1 key more than once"),
        (b'"key": "train-00000009"', b'"key": "../../etc/passwd"', "line 10: '../../etc/passwd' is no key of train"),
        (b'{"key": "train-00000009"', b'["key", "train-00000009"', "line 10 is no JSON object"),
        (b'"train-00000009"', b'"train-00000009", "weight": 2', "line 10 has more than key, label and name"),
        (b"\n", b"", "line 1 is cut off"),
    ],
)
def test_a_samples_file_that_cannot_be_used_is_named(
    out: Path, faults: Lines, old: bytes, new: bytes, fault: str
) -> None:
    path = out / "samples" / "train.jsonl"
    path.write_bytes(path.read_bytes().replace(old, new))
    rehash(out)
    assert any(line.startswith("samples/train.jsonl: ") and fault in line for line in faults(out))


def test_a_missing_samples_file_is_named(out: Path, faults: Lines) -> None:
    (out / "samples" / "test.jsonl").unlink()
    assert faults(out) == ["samples/test.jsonl: missing"]


@pytest.mark.parametrize("fitting", [False, True])
@pytest.mark.parametrize("value", [np.nan, -1.0, 0.125, 1e30])
def test_edited_singular_values_are_named(out: Path, faults: Lines, fitting: bool, value: float) -> None:
    path = next((out / "spectra.zarr" / "train").glob("c*0*0*0"))
    chunk = np.fromfile(path, "<f4").reshape(-1, 3, 32)
    chunk[4, 1, 0] = value
    chunk.tofile(path)
    if fitting:
        rehash(out)
    lines = faults(out)
    assert fitting or f"{path.relative_to(out)}: differs from the manifest (SHA-256)" in lines
    assert any(line.startswith("spectra.zarr/train: train-00000004: row 4") for line in lines)


def chunks_of(*shape: int) -> dict[str, Any]:
    return {"name": "regular", "configuration": {"chunk_shape": [*shape]}}


@pytest.mark.parametrize(
    "edit",
    [
        lambda meta: meta | {"shape": [10**12, 3, 32]},
        lambda meta: meta | {"codecs": [*meta["codecs"], {"name": "gzip", "configuration": {"level": 1}}]},
        lambda meta: meta | {"codecs": [{"name": "bytes", "configuration": {"endian": "big"}}]},
        lambda meta: meta | {"data_type": "float64"},
        lambda meta: meta | {"chunk_key_encoding": {"name": "default", "configuration": {"separator": "/"}}},
        lambda meta: meta | {"storage_transformers": [{"name": "sharding", "configuration": {}}]},
        lambda meta: meta | {"else": {"name": "what changes the rows"}},
        lambda meta: meta | {"else": None},
        lambda meta: meta | {"fill_value": "zzz"},
        lambda meta: {key: value for key, value in meta.items() if key != "fill_value"},
        lambda meta: meta | {"dimension_names": ["image"]},
        lambda meta: meta | {"dimension_names": [1, 2, 3]},
        lambda meta: meta | {"attributes": []},
        lambda meta: meta | {"shape": [20.0, 3, 32]},
        lambda meta: meta | {"zarr_format": 3.0},
        lambda meta: meta | {"chunk_grid": chunks_of(10**9, 3, 32)},
        lambda meta: meta | {"chunk_grid": chunks_of(0, 3, 32)},
        lambda meta: meta | {"chunk_grid": chunks_of(True, 3, 32)},
        lambda meta: meta | {"chunk_grid": chunks_of(12, 3, 16)},
        lambda meta: meta | {"chunk_grid": {"name": "rectilinear"}},
        lambda meta: [],
        lambda meta: {"zarr_format": 99},
    ],
)
def test_a_hostile_zarr_store_is_a_fault(out: Path, faults: Lines, edit: Callable[[dict[str, Any]], Any]) -> None:
    path = out / "spectra.zarr" / "train" / "zarr.json"
    path.write_text(json.dumps(edit(json.loads(path.read_text()))))
    rehash(out)
    (line,) = faults(out)
    assert line.startswith("spectra.zarr/train/zarr.json: ")


@pytest.mark.parametrize(("start", "stop"), [(0, 20), (3, 17), (19, 20)])
def test_rows_are_those_that_zarr_reads(out: Path, start: int, stop: int) -> None:
    manifest = load(out, Faults())
    rows = zarr_rows.read(manifest, "spectra.zarr/train", (20, 3, 32), "float32", start, stop)
    assert np.array_equal(rows, zarr.open_array(out / "spectra.zarr" / "train")[start:stop])


# Manifest


def test_no_output_is_one_clear_line(tmp_path: Path, run: Verify) -> None:
    assert run(tmp_path / "none") == Result(1, "", f"error: {tmp_path / 'none'} does not exist\n")
    (tmp_path / "file").write_text("")
    assert "is a file" in run(tmp_path / "file").err


def test_an_unfinished_output_is_one_clear_line(out: Path, faults: Lines) -> None:
    (out / "manifest.json").unlink()
    (line,) = faults(out)
    assert "has no manifest.json" in line
    assert "unfinished" in line


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[1]", b"\xff\xfe", b"[" * 100_000, b'{"format": 1}', b"1" * 5_000, b"null"]
)
def test_a_damaged_manifest_is_one_clear_line(out: Path, faults: Lines, content: bytes) -> None:
    (out / "manifest.json").write_bytes(content)
    (line,) = faults(out)
    assert line.startswith(f"error: {out / 'manifest.json'}")


def test_a_truncated_manifest_is_one_clear_line(out: Path, faults: Lines) -> None:
    path = out / "manifest.json"
    os.truncate(path, path.stat().st_size // 2)
    (line,) = faults(out)
    assert line.startswith(f"error: {out / 'manifest.json'} is damaged, it is no JSON")


@pytest.mark.parametrize("name", ["../secret", "/etc/passwd", "a/../../secret", "a//b", "./a", "", "a\nb", "a\\b", "."])
def test_names_outside_the_output_are_refused(out: Path, faults: Lines, name: str) -> None:
    manifest = read_manifest(out)
    manifest["files"][name] = {"bytes": 1, "sha256": "0" * 64}
    write_manifest(out, manifest)
    (line,) = faults(out)
    assert line.startswith(f"error: {out / 'manifest.json'} is damaged: it names ")
    assert "no place in the output" in line


@pytest.mark.parametrize("where", ["folder", "name"])
def test_a_shard_cannot_lie_outside_the_output(out: Path, faults: Lines, where: str) -> None:
    manifest = read_manifest(out)
    variant = manifest["variants"]["rank3"]
    (variant if where == "folder" else variant["splits"]["train"]["shards"][0])[where] = "../elsewhere"
    write_manifest(out, manifest)
    (line,) = faults(out)
    assert "'../elsewhere', which is no place in the output" in line


def _bytes(manifest: dict[str, Any]) -> None:
    manifest["variants"]["rank3"]["splits"]["train"]["bytes"] += 1


def _samples(manifest: dict[str, Any]) -> None:
    manifest["splits"]["train"]["samples"] += 1


def _shard_samples(manifest: dict[str, Any]) -> None:
    manifest["variants"]["rank3"]["splits"]["train"]["shards"][0]["samples"] += 1


def _unlisted(manifest: dict[str, Any]) -> None:
    del manifest["files"][tar("full")]


def _offset(manifest: dict[str, Any]) -> None:
    manifest["numerics"]["high_offset"] = 127


@pytest.mark.parametrize(
    ("edit", "fault"),
    [
        (_bytes, "rank3 train: bytes are not the sum over its shards"),
        (_samples, "train: 20 entries are not 21 samples and 0 rejects"),
        (_shard_samples, f"{tar('rank3')} has 9 samples there, 8 are listed"),
        (_unlisted, f"files has no {tar('full')}"),
        (_offset, "the offset of high-rank-only images is not 128"),
    ],
)
def test_a_manifest_that_contradicts_itself_is_named(
    out: Path, faults: Lines, edit: Callable[[dict[str, Any]], None], fault: str
) -> None:
    manifest = read_manifest(out)
    edit(manifest)
    write_manifest(out, manifest)
    assert f"manifest.json: {fault}" in faults(out)


def test_any_value_in_any_place_of_the_manifest_ends_without_a_traceback(out: Path, run: Verify) -> None:
    whole = read_manifest(out)
    whole["files"] = dict(list(whole["files"].items())[:3])

    def places(node: Any) -> Iterator[tuple[Any, Any]]:
        keys = node.keys() if isinstance(node, dict) else range(min(2, len(node)))
        for key in list(keys):
            yield node, key
            if isinstance(node[key], dict | list):
                yield from places(node[key])

    choose = random.Random(2)
    for node, key in choose.sample(list(places(whole)), 60):
        before, node[key] = node[key], choose.choice([None, -1, 1.5, "x", [], {}, True, 10**30, "../x"])
        write_manifest(out, whole)
        assert run(out, "--sample", 0).status == 1
        node[key] = before


# The source


@pytest.fixture
def cut_folder(tmp_path: Path, pictures: Callable[..., Path]) -> tuple[Path, Path]:
    """An output of a folder of oblong pictures, one of them broken, and the folder."""
    folder = pictures(classes="abc", each=5, size=(14, 11))
    (folder / "b" / "02.png").write_bytes(b"\x89PNG\r\n\x1a\n broken")
    out = tmp_path / "cut"
    given = ["--dataset", "folder", "--data-dir", str(folder), "--ranks", "2,5", "--samples-per-shard", "4"]
    assert build_command.main([*given, "--out", str(out), "--workers", "0", "--quiet"]) == 3
    shutil.rmtree(out / ".build")
    return out, folder


def test_without_full_and_source_it_says_what_is_not_verified(cut_folder: tuple[Path, Path], run: Verify) -> None:
    result = run(cut_folder[0])
    assert result.status == 0
    assert "1 reject" in result.out
    assert "low and high add up to one image at every rank: 28 pairs" in result.out
    assert "not verified: that the images were cut right; that takes --source DIR, or the variant full" in result.out


def test_the_source_verifies_an_output_without_full(cut_folder: tuple[Path, Path], run: Verify) -> None:
    out, folder = cut_folder
    result = run(out, "--source", folder)
    assert result.status == 0
    assert "14 images recomputed from the source" in result.out


def test_a_torn_tar_of_images_of_any_size_is_the_only_fault(
    pictures: Callable[..., Path], tmp_path: Path, faults: Lines
) -> None:
    """The size of a lost image is unknown, so it does not differ from the source's."""
    folder, out = pictures(classes="a", each=4, size=(14, 11)), tmp_path / "out"
    job = ["--dataset", "folder", "--data-dir", str(folder), "--components", "full"]
    assert build_command.main([*job, "--out", str(out), "--workers", "0", "--quiet"]) == 0
    name = "folder-full/folder-full-train-000000.tar"
    os.truncate(out / name, 2000)
    assert {line.partition(":")[0] for line in faults(out, "--source", folder)} == {name}


@pytest.mark.parametrize(
    ("old", "new", "fault"),
    [
        ('"b/02.png"', '"b/03.png"', "train is train-00000007, b/02.png, not b/03.png"),
        ('"b/02.png"', "2", "line 1 is no reject of this output; the samples cannot be checked"),
        ("}\n", ', "more": 1}\n', "line 1 is no reject of this output; the samples cannot be checked"),
    ],
)
def test_a_reject_is_the_entry_that_the_list_of_samples_names(
    cut_folder: tuple[Path, Path], faults: Lines, old: str, new: str, fault: str
) -> None:
    path = cut_folder[0] / "rejects.jsonl"
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new))
    rehash(cut_folder[0])
    assert any(line.startswith("rejects.jsonl: ") and line.endswith(fault) for line in faults(cut_folder[0]))


def test_an_image_that_can_be_read_is_no_reject(
    pictures: Callable[..., Path], tmp_path: Path, run: Verify, faults: Lines
) -> None:
    folder, out = pictures(classes="abc", each=5, size=(14, 11)), tmp_path / "out"
    path = folder / "b" / "02.png"
    image = path.read_bytes()
    path.write_bytes(bytes(len(image)))
    given = ["--dataset", "folder", "--data-dir", str(folder), "--ranks", "2", "--samples-per-shard", "4"]
    assert build_command.main([*given, "--out", str(out), "--workers", "0", "--quiet"]) == 3
    assert run(out, "--source", folder).status == 0
    path.write_bytes(image)
    line = "rejects.jsonl: train-00000007: no reject, its image can be read in the source"
    assert faults(out, "--source", folder) == [line]
    rejects = out / "rejects.jsonl"
    reason = json.loads(rejects.read_text())["reason"]
    rejects.write_text(rejects.read_text().replace(reason, "kills its worker (SIGSEGV)"))
    rehash(out)
    assert run(out, "--source", folder).status == 0  # nobody is asked to die of it


def test_another_source_is_a_fault(cut_folder: tuple[Path, Path], faults: Lines) -> None:
    out, folder = cut_folder
    shutil.rmtree(folder / "c")
    assert faults(out, "--source", folder)[0].startswith(
        f"manifest.json: made from other data than --source {folder}: "
    )


def test_a_missing_source_is_reported_with_the_option_of_verify(
    cut_folder: tuple[Path, Path], tmp_path: Path, faults: Lines
) -> None:
    (line,) = faults(cut_folder[0], "--source", tmp_path / "none")
    assert line.startswith(f"error: {tmp_path / 'none'} does not exist: --source takes the folder ")


def test_a_source_that_changed_under_the_same_names_and_sizes_is_a_fault(
    cut_folder: tuple[Path, Path], faults: Lines
) -> None:
    out, folder = cut_folder
    path = folder / "a" / "03.png"
    size = path.stat().st_size
    file = io.BytesIO()
    Image.fromarray(smooth(np.random.default_rng(5), 14, 11) // 2 + 60).save(file, "PNG")
    path.write_bytes(file.getvalue()[:size].ljust(size, b"\0"))
    assert any("train-00000003" in line for line in faults(out, "--source", folder))


@pytest.mark.parametrize(
    ("place", "value"),
    [
        (("classes",), ["c", "b", "a"]),
        (("source", "title"), "Pictures"),
        (("source", "terms"), "none"),
        (("source", "checksums_verified"), True),
    ],
)
def test_a_manifest_is_compared_with_its_source(
    cut_folder: tuple[Path, Path], faults: Lines, place: tuple[str, ...], value: object
) -> None:
    out, folder = cut_folder
    manifest = read_manifest(out)
    functools.reduce(operator.getitem, place[:-1], manifest)[place[-1]] = value
    write_clients(out, manifest)
    (line,) = faults(out, "--source", folder)
    assert line.startswith(f"manifest.json: {'.'.join(place)} is not ")


@pytest.mark.parametrize("order", ["source", "shuffled"])
@pytest.mark.parametrize("limit", [None, 9])
def test_a_limited_output_that_claims_to_be_whole_is_found_with_the_source(
    pictures: Callable[..., Path], tmp_path: Path, run: Verify, faults: Lines, order: str, limit: int | None
) -> None:
    folder, out = pictures(classes="abc", each=5, size=(14, 11)), tmp_path / "part"
    given = ["--dataset", "folder", "--data-dir", str(folder), "--ranks", "2", "--limit", "8", "--order", order]
    assert build_command.main([*given, "--out", str(out), "--workers", "0", "--quiet"]) == 0
    assert run(out, "--source", folder).status == 0
    manifest = read_manifest(out)
    manifest["job"]["limit"] = limit
    write_clients(out, manifest)
    assert run(out).status == 0
    assert faults(out, "--source", folder) == [
        f"manifest.json: train: 8 entries, job.limit is {limit}, and the source has 15"
    ]


def test_a_sample_that_a_limit_takes_cannot_be_left_out_of_a_shuffled_order(
    pictures: Callable[..., Path], tmp_path: Path, faults: Lines
) -> None:
    folder, manifests = pictures(classes="abc", each=5, size=(14, 11)), []
    names = [f"{name}/{number:02d}.png" for name in "abc" for number in range(5)]
    last = folder / names[-1]
    content, place = last.read_bytes(), 8
    for seed in range(20):  # one that has the last of them early
        place = sorted(names, key=lambda name: hashlib.sha256(f"{seed}/{name}".encode()).digest()).index(names[-1])
        if place < 7:
            break
    given = ["--dataset", "folder", "--data-dir", str(folder), "--ranks", "2", "--limit", "8", "--order", "shuffled"]
    for out in (tmp_path / "out", tmp_path / "less"):
        more = ["--seed", str(seed), "--out", str(out), "--workers", "0", "--quiet"]
        assert build_command.main([*given, *more]) == 0
        manifests.append(read_manifest(out))
        last.unlink(missing_ok=True)
    last.write_bytes(content)
    manifests[1]["source"]["fingerprint"] = manifests[0]["source"]["fingerprint"]
    write_clients(out, manifests[1])
    assert faults(out, "--source", folder) == [
        "samples/train.jsonl: train-00000014: left out, though it comes before others in the order"
    ]


def test_the_embedded_photographs_need_no_source(out: Path, run: Verify) -> None:
    result = run(out, "--source", out)
    assert result.status == 2
    assert result.err.startswith("error: --source is not needed here")


@pytest.mark.parametrize(
    "arguments",
    [[], ["a", "b"], ["a", "--sourc", "b"], ["a", "--workers", "0"], ["a", "--sample", "-1"], ["a", "--sample", "x"]],
)
def test_wrong_usage_is_one_line(run: Verify, arguments: list[str]) -> None:
    result = run(*arguments, *([] if "--workers" in arguments else ["--workers", "1"]))
    assert result.status == 2
    assert result.err.startswith("error: ")
    assert result.err.count("\n") == 1


# Laws


pixels = st.integers(0, 255)


@given(
    st.lists(st.tuples(pixels, st.integers(-600, 900), st.integers(-600, 900)), min_size=1, max_size=30), st.booleans()
)
def test_parts_of_one_image_never_break_the_law(subpixels: list[tuple[int, int, int]], known: bool) -> None:
    image, *rounded = (np.array(column).reshape(-1, 1, 1, 1) for column in zip(*subpixels, strict=True))
    valid = np.ones(len(image), bool)
    bounds = Bounds(image.astype(np.uint8), valid & known)
    for cut in rounded:
        low, high = (np.clip(part, 0, 255).astype(np.uint8) for part in (cut, image - cut + 128))
        assert not bounds.broken(low, high, valid).any()


@given(pixels, st.integers(1, 254), st.integers(1, 254))
def test_unclipped_parts_of_another_image_break_the_law(image: int, low: int, high: int) -> None:
    x, a, b = (np.full((1, 1, 1, 1), value, np.uint8) for value in (image, low, high))
    assert Bounds(x, np.array([True])).broken(a, b, np.array([True])).item() == (low + high - 128 != image)


def test_a_degenerate_plane_is_verified_by_the_energy_of_its_residual() -> None:
    image = np.repeat((np.eye(16, dtype=np.uint8) * 200)[..., None], 3, axis=2)
    low, high = Variant("rank4", "low", 4, "a"), Variant("highrank4", "high", 4, "b")
    kept = np.where(np.arange(16) < 4, 200, 0).astype(np.uint8)
    right = np.repeat(np.diag(kept)[..., None], 3, axis=2)
    rest = (image.astype(int) - right + 128).clip(0, 255).astype(np.uint8)
    compared = compare(image, {low: right, high: rest})
    assert compared.problems == {}
    assert compared.counts.degenerate == 3
    assert set(compare(image, {low: image, high: np.full_like(image, 0)}).problems) == {high}


def test_an_image_of_low_rank_is_its_own_low_rank_part() -> None:
    image = np.repeat(np.outer(np.arange(1, 13), np.arange(1, 17)).astype(np.uint8)[..., None], 3, axis=2)
    low = Variant("rank4", "low", 4, "a")
    assert compare(image, {low: image}).problems == {}
    assert set(compare(image, {low: image ^ (image == 7)}).problems) == {low}


# Hostile bytes


def test_the_tar_reader_sees_what_tarfile_sees(built: Path) -> None:
    for path in built.rglob("*.tar"):
        with path.open("rb") as file:
            found = [(member.name, member.data) for member in members(file, 1 << 20, {})]
        assert found == read_members(path)


@settings(max_examples=200, deadline=None)
@given(st.binary(min_size=1, max_size=3000).map(lambda content: content + b"x"))
def test_the_tar_reader_ends_on_any_bytes(content: bytes) -> None:
    with pytest.raises(TarError):
        list(members(io.BytesIO(content), 1 << 10, {}))


def test_any_flipped_byte_is_found_and_never_ends_in_a_traceback(out: Path, run: Verify) -> None:
    choose = random.Random(1)
    files = sorted(name for name in read_manifest(out)["files"] if (out / name).stat().st_size)
    original = (out / "manifest.json").read_bytes()
    for name in choose.sample(files, 12) + [tar("rank3")] * 12 + ["samples/train.jsonl"] * 6:
        content = (out / name).read_bytes()
        at = choose.randrange(min(len(content), 3000))
        (out / name).write_bytes(content[:at] + bytes([content[at] ^ (1 << choose.randrange(8))]) + content[at + 1 :])
        found = run(out, "--sample", 0)
        assert found.status == 1
        assert name in found.err
        rehash(out)
        assert run(out, "--sample", 0).status in (0, 1)
        (out / name).write_bytes(content)
        (out / "manifest.json").write_bytes(original)
