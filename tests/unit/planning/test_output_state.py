"""Promises of an output: the same bytes on every path to it; only missing files are built; damage is repaired."""

import hashlib
import json
import re
import shutil
import socket
import tarfile
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from pipeline.build import main
from pipeline.formats.sealed_json import seal, unseal
from tests.conftest import Build, contents, stamps

Refused = Callable[..., str]
Pictures = Callable[..., Path]
SAMPLE = ("--dataset", "sample", "--limit", "25", "--samples-per-shard", "10", "--components", "low,high,full")
RANKS = ("--ranks", "3,5")


def manifest(out: Path) -> dict[str, Any]:
    document: dict[str, Any] = json.loads((out / "manifest.json").read_text())
    return document


def written(before: dict[str, tuple[int, int]], out: Path) -> set[str]:
    """Returns the names of files that are new or were written again since ``before``."""
    now = stamps(out)
    return {name for name in now if now[name] != before.get(name)}


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished output at ranks 3 and 5. Read it only: ``finished`` is a copy."""
    out = tmp_path_factory.mktemp("built-here") / "out"
    assert main([*SAMPLE, *RANKS, "--out", str(out), "--workers", "0", "--quiet"]) == 0
    return out


@pytest.fixture
def finished(built: Path, tmp_path: Path) -> Path:
    """A copy of ``built``."""
    return Path(shutil.copytree(built, tmp_path / "out"))


def test_two_builds_give_the_same_files(
    build: Build, finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    monkeypatch.setattr(socket, "gethostname", lambda: "another-host")
    for name in ("HOME", "USER", "LOGNAME", "HOSTNAME"):
        monkeypatch.setenv(name, "/somebody-else")
    assert build(*SAMPLE, *RANKS, "--out", "again").status == 0
    assert contents(Path("again")) == contents(finished)


def test_no_file_names_a_host_a_user_a_path_or_a_time(built: Path) -> None:
    now = datetime.now(UTC)
    # not within a digest or a longer number
    when = re.compile(rb"(?<![0-9a-f.])%d(?![0-9a-f])|\b\d\d:\d\d:\d\d\b" % now.year)
    for name, data in contents(built).items():
        for word in (socket.gethostname(), str(built.parent), str(Path.cwd()), str(Path.home()), built.parent.name):
            if len(word) > 5:
                assert word.encode() not in data, name
        if not name.endswith(".tar") and "/c." not in name:
            assert not when.search(data), name
            assert str(int(now.timestamp()))[:6].encode() not in re.sub(rb"[0-9a-f]{64}", b"", data), name


def test_an_output_holds_the_documented_files_only(finished: Path) -> None:
    kinds = {re.sub(r"\d{6}", "N", re.sub(r"sample-(high)?rank\d", "sample-V", name)) for name in contents(finished)}
    shard = {f"sample-V/sample-V-{split}-N.{suffix}" for split in ("train", "test") for suffix in ("tar", "idx")}
    readers = {
        f"sample-V/{name}" for name in ("README.md", "_info.json", "sizes.json", "classnames.txt", "croissant.json")
    }
    readers |= {f"sample-V/wids-{split}.json" for split in ("train", "test")}
    variant = shard | readers
    spectra = {"spectra.zarr/zarr.json"}
    spectra |= {f"spectra.zarr/{split}/{name}" for split in ("train", "test") for name in ("zarr.json", "c.0.0.0")}
    spectra |= {f"spectra.zarr/{split}/c.{i}.0.0" for split in ("train", "test") for i in (1, 2)}
    top = {
        "README.md",
        "_info.json",
        "croissant.json",
        "manifest.json",
        "rejects.jsonl",
        "samples/train.jsonl",
        "samples/test.jsonl",
    }
    full = {name.replace("sample-V", "sample-full") for name in variant}
    assert kinds == variant | full | spectra | top


def test_a_second_identical_run_writes_nothing(build: Build, finished: Path) -> None:
    before = stamps(finished)
    assert build(*SAMPLE, *RANKS, "--out", finished) == (0, "", "")
    assert stamps(finished) == before
    assert build(*SAMPLE, *RANKS, "--out", finished, "--recheck") == (0, "", "")
    assert not any(name.endswith((".tar", ".idx")) or "/c." in name for name in written(before, finished))


def test_a_rank_added_later_rewrites_no_old_tar_and_ends_in_the_same_files(
    build: Build, finished: Path, tmp_path: Path
) -> None:
    before = stamps(finished)
    assert build(*SAMPLE, "--ranks", "7", "--out", finished).status == 0
    rewritten = {name for name in written(before, finished) if name.endswith((".tar", ".idx"))}
    assert rewritten
    assert all(name.startswith(("sample-rank7/", "sample-highrank7/")) for name in rewritten)
    assert build(*SAMPLE, "--ranks", "3,5,7", "--out", tmp_path / "at-once").status == 0
    assert contents(finished) == contents(tmp_path / "at-once")


def test_a_component_added_later_rewrites_no_old_tar_and_ends_in_the_same_files(build: Build, tmp_path: Path) -> None:
    job = ("--dataset", "sample", "--limit", "8", "--ranks", "3")
    assert build(*job, "--components", "low", "--out", tmp_path / "grown").status == 0
    before = stamps(tmp_path / "grown")
    assert build(*job, "--components", "high", "--out", tmp_path / "grown").status == 0
    assert build(*job, "--components", "full", "--out", tmp_path / "grown").status == 0
    tars = {name for name in written(before, tmp_path / "grown") if name.endswith(".tar")}
    assert not any(name.startswith("sample-rank3/") for name in tars)
    assert build(*job, "--components", "low,high,full", "--out", tmp_path / "at-once").status == 0
    assert contents(tmp_path / "grown") == contents(tmp_path / "at-once")


def test_splits_grow_in_any_order_and_end_in_the_same_files(build: Build, finished: Path, tmp_path: Path) -> None:
    for split in ("test", "train"):
        before = stamps(tmp_path / "grown") if (tmp_path / "grown").exists() else {}
        assert build(*SAMPLE, *RANKS, "--splits", split, "--out", tmp_path / "grown").status == 0
        assert all(split in name for name in written(before, tmp_path / "grown") if name.endswith(".tar"))
    assert contents(tmp_path / "grown") == contents(finished)


@pytest.mark.parametrize("order", ["source", "shuffled"])
def test_the_limit_grows_and_full_shards_are_kept(order: str, build: Build, tmp_path: Path) -> None:
    job = ("--dataset", "sample", "--samples-per-shard", "10", *RANKS, "--splits", "test", "--order", order)
    grown, at_once = tmp_path / "grown", tmp_path / "at-once"
    for limit in (4, 14, 31):
        before = stamps(grown) if grown.exists() else {}
        assert build(*job, "--limit", limit, "--out", grown).status == 0
        assert not any("-000000.tar" in name for name in written(before, grown)) or limit < 31
    assert build(*job, "--limit", "31", "--out", at_once).status == 0
    assert contents(grown) == contents(at_once)


def test_a_limit_beyond_the_source_and_none_at_all_are_the_same(
    build: Build, pictures: Pictures, tmp_path: Path
) -> None:
    job = ("--dataset", "folder", "--data-dir", pictures(), "--ranks", "3", "--out", tmp_path / "out")
    assert build(*job, "--limit", "3").status == 0
    assert build(*job, "--limit", "8").status == 0
    before = {name: data for name, data in contents(tmp_path / "out").items() if name.endswith(".tar")}
    assert build(*job, "--limit", "9").status == 0
    assert build(*job).status == 0
    assert before.items() <= contents(tmp_path / "out").items()


def test_a_limit_cannot_shrink(refused: Refused, finished: Path) -> None:
    before, when = contents(finished), stamps(finished)
    line = refused(*SAMPLE, *RANKS, "--limit", "24", "--out", finished, status=1)
    assert line == (
        "the output holds, or an unfinished build has begun, more than --limit 24 images of train; a limit can only "
        "grow: leave it out or raise it, choose another --out, or --overwrite to build it again"
    )
    assert (contents(finished), stamps(finished)) == (before, when)


@pytest.mark.parametrize(
    ("more", "field"),
    [(["--order", "shuffled"], "order"), (["--samples-per-shard", "11"], "samples-per-shard")],
)
def test_what_old_shards_depend_on_cannot_change(more: list[str], field: str, refused: Refused, finished: Path) -> None:
    when = stamps(finished)
    line = refused(*SAMPLE, *RANKS, "--out", finished, *more, status=1)
    assert line.startswith(f"the output is of another job: its {field} is ")
    assert stamps(finished) == when


def test_the_seed_cannot_change(build: Build, refused: Refused, tmp_path: Path) -> None:
    job = (*SAMPLE, "--ranks", "3", "--order", "shuffled", "--out", tmp_path / "out")
    assert build(*job, "--seed", "1").status == 0
    line = refused(*job, "--seed", "2", status=1)
    assert line.startswith("the output is of another job: its seed is 1, not 2; ")


def test_overwriting_removes_what_was_there_and_only_that(build: Build, finished: Path, tmp_path: Path) -> None:
    (finished / "sample-rank3-notes").mkdir()
    (finished / "notes.txt").write_text("mine")
    job = (*SAMPLE, "--ranks", "9", "--order", "shuffled", "--name", "other")
    assert build(*job, "--out", finished, "--overwrite").status == 0
    assert (finished / "notes.txt").read_text() == "mine"
    assert (finished / "sample-rank3-notes").is_dir()
    (finished / "notes.txt").unlink()
    (finished / "sample-rank3-notes").rmdir()
    assert build(*job, "--out", tmp_path / "fresh").status == 0
    assert contents(finished) == contents(tmp_path / "fresh")
    assert {path.name for path in finished.iterdir()} == {path.name for path in (tmp_path / "fresh").iterdir()}


@pytest.mark.parametrize(
    "file", ["sample-rank3/sample-rank3-train-000001.tar", "sample-full/sample-full-test-000000.tar"]
)
@pytest.mark.parametrize("how", ["deleted", "truncated", "longer"])
def test_a_lost_or_cut_tar_is_built_again_alone(how: str, file: str, build: Build, finished: Path) -> None:
    before, path = contents(finished), finished / file
    when = stamps(finished)
    if how == "deleted":
        path.unlink()
    else:
        path.write_bytes(before[file][:-512] if how == "truncated" else before[file] + bytes(512))
    assert build(*SAMPLE, *RANKS, "--out", finished) == (0, "", "")
    assert contents(finished) == before
    tars = {name for name in written(when, finished) if name.endswith(".tar")}
    assert tars == {file}


@pytest.mark.parametrize(
    "file",
    ["manifest.json", "README.md", "_info.json", "sample-rank3/sizes.json", "spectra.zarr/zarr.json", "rejects.jsonl"],
)
def test_a_lost_small_file_is_written_again(file: str, build: Build, finished: Path) -> None:
    before = contents(finished)
    (finished / file).unlink()
    assert build(*SAMPLE, *RANKS, "--out", finished) == (0, "", "")
    assert contents(finished) == before


def edit(path: Path) -> None:
    """Changes one byte and keeps the size."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize(
    "file",
    [
        "sample-rank3/sample-rank3-train-000001.tar",
        "sample-rank3/sample-rank3-train-000001.idx",
        "spectra.zarr/train/c.1.0.0",
    ],
)
def test_recheck_catches_an_edit_that_keeps_the_size(file: str, build: Build, finished: Path) -> None:
    before = contents(finished)
    edit(finished / file)
    assert build(*SAMPLE, *RANKS, "--out", finished, "--recheck") == (0, "", "")
    assert contents(finished) == before


@pytest.mark.parametrize(
    "file", ["README.md", "sample-rank3/sizes.json", "samples/train.jsonl", "spectra.zarr/zarr.json"]
)
def test_recheck_catches_an_edit_of_a_small_file_too(file: str, build: Build, finished: Path) -> None:
    before = contents(finished)
    edit(finished / file)
    assert build(*SAMPLE, *RANKS, "--out", finished, "--recheck") == (0, "", "")
    assert contents(finished) == before


def _truncate(record: bytes) -> bytes:
    return record[: len(record) // 2]


def _other_identity(record: bytes) -> bytes:
    return seal(unseal(record) | {"identity": "0" * 64})


def _other_count(record: bytes) -> bytes:
    return seal(unseal(record) | {"samples": 9})


def _texts_for_numbers(record: bytes) -> bytes:
    loaded = unseal(record)
    loaded["variants"]["rank3"]["statistics"]["clipped"] = "1"
    return seal(loaded)


DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "truncated": _truncate,
    "of another shard": _other_identity,
    "with another count": _other_count,
    "with texts for numbers": _texts_for_numbers,
    "empty": lambda record: b"",
    "a list": lambda record: b"[1, 2]",
    "a number": lambda record: b"3",
    "null": lambda record: b"null",
    "not UTF-8": lambda record: b"\xff\xfe",
    "nested": lambda record: b"[" * 100_000,
    "half right": lambda record: b'{"identity": "x", "variants": {"rank3": {}}}',
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_shard_with_a_damaged_record_is_built_again(damage: str, build: Build, finished: Path) -> None:
    before, when = contents(finished), stamps(finished)
    record = finished / ".build" / "records" / "train-000001.json"
    whole = record.read_bytes()
    record.write_bytes(DAMAGES[damage](whole))
    assert build(*SAMPLE, *RANKS, "--out", finished) == (0, "", "")
    assert contents(finished) == before
    assert json.loads(record.read_bytes()) == json.loads(whole)
    tars = {name for name in written(when, finished) if name.endswith(".tar")}
    assert tars == {name for name in before if name.endswith("-train-000001.tar")}


def test_a_record_without_a_variant_builds_that_variant(build: Build, finished: Path) -> None:
    before, when = contents(finished), stamps(finished)
    record = finished / ".build" / "records" / "test-000000.json"
    loaded = unseal(record.read_bytes())
    del loaded["variants"]["highrank5"]
    record.write_bytes(seal(loaded))
    assert build(*SAMPLE, *RANKS, "--out", finished) == (0, "", "")
    assert contents(finished) == before
    tars = {name for name in written(when, finished) if name.endswith(".tar")}
    assert tars == {"sample-highrank5/sample-highrank5-test-000000.tar"}


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b"null", b'{"fixed": 3, "grows": {}, "verified": true}', b"\xff"]
)
def test_a_damaged_description_is_refused_and_overwriting_repairs_it(
    content: bytes, build: Build, refused: Refused, finished: Path
) -> None:
    before = contents(finished)
    (finished / ".build" / "job.json").write_bytes(content)
    line = refused(*SAMPLE, *RANKS, "--out", finished, status=1)
    assert line == "the output's description .build/job.json is damaged; --overwrite builds it again"
    assert contents(finished) == before
    assert build(*SAMPLE, *RANKS, "--out", finished, "--overwrite").status == 0
    assert contents(finished) == before


@pytest.mark.parametrize("content", [b"{", b'{"fixed": 3}'])
def test_overwriting_an_unfinished_output_with_a_damaged_description_leaves_nothing_old(
    content: bytes, build: Build, finished: Path, tmp_path: Path
) -> None:
    (finished / "manifest.json").unlink()
    (finished / ".build" / "job.json").write_bytes(content)
    assert build(*SAMPLE, "--ranks", "9", "--out", finished, "--overwrite").status == 0
    assert build(*SAMPLE, "--ranks", "9", "--out", tmp_path / "fresh").status == 0
    assert contents(finished) == contents(tmp_path / "fresh")


def test_leftovers_of_a_dead_run_are_removed(build: Build, finished: Path) -> None:
    (finished / ".build" / "tmp" / "deadrun-1").write_bytes(b"half a tar")
    assert build(*SAMPLE, *RANKS, "--out", finished).status == 0
    assert list((finished / ".build" / "tmp").iterdir()) == []


def test_an_output_can_be_moved(build: Build, finished: Path, tmp_path: Path) -> None:
    finished.rename(tmp_path / "moved")
    before = stamps(tmp_path / "moved")
    assert build(*SAMPLE, *RANKS, "--out", tmp_path / "moved") == (0, "", "")
    assert stamps(tmp_path / "moved") == before


def test_a_copy_without_its_dot_folder_is_still_protected_from_another_job(refused: Refused, finished: Path) -> None:
    shutil.rmtree(finished / ".build")
    before = contents(finished)
    refused(*SAMPLE, "--ranks", "9", "--order", "shuffled", "--out", finished, status=1)
    assert contents(finished) == before


def test_library_versions_of_older_variants_stay_recorded(build: Build, finished: Path) -> None:
    for record in (finished / ".build" / "records").iterdir():
        loaded = unseal(record.read_bytes())
        for variant in loaded["variants"].values():
            variant["versions"]["numpy"] = "1.0"
        record.write_bytes(seal(loaded))
    assert build(*SAMPLE, "--ranks", "7", "--out", finished).status == 0
    assert "1.0" in {versions["numpy"] for versions in manifest(finished)["versions"]}


def test_the_manifest_adds_up_to_what_is_on_disk(finished: Path) -> None:
    document, files = manifest(finished), contents(finished)
    del files["manifest.json"]
    listed = {name: (proof["bytes"], proof["sha256"]) for name, proof in document["files"].items()}
    assert listed == {name: (len(data), hashlib.sha256(data).hexdigest()) for name, data in files.items()}
    assert document["splits"] == {
        split: {"entries": 25, "samples": 25, "rejects": 0, "shards": 3, "converted": {}} for split in ("train", "test")
    }
    assert list(document["variants"]) == ["rank3", "rank5", "highrank3", "highrank5", "full"]
    for name, variant in document["variants"].items():
        assert variant["folder"] == f"sample-{name}"
        for split, part in variant["splits"].items():
            shards = part["shards"]
            assert [(shard["start"], shard["stop"]) for shard in shards] == [(0, 10), (10, 20), (20, 25)]
            assert [shard["name"] for shard in shards] == [
                f"sample-{name}/sample-{name}-{split}-{i:06d}.tar" for i in range(3)
            ]
            assert part["samples"] == sum(shard["samples"] for shard in shards) == 25
            assert part["bytes"] == sum(shard["bytes"] for shard in shards)
            assert part["subpixels"] == 25 * 3072
            for shard in shards:
                assert shard["sha256"] == hashlib.sha256(files[shard["name"]]).hexdigest()
                with tarfile.open(finished / shard["name"]) as tar:
                    assert len(tar.getnames()) == 2 * shard["samples"]


def test_keys_are_the_same_in_every_variant_and_unique_in_the_output(finished: Path) -> None:
    keys: dict[str, list[str]] = {}
    for folder in sorted(finished.glob("sample-*")):
        keys[folder.name] = []
        for path in sorted(folder.glob("*.tar")):
            with tarfile.open(path) as tar:
                keys[folder.name] += [name for name in tar.getnames() if name.endswith(".png")]
    assert len(keys) == 5
    assert all(names == keys["sample-full"] for names in keys.values())
    assert len(set(keys["sample-full"])) == 50


def test_samples_are_listed_with_key_label_and_original_name(build: Build, pictures: Pictures, tmp_path: Path) -> None:
    job = ("--dataset", "folder", "--data-dir", pictures(), "--ranks", "3", "--out", tmp_path / "out")
    assert build(*job).status == 0
    rows = [json.loads(line) for line in (tmp_path / "out" / "samples" / "train.jsonl").read_text().splitlines()]
    by_key = sorted(rows, key=lambda row: row["key"])
    assert by_key == [
        {"key": f"train-{4 * label + i:08d}", "label": label, "name": f"{'ab'[label]}/{i:02d}.png"}
        for label in range(2)
        for i in range(4)
    ]
    with tarfile.open(tmp_path / "out" / "folder-rank3" / "folder-rank3-train-000000.tar") as tar:
        assert [name[:-4] for name in tar.getnames()[::2]] == [row["key"] for row in rows]


def test_every_train_shard_of_a_class_sorted_folder_holds_all_classes(
    build: Build, pictures: Pictures, tmp_path: Path
) -> None:
    job = ("--dataset", "folder", "--data-dir", pictures(classes="abcd", each=50, size=(8, 8)), "--ranks", "3")
    assert build(*job, "--out", tmp_path / "out", "--samples-per-shard", "40", "--components", "low").status == 0
    shards = sorted((tmp_path / "out" / "folder-rank3").glob("*.tar"))
    assert len(shards) == 5
    for path in shards:
        with tarfile.open(path) as tar:
            texts = [tar.extractfile(name) for name in tar.getnames() if name.endswith(".cls")]
            assert {text.read() for text in texts if text} == {b"0", b"1", b"2", b"3"}


@pytest.mark.full
@pytest.mark.ray
def test_same_bytes_for_none_and_for_two_workers(build: Build, finished: Path, tmp_path: Path) -> None:
    """The short form is in ``execution/test_two_builds.py``, which compares such builds, too."""
    assert build(*SAMPLE, *RANKS, "--workers", "2", "--out", tmp_path / "ray") == (0, "", "")
    assert contents(tmp_path / "ray") == contents(finished)


def test_a_dry_run_writes_nothing(build: Build, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    result = build(*SAMPLE, *RANKS, "--dry-run")
    assert (result.status, result.err) == (0, "")
    assert list(Path().iterdir()) == []
    lines = result.out.splitlines()
    assert lines[0] == "out/sample: rank3, rank5, highrank3, highrank5, full; order source"
    assert lines[1:3] == ["  train: 25 images, 3 shards per variant", "  test: 25 images, 3 shards per variant"]


def test_a_dry_run_over_a_finished_output_changes_nothing_and_says_so(build: Build, finished: Path) -> None:
    before = contents(finished, build_too=True)
    result = build(*SAMPLE, *RANKS, "--dry-run", "--out", finished)
    assert result.status == 0
    assert result.out.endswith("everything is in place; nothing would be built\n")
    assert "to build: 12 of 42 shard files" in build(*SAMPLE, "--ranks", "7", "--dry-run", "--out", finished).out
    assert contents(finished, build_too=True) == before


def estimated_bytes(text: str) -> float:
    match = re.search(r"about ([0-9.,]+) MB", text)
    assert match
    return float(match[1].replace(",", "")) * 1e6


@pytest.mark.parametrize("options", [("--components", "low,high,full"), ("--components", "high", "--splits", "train")])
def test_a_dry_runs_estimate_is_within_ten_per_cent(options: tuple[str, ...], build: Build, tmp_path: Path) -> None:
    job = ("--dataset", "sample", "--ranks", "3,10", "--limit", "450", *options, "--out", tmp_path / "out")
    estimate = estimated_bytes(build(*job, "--dry-run").out)
    assert build(*job).status == 0
    actual = sum(path.stat().st_size for path in (tmp_path / "out").rglob("*.tar"))
    assert abs(estimate - actual) <= 0.1 * actual


def test_the_estimate_of_a_growing_output_is_of_what_is_added(build: Build, tmp_path: Path) -> None:
    job = ("--dataset", "sample", "--limit", "300", "--out", tmp_path / "out")
    assert build(*job, "--ranks", "3").status == 0
    estimate = estimated_bytes(build(*job, "--ranks", "10", "--dry-run").out)
    assert build(*job, "--ranks", "10").status == 0
    actual = sum(path.stat().st_size for path in (tmp_path / "out").rglob("*rank10*.tar"))
    assert abs(estimate - actual) <= 0.1 * actual


def test_the_estimate_holds_where_classes_come_one_after_another(
    build: Build, pictures: Pictures, tmp_path: Path
) -> None:
    folder = pictures(classes="ab", each=80, size=(24, 24))
    for image in (folder / "a").iterdir():
        Image.new("RGB", (24, 24), "white").save(image)
    job = ("--dataset", "folder", "--data-dir", folder, "--ranks", "3", "--order", "source", "--out", tmp_path / "out")
    estimate = estimated_bytes(build(*job, "--dry-run").out)
    assert build(*job).status == 0
    actual = sum(path.stat().st_size for path in (tmp_path / "out").rglob("*.tar"))
    assert abs(estimate - actual) <= 0.1 * actual


def test_runs_are_logged_in_the_dot_folder_only(finished: Path) -> None:
    events = [json.loads(line) for line in (finished / ".build" / "runs.jsonl").read_text().splitlines()]
    assert [event["event"] for event in events] == ["started", "finished"]
    assert events[1]["images"] == 50
    assert {"time", "host", "pid"} <= events[0].keys()


def test_growth_over_an_edited_image_rebuilds_its_shard_in_every_variant(
    build: Build, pictures: Pictures, tmp_path: Path
) -> None:
    folder = pictures(classes="ab", each=4, size=(12, 12))
    job = ("--dataset", "folder", "--data-dir", folder, "--components", "low,high,full", "--samples-per-shard", "4")
    assert build(*job, "--ranks", "3", "--out", tmp_path / "grown").status == 0
    image = folder / "a" / "01.png"
    size = image.stat().st_size
    Image.new("RGB", (12, 12), (9, 200, 30)).save(image)
    image.write_bytes(image.read_bytes().ljust(size, b"\0"))  # of the old size: only the pixels differ
    assert build(*job, "--ranks", "3,7", "--out", tmp_path / "grown").status == 0
    assert build(*job, "--ranks", "3,7", "--out", tmp_path / "fresh").status == 0
    assert contents(tmp_path / "grown") == contents(tmp_path / "fresh")
