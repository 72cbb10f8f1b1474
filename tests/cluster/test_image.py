"""Promises of ``docker/Dockerfile``, as far as the file shows them: nothing is built here."""

import re
import tomllib

from tests.cluster.conftest import ROOT

TEXT = (ROOT / "docker" / "Dockerfile").read_text()
LINES = [line for line in TEXT.replace("\\\n", " ").splitlines() if line and not line.startswith("#")]


def stage(number: int) -> list[str]:
    """Returns the instructions of a stage, without its FROM."""
    starts = [place for place, line in enumerate(LINES) if line.startswith("FROM ")] + [len(LINES)]
    return LINES[starts[number] + 1 : starts[number + 1]]


def test_an_edit_of_the_program_does_not_install_the_dependencies_again() -> None:
    installing = next(
        number for number in range(3) if any("constraints.txt" in line for line in stage(number) if "RUN" in line)
    )
    copied = " ".join(line for line in stage(installing) if line.startswith("COPY"))
    assert "pyproject.toml" in copied
    assert not re.search(r"\bpipeline\b", copied)


def test_it_writes_to_buckets_and_has_no_torch_unless_asked() -> None:
    extras = re.search(r"(?m)^ARG EXTRAS=(\S+)", TEXT)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert extras
    installed = project["dependencies"] + [
        package for extra in extras[1].split(",") for package in project["optional-dependencies"][extra]
    ]
    names = {re.split(r"[\[<>=]", package)[0] for package in installed}
    assert {"s3fs", "gcsfs", "ray"} <= names
    assert names.isdisjoint({"torch", "rank-shards", "matplotlib", "scikit-image"})


def test_its_base_is_pinned_and_it_has_labels() -> None:
    assert re.search(r"(?m)^ARG BASE=python:3\.\d+\.\d+-slim-bookworm$", TEXT)
    assert all("${BASE}" in line for line in LINES if line.startswith("FROM "))
    assert TEXT.count("org.opencontainers.image.") >= 3
    for line in LINES:
        if " pip " in line:  # its downloads stay in no layer
            assert "--mount=type=cache" in line or "--no-cache-dir" in line


def test_it_has_no_script_that_needs_the_projects_folder() -> None:
    assert "COPY jobs/*.yaml /opt/jobs/" in LINES
