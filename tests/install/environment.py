"""Environments outside the checkout in which only the base install of the wheel is found."""

import os
import shutil
import subprocess
import sys
import venv
import zipfile
from importlib.metadata import distribution
from pathlib import Path

from packaging.requirements import Requirement

from tests.faults.builds import ROOT

TREE = ("pyproject.toml", "README.md", "LICENSE", "pipeline", "manifests")


def build_packages(folder: Path) -> tuple[Path, Path]:
    """Builds sdist and wheel from a copy of the project. Returns their paths."""
    copy = folder / "tree"
    copy.mkdir()
    for name in TREE:
        copied = shutil.copytree if (ROOT / name).is_dir() else shutil.copy2
        copied(ROOT / name, copy / name)
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(folder / "dist"), str(copy)]
    subprocess.run(command, check=True, capture_output=True)
    (sdist,), (wheel,) = (folder / "dist").glob("*.tar.gz"), (folder / "dist").glob("*.whl")
    return sdist, wheel


class Installed:
    """An environment with the wheel, and an empty folder to work in. Nothing of the checkout is found there."""

    def __init__(self, folder: Path) -> None:
        self.python, self.script = folder / "env" / "bin" / "python", folder / "env" / "bin" / "rank-shards"
        self.here, self.cache = folder / "here", folder / "cache"
        self.here.mkdir()
        self._folder = folder

    def install(self, wheel: Path) -> None:
        """Installs as a user does, with the versions of ``constraints.txt``. Takes minutes, and a package registry."""
        venv.create(self._folder / "env", with_pip=True)
        options = ["--quiet", "--disable-pip-version-check", "--constraint", str(ROOT / "constraints.txt")]
        subprocess.run([self.python, "-m", "pip", "install", *options, wheel], cwd=self.here, check=True)

    def link(self, wheel: Path) -> None:
        """Unpacks the wheel beside links to the packages of its base install, and to no other package of this Python.

        The compiled loops of the checkout go along, since compiling them would take a minute.
        """
        venv.create(self._folder / "env", with_pip=False)
        (packages,) = (self._folder / "env" / "lib").glob("python*/site-packages")
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(packages)
        for path in (ROOT / "pipeline").rglob("*"):
            target = packages / path.relative_to(ROOT)
            if target.is_file():
                shutil.copystat(path, target)  # numba compares the time
            elif path.suffix in (".nbi", ".nbc"):
                target.parent.mkdir(exist_ok=True)
                shutil.copy2(path, target)
        for name in base_packages():
            installed = distribution(name)
            record = (installed.read_text("RECORD") or "").splitlines()
            for top in {line.partition("/")[0].partition(",")[0] for line in record} - {"..", "__pycache__"}:
                if not (packages / top).exists():
                    (packages / top).symlink_to(str(installed.locate_file(top)))
        entry = "import sys\nfrom pipeline.__main__ import script\nif __name__ == '__main__':\n    sys.exit(script())\n"
        self.script.write_text(f"#!{self.python}\n{entry}")
        self.script.chmod(0o755)

    def run(self, *words: object) -> subprocess.CompletedProcess[str]:
        """Runs ``rank-shards`` in ``here``, and returns what it printed."""
        return self._run([str(self.script), *map(str, words)])

    def execute(self, code: str) -> subprocess.CompletedProcess[str]:
        """Runs Python code in ``here``."""
        return self._run([str(self.python), "-c", code])

    def _run(self, line: list[str]) -> subprocess.CompletedProcess[str]:
        private = {"PYTHONPATH", "PYTHONSAFEPATH", "VIRTUAL_ENV", "NUMBA_CACHE_DIR"}
        environment = {name: value for name, value in os.environ.items() if name not in private}
        environment |= {"XDG_CACHE_HOME": str(self.cache)}
        return subprocess.run(line, cwd=self.here, env=environment, capture_output=True, text=True, timeout=600)


def base_packages() -> set[str]:
    """Returns the names of the packages that the base install needs, and those that these need."""
    names: set[str] = set()
    open_requirements = [
        Requirement(line) for line in distribution("rank-shards").requires or [] if "extra ==" not in line
    ]
    while open_requirements:
        requirement = open_requirements.pop()
        marks = [{"extra": extra} for extra in ("", *requirement.extras)]
        if requirement.name in names and not requirement.extras:
            continue
        names.add(requirement.name)
        for line in distribution(requirement.name).requires or []:
            further = Requirement(line)
            if further.marker is None or any(further.marker.evaluate(mark) for mark in marks):
                open_requirements.append(further)
    return names
