"""Outputs of real images with their reports, and a browser that opens a report."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pipeline.build import main as build
from pipeline.report.__main__ import main as report

CLASSES = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]
# Switch off everything that a browser does in the background.
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


def run_build(*arguments: object) -> int:
    """Runs a build in this process and returns its exit status."""
    return build([*map(str, arguments), "--workers", "0", "--quiet"])


@pytest.fixture(scope="session")
def cifar_tree(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Returns a folder of CIFAR-10 images as PNG files: per class, 12 in ``train`` and 4 in ``test``."""
    folder = tmp_path_factory.mktemp("cifar")
    for split, file, each in (("train", "data_batch_1.first4000.bin", 12), ("test", "test_batch.first1017.bin", 4)):
        records = np.fromfile(shared / "data" / "cifar10" / file, np.uint8).reshape(-1, 3073)
        for label, name in enumerate(CLASSES):
            (folder / split / name).mkdir(parents=True)
            for number, record in enumerate(records[records[:, 0] == label][:each]):
                image = record[1:].reshape(3, 32, 32).transpose(1, 2, 0)
                Image.fromarray(image).save(folder / split / name / f"{number:02d}.png")
    return folder


@pytest.fixture(scope="session")
def imagenet_tree(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Returns a folder with six photographs of different sizes in ``train/<class>/``, and a file that is not an image."""
    folder = tmp_path_factory.mktemp("imagenet")
    for file in sorted((shared / "data" / "imagenet-samples").glob("*.JPEG"))[:60:10]:
        name = file.stem.partition("_")[2]
        (folder / "train" / name).mkdir(parents=True)
        (folder / "train" / name / file.name).symlink_to(file)
    (folder / "train" / name / "cut off.JPEG").write_bytes(b"\xff\xd8\xff and no more")
    return folder


@pytest.fixture(scope="session")
def cifar(cifar_tree: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Returns an output of 32 x 32 images with low, high and full variants, and its report."""
    out = tmp_path_factory.mktemp("out") / "cifar"
    options = ("--dataset", "folder", "--data-dir", cifar_tree, "--name", "small-cifar", "--out", out)
    assert run_build(*options, "--ranks", "3,5,10", "--components", "low,high,full") == 0
    assert report([str(out)]) == 0
    return out


@pytest.fixture(scope="session")
def imagenet(imagenet_tree: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Returns an output of 224 x 224 images with one reject, and its report."""
    out = tmp_path_factory.mktemp("out") / "imagenet"
    options = ("--dataset", "folder", "--data-dir", imagenet_tree, "--name", "imagenet", "--out", out)
    cuts = ("--ranks", "30,50", "--components", "low,high,full", "--resize", 256, "--crop", 224)
    assert run_build(*options, *cuts, "--max-rejects", 1) == 0
    assert report([str(out)]) == 0
    return out


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """Starts the Chromium that is installed on this machine; skips the test if there is none."""
    path = shutil.which("chromium")
    if path is None:
        pytest.skip("there is no chromium on this machine to open reports with")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=path, args=ARGUMENTS)
        yield chromium
        chromium.close()


Open = Callable[..., Any]


@pytest.fixture
def open_page(browser: Any) -> Iterator[Open]:
    """Returns a function that opens a report. At the end, asserts that no page wrote to the console or sent a request."""
    contexts, messages, requests = [], [], []

    def open_report(file: Path, width: int = 1280, height: int = 900, theme: str = "light") -> Any:
        context = browser.new_context(viewport={"width": width, "height": height}, color_scheme=theme)
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: messages.append(message.text))
        page.on("pageerror", lambda error: messages.append(str(error)))
        page.on("request", lambda request: requests.append(request.url))
        page.goto(file.as_uri())
        requests.remove(file.as_uri())
        return page

    yield open_report
    for context in contexts:
        context.close()
    assert messages == []
    assert [url for url in requests if not url.startswith("data:")] == []
