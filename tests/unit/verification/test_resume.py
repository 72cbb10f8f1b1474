"""Promises of ``verify`` on large outputs: it resumes where it was stopped, has a quick mode, and writes reports."""

import errno
import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pipeline import build as build_command
from pipeline import repair, verify
from pipeline.verification import verify_output
from pipeline.verification.workers import pool
from tests.conftest import Result, contents

ROOT = Path(__file__).resolve().parents[3]
KEPT_PARTS = Path(".build", "proof", "parts")
PARTS = 7  # six shards, and the files beside them
TAR = "sample-rank3/sample-rank3-train-000001.tar"
Verify = Callable[..., Result]


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("verify") / "out"
    given = ["--ranks", "3,12", "--components", "low,high,full", "--samples-per-shard", "8", "--limit", "20"]
    assert build_command.main([*given, "--out", str(out), "--workers", "0", "--quiet"]) == 0
    return out


@pytest.fixture
def out(built: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(built, tmp_path / "out"))


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Verify:
    def run(*arguments: object) -> Result:
        capsys.readouterr()
        status = verify.main([*map(str, arguments), "--workers", "1"])
        captured = capsys.readouterr()
        assert "Traceback" not in captured.err
        return Result(status, captured.out, captured.err)

    return run


@pytest.fixture
def stop(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Ctrl-C after so many parts, once."""
    real = pool.verify_parts

    def stop(parts: int) -> None:
        def stopped(*arguments: Any) -> Iterator[Any]:
            monkeypatch.setattr(verify_output, "verify_parts", real)
            for done, result in enumerate(real(*arguments)):
                if done == parts:
                    raise KeyboardInterrupt
                yield result

        monkeypatch.setattr(verify_output, "verify_parts", stopped)

    return stop


@pytest.fixture
def looked_at(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many parts each run has verified itself."""
    real, counts = pool.verify_parts, []

    def counting(verifier: Any, parts: list[Any], *others: Any) -> Any:
        counts.append(len(parts))
        return real(verifier, parts, *others)

    monkeypatch.setattr(verify_output, "verify_parts", counting)
    return counts


def verified_by_an_earlier_run(result: Result) -> int:
    lines = [line for line in result.out.splitlines() if "by an earlier run" in line]
    return int(lines[0].split()[0]) if lines else 0


# Resuming


def test_a_stopped_run_resumes_and_gives_the_same_result(
    out: Path, run: Verify, stop: Callable[[int], None], tmp_path: Path
) -> None:
    whole = run(out, "--json", tmp_path / "whole.json")
    stop(4)
    stopped = run(out)
    assert stopped.status == 1
    assert stopped.err.startswith("stopped; 4 parts are verified") and stopped.err.count("\n") == 1
    resumed = run(out, "--json", tmp_path / "resumed.json")
    assert resumed.status == 0
    assert verified_by_an_earlier_run(resumed) == 4
    assert [line for line in resumed.out.splitlines() if "earlier" not in line] == whole.out.splitlines()
    assert (tmp_path / "resumed.json").read_bytes() == (tmp_path / "whole.json").read_bytes()
    assert not (out / KEPT_PARTS).exists()
    assert verified_by_an_earlier_run(run(out)) == 0  # a complete run leaves nothing for the next one


@pytest.mark.parametrize("shares", [3, 10])  # ten: more than there are parts
def test_parts_of_several_nights_add_up_to_one_report(
    shares: int, out: Path, run: Verify, looked_at: list[int], tmp_path: Path
) -> None:
    whole = run(out, "--json", tmp_path / "whole.json")
    looked_at.clear()
    for number in range(shares, 0, -1):  # in any order
        night = run(out, "--part", f"{number}/{shares}")
        assert (night.status, night.err) == (0, "")
        assert f"part {number} of {shares}" in night.out
        assert verified_by_an_earlier_run(night) == 0
    assert sum(looked_at) == PARTS
    assert max(looked_at) == -(-PARTS // shares)
    looked_at.clear()
    again = run(out, "--part", f"1/{shares}")  # the same night, started again
    assert verified_by_an_earlier_run(again) == -(-PARTS // shares)
    last = run(out, "--json", tmp_path / "last.json")
    assert sum(looked_at) == 0
    assert [line for line in last.out.splitlines() if "earlier" not in line] == whole.out.splitlines()
    assert (tmp_path / "last.json").read_bytes() == (tmp_path / "whole.json").read_bytes()
    assert not (out / KEPT_PARTS).exists()  # the next round begins from nothing


def test_a_fault_is_found_in_exactly_one_part(out: Path, run: Verify) -> None:
    raw = bytearray((out / TAR).read_bytes())
    raw[3000] ^= 1
    (out / TAR).write_bytes(raw)
    nights = [run(out, "--part", f"{number}/4") for number in range(1, 5)]
    assert sorted(night.status for night in nights) == [0, 0, 0, 1]
    assert sum(TAR in night.err for night in nights) == 1
    assert run(out).status == 1


def test_a_part_that_cannot_be_kept_is_refused(out: Path, run: Verify, tmp_path: Path) -> None:
    (out / ".build" / "proof").mkdir(parents=True)
    (out / KEPT_PARTS).write_text("of another program")
    assert "--progress" in run(out, "--part", "1/4").err
    assert run(out, "--part", "1/4", "--progress", tmp_path / "kept").status == 0


@pytest.mark.parametrize("text", ["0/10", "11/10", "x/y", "3", "3/", "/10", "-1/10", "1.5/10", "3/10/2", "1/0"])
def test_wrong_parts_are_one_line(text: str, out: Path, run: Verify) -> None:
    result = run(out, f"--part={text}")
    assert (result.status, result.err.count("\n")) == (2, 1)
    assert "--part" in result.err
    assert text in result.err


@pytest.mark.parametrize("other", [("--quick",), ("--json", "-"), ("--check", "report.json")])
def test_options_that_do_not_go_with_a_part_are_refused(other: tuple[str, ...], out: Path, run: Verify) -> None:
    result = run(out, "--part", "1/2", *other)
    assert (result.status, result.err.count("\n")) == (2, 1)


def _rewrite(path: Path) -> None:
    times = path.stat()
    path.write_bytes(path.read_bytes())
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))  # a careful forger: only the time of change tells


def _replace(path: Path) -> None:
    shutil.copy2(path, path.with_suffix(".new"))
    path.with_suffix(".new").replace(path)


@pytest.mark.parametrize("touch", [_rewrite, _replace, os.utime])
def test_a_changed_file_is_verified_again(
    out: Path, run: Verify, stop: Callable[[int], None], touch: Callable[[Path], object]
) -> None:
    stop(6)
    run(out)
    touch(out / TAR)
    assert verified_by_an_earlier_run(run(out)) == 5


def test_damage_after_a_stopped_run_is_found(out: Path, run: Verify, stop: Callable[[int], None]) -> None:
    stop(6)
    run(out)
    path, times = out / TAR, (out / TAR).stat()
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert TAR in run(out).err


def test_parts_of_a_faulty_output_are_not_verified_twice(out: Path, run: Verify, looked_at: list[int]) -> None:
    right = (out / TAR).read_bytes()
    os.truncate(out / TAR, 3000)
    assert run(out).status == 1
    first = run(out)
    assert first.status == 1
    (out / TAR).write_bytes(right)
    assert run(out).status == 0
    assert looked_at == [PARTS, 1, 1]


def test_fresh_verifies_everything(out: Path, run: Verify, stop: Callable[[int], None]) -> None:
    stop(6)
    run(out)
    assert verified_by_an_earlier_run(run(out, "--fresh")) == 0


def test_another_sample_size_is_verified_again(out: Path, run: Verify, stop: Callable[[int], None]) -> None:
    stop(6)
    run(out, "--sample", 0)
    assert "40 images recomputed" in run(out).out


def test_a_list_copied_with_an_output_is_ignored(
    out: Path, run: Verify, stop: Callable[[int], None], tmp_path: Path
) -> None:
    stop(6)
    run(out)
    copy = tmp_path / "copy"
    subprocess.run(["cp", "-a", str(out), str(copy)], check=True)
    assert (copy / KEPT_PARTS).is_file()
    assert verified_by_an_earlier_run(run(copy)) == 0


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: text[: len(text) // 2],
        lambda text: text.replace('"samples": 8', '"samples": 9'),
        lambda text: "\0" * 5000 + "\n" + text[10:],
        lambda text: _signed('[2, "x", {"bytes": -1}]') + _signed("[1]") + _signed("[" * 99_000) + _signed('{"a": 1}'),
    ],
)
def test_a_torn_or_forged_list_at_worst_costs_time(
    out: Path, run: Verify, stop: Callable[[int], None], damage: Callable[[str], str]
) -> None:
    whole = run(out)
    stop(6)
    run(out)
    first, kept = (out / KEPT_PARTS).read_text().split("\n", 1)
    (out / KEPT_PARTS).write_text(f"{first}\n{damage(kept)}")
    result = run(out)
    assert (result.status, result.err) == (0, "")
    assert [line for line in result.out.splitlines() if "earlier" not in line] == whole.out.splitlines()


def _signed(content: str) -> str:
    return f"{hashlib.sha256(content.encode()).hexdigest()} {content}\n"


def test_a_copy_gets_no_build_folder(out: Path, run: Verify, stop: Callable[[int], None]) -> None:
    shutil.rmtree(out / ".build")
    stop(3)
    run(out)
    assert (out / KEPT_PARTS).is_file()
    assert run(out).status == 0
    assert not (out / ".build").exists()


def test_an_output_is_verified_though_its_parts_cannot_be_kept(
    out: Path, run: Verify, stop: Callable[[int], None], tmp_path: Path
) -> None:
    shutil.rmtree(out / ".build")
    (out / ".build").write_text("no folder")
    stop(3)
    assert run(out).err == "stopped; nothing is verified\n"
    stop(3)
    run(out, "--progress", tmp_path / "kept")
    assert verified_by_an_earlier_run(run(out, "--progress", tmp_path / "kept")) == 3


# A quick look


def test_quick_says_what_it_does_not_verify(out: Path, run: Verify) -> None:
    result = run(out, "--quick")
    assert result.status == 0
    assert "6 shard records of the build" in result.out
    assert "not verified: the content of the files" in result.out.splitlines()[-1]


def test_quick_names_files_that_are_missing_torn_or_not_listed(out: Path, run: Verify) -> None:
    (out / "README.md").unlink()
    os.truncate(out / TAR, 100)
    (out / "rejects.jsonl").unlink()
    os.mkfifo(out / "rejects.jsonl")
    shutil.copy(out / TAR, out / TAR.replace("000001", "000009"))
    size = json.loads((out / "manifest.json").read_bytes())["files"][TAR]["bytes"]
    assert sorted(run(out, "--quick").err.splitlines()) == sorted(
        [
            "README.md: missing",
            "rejects.jsonl: cannot be read: not a regular file",
            f"{TAR}: 100 bytes, the manifest says {size:,}",
            f"{TAR.replace('000001', '000009')}: not in the manifest, but *.tar in sample-rank3 reads it",
        ]
    )


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"spectra": 1}', "[" * 100_000])
def test_a_record_that_is_none_is_named(out: Path, run: Verify, content: str) -> None:
    (out / ".build/records/train-000001.json").write_text(content)
    assert run(out, "--quick").err == ".build/records/train-000001.json: is no shard record\n"


def test_a_record_of_another_file_is_named(out: Path, run: Verify) -> None:
    path = out / ".build/records/train-000001.json"
    path.write_text(path.read_text().replace('.tar", ', '.tar", 1'))
    assert "it and manifest.json do not agree about sample-" in run(out, "--quick").err


# The report


def test_a_report_names_every_fault_by_its_place(out: Path, run: Verify, tmp_path: Path) -> None:
    os.truncate(out / TAR, 3000)
    (out / "README.md").unlink()
    run(out, "--json", tmp_path / "report.json")
    report = json.loads((tmp_path / "report.json").read_bytes())
    assert report["verdict"] == "faulty"
    first, *_, last = report["faults"]
    assert first == {
        "file": "README.md",
        "variant": None,
        "split": None,
        "shard": None,
        "sample": None,
        "fault": "missing",
    }
    assert (last["file"], last["variant"], last["split"], last["shard"]) == (TAR, "rank3", "train", 1)
    assert report["faults_in_all"] == len(report["faults"])


def test_a_report_is_the_same_with_two_workers_and_anywhere(
    out: Path, built: Path, run: Verify, tmp_path: Path
) -> None:
    run(built, "--json", tmp_path / "one.json")
    command = [
        sys.executable,
        "-m",
        "pipeline.verify",
        str(out),
        "--workers",
        "2",
        "--json",
        str(tmp_path / "two.json"),
    ]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    assert (tmp_path / "one.json").read_bytes() == (tmp_path / "two.json").read_bytes()


def test_a_report_shows_what_was_verified_and_any_edit(out: Path, run: Verify, tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    run(out, "--json", path)
    report = json.loads(path.read_bytes())
    assert report["manifest_sha256"] == hashlib.sha256((out / "manifest.json").read_bytes()).hexdigest()
    assert report["variants"]["rank3"]["train"]["samples"] == 20
    assert report["checks"]["bytes"] == sum(
        len(data) for name, data in contents(out).items() if name != "manifest.json"
    )
    assert run(out, "--check", path).status == 0
    whole = path.read_text()
    for old, new in [
        ('"samples": 40', '"samples": 41'),
        ('"proven"', '"faulty"'),
        ('"faults": []', '"faults": [], "a": 1'),
    ]:
        assert old in whole
        path.write_text(whole.replace(old, new))
        assert "was edited" in run(out, "--check", path).err
    path.write_text(whole)
    (out / "manifest.json").write_bytes((out / "manifest.json").read_bytes() + b" ")
    assert "is of another output" in run(out, "--check", path).err


@pytest.mark.parametrize(
    "arguments",
    [
        ["--quick", "--fresh"],
        ["--quick", "--source", "x"],
        ["--quick", "--allow-unverified"],
        ["--quick", "--label-key", "x"],
        ["--check"],
        ["--check", "report.json", "--quick"],
        ["--check", "report.json", "--source", "x"],
        ["--check", "report.json", "--json", "x"],
        ["--json"],
    ],
)
def test_wrong_usage_is_one_line(out: Path, run: Verify, arguments: list[str]) -> None:
    result = run(out, *arguments)
    assert (result.status, result.out, result.err.count("\n")) == (2, "", 1)


# Files of others


FILES = ["rejects.jsonl", "manifest.json", TAR, "sample-rank3/README.md"]


@pytest.mark.parametrize("option", ["--progress", "--json"])
@pytest.mark.parametrize("more", [[], ["--fresh"]])
def test_no_file_of_another_is_written_over(
    out: Path, run: Verify, option: str, more: list[str], tmp_path: Path
) -> None:
    assert (out / "rejects.jsonl").read_bytes() == b""
    before = contents(out)
    for name in FILES:
        copy = tmp_path / "copy"
        copy.write_bytes((out / name).read_bytes())
        result = run(out, option, copy, *more)
        assert (result.status, result.out) == (2, "")
        assert result.err.startswith(f"error: {option} {copy} exists already and ")
        assert copy.read_bytes() == (out / name).read_bytes()
    assert contents(out) == before


@pytest.mark.parametrize("option", ["--progress", "--json"])
def test_nothing_is_written_inside_the_output(out: Path, run: Verify, option: str, tmp_path: Path) -> None:
    (out / "sample-rank3" / "README.md").unlink()
    before = contents(out)
    (tmp_path / "link").symlink_to(out / "sample-rank3" / "new")
    (tmp_path / "folder").symlink_to(out)
    inside = [*FILES, "new", "sample-rank3/new.tar", ".build/proof/parts"]
    for path in (*(out / name for name in inside), tmp_path / "link", tmp_path / "folder" / "x" / ".." / "new"):
        assert run(out, option, path) == Result(
            2, "", f"error: {option} {path} is inside the output {out}: name a file elsewhere\n"
        )
    assert contents(out) == before


@pytest.mark.parametrize("option", ["--progress", "--json"])
def test_a_file_that_cannot_be_written_is_reported_before_work(
    out: Path, run: Verify, looked_at: list[int], option: str, tmp_path: Path
) -> None:
    assert "there is no folder" in run(out, option, tmp_path / "no" / "file").err
    assert "is a folder" in run(out, option, tmp_path).err
    assert looked_at == []


def test_a_pipe_keeps_nothing(out: Path, run: Verify, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    result = run(out, "--progress", tmp_path / "pipe")
    assert (result.status, result.err) == (
        2,
        f"error: --progress {tmp_path / 'pipe'} is no regular file: name another file\n",
    )
    assert (tmp_path / "pipe").is_fifo()


def test_a_report_takes_the_place_of_an_earlier_one(out: Path, run: Verify, tmp_path: Path) -> None:
    for _ in range(2):
        assert run(out, "--quick", "--json", tmp_path / "report.json").status == 0
    (tmp_path / "report.json").write_bytes(b'{\n "kin')  # of a full disk
    assert run(out, "--json", tmp_path / "report.json").status == 0
    assert run(out, "--check", tmp_path / "report.json").status == 0


def _link(path: Path, theirs: Path) -> None:
    path.symlink_to(theirs / "file")


def _link_above(path: Path, theirs: Path) -> None:
    path.parent.rmdir()
    path.parent.symlink_to(theirs, target_is_directory=True)


def _another(path: Path, theirs: Path) -> None:
    path.write_bytes((theirs / "file").read_bytes())


def _hard_link(path: Path, theirs: Path) -> None:
    path.hardlink_to(theirs / "file")


def _pipe(path: Path, theirs: Path) -> None:
    os.mkfifo(path)


@pytest.mark.parametrize("lay", [_link, _link_above, _another, _hard_link, _pipe])
def test_links_and_pipes_in_a_foreign_output_are_left_alone(
    out: Path, run: Verify, lay: Callable[[Path, Path], None], tmp_path: Path
) -> None:
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    for one in ("file", "parts"):
        (theirs / one).write_text("a day's work\n")
    (out / KEPT_PARTS).parent.mkdir(parents=True)
    lay(out / KEPT_PARTS, theirs)
    for more in ([], ["--fresh"]):
        result = run(out, *more)
        assert (result.status, result.err) == (0, "")
    assert {path.name: path.read_text() for path in theirs.iterdir()} == dict.fromkeys(
        ("file", "parts"), "a day's work\n"
    )


def test_a_run_that_fails_leaves_no_earlier_report(out: Path, run: Verify, tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    for arguments in ([], ["--quick"]):
        manifest = (out / "manifest.json").read_bytes()
        assert run(out, "--json", path, *arguments).status == 0
        (out / "manifest.json").write_bytes(b"{")
        assert run(out, "--json", path, *arguments).status == 1
        assert list(tmp_path.iterdir()) == [out]
        (out / "manifest.json").write_bytes(manifest)


def test_a_full_disk_leaves_no_part_of_a_report(
    out: Path, run: Verify, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "report.json"
    assert run(out, "--quick", "--json", path).status == 0

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    assert run(out, "--quick", "--json", path) == Result(1, "", f"error: {path}: No space left on device\n")
    assert list(tmp_path.iterdir()) == [out]


def test_a_report_goes_where_a_link_leads_and_into_pipes(out: Path, run: Verify, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "link").symlink_to("elsewhere/report.json")
    for _ in range(2):
        assert run(out, "--quick", "--json", tmp_path / "link").status == 0
    assert (tmp_path / "link").is_symlink()
    assert run(out, "--check", tmp_path / "elsewhere" / "report.json").status == 0
    assert run(out, "--quick", "--json", "/dev/null").status == 0


def test_a_report_with_a_key_that_comes_twice_is_no_report(out: Path, run: Verify, tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    (out / TAR).unlink()
    run(out, "--quick", "--json", path)
    path.write_text(path.read_text().replace('"verdict"', '"verdict": "proven",\n "verdict"', 1))
    result = run(out, "--check", path)
    assert (result.status, result.out) == (1, "")
    assert "is no report of verify --json" in result.err


def test_a_read_only_file_system_is_named_as_one(
    out: Path, run: Verify, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class ReadOnly:
        f_flag = os.ST_RDONLY

    monkeypatch.setattr(os, "access", lambda *_: False)
    monkeypatch.setattr(os, "statvfs", lambda _: ReadOnly)
    result = run(out, "--progress", tmp_path / "parts")
    assert result.err == (
        f"error: --progress {tmp_path / 'parts'}: it is on a read-only file system; name another file\n"
    )


GONE = object()
FORGED: dict[str, tuple[Any, ...]] = {
    "faults": (GONE, None, 5, "x", [5], [{}], [{"file": "x"}], [{"fault": "x"}], [{"file": 5, "fault": "x"}], {}, []),
    "faults_in_all": (GONE, None, 0, True, -1, "1", []),
    "verdict": (GONE, None, "proven", "sizes agree", "x", []),
    "mode": (GONE, None, "x", []),
}


@pytest.mark.parametrize(("key", "value"), [(key, value) for key, values in FORGED.items() for value in values])
def test_a_report_that_no_verify_writes_is_one_line_though_its_hash_is_right(
    out: Path, run: Verify, key: str, value: Any, tmp_path: Path
) -> None:
    path = tmp_path / "report.json"
    (out / TAR).unlink()
    run(out, "--quick", "--json", path)
    report = json.loads(path.read_bytes()) | {key: value}
    kept = {name: report[name] for name in report if name != "sha256" and report[name] is not GONE}
    digest = hashlib.sha256(json.dumps(kept, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
    path.write_text(json.dumps(kept | {"sha256": digest}))
    result = run(out, "--check", path)
    assert (result.status, result.out, result.err.count("\n")) == (1, "", 1)
    assert result.err.startswith(f"error: {path} is no report that verify writes")
    assert repair.main([str(out), "--report", str(path)]) == 1


@pytest.mark.parametrize("option", [("--label-key", "x"), ("--classes", "x"), ("--allow-unverified",)])
def test_options_of_a_source_need_a_source(out: Path, run: Verify, option: tuple[str, ...]) -> None:
    result = run(out, *option)
    assert (result.status, result.out) == (2, "")
    assert "name it with --source DIR" in result.err
