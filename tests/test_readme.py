"""Every command and code block of the README runs."""

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipeline import build, export, verify

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", README, re.M | re.S)


def commands() -> list[list[str]]:
    lines = [line for block in blocks("bash") for line in block.splitlines() if line.startswith("python")]
    return [line.partition("#")[0].split() for line in lines]


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which the README's relative paths mean something: CIFAR stand-ins, pictures, the job file."""
    folder = tmp_path_factory.mktemp("readme")
    generator = np.random.default_rng(0)
    batches = {"cifar-10-batches-bin": [f"data_batch_{i}.bin" for i in range(1, 6)] + ["test_batch.bin"]}
    cifar10 = folder / "data" / "cifar10"
    for name in batches["cifar-10-batches-bin"]:
        records = generator.integers(0, 256, (10_000, 3073), np.uint8)
        records[:, 0] %= 10
        (cifar10 / "cifar-10-batches-bin").mkdir(parents=True, exist_ok=True)
        records.tofile(cifar10 / "cifar-10-batches-bin" / name)
    cifar100 = folder / "data" / "cifar100" / "cifar-100-binary"
    cifar100.mkdir(parents=True)
    for name, count in (("train.bin", 50_000), ("test.bin", 10_000)):
        records = generator.integers(0, 100, (count, 3074), np.uint8)
        records.tofile(cifar100 / name)
    for label in ("cat", "dog"):
        (folder / "pictures" / "train" / label).mkdir(parents=True)
        for i in range(3):
            picture = generator.integers(0, 256, (40, 48, 3), np.uint8)
            Image.fromarray(picture).save(folder / "pictures" / "train" / label / f"{i}.png")
    (folder / "jobs").symlink_to(ROOT / "jobs")
    return folder


def test_every_build_command_builds_and_every_verify_command_proves(
    workplace: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(workplace)
    ran = []
    for command in commands():
        assert command[:2] == ["python", "-m"]
        module, arguments = command[2], command[3:]
        if module == "pipeline.build":
            named = arguments[arguments.index("--dataset") + 1] if "--dataset" in arguments else "cifar10"
            if named.startswith("cifar"):  # the real ones cannot be downloaded in a test
                arguments = [*arguments, "--data-dir", f"data/{named}", "--allow-unverified", "--limit", "70"]
            assert build.main([*arguments, "--workers", "0"]) == 0, capsys.readouterr().err
        elif module == "pipeline.export":
            assert export.main(arguments) == 0, capsys.readouterr().err
        else:
            unverified = ["--allow-unverified"] if "--source" in arguments else []
            assert verify.main([*arguments, *unverified]) == 0, capsys.readouterr().err
        ran.append(module)
    assert ran.count("pipeline.build") == 4
    assert ran.count("pipeline.verify") == 2
    assert ran.count("pipeline.export") == 2


def test_every_python_block_runs_on_an_output(workplace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(workplace)
    arguments = "--dataset cifar10 --ranks 5 --components low,high,full --data-dir data/cifar10 --allow-unverified "
    arguments += "--samples-per-shard 1"
    assert build.main([*arguments.split(), "--limit", "40", "--workers", "0", "--out", "forty/cifar10"]) == 0
    assert len(blocks("python")) == 4
    for block in blocks("python"):
        code = block.replace("out/cifar10", "forty/cifar10").replace('"forty', f'"{workplace}/forty')
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, env=_offline(workplace), check=False
        )
        assert done.returncode == 0, done.stderr


def _offline(folder: Path) -> dict[str, str]:
    import os

    return os.environ | {"HF_HUB_OFFLINE": "1", "HF_HOME": str(folder / "hf"), "HF_DATASETS_OFFLINE": "1"}


def test_the_set_up_commands_are_targets_of_the_makefile() -> None:
    makefile = (ROOT / "Makefile").read_text()
    named = re.findall(r"`make ([a-z-]+)`|^make ([a-z-]+)", README, re.M)
    assert {one or other for one, other in named} == {"demo", "test"}
    assert all(re.search(rf"^{target}:", makefile, re.M) for target in ("demo", "test"))


def test_every_link_of_the_documents_leads_somewhere() -> None:
    for document in [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").glob("*.md")]:
        for link in re.findall(r"\]\(([^)#]+)\)", document.read_text()):
            assert link.startswith("https://") or (document.parent / link).exists(), f"{document}: {link}"
