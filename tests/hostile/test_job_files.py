"""A job file is text that describes a job: nothing in it runs or grows, and errors name the file."""

import time

import pytest

BOMB = "a0: &a0 [x, x]\n" + "".join(f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}]\n" for n in range(1, 40))


@pytest.fixture
def line(tmp_path, refused):
    """Returns the line with which a job file is refused. It names the file."""

    def run(content, *arguments):
        path = tmp_path / "job.yaml"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        message = refused("--config", path, *arguments)
        assert message.startswith(f"config {path}") and message.count(str(path)) == 1 and len(message) < 2100
        assert not (tmp_path / "ran").exists() and not (tmp_path / "out").exists()
        return message

    return run


def section(content):
    return f"metadata: {{job: {{{content}}}}}"


TAGS = ["bool", "int", "float", "null", "str", "binary", "timestamp", "omap", "pairs", "set", "seq", "map"]
TAGS += [
    "python/object/apply:os.system",
    "python/name:os.system",
    "python/module:os",
    "python/tuple",
    "python/object/new:eval",
]


@pytest.mark.parametrize("tag", [*(f"!!{tag}" for tag in TAGS), "!local", "!", "!<tag:example.org,2002:x>"])
def test_tags_are_refused(line, tag, tmp_path):
    for value in ("x", "''", f"['touch {tmp_path}/ran']", "{a: 1}"):
        assert "it has a tag, which job files do without" in line(section(f"ranks: 5, seed: {tag} {value}"))


@pytest.mark.parametrize("content", [BOMB + section("ranks: 5"), section("ranks: &a 5, seed: *a"), "x: &x [*x]"])
def test_aliases_are_refused_before_they_unfold(line, content):
    began = time.monotonic()
    assert "it has an alias, which job files do without" in line(content)
    assert time.monotonic() - began < 2


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (section("ranks: 5, ranks: 6"), "'ranks' is given twice"),
        ("metadata: {job: {ranks: 5}}\nmetadata: {job: {ranks: 6}}", "'metadata' is given twice"),
        ("metadata:\n  job: {ranks: 5}\n  job: {ranks: 6}", "'job' is given twice"),
        (section("ranks: 5, 'ranks': 6"), "'ranks' is given twice"),
        (section("? [a] : 5"), "unhashable key"),
        ("[" * 5000, "not valid YAML"),
        ("- " * 5000, "not valid YAML"),
        ("a: 1\n" * 50_000, "larger than 128 KB"),
        (b"\xff\xfe\x00", "not valid YAML"),
        ("metadata: {job: \x1b[31m}", "not valid YAML"),
        ("--- {}\n--- {}", "not valid YAML"),
        (section("seed: yes"), "seed: true (or yes, on) is not a whole number"),
        (section("ranks: 5, seed: [[[1]]]"), "seed: [[['1']]] is not a whole number"),
        (section("ranks: 5, out: \"\\ud800\""), "out: '\\ud800' is not a text"),
        (section("ranks: 5, data-dir: \"a\\0b\""), "data-dir: 'a\\x00b' is not a text"),
        (section(f"name: {'x' * 50_000}"), "must be 1 to 40 letters"),
        (section("ranks: 0"), "ranks: 0 is too small"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_one_line_that_names_the_file(line, content, message):
    assert message in line(content)


def test_many_ranks_are_looked_through_in_a_moment(line):
    began = time.monotonic()
    many = ",".join(map(str, range(1, 20_000)))
    assert "ranks: 7 is given twice" in line(section(f"ranks: '{many},7'"))
    assert time.monotonic() - began < 5


def test_a_wrong_value_that_a_flag_overrules_does_not_count(tmp_path, build):
    path = tmp_path / "job.yaml"
    path.write_text(section("ranks: none at all, order: shuffled, seed: 7"))
    result = build("--config", path, "--ranks", 5, "--dataset", "sample", "--dry-run", "--out", tmp_path / "out")
    assert result.status == 0
