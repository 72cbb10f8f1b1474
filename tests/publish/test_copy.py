"""Promise: a published copy is an output of its own, which verify checks with its publication, and repair repairs."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pipeline.publish.copy import Copy, groups
from pipeline.repair import main as repair
from pipeline.verify import main as verify

PLACE = {
    "repository": "lab/x",
    "revision": "main",
    "url": "https://huggingface.co/datasets/lab/x",
    "date": "2026-12-01",
}


@pytest.fixture
def copied(built: Path, tmp_path: Path) -> Path:
    """The published copy, without ``.build``."""
    copy = Copy.of(built, json.loads((built / "manifest.json").read_text()), PLACE)
    for folder, names in groups(copy.files).items():
        copy.stage(folder, names, tmp_path / "links")
    return Path(shutil.copytree(tmp_path / "links", tmp_path / "copy"))


def test_it_is_valid_and_repaired(copied: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert verify([str(copied), "--quick"]) == 0, capsys.readouterr()
    card = copied / "croissant.json"
    right = card.read_bytes()
    card.write_bytes(right[:-5])
    assert verify([str(copied), "--quick"]) == 1
    assert repair([str(copied), "--workers", "0"]) == 0
    assert card.read_bytes() == right


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        (lambda published: published.update(date="yesterday"), "published.date is yesterday"),
        (lambda published: published.pop("url"), "published has no url"),
        (lambda published: published.update(host="me"), "published has host"),
        (lambda published: published.update(date="2020-01-01"), "says other things than croissant.json"),
    ],
)
def test_another_publication_is_a_fault(
    change: Callable[[dict[str, Any]], object], fault: str, copied: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    document = json.loads((copied / "manifest.json").read_text())
    change(document["published"])
    (copied / "manifest.json").write_text(json.dumps(document))
    assert verify([str(copied), "--quick"]) == 1
    assert fault in capsys.readouterr().err.replace('"', "'")


def test_the_manifest_is_in_the_last_group(built: Path) -> None:
    copy = Copy.of(built, json.loads((built / "manifest.json").read_text()), PLACE)
    grouped = groups(copy.files)
    assert "manifest.json" in grouped[list(grouped)[-1]]
    assert sorted(name for names in grouped.values() for name in names) == sorted(copy.files)
