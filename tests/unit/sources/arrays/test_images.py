"""Images and labels of arrays: the pixels of every shape and type that is read, and one line for any other."""

import io
import os
import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest

from pipeline.sources.images import decode_image
from tests.unit.sources.arrays.make import opened, pixels, random_images, random_labels, refused, save

RGB = random_images(5)


def pair(folder: Path, images: np.ndarray, labels: np.ndarray | None = None) -> Path:
    return save(folder, {"images": images, "labels": random_labels(len(images)) if labels is None else labels})


@pytest.mark.parametrize(
    ("images", "expected"),
    [
        (RGB, RGB),
        (RGB[:, :, :5], RGB[:, :, :5]),
        (RGB[..., 0], np.repeat(RGB[..., :1], 3, axis=3)),
        (RGB[..., :1], np.repeat(RGB[..., :1], 3, axis=3)),
        (RGB.transpose(0, 3, 1, 2).copy(), RGB),
        (RGB[..., :1].transpose(0, 3, 1, 2).copy(), np.repeat(RGB[..., :1], 3, axis=3)),
        *[(RGB.astype(kind) / np.array(255, kind), RGB) for kind in ("f2", "f4", "f8", ">f4")],
        (RGB * np.float32(1 / 255), RGB),
        (RGB.transpose(0, 3, 1, 2).astype("f4") / 255, RGB),
    ],
)
def test_pixels(tmp_path, images, expected):
    source, index = opened(pair(tmp_path, images))
    assert np.array_equal(pixels(source, index, "train"), expected)
    entry = index.splits["train"].entry(2)
    assert entry.size == images[0].nbytes
    raw = source.read(entry)
    assert source.read(entry, 20) == raw[:20]
    decoded, reference = source.decode(raw), decode_image(raw)  # a file that Pillow reads, with the same pixels
    assert np.array_equal(decoded.pixels, reference.pixels) and decoded.converted == reference.converted
    assert pickle.loads(pickle.dumps(source)) == source


@pytest.mark.parametrize(
    ("images", "line"),
    [
        (RGB.astype("f4"), "has values from 0 to 255: float images must be in [0, 1]"),
        (RGB.astype("f4") / 127.5 - 1, "has values from -1 to 1: float images must be in [0, 1]"),
        (np.full((2, 4, 4, 3), np.nan, "f4"), "has values that are not finite"),
        (np.full((2, 4, 4, 3), 0.5, "f4"), "has values between two grey levels (0.5 x 255 = 127.500)"),
        (RGB.astype(np.int64), "holds int64: images must be uint8"),
        (RGB.astype(np.uint16), "holds uint16: images must be uint8"),
        (RGB > 4, "holds bool: images must be uint8"),
        (RGB.astype(np.complex64), "holds complex64: images must be uint8"),
        (RGB.astype("U3"), "holds <U3: images must be uint8"),
        (np.concatenate([RGB, RGB[..., :1]], axis=3), "has the shape (5, 8, 8, 4): images must be"),
        (RGB.reshape(5, -1), "has the shape (5, 192): images must be"),
        (RGB[None], "has the shape (1, 5, 8, 8, 3)"),
        (np.zeros((0, 8, 8, 3), np.uint8), "is empty"),
        (np.zeros((2, 0, 8, 3), np.uint8), "has images of 0 x 8 pixels"),
        (np.zeros((1, 1, 20_000), np.uint8), "has images of 1 x 20000 pixels"),
        (np.asfortranarray(RGB), "is in Fortran order"),
        (np.zeros(4, [("a", "u1")]), "it holds records, not numbers"),
        (np.array([RGB[0], None], object), "it holds Python objects (pickles), which are never opened"),
    ],
)
def test_images_that_are_none(tmp_path, images, line):
    assert line in refused(pair(tmp_path, images, random_labels(len(images))))


@pytest.mark.parametrize(
    ("labels", "line"),
    [
        (random_labels(4), "labels.npy has 4 labels for the 5 images of"),
        (random_labels(6), "labels.npy has 6 labels for the 5 images of"),
        (random_labels(5).astype("f4"), "holds float32: labels must be whole numbers"),
        (random_labels(5).astype("U9"), "labels must be whole numbers"),
        (np.eye(5, dtype=np.int64), "has the shape (5, 5): one label per image is needed"),
        (np.array([0, 1, -1, 2, 3]), "has the label -1 in row 2: labels are 0, 1, 2, ..."),
        (np.array([0, 1, 2, 2, 10**6]), "has the label 1000000 in row 4"),
        (np.array(3), "is empty"),
        (np.array([0, "a", None, 1, 2], object), "it holds Python objects (pickles)"),
    ],
)
def test_labels_that_are_none(tmp_path, labels, line):
    assert line in refused(pair(tmp_path, RGB, labels))


def test_an_object_array_is_never_unpickled(tmp_path):
    class Evil:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "unpickled"),)

    pair(tmp_path / "data", RGB, np.array([Evil()] * 5, object))
    assert "never opened" in refused(tmp_path / "data")
    np.savez(tmp_path / "a.npz", images=RGB, labels=np.array([Evil()] * 5, object))
    np.savez_compressed(tmp_path / "b.npz", images=RGB, labels=np.array([Evil()] * 5, object))
    assert "never opened" in refused(tmp_path / "a.npz") and "never opened" in refused(tmp_path / "b.npz")
    assert not (tmp_path / "unpickled").exists()


def test_images_of_several_sizes_have_no_common_shape(tmp_path):
    save(tmp_path / "train", {"images": RGB, "labels": random_labels(5)})
    save(tmp_path / "test", {"images": random_images(3, 6), "labels": random_labels(3)})
    source, index = opened(tmp_path)
    assert index.shape is None and pixels(source, index, "test").shape == (3, 6, 6, 3)


def test_headers_of_python_2_and_of_later_formats_are_read(tmp_path):
    pair(tmp_path, RGB)
    for version, text in (
        (1, "{'descr': '|u1', 'fortran_order': False, 'shape': (5L, 8L, 8L, 3L), }\n"),
        (2, "{'descr': '|u1', 'fortran_order': False, 'shape': (5, 8, 8, 3), }\n"),
        (3, "{'descr': '|u1', 'fortran_order': False, 'shape': (5, 8, 8, 3), }\n"),
    ):
        length = len(text).to_bytes(2 if version == 1 else 4, "little")
        (tmp_path / "images.npy").write_bytes(
            b"\x93NUMPY" + bytes([version, 0]) + length + text.encode() + RGB.tobytes()
        )
        source, index = opened(tmp_path)
        assert np.array_equal(pixels(source, index, "train"), RGB)


def test_a_file_that_is_cut_off_is_one_line(tmp_path):
    pair(tmp_path, RGB)
    os.truncate(tmp_path / "images.npy", 600)
    assert "images.npy is cut off or half-downloaded: it has 600 bytes, its header says 1,088" in refused(tmp_path)
    source, _ = opened(pair(tmp_path / "again", RGB))
    entry = source.index().splits["train"].entry(4)
    os.truncate(tmp_path / "again" / "images.npy", 600)
    with pytest.raises(OSError, match=r"images\.npy is shorter"):
        source.read(entry)


def test_pixels_are_digested_once(tmp_path, cache, monkeypatch):
    _, first = opened(pair(tmp_path, RGB))
    from pipeline.sources.arrays import source as module

    monkeypatch.setattr(module, "_scan", lambda *_: pytest.fail("read again"))
    assert opened(tmp_path)[1].fingerprint() == first.fingerprint()


def test_a_compressed_archive_is_unpacked_once_and_again_when_it_changes(tmp_path, cache):
    path = tmp_path / "a.npz"
    np.savez_compressed(path, images=RGB, labels=random_labels(5))
    source, index = opened(path)
    (folder,) = (entry for entry in cache.iterdir() if entry.is_dir())
    stamp = (folder / "images.npy").stat().st_mtime_ns
    opened(path)
    assert (folder / "images.npy").stat().st_mtime_ns == stamp
    np.savez_compressed(path, images=RGB[::-1], labels=random_labels(5))
    source, index = opened(path)
    assert np.array_equal(pixels(source, index, "train"), RGB[::-1])
    assert [entry.is_dir() for entry in cache.iterdir()].count(True) == 1


def test_a_stored_archive_is_read_in_place(tmp_path, cache):
    np.savez(tmp_path / "a.npz", images=RGB, labels=random_labels(5))
    source, index = opened(tmp_path)
    assert index.splits["train"].files == ["a.npz"] and not any(entry.is_dir() for entry in cache.iterdir())
    assert np.array_equal(pixels(source, index, "train"), RGB)


def npz(path: Path, change: object = None) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, array in (("images", RGB), ("labels", random_labels(5))):
            file = io.BytesIO()
            np.save(file, array)
            archive.writestr(f"{name}.npy", file.getvalue())
    return path


@pytest.mark.parametrize("write", [np.savez, np.savez_compressed])
def test_damaged_archives_are_one_line(tmp_path, write):
    path = tmp_path / "a.npz"
    write(path, images=random_images(50), labels=random_labels(50))
    whole = path.read_bytes()
    for cut in (0, 10, len(whole) // 2, len(whole) - 10):
        path.write_bytes(whole[:cut])
        assert str(path) in refused(path)
    middle = len(whole) // 2
    path.write_bytes(whole[:middle] + bytes([whole[middle] ^ 255]) + whole[middle + 1 :])
    if write is np.savez_compressed:  # a stored archive is read in place, and its CRC-32 is not computed
        assert "damaged" in refused(path)
