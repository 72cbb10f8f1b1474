"""Promise: the wheel in an empty environment builds, verifies, repairs, exports and shows with the base install alone.

What needs an extra says so in one line, with the command that installs it.
"""

import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Callable
from importlib.metadata import distribution
from pathlib import Path

import pytest

from pipeline import __version__
from pipeline.extras import EXTRAS
from tests.conftest import Build, contents
from tests.faults.builds import ROOT
from tests.install.environment import Installed, base_packages, build_packages

pytestmark = pytest.mark.xdist_group("install")


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The sdist and the wheel."""
    return build_packages(tmp_path_factory.mktemp("packages"))


@pytest.fixture(scope="module")
def linked(packages: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Installed:
    installed = Installed(tmp_path_factory.mktemp("linked"))
    installed.link(packages[1])
    return installed


def members(path: Path) -> set[str]:
    """Returns the names of the files in a wheel, or in an sdist below its folder."""
    if path.suffix == ".whl":
        return set(zipfile.ZipFile(path).namelist())
    with tarfile.open(path) as archive:
        return {name.partition("/")[2] for name in archive.getnames()}


def test_wheel_and_sdist_hold_the_package_and_nothing_else(packages: tuple[Path, Path]) -> None:
    listed = subprocess.check_output(["git", "ls-files", "pipeline", "manifests"], cwd=ROOT, text=True).split()
    present = {name for name in listed if (ROOT / name).is_file()}
    new = {str(path.relative_to(ROOT)) for path in (ROOT / "pipeline").rglob("*.py")}  # not committed yet
    for package in packages:
        names = members(package)
        code = {name for name in names if name.startswith(("pipeline/", "manifests/")) and "." in name}
        assert code == present | new
        assert not [name for name in names if re.match(r"(tests|bench|docs|jobs|docker)/", name)]
        assert any(name.endswith("LICENSE") for name in names)
    assert {"pipeline/report/page/page.css", "manifests/imagenet.json"} <= members(packages[1])


def test_wheel_and_sdist_are_fit_for_a_registry(packages: tuple[Path, Path]) -> None:
    command = [sys.executable, "-m", "twine", "check", "--strict", *map(str, packages)]
    checked = subprocess.run(command, capture_output=True, text=True)
    assert checked.returncode == 0, checked.stdout
    assert all(f"rank_shards-{__version__}" in package.name for package in packages)


def test_the_base_install_is_light() -> None:
    names = {name.lower() for name in base_packages()}
    assert {"numpy", "ray", "numba"} <= names
    assert not names & {"torch", "matplotlib", "webdataset", "jinja2", "scipy", "scikit-image", "pyarrow", "pandas"}


def test_every_extra_that_is_advised_exists_and_all_holds_them() -> None:
    lines = distribution("rank-shards").requires or []
    extras = set(re.findall(r'extra == "([a-z0-9]+)"', "\n".join(lines)))
    assert {*EXTRAS.values(), "all", "sample", "cuda12", "cuda13"} <= extras
    (every,) = (line for line in lines if 'extra == "all"' in line)
    assert set(EXTRAS.values()) <= set(re.findall(r"[a-z]+", every.partition("[")[2].partition("]")[0]))
    for module, extra in EXTRAS.items():
        package = {"skimage": "scikit-image"}.get(module, module)
        assert any(package in line for line in lines if f'extra == "{extra}"' in line or 'extra == "sample"' in line)


def use(installed: Installed, data: Path, usual: Path, *workers: object) -> None:
    """Builds, verifies, repairs, exports and shows, and compares with the output that the checkout has built."""
    out = installed.here / "out"
    options = ("--dataset", "folder", "--data-dir", data, "--ranks", "3", "--components", "low,high,full", "--quiet")
    built = installed.run("build", *options, "--out", out, *workers)
    assert (
        built.returncode,
        built.stderr.replace("compiling loops for this processor, once on this machine\n", ""),
    ) == (0, "")
    assert contents(out) == contents(usual)
    for words in (
        ("verify", out, "--source", data, "--workers", "2"),
        ("repair", out, "--source", data, "--workers", "0"),
        ("export", out, "--variant", "rank3", "--to", "arrays"),
        ("export", out, "--variant", "full", "--to", "tree", "--format", "folder"),
        ("show", data / "a", "--ranks", "2", "--out", "a.png"),
    ):
        ran = installed.run(*words)
        assert ran.returncode == 0, (words, ran.stderr)
    assert (installed.here / "arrays" / "images.npy").is_file()


MISSING = {
    "report out": "report",
    "study train out --variants rank3 --out results": "study",
    "study rig --model small --images out --split train --out results": "study",
    "study spectrum --model small --images out --split train --out results": "study",
    "show pictures": "report",
    "build --ranks 2 --dry-run": "sample",
    "build --ranks 2 --out s3://some-bucket/out --dataset folder --data-dir pictures": "cloud",
}


def lacks(installed: Installed) -> None:
    """Checks the line of each command that needs an extra."""
    for words, extra in MISSING.items():
        ran = installed.run(*words.split())
        assert (ran.returncode, ran.stdout, ran.stderr.count("\n")) == (1, "", 1), (words, ran.stderr)
        assert f"pip install 'rank-shards[{extra}]'" in ran.stderr, words
    for words in ("bild", "build --ranks 0", "verify nothing", "export out --variant rank4 --to x"):
        ran = installed.run(*words.split())
        assert (ran.returncode > 0, ran.stdout, ran.stderr.count("\n")) == (True, "", 1), words


READ = """
import importlib.util, sys
assert not any(map(importlib.util.find_spec, ("torch", "matplotlib", "webdataset", "jinja2", "skimage", "tests", "bench")))
import pipeline, pipeline.repair, pipeline.data as data
from pipeline.errors import PipelineError
assert "site-packages" in pipeline.__file__
rank3 = data.RankDataset("out", "rank3")
image, label = rank3[0]
assert image.size == (12, 12) and label in (0, 1)
assert data.decode_high(image).dtype == "float32"
data.RankView("out", 2)[0], data.pair("out", 3)[0], data.open_output("out")
for call in (lambda: data.to_tensor(image), lambda: data.rank_shards("out", "rank3").webdataset(), lambda: rank3 + rank3):
    try:
        call()
    except PipelineError as error:
        assert "pip install 'rank-shards[train]'" in str(error), error
    else:
        raise AssertionError
"""


@pytest.fixture
def usual(tmp_path: Path, pictures: Callable[..., Path], build: Build) -> tuple[Path, Path]:
    """A folder of pictures, and the output that the checkout builds from them."""
    data = pictures()
    options = ("--ranks", "3", "--components", "low,high,full", "--out", tmp_path / "usual")
    assert build("--dataset", "folder", "--data-dir", data, *options).status == 0
    return data, tmp_path / "usual"


def test_the_base_install_is_enough(linked: Installed, usual: tuple[Path, Path]) -> None:
    use(linked, *usual, "--workers", "0")
    shutil.copytree(usual[0] / "a", linked.here / "pictures" / "a")
    shutil.copy(usual[0] / "a" / "00.png", linked.here / "pictures")
    lacks(linked)
    ran = linked.execute(READ)
    assert ran.returncode == 0, ran.stderr


@pytest.mark.full
@pytest.mark.ray
def test_an_installation_from_the_registry_builds_with_ray(
    packages: tuple[Path, Path], usual: tuple[Path, Path], tmp_path: Path
) -> None:
    """The same in an environment that pip has filled, with workers, and in a folder with modules of the user."""
    installed = Installed(tmp_path)
    installed.install(packages[1])
    for name in ("pipeline", "types", "random", "numpy"):
        (installed.here / f"{name}.py").write_text(f"raise RuntimeError('the user has {name}.py')")
    use(installed, *usual, "--workers", "2")
    for file in installed.here.glob("*.py"):
        file.unlink()
    shutil.copytree(usual[0] / "a", installed.here / "pictures" / "a")
    shutil.copy(usual[0] / "a" / "00.png", installed.here / "pictures")
    lacks(installed)
    ran = installed.execute(READ)
    assert ran.returncode == 0, ran.stderr


def test_the_version_is_the_same_everywhere() -> None:
    heading = re.search(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(), re.M)
    citation = re.search(r"^version: (\S+)$", (ROOT / "CITATION.cff").read_text(), re.M)
    assert heading and citation
    assert heading[1] == citation[1] == __version__
