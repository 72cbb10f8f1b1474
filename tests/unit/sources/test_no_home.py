"""Promises: without a home folder, data that --data-dir names is read; only a download needs another folder."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.errors import PipelineError, UsageError
from pipeline.execution.ray import address
from pipeline.planning.job import Job
from pipeline.sources import open_source
from pipeline.sources.webdataset.source import WebDataset
from tests.conftest import Build, SmallCifar
from tests.unit.sources.make_imagenet import tar_bytes


@pytest.fixture(autouse=True)
def no_home(monkeypatch: pytest.MonkeyPatch) -> None:
    """A user without HOME and without an entry in the list of users, as in ``docker run --user 12345``."""
    for variable in ("HOME", "XDG_CACHE_HOME", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setattr(os.path, "expanduser", lambda path: path)
    with pytest.raises(RuntimeError):
        Path.home()


def test_shards_are_scanned_without_a_cache(tmp_path: Path) -> None:
    (tmp_path / "train-000000.tar").write_bytes(tar_bytes([("k.jpg", b"image"), ("k.cls", b"1")]))
    for _ in range(2):
        assert WebDataset(tmp_path).index().splits["train"].names == ["k"]


def test_an_unpacked_cifar_is_built(cifar_binary: SmallCifar, build: Build, tmp_path: Path) -> None:
    result = build("--dataset", "cifar10", "--data-dir", cifar_binary.folder, "--ranks", "3", "--out", tmp_path / "out")
    assert (result.status, result.err) == (0, "")


def test_a_download_says_what_it_needs() -> None:
    with pytest.raises(PipelineError, match="XDG_CACHE_HOME"):
        open_source("cifar10", None)


def test_a_path_in_the_home_folder_is_a_wrong_option(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="out"):
        Job.parse({"dataset": "sample", "ranks": "3", "out": "~/out"})


def test_an_address_is_checked_without_a_token_of_the_user() -> None:
    with pytest.raises(PipelineError, match="nobody answers"):
        address.find("127.0.0.1:1")


def test_numba_makes_no_folder_in_the_current_one(tmp_path: Path) -> None:
    """Its name for the cache in the home folder is relative, where there is no home folder."""
    command = "import os.path; os.path.expanduser = lambda path: path\nfrom pipeline.numerics import jit\n"
    command += "print([place.__name__ for place in jit._Place._locator_classes])"
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        [sys.executable, "-c", command], cwd=tmp_path, env=environment, capture_output=True, text=True, check=True
    )
    assert "UserWide" not in done.stdout
    assert "InTree" in done.stdout
