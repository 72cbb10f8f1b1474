"""The CIFAR source gives official pixels and labels in the official order, the same from both layouts."""

import hashlib
import os
import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pipeline.errors import PipelineError
from pipeline.sources.cifar import manifest as official
from pipeline.sources.cifar.manifest import BatchFile
from pipeline.sources.cifar.source import Cifar

REAL = Path(__file__).parents[4] / "shared" / "data" / "cifar10"
real = pytest.mark.skipif(not REAL.is_dir(), reason="the lossless CIFAR-10 images of ../shared/data are not here")


def sources(manifest, data):
    return [Cifar(manifest, data / layout.folder, layout) for layout in manifest.layouts]


def test_labels_and_pixels_are_those_of_the_records(small):
    manifest, batches, data = small
    for source in sources(manifest, data):
        index = source.index()
        assert index.verified and index.shape == (32, 32) and len(index.classes) == len(manifest.classes)
        listed = [(split, number) for split in ("train", "test") for number in range(len(index.splits[split]))]
        assert len(listed) == 20 * len(batches)
        for split, number in listed:
            entry = index.splits[split].entry(number)
            batch, row = entry.name.split("/")
            labels, pixels = batches[batch]
            assert entry.index == number and entry.size == 3072 and entry.label == labels[int(row)]
            np.testing.assert_array_equal(source.decode(source.read(entry)).pixels.reshape(-1), pixels[int(row)])


def test_both_layouts_have_the_same_names_labels_checksums_and_fingerprint(small):
    manifest, batches, data = small
    binary, pickled = (source.index() for source in sources(manifest, data))
    for split in ("train", "test"):
        assert binary.splits[split].names == pickled.splits[split].names
        assert binary.splits[split].labels.dtype == pickled.splits[split].labels.dtype == np.int32
        np.testing.assert_array_equal(binary.splits[split].labels, pickled.splits[split].labels)
    assert binary.fingerprint() == pickled.fingerprint()
    assert (
        binary.checksums
        == pickled.checksums
        == {
            name: hashlib.sha256(
                b"".join(bytes([label]) + row.tobytes() for label, row in zip(*batch, strict=True))
            ).hexdigest()
            for name, batch in batches.items()
        }
    )


def test_another_pixel_is_another_fingerprint(small):
    manifest, _, data = small
    source = sources(manifest, data)[0]
    before = source.index().fingerprint()
    path = data / source.layout.folder / source.layout.files[0].file
    content = bytearray(path.read_bytes())
    content[100] ^= 1
    path.write_bytes(content)
    after = replace(source, allow_unverified=True).index()
    assert after.fingerprint() != before and not after.verified


def test_full_size_cifar100_is_the_same_in_both_layouts(tmp_path, write_layout):
    rng = np.random.default_rng(0)
    manifest = official.load("cifar100")
    batches = {
        name: (
            rng.integers(0, 100, count, dtype=np.uint8),
            np.frombuffer(rng.bytes(count * 3072), np.uint8).reshape(-1, 3072),
        )
        for name, count in {"train": 50_000, "test": 10_000}.items()
    }
    fingerprints = set()
    for layout in manifest.layouts:
        written = write_layout(layout, batches, tmp_path)
        assert [batch.bytes for batch in written.files] == [batch.bytes for batch in layout.files]
        source = Cifar(manifest, tmp_path, layout, allow_unverified=True)
        index = source.index()
        assert {split: len(part) for split, part in index.splits.items()} == {"train": 50_000, "test": 10_000}
        fingerprints.add(index.fingerprint())
        for number in (0, 1, 31_415, 49_999):
            entry = index.splits["train"].entry(number)
            assert source.read(entry) == batches["train"][1][number].tobytes()
            assert entry.label == batches["train"][0][number]
        for batch in layout.files:
            (tmp_path / batch.file).unlink()
    assert len(fingerprints) == 1


@real
def test_the_official_images_and_labels_are_read_exactly():
    manifest = official.load("cifar10")
    files = []
    for batch, count in {"data_batch_1": 4000, "data_batch_5": 1017, "test_batch": 1017}.items():
        file = f"{batch}.first{count}.bin"
        content = (REAL / file).read_bytes()
        split = "test" if batch == "test_batch" else "train"
        files.append(BatchFile(file, batch, split, count, len(content), hashlib.md5(content).hexdigest()))
    layout = replace(manifest.layout("binary"), files=tuple(files))
    source = Cifar(manifest, REAL, layout)
    index = source.index()
    for batch in files:
        records = np.fromfile(REAL / batch.file, np.uint8).reshape(-1, 3073)
        labels = np.fromfile(REAL / f"{batch.batch}.labels.u8", np.uint8)[: batch.images]
        part = index.splits[batch.split]
        rows = [number for number, name in enumerate(part.names) if name.startswith(batch.batch)]
        np.testing.assert_array_equal(part.labels[rows], labels)
        pixels = [source.decode(source.read(part.entry(number))).pixels.reshape(-1) for number in rows]
        np.testing.assert_array_equal(pixels, records[:, 1:])


@real
def test_the_classes_are_those_of_the_official_meta_file():
    content = (REAL / "batches.meta").read_bytes()
    assert hashlib.md5(content).hexdigest() == "5ff9c542aee3614f3951f8cda6e48888"
    assert tuple(pickle.loads(content)["label_names"]) == official.load("cifar10").classes


@pytest.mark.parametrize("number", [0, 1])
def test_other_content_needs_a_word_and_is_remembered(small, number):
    manifest, _, data = small
    source = sources(manifest, data)[number]
    first = source.layout.files[0]
    wrong = replace(
        source, layout=replace(source.layout, files=(replace(first, md5="0" * 32), *source.layout.files[1:]))
    )
    with pytest.raises(
        PipelineError, match=f"{first.file} has MD5 {first.md5}, the official file 0{{32}}.*--allow-unverified"
    ):
        wrong.index()
    index = replace(wrong, allow_unverified=True).index()
    assert not index.verified and index.fingerprint() == source.index().fingerprint()


def test_a_pickle_is_not_opened_before_its_checksum(small, tmp_path):
    manifest, _, data = small
    source = sources(manifest, data)[1]
    path = data / source.layout.folder / source.layout.files[0].file
    path.write_bytes(b"cos\nsystem\n(S'touch " + bytes(tmp_path / "ran") + b"'\ntR." + bytes(20 * 3072))
    with pytest.raises(PipelineError, match="has MD5"):
        source.index()
    with pytest.raises(PipelineError, match="not a pickle of a CIFAR batch"):
        replace(source, allow_unverified=True).index()
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("number", [0, 1])
@pytest.mark.parametrize("allow_unverified", [False, True])
def test_a_half_downloaded_file_is_called_that(small, number, allow_unverified):
    manifest, _, data = small
    source = replace(sources(manifest, data)[number], allow_unverified=allow_unverified)
    file = source.layout.files[-1].file
    os.truncate(data / source.layout.folder / file, 20 * 3072 - 1)
    with pytest.raises(PipelineError, match=f"{file} is half-downloaded or cut off: 61,439 bytes"):
        source.index()


def test_a_missing_file_is_named(small):
    manifest, _, data = small
    source = sources(manifest, data)[0]
    (data / source.layout.folder / source.layout.files[0].file).unlink()
    with pytest.raises(PipelineError, match=f"{source.layout.files[0].file} cannot be read: No such file"):
        source.index()


def test_labels_out_of_range_are_refused(small):
    manifest, _, data = small
    few = replace(manifest, classes=manifest.classes[:2])
    for source in sources(few, data):
        with pytest.raises(PipelineError, match=r"labels outside 0\.\.1"):
            source.index()


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ({"data": np.zeros((20, 3071), np.uint8)}, "holds no 'data' of 20 x 3072 bytes"),
        ({"data": np.zeros((20, 1536), np.int16)}, "holds no 'data' of"),
        ({"data": np.asfortranarray(np.zeros((20, 3072), np.uint8))}, "holds no 'data' of"),
        ({"data": np.zeros((20, 32, 32, 3), np.uint8)}, "holds no 'data' of"),
        ({"data": "pixels", "padding": bytes(20 * 3072)}, "holds no 'data' of"),
        ({"labels": [0] * 19}, "labels' of 20 whole numbers"),
        ({"labels": [0.5] * 20}, "opcode BINFLOAT"),
        ({"labels": [True] * 20}, "labels' of 20 whole numbers"),
        ({"labels": None}, "labels' of 20 whole numbers"),
        ({"labels": [-1] * 20}, "labels outside"),
        ({"labels": [2**31 - 1] * 20}, "labels outside"),
        ({"labels": [2**31] * 20}, "opcode LONG1"),
    ],
)
def test_a_pickle_of_another_structure_is_refused(small, change, line):
    manifest, _, data = small
    source = replace(sources(manifest, data)[1], allow_unverified=True)
    batch = {"data": np.zeros((20, 3072), np.uint8), source.layout.label_key: [0] * 20}
    batch |= {source.layout.label_key if key == "labels" else key: value for key, value in change.items()}
    path = data / source.layout.folder / source.layout.files[0].file
    path.write_bytes(pickle.dumps(batch | {"filenames": ["x" * 100] * 20}, protocol=4))
    with pytest.raises(PipelineError, match=line) as caught:
        source.index()
    assert path.name in str(caught.value) and "\n" not in str(caught.value)


def test_a_file_that_shrinks_after_the_index_is_an_os_error(small):
    manifest, _, data = small
    source = sources(manifest, data)[0]
    entry = source.index().splits["test"].entry(19)
    os.truncate(data / source.layout.folder / entry.file, 1000)
    with pytest.raises(OSError, match="shorter than when it was indexed"):
        source.read(entry)


def test_the_source_travels_to_workers_as_a_few_kilobytes(small):
    manifest, _, data = small
    for source in sources(manifest, data):
        packed = pickle.dumps(source)
        assert len(packed) < 8_000 and pickle.loads(packed) == source and source.default_order == "source"
