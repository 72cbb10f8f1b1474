"""Promises of ``python -m pipeline.repair``: it rebuilds the files that verify names, to the byte, and changes no others."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline import build as build_command
from pipeline import repair, verify
from tests.conftest import Files, Result, contents, stamps

CUTS = ("--ranks", "3,12", "--bands", "3:12", "--radii", "4", "--components", "low,high,full")
OPTIONS = (*CUTS, "--samples-per-shard", "8", "--limit", "20")
TAR = "sample-rank3/sample-rank3-train-000001.tar"
CHUNK = "spectra.zarr/train/c.1.0.0"
FACTORS = "factors.zarr/test/u/c.0.0.0.0"
Repair = Callable[..., Result]


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("repair") / "out"
    assert build_command.main([*OPTIONS, "--factors", "--out", str(out), "--workers", "0", "--quiet"]) == 0
    return out


@pytest.fixture(params=["with .build", pytest.param("a copy without", marks=pytest.mark.full)])
def out(request: pytest.FixtureRequest, built: Path, tmp_path: Path) -> Path:
    copy = Path(shutil.copytree(built, tmp_path / "out"))
    if request.param == "a copy without":
        shutil.rmtree(copy / ".build")
    return copy


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Repair:
    def run(command: Callable[[list[str]], int], *arguments: object) -> Result:
        capsys.readouterr()
        status = command([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        assert "Traceback" not in captured.err
        return Result(status, captured.out, captured.err)

    return run


def repaired(result: Result) -> set[str]:
    return {line.removeprefix("repaired: ") for line in result.out.splitlines()}


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def relabel(path: Path) -> None:
    content = path.read_bytes()
    at = content.index(b".cls\0") // 512 * 512 + 512
    path.write_bytes(content[:at] + (b"1" if content[at : at + 1] != b"1" else b"2") + content[at + 1 :])


def cut(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


@pytest.mark.parametrize(
    ("damage", "names"),
    [
        (flip, [TAR]),
        (Path.unlink, [TAR, TAR.replace(".tar", ".idx")]),
        (cut, [CHUNK]),
        (cut, [FACTORS, "sample-full/sample-full-test-000002.tar"]),
        (relabel, ["sample-highrank12/sample-highrank12-test-000000.tar"]),
        (flip, ["README.md", "sample-rank3/_info.json", "sample-full/wids-train.json"]),
        (flip, ["samples/train.jsonl"]),
        (cut, ["spectra.zarr/train/zarr.json", "factors.zarr/zarr.json"]),
        (lambda path: path.write_text("{}\n"), ["rejects.jsonl"]),
    ],
)
def test_damaged_files_are_restored_and_no_others_change(
    built: Path, out: Path, run: Repair, damage: Callable[[Path], object], names: list[str]
) -> None:
    for name in names:
        damage(out / name)
    before = stamps(out)
    result = run(repair.main, out, "--workers", 0)
    assert (result.status, result.err) == (0, "") or "images" in result.err
    assert repaired(result) == set(names)
    assert contents(out) == contents(built)
    after = stamps(out)
    assert {name for name in after if after[name] != before.get(name)} == set(names)


def test_many_files_of_a_copy_are_repaired_from_a_report(built: Path, run: Repair, tmp_path: Path) -> None:
    """A copy without ``.build``."""
    out = Path(shutil.copytree(built, tmp_path / "out", ignore=shutil.ignore_patterns(".build")))
    shutil.rmtree(out / "sample-highrank3")
    cut(out / TAR)
    report = tmp_path / "report.json"
    assert run(verify.main, out, "--quick", "--json", report).status == 1
    result = run(repair.main, out, "--report", report, "--workers", 0)
    assert result.status == 0
    assert len(repaired(result)) == 1 + sum(name.startswith("sample-highrank3/") for name in contents(built))
    assert contents(out) == contents(built)
    assert run(verify.main, out, "--workers", 1).status == 0


def test_a_repaired_output_can_be_extended(built: Path, run: Repair, tmp_path: Path) -> None:
    out = Path(shutil.copytree(built, tmp_path / "out"))
    flip(out / TAR)
    assert run(repair.main, out, "--workers", 0).status == 0
    before = stamps(out)
    assert build_command.main([*OPTIONS, "--out", str(out), "--workers", "0", "--recheck", "--quiet"]) == 0
    after = stamps(out)
    assert [name for name in before if name.endswith(".tar") and before[name] != after[name]] == []
    assert contents(out) == contents(built)


def test_an_intact_output_is_not_changed(out: Path, run: Repair) -> None:
    before = stamps(out)
    assert run(repair.main, out, "--workers", 0) == Result(0, "nothing is wrong, so there is nothing to repair\n", "")
    assert stamps(out) == before


def test_an_extra_file_is_named_and_kept(out: Path, run: Repair) -> None:
    extra = out / "sample-rank3" / "sample-rank3-train-000099.tar"
    shutil.copy(out / TAR, extra)
    result = run(repair.main, out, "--workers", 0)
    assert result.status == 1
    assert result.err.startswith("left: sample-rank3/sample-rank3-train-000099.tar: not in the manifest")
    assert extra.exists()


@pytest.mark.parametrize("edit", [lambda m: m["classes"].reverse(), lambda m: m["files"].pop(TAR)])
def test_a_manifest_at_fault_is_refused(out: Path, run: Repair, edit: Callable[[dict[str, list[str]]], object]) -> None:
    manifest = json.loads((out / "manifest.json").read_bytes())
    edit(manifest)
    (out / "manifest.json").write_text(json.dumps(manifest))
    before = stamps(out)
    result = run(repair.main, out, "--workers", 0)
    assert (result.status, result.out) == (1, "")
    assert result.err.startswith("error: manifest.json, which a repair relies on, is at fault: ")
    assert stamps(out) == before


def test_a_report_of_another_output_or_an_edited_one_is_refused(out: Path, run: Repair, tmp_path: Path) -> None:
    cut(out / TAR)
    report = tmp_path / "report.json"
    run(verify.main, out, "--quick", "--json", report)
    report.write_text(report.read_text().replace("000001.tar", "000002.tar"))
    assert "was edited" in run(repair.main, out, "--report", report).err
    report.write_text("{}")
    assert "is no report" in run(repair.main, out, "--report", report).err


@pytest.fixture
def cut_folder(tmp_path: Path, pictures: Callable[..., Path]) -> tuple[Path, Path, Files]:
    """Returns the folder of oblong pictures, one of them broken, their output in native size, and its bytes."""
    folder = pictures(classes="abc", each=5, size=(14, 11))
    (folder / "b" / "02.png").write_bytes(b"\x89PNG\r\n\x1a\n broken")
    out = tmp_path / "cut"
    given = ["--dataset", "folder", "--data-dir", str(folder), "--ranks", "2,5", "--samples-per-shard", "4"]
    assert build_command.main([*given, "--out", str(out), "--workers", "0", "--quiet"]) == 3
    return out, folder, contents(out)


@pytest.mark.parametrize("built_here", [True, False])
def test_shards_with_rejects_and_their_list_are_repaired(
    cut_folder: tuple[Path, Path, Files], run: Repair, built_here: bool
) -> None:
    out, folder, right = cut_folder
    if not built_here:
        shutil.rmtree(out / ".build")
    for path in [*out.rglob("*000001.tar"), out / "rejects.jsonl"]:
        flip(path)
    result = run(repair.main, out, "--workers", 0)
    assert "--source DIR" in result.err and result.err.count("\n") == 1
    assert run(repair.main, out, "--source", folder, "--workers", 0).status == 0
    assert contents(out) == right


@pytest.mark.parametrize("damage", [lambda data: b"z" + data[1:], lambda data: b"", lambda data: data + data])
def test_a_damaged_list_of_rejects_is_the_only_fault(
    cut_folder: tuple[Path, Path, Files], run: Repair, damage: Callable[[bytes], bytes]
) -> None:
    out, folder, right = cut_folder
    rejects = out / "rejects.jsonl"
    rejects.write_bytes(damage(rejects.read_bytes()))
    found = run(verify.main, out, "--source", folder)
    assert found.status == 1
    assert all(line.startswith("rejects.jsonl: ") for line in found.err.splitlines())
    assert repaired(run(repair.main, out, "--source", folder, "--workers", 0)) == {"rejects.jsonl"}
    assert contents(out) == right


def test_another_source_is_refused(cut_folder: tuple[Path, Path, Files], run: Repair) -> None:
    out, folder, _ = cut_folder
    flip(next(out.rglob("*000001.tar")))
    before = stamps(out)
    (folder / "a" / "00.png").unlink()
    result = run(repair.main, out, "--source", folder, "--workers", 0)
    assert result.status == 1
    assert "made from other data than" in result.err
    assert stamps(out) == before


def test_a_file_that_is_rebuilt_with_other_bytes_is_not_changed(
    cut_folder: tuple[Path, Path, Files], run: Repair
) -> None:
    out, folder, _ = cut_folder
    (path,) = out.rglob("*-rank2-train-000000.tar")
    flip(path)
    flipped = path.read_bytes()
    source = folder / "a" / "01.png"
    content = bytearray(source.read_bytes())
    content[len(content) // 2] ^= 1  # the same name and size: only the bytes can tell
    source.write_bytes(content)
    result = run(repair.main, out, "--source", folder, "--workers", 0)
    assert result.status == 1
    assert path.read_bytes() == flipped


@pytest.mark.parametrize("arguments", [[], ["a", "b"], ["a", "--sourc", "b"], ["a", "--workers", "-1"]])
def test_wrong_usage_is_one_line(run: Repair, arguments: list[str]) -> None:
    result = run(repair.main, *arguments)
    assert (result.status, result.out, result.err.count("\n")) == (2, "", 1)
    assert result.err.startswith("error: ")
