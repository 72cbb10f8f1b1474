"""Promise: a dry run says so when the output does not fit."""

import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.conftest import Build


@pytest.mark.parametrize("free", [10**12, 1000])
def test_a_dry_run_says_when_the_output_does_not_fit(
    free: int, build: Build, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    places: list[Path] = []

    def usage(place: Path) -> SimpleNamespace:
        places.append(place)
        return SimpleNamespace(free=free)

    monkeypatch.setattr(shutil, "disk_usage", usage)
    job = ("--dataset", "sample", "--ranks", "3", "--limit", "8", "--out", tmp_path / "not" / "yet", "--dry-run")
    text = build(*job).out
    assert places == [tmp_path]
    assert ("warning: only 0.0 MB are free there" in text) == (free == 1000)
