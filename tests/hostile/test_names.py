"""A class may have any name that a folder can have. Readers of the output get that name, and nothing in it runs."""

import io
import json
import os
from html.parser import HTMLParser

import numpy as np
import pytest
import yaml
from PIL import Image

from pipeline.data import RankDataset
from pipeline.report.__main__ import main as report
from tests.unit.sources.make_imagenet import tar_bytes

NAMES = [
    "<script>alert(1)<", '"><img src=x onerror=alert(1)>', "&amp;", "{{ 7 * 7 }}", "${HOME}", "$(touch ran)", "`touch ran`",
    "yes", "null", "1e3", "0o17", "- [x]: &a *b", "!!python.object", "a: b", "# head", "---", "-...", "<<", "%YAML 1.1",
    "line\nbreak", "x---\n", "cr\rlf\r\n", "\x1b[31mred\x1b[0m", "\x9b2J", "tab\there", "\u202egnp", "\u2028next",
    "nbsp\u00a0", "[link](x)", "**bold**", "| cell |", " lead", "a.b.c", "x..", "e\u0301", "\udcff\udcfe",
]  # fmt: skip


@pytest.fixture(scope="module")
def odd(tmp_path_factory):
    """A source with a class for each name, and with odd names beside them."""
    root = tmp_path_factory.mktemp("odd")
    rng = np.random.default_rng(0)
    for split in ("train", "val"):
        for name in [*NAMES[:30], "only `val`\n<b>"] if split == "val" else NAMES:
            (root / "pictures" / split / name).mkdir(parents=True)
            Image.fromarray(rng.integers(0, 256, (6, 6, 3), np.uint8)).save(root / "pictures" / split / name / "0.png")
    (root / "pictures" / "<i>beside\n# *x*").mkdir()
    (root / "pictures" / "train" / NAMES[0] / "\x1b[2J<b>.png").write_bytes(b"no image")
    return root


def built(odd, build):
    out = odd / "out"
    if not out.exists():
        result = build(
            "--dataset", "folder", "--data-dir", odd / "pictures", "--out", out, "--ranks", "2", "--max-rejects", "1"
        )
        assert (result.status, result.out) == (0, "")
        assert "\x1b" not in result.err and result.err.count("\n") <= 2
    return out


def classes():
    return sorted([*NAMES, "only `val`\n<b>"], key=os.fsencode)


def test_manifest_and_readers_have_the_names_as_they_are(odd, build):
    out = built(odd, build)
    assert json.loads((out / "manifest.json").read_text())["classes"] == classes()
    assert list(RankDataset(out, "rank2").classes) == classes()


def test_the_cards_head_is_yaml_of_the_same_names(odd, build):
    card = (built(odd, build) / "README.md").read_text()
    assert card.startswith("---\n")
    head, _, text = card[4:].partition("\n---\n")
    for info in yaml.safe_load(head)["dataset_info"]:
        named = info["features"][2]["dtype"]["class_label"]["names"]
        names = [named[str(label)] for label in range(len(classes()))]
        right = [name.encode("utf-8", "backslashreplace").decode() for name in classes()]
        assert names == right and len(set(names)) == len(names)
    assert r"\<i\>beside\\n# \*x\*" in text and "\n# *x*" not in text and "\x1b" not in card


def test_classnames_are_one_line_each_and_no_terminal_obeys_them(odd, build):
    content = (built(odd, build) / "folder-rank2" / "classnames.txt").read_text()
    lines = content.split("\n")
    assert lines.pop() == "" and len(lines) == len(classes()) == len(set(lines))
    assert not any(ord(c) < 32 or 127 <= ord(c) < 160 for line in lines for c in line)
    for line, name in zip(lines, classes(), strict=True):
        if name.isprintable() and name == name.strip():
            assert line == name


class _Page(HTMLParser):
    """Collects what a browser would run, and the text that it would show."""

    def __init__(self):
        super().__init__()
        self.tags, self.attributes, self.text, self.scripts = set(), set(), [], []
        self._in = ""

    def handle_starttag(self, tag, attributes):
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attributes}
        self._in = tag

    def handle_endtag(self, tag):
        self._in = ""

    def handle_data(self, data):
        (self.scripts if self._in == "script" else self.text).append(data)


def test_the_report_shows_names_and_runs_none(odd, build, capsys):
    out = built(odd, build)
    assert report([str(out)]) == 0
    output = capsys.readouterr()
    assert "\x1b" not in output.out + output.err
    page = _Page()
    page.feed((out / "report.html").read_text())
    text = "".join(page.text)
    assert NAMES[0] in text and NAMES[1] in text and "{{ 7 * 7 }}" in text and "\\x1b[31mred" in text
    assert not {"onerror", "onload"} & page.attributes
    assert "\x1b" not in (out / "report.html").read_text()


def test_class_names_of_a_file_cannot_end_a_script(tmp_path, build):
    """A file of class names may hold slashes, which folders cannot."""
    names = ["</script><script>alert(1)</script>", "<!--", "<marquee>"]
    buffer = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (6, 6, 3), np.uint8)).save(buffer, "PNG")
    content = [
        (f"{n}.{kind}", data) for n in range(3) for kind, data in (("png", buffer.getvalue()), ("cls", b"%d" % n))
    ]
    (tmp_path / "shards").mkdir()
    (tmp_path / "shards" / "train-0.tar").write_bytes(tar_bytes(content))
    (tmp_path / "shards" / "classnames.txt").write_text("\n".join(names))
    assert (
        build("--dataset", "webdataset", "--data-dir", tmp_path / "shards", "--out", tmp_path / "out", "--ranks", 2)[0]
        == 0
    )
    assert report([str(tmp_path / "out")]) == 0
    page = _Page()
    page.feed((tmp_path / "out" / "report.html").read_text())
    assert all(name in "".join(page.text) for name in names) and "marquee" not in page.tags
    assert not any(script.strip().startswith("alert(1)") for script in page.scripts)


def test_nothing_was_run(odd, build):
    built(odd, build)
    assert not (odd / "ran").exists() and not os.path.exists("ran")
