"""Promise: the index for DALI has the bytes of DALI's own wds2idx, and DALI's CPU reader reads with it.

wds2idx makes an index from two listings of GNU tar, and so do these tests. If DALI is installed (740 MB), its own tool and
its reader run, too.
"""

import io
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.clients.conftest import COUNTS, VARIANTS, Output, Sample, sample

EVERY = [(variant, split) for variant in VARIANTS for split in COUNTS]


def index_by_gnu_tar(tar: str) -> str:
    """Returns an index in wds2idx's format 1.2: the data of a member begin one block after its header."""
    blocks = _lines("tar", "--list", "--block-num", "--file", tar)
    sizes = _lines("tar", "--verbose", "--list", "--numeric-owner", "--file", tar)
    samples: dict[str, list[str]] = {}
    for block, size in zip(blocks, sizes, strict=False):  # the first list ends with a line on the end of the archive
        place, _, name = block.removeprefix("block ").partition(": ")
        key, _, extension = name.partition(".")
        samples.setdefault(key, []).append(f"{extension} {(int(place) + 1) * 512} {size.split()[2]} {name}")
    return f"v1.2 {len(samples)}\n" + "".join(" ".join(members) + "\n" for members in samples.values())


def _lines(*command: str) -> list[str]:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()


@pytest.mark.skipif(shutil.which("tar") is None, reason="GNU tar is not installed")
@pytest.mark.parametrize(("variant", "split"), EVERY)
def test_the_index_is_what_gnu_tar_lists(variant: str, split: str, cifar: Output) -> None:
    for tar in cifar.tars(variant, split):
        assert Path(tar).with_suffix(".idx").read_text() == index_by_gnu_tar(tar)


@pytest.mark.parametrize(("variant", "split"), EVERY)
def test_the_index_is_what_wds2idx_makes(variant: str, split: str, cifar: Output, tmp_path: Path) -> None:
    wds2idx = pytest.importorskip("wds2idx", reason="DALI is not installed")
    for tar in cifar.tars(variant, split):
        with wds2idx.IndexCreator(tar, str(tmp_path / "idx"), verbose=False) as creator:
            creator.create_index()
        assert Path(tar).with_suffix(".idx").read_bytes() == (tmp_path / "idx").read_bytes()


@pytest.mark.parametrize(("variant", "split"), EVERY)
def test_the_index_leads_to_every_image_and_label(variant: str, split: str, cifar: Output) -> None:
    samples = []
    for path in cifar.tars(variant, split):
        tar = Path(path).read_bytes()
        head, *lines = Path(path).with_suffix(".idx").read_text().splitlines()
        assert head == f"v1.2 {len(lines)}"
        for line in lines:
            png, start, size, image, cls, place, digits, label = line.split()
            assert (png, cls, image[:-4]) == ("png", "cls", label[:-4])
            pixels = Image.open(io.BytesIO(tar[int(start) : int(start) + int(size)]))
            samples.append(sample(image[:-4], int(tar[int(place) : int(place) + int(digits)]), pixels))
    assert samples == cifar.samples(variant, split)


def read(tars: list[str], batch: int, parts: int = 1, part: int = 0) -> list[Sample]:
    """Returns the samples of one epoch of DALI's reader, decoded by DALI on the CPU, without keys."""
    dali: Any = pytest.importorskip("nvidia.dali", reason="DALI is not installed")
    fn = dali.fn

    @dali.pipeline_def(batch_size=batch, num_threads=2, device_id=None)
    def pipeline() -> Any:
        indexes = [tar.removesuffix("tar") + "idx" for tar in tars]
        png, cls = fn.readers.webdataset(
            paths=tars,
            index_paths=indexes,
            ext=["png", "cls"],
            missing_component_behavior="error",
            num_shards=parts,
            shard_id=part,
            name="r",
        )
        return fn.decoders.image(png, device="cpu", output_type=dali.types.RGB), cls

    running = pipeline()
    running.build()
    total = running.epoch_size("r")  # of all parts
    samples: list[Sample] = []
    count = total * (part + 1) // parts - total * part // parts
    while len(samples) < count:
        images, labels = running.run()
        for image, label in zip(images, labels, strict=True):
            samples.append(sample("", bytes(np.array(label)).decode(), np.array(image)))
    return samples[:count]


@pytest.mark.parametrize(("variant", "split"), EVERY)
def test_dali_itself_reads_every_sample(variant: str, split: str, cifar: Output) -> None:
    expected = [sample._replace(key="") for sample in cifar.samples(variant, split)]
    assert read(cifar.tars(variant, split), 16) == expected


def test_the_parts_of_two_nodes_add_up_to_the_whole(cifar: Output) -> None:
    parts = [read(cifar.tars("rank5", "test"), 5, parts=2, part=i) for i in (0, 1)]
    assert [len(part) for part in parts] == [45, 45]
    assert sorted(parts[0] + parts[1]) == sorted(sample._replace(key="") for sample in cifar.samples("rank5", "test"))
