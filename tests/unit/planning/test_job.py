"""Promises of a job's options: a wrong value is refused in one line that says what is allowed."""

import re
from collections.abc import Container
from pathlib import Path
from typing import Any

import pytest

from pipeline.errors import WRONG_USAGE, PipelineError, UsageError, nearest
from pipeline.numerics.variants import Variant
from pipeline.planning.job import Job
from pipeline.planning.job_file import read_job_file
from pipeline.planning.options import OPTIONS


def job(**options: Any) -> Job:
    return Job.parse({"ranks": "3"} | {key.replace("_", "-"): value for key, value in options.items()})


def refusal(**options: Any) -> str:
    with pytest.raises(UsageError) as caught:
        job(**options)
    text = str(caught.value)
    assert "\n" not in text
    assert caught.value.status == WRONG_USAGE
    return text


def test_the_least_job_is_the_embedded_sample_at_the_ranks_given() -> None:
    parsed = Job.parse({"ranks": "5,3"})
    names = [variant.name for variant in parsed.variants]
    assert (parsed.dataset, parsed.name, parsed.out, names) == (
        "sample",
        "sample",
        Path("out/sample"),
        ["rank3", "rank5", "highrank3", "highrank5"],
    )


def test_the_output_is_named_after_the_name() -> None:
    assert job(dataset="cifar10", name="mine").out == Path("out/mine")
    assert job(name="mine", out="/elsewhere").out == Path("/elsewhere")


def test_ranks_may_be_a_text_a_number_or_a_list() -> None:
    expected = job(ranks="3,10").variants
    for given in ("10,3", " 3 , 10 ", [3, 10], ["3", 10]):
        assert job(ranks=given).variants == expected
    assert job(ranks=3).variants == job(ranks="3").variants == job(ranks=[3]).variants


@pytest.mark.parametrize(
    ("ranks", "line"),
    [
        ("0", "ranks: 0 is too small, the least is 1"),
        ("-3", "ranks: -3 is too small, the least is 1"),
        ("3,,5", "ranks: '3,,5' has an empty or unreadable item; write for instance 3,5,10"),
        (",", "ranks: ',' has an empty or unreadable item"),
        ("", "ranks: '' has an empty or unreadable item"),
        ([], "ranks: [] has an empty or unreadable item"),
        ([3, None], "ranks: [3, None] has an empty or unreadable item"),
        ([3, 5.0], "ranks: [3, 5.0] has an empty or unreadable item"),
        ([True], "ranks: [True] has an empty or unreadable item"),
        ("3,3", "ranks: 3 is given twice in '3,3'"),
        ([5, "5"], "ranks: 5 is given twice in [5, '5']"),
        ("a", "ranks: 'a' is not a whole number"),
        ("3;5", "ranks: '3;5' is not a whole number"),
        ("3.5", "ranks: '3.5' is not a whole number"),
        ("1e1", "ranks: '1e1' is not a whole number"),
        ("٣", "ranks: '٣' is not a whole number"),
        ("9" * 30, f"ranks: {'9' * 30} is too large, the most is {10**18 - 1}"),
        ({3: 5}, "ranks: '{3: 5}' is not a whole number"),
    ],
)
def test_a_wrong_rank_is_refused_with_what_is_allowed(ranks: object, line: str) -> None:
    assert refusal(ranks=ranks).startswith(line)


def test_ranks_are_needed_unless_only_full_is_wanted() -> None:
    with pytest.raises(UsageError, match=r"ranks: none given; say which to cut at, as in --ranks 3,5,10,20"):
        Job.parse({})
    with pytest.raises(UsageError, match="ranks: none given"):
        Job.parse({"components": "low,full"})
    assert Job.parse({"components": "full"}).variants == (Variant("full"),)


@pytest.mark.parametrize(
    ("key", "value", "line"),
    [
        (
            "dataset",
            "cifar",
            "dataset: 'cifar' is not one of sample, cifar10, cifar100, imagenet, folder, webdataset, parquet, "
            "arrays, did you mean 'cifar10'?",
        ),
        ("dataset", ["sample"], "dataset: ['sample'] is not one of"),
        ("components", "hihg", "components: 'hihg' is not one of low, high, full, did you mean 'high'?"),
        ("components", "low,low", "components: low is given twice"),
        ("components", "low,", "components: 'low,' has an empty or unreadable item"),
        ("order", "shufled", "order: 'shufled' is not one of source, shuffled, did you mean 'shuffled'?"),
        ("order", "zzz", "order: 'zzz' is not one of source, shuffled"),
        ("splits", "train,,test", "splits: 'train,,test' has an empty or unreadable item"),
        ("seed", "-1", "seed: -1 is too small, the least is 0"),
        ("seed", 1.5, "seed: 1.5 is not a whole number"),
        ("limit", "0", "limit: 0 is too small, the least is 1"),
        ("limit", True, "limit: true (or yes, on) is not a whole number"),
        ("samples-per-shard", "0", "samples-per-shard: 0 is too small, the least is 1"),
        ("workers", "-1", "workers: -1 is too small, the least is 0"),
        ("workers", "two", "workers: 'two' is not a whole number"),
        ("max-rejects", "-1", "max-rejects: -1 is too small, the least is 0"),
        ("name", "a.b", "name: 'a.b' must be 1 to 40 letters, digits, '-' or '_' (readers split names at dots)"),
        ("name", "a/b", "name: 'a/b' must be"),
        ("name", "../x", "name: '../x' must be"),
        ("name", "a b", "name: 'a b' must be"),
        ("name", "a\n", None),
        ("name", "é", "name: 'é' must be"),
        ("name", "x" * 41, "name: 'xxxx"),
        ("name", "", "name: '' must be 1 to 40 letters, digits, '-' or '_' (readers split names at dots)"),
        ("out", "", "out: '' is not a text"),
        ("out", "a\0b", "out: 'a\\x00b' is not a text"),
        ("out", 7, "out: 7 is not a text"),
        ("data-dir", ["x"], "data-dir: ['x'] is not a text"),
        ("quiet", "yes", "quiet: 'yes' is neither true nor false"),
        ("dry-run", 1, "dry-run: 1 is neither true nor false"),
    ],
)
def test_every_other_wrong_value_is_refused_with_what_is_allowed(key: str, value: object, line: str | None) -> None:
    if line is None:
        assert job(**{key: value}).name == "a"  # blanks around a value do not matter
    else:
        assert refusal(**{key: value}).startswith(line)


def test_an_unknown_option_is_refused_with_the_nearest_one() -> None:
    line = refusal(**{"rank": "3"})
    assert line.startswith("unknown option 'rank', did you mean 'ranks'?; known: dataset, ")


@pytest.mark.parametrize(
    "value", [None, "", "x", -1, 10**30, 2.5, True, [], ["a", []], {}, {"a": 1}, b"bytes", object()]
)
@pytest.mark.parametrize("key", OPTIONS)
def test_no_value_whatever_ends_in_another_error(key: str, value: object) -> None:
    line = f"{key}: "
    try:
        job(**{key: value})
    except UsageError as error:
        line = str(error)
    assert line.startswith(f"{key}: ")
    assert "\n" not in line


def test_a_missing_value_is_the_default() -> None:
    assert job(limit=None, out=None, components=None) == job()


def test_numbers_in_a_job_file_are_read_as_a_flag_reads_them(tmp_path: Path) -> None:
    text = "metadata: {job: {dataset: sample, ranks: [010, 3], limit: 1_000, samples-per-shard: 0x10}}"
    with pytest.raises(UsageError, match=r"^config /.*: limit: '1_000' is not a whole number"):
        read(tmp_path, text)
    options = read(tmp_path, text, overridden={"limit", "samples-per-shard"})
    assert options == {"dataset": "sample", "ranks": ["010", "3"], "limit": "1_000", "samples-per-shard": "0x10"}
    assert [v.name for v in Job.parse({"ranks": options["ranks"]}).variants][:2] == ["rank3", "rank10"]


def test_home_is_understood(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/somebody")
    assert job(out="~/x").out == Path("/home/somebody/x")


def test_an_error_survives_the_way_from_a_worker() -> None:
    import pickle

    for error in (PipelineError("a", 1), UsageError("b")):
        back = pickle.loads(pickle.dumps(error))
        assert (type(back), str(back), back.status) == (type(error), str(error), error.status)


def test_nothing_near_is_no_suggestion() -> None:
    assert nearest("zzz", ["low", "high"]) == ""


def read(tmp_path: Path, text: str | bytes, overridden: Container[str] = ()) -> dict[str, Any]:
    path = tmp_path / "job.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return read_job_file(path, overridden)


def test_a_job_file_has_the_flags_names_as_keys(tmp_path: Path) -> None:
    text = (
        "entrypoint: python jobs/run.py\nmetadata:\n  job:\n    dataset: sample\n    ranks: [3, 5]\n    dry-run: true\n"
    )
    assert read(tmp_path, text) == {"dataset": "sample", "ranks": ["3", "5"], "dry-run": True}


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("", "has no section metadata.job; see jobs/cifar10.yaml"),
        ("- ranks: 3\n", "has no section metadata.job"),
        ("ranks: 3\n", "has no section metadata.job"),
        ("metadata: [job]\n", "has no section metadata.job"),
        ("metadata:\n  job: 3\n", "has no section metadata.job"),
        ("metadata:\n  job:\n", "has no section metadata.job"),
        ("metadata:\n  jobs:\n    ranks: 3\n", "has no section metadata.job"),
        ("metadata: {job: {rank: 3}}", "unknown key 'rank' in metadata.job, did you mean 'ranks'?; known: dataset, "),
        ("metadata: {job: {data_dir: x}}", "unknown key 'data_dir' in metadata.job, did you mean 'data-dir'?"),
        ("metadata: {job: {zzzz: x}}", "unknown key 'zzzz' in metadata.job; known: "),
        ("metadata: {job: {3: x}}", "unknown key '3' in metadata.job; known: "),
        ("metadata: {job: {config: x}}", "unknown key 'config' in metadata.job"),
        ("metadata: {job: {ranks: 3", "is not valid YAML: "),
        ("metadata:\n\tjob: 3", "is not valid YAML: "),
        (
            "metadata: !!python/object/apply:os.system ['touch ran']",
            "is not valid YAML: it has a tag, which job files do without",
        ),
        ("metadata: {job: !!python/name:os.system {}}", "is not valid YAML: it has a tag, which job files do without"),
        ("a: 1\n---\nb: 2\n", "is not valid YAML: expected a single document"),
        ("? [a]\n: 1", "is not valid YAML: "),
        (b"\xff\xfe\xfa", "is not valid YAML: "),
        ("a: " + "[" * 5000, "is not valid YAML: "),
        ("a: " + "9" * 5000, "has no section metadata.job"),
        ("metadata: {job: {ranks: 3, ranks: 5}}", "is not valid YAML: 'ranks' is given twice"),
        ("a: &a [x]\nb: [*a, *a]\n", "is not valid YAML: it has an alias, which job files do without"),
        (
            "metadata: {job: {ranks: 3, out: $SCRATCH/out}}",
            "out: $SCRATCH is a shell's, nothing fills it in here; write",
        ),
        ("metadata: {job: {data-dir: '/a/${USER}/b'}}", "data-dir: ${USER} is a shell's, nothing fills it in here"),
        ("a: " + "x" * (1 << 20), "is larger than 128 KB, which no job file is"),
    ],
)
def test_a_job_file_that_says_nothing_useful_is_one_line(
    text: str | bytes, line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError) as caught:
        read(tmp_path, text)
    message = str(caught.value)
    assert message.startswith(f"config {tmp_path}/job.yaml")
    assert line in message
    assert "\n" not in message
    assert not (tmp_path / "ran").exists()


def test_a_dollar_that_begins_no_variable_is_a_name_like_any(tmp_path: Path) -> None:
    text = "metadata: {job: {ranks: 3, out: a$/5$5, label-key: $label}}"
    assert read(tmp_path, text) == {"ranks": "3", "out": "a$/5$5", "label-key": "$label"}
    assert read(tmp_path, "metadata: {job: {out: $OUT}}", {"out": "flag"}) == {"out": "$OUT"}


def test_a_job_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"config .*/none.yaml: No such file or directory"):
        read_job_file(tmp_path / "none.yaml")
    with pytest.raises(UsageError, match=r"config .*: Is a directory"):
        read_job_file(tmp_path)


@pytest.mark.parametrize(
    ("options", "names"),
    [
        ({"bands": "3:10"}, ["band3-10"]),
        ({"bands": ["3:10", "1:2"], "components": "full"}, ["band1-2", "band3-10", "full"]),
        ({"radii": "8,4"}, ["lowpass4", "lowpass8", "highpass4", "highpass8"]),
        ({"radii": "4", "components": "high"}, ["highpass4"]),
        ({"radii": "4", "ranks": "3", "components": "low", "bands": "3:5"}, ["rank3", "band3-5", "lowpass4"]),
        ({"bands": "3:10", "exact": True}, ["band3-10", "band3-10-exact"]),
    ],
)
def test_bands_and_radii_stand_alone_or_beside_ranks(options: dict[str, object], names: list[str]) -> None:
    assert [variant.name for variant in Job.parse(options).variants] == names


@pytest.mark.parametrize(
    ("options", "line"),
    [
        (
            {"bands": "3"},
            "bands: '3' is no band; write a smaller and a larger rank, as in 50:100 (quoted in a job file)",
        ),
        ({"bands": "10:3"}, "bands: '10:3' is no band"),
        ({"bands": "0:3"}, "bands: '0:3' is no band"),
        ({"bands": "3:5,03:5"}, "bands: 3:5 is given twice"),
        ({"bands": 190}, "bands: '190' is no band"),
        ({"radii": "0"}, "radii: 0 is too small, the least is 1"),
        ({"radii": "2.5"}, "radii: '2.5' is not a whole number"),
        ({"radii": "4", "components": "full"}, "radii: goes with the components low or high"),
        ({"bands": "3:5", "components": "low"}, "ranks: none given"),
        (
            {"bands": "3:5", "factors": True},
            "factors: are kept up to the largest rank; say which, as in --ranks 3,5,10,20",
        ),
    ],
)
def test_a_wrong_band_or_radius_is_refused_with_what_is_allowed(options: dict[str, object], line: str) -> None:
    with pytest.raises(UsageError, match=re.escape(line)):
        Job.parse(options)
