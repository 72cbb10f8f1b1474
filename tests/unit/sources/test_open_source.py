"""``open_source`` opens each dataset by its name, refuses wrong options at once, and is cheap to import."""

import pickle
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.errors import UsageError
from pipeline.sources import DATASETS, open_source


def test_the_module_imports_neither_numpy_nor_pillow():
    script = "import sys, pipeline.sources; print(sorted({'numpy', 'PIL', 'ray', 'urllib.request'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_sources_open_by_name_and_travel_to_workers(tmp_path, small):
    _, _, data = small
    dataset = "cifar10" if (data / "cifar-10-batches-bin").is_dir() else "cifar100"
    for source in (open_source("sample"), open_source("folder", tmp_path), open_source(dataset, data)):
        assert pickle.loads(pickle.dumps(source)) == source


def test_a_relative_folder_becomes_absolute_for_the_workers():
    assert open_source("folder", Path("somewhere")).root == Path.cwd() / "somewhere"


@pytest.mark.parametrize(
    ("dataset", "data_dir", "line"),
    [
        ("folder", None, "folder needs --data-dir"),
        ("sample", Path("x"), "--data-dir does not go with --dataset sample"),
        ("cifar", None, f"unknown dataset 'cifar', did you mean 'cifar.*'\\?; allowed: {', '.join(DATASETS)}"),
        ("", None, "unknown dataset ''; allowed"),
    ],
)
def test_wrong_usage_is_refused_at_once(dataset, data_dir, line):
    with pytest.raises(UsageError, match=line) as caught:
        open_source(dataset, data_dir)
    assert caught.value.status == 2
