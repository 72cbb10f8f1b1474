"""The restricted unpickler reads official batches, and nothing in a pickle runs, grows or escapes."""

import builtins
import os
import pickle
import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import PipelineError
from pipeline.sources.cifar.unpickle import PickledArray, load

LABELS = np.array([3, 1, 4], np.uint8)
PIXELS = np.random.default_rng(0).integers(0, 256, (3, 3072), dtype=np.uint8)


class Runs:
    def __init__(self, function, *arguments):
        self.function, self.arguments = function, arguments

    def __reduce__(self):
        return self.function, self.arguments


def refused(content):
    with pytest.raises(PipelineError) as caught:
        load(content, "data_batch_1")
    text = str(caught.value)
    assert "data_batch_1" in text and "\n" not in text and len(text) < 300
    return text


def test_a_python_2_batch_is_read_as_pickle_reads_it(python2_pickle):
    content = python2_pickle(LABELS, PIXELS, "labels")
    plain = pickle.loads(content, encoding="latin1")
    batch = load(content, "x")
    assert list(batch) == list(plain) == ["data", "labels"]
    assert batch["labels"] == plain["labels"] == [3, 1, 4]
    data = batch["data"]
    assert isinstance(data, PickledArray)
    assert (data.shape, data.dtype, data.fortran, data.raw) == ((3, 3072), b"u1", False, plain["data"].tobytes())


@pytest.mark.parametrize("protocol", [3, 4])
def test_a_python_3_batch_is_read(protocol):
    data = load(pickle.dumps({"data": PIXELS}, protocol=protocol), "x")["data"]
    assert isinstance(data, PickledArray)
    assert (data.shape, data.dtype, data.raw) == ((3, 3072), "u1", PIXELS.tobytes())


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("function", [os.system, builtins.eval, builtins.exec, builtins.getattr, os.mkdir])
def test_nothing_that_a_pickle_names_is_called(function, protocol, tmp_path):
    mark = tmp_path / "ran"
    arguments = (str(mark),) if function is os.mkdir else (f"touch {mark}",)
    refused(pickle.dumps({"data": Runs(function, *arguments)}, protocol=protocol))
    assert not mark.exists()


@pytest.mark.parametrize(
    "name",
    [b"numpy\nfromfile", b"numpy\nload", b"numpy.core.multiarray\n_vec_string", b"_codecs\nencode", b"os\nsystem"],
)
def test_only_the_array_of_bytes_may_be_named(name):
    assert name.replace(b"\n", b".").decode() in refused(b"\x80\x02}U\x04datac" + name + b"\ns.")


def test_an_array_of_objects_is_never_made():
    content = pickle.dumps({"data": np.array([1, None], object)}, protocol=2)
    try:
        data = load(content, "x")["data"]
    except PipelineError:
        return
    assert isinstance(data, PickledArray) and data.dtype not in (b"u1", "u1")


@pytest.mark.parametrize(
    ("content", "line"),
    [
        (b"", ""),
        (b".", ""),
        (b"\x80\x02N.", "no dictionary"),
        (b"\x80\x02].", "no dictionary"),
        (b"\x80\x02}r\xff\xff\xff\xff.", "memo number 4294967295"),  # a memo of 4 billion places
        (b"\x80\x02}U\x01aT\xff\xff\xff\x7fs.", ""),  # a string of 2 GB
        (b"\x80\x04}\x8e" + struct.pack("<Q", 2**62) + b".", ""),  # bytes of 4 exabytes
        (b"\x80\x02}\x8b\xff\xff\xff\x7f.", ""),  # a number of 2 GB
        (b"\x80\x02})" + b"\x85" * 2_000_000 + b"Ns.", "more than 1000 tuples"),  # its hash would overflow the C stack
        (b"\x80\x02}cnumpy\ndtype\nNbs.", ""),  # BUILD on a class
        (b"\x80\x02}U\x01aI7\ns.", "opcode INT"),  # harmless, but no batch needs it
        (b"\x80\x02cnumpy\ndtype\n)\x81.", "opcode NEWOBJ"),
    ],
)
def test_small_pickles_cannot_ask_for_much(content, line):
    assert line in refused(content)


def test_giant_shapes_are_only_numbers():
    content = b"\x80\x02}U\x04datacnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\n"
    content += b"J\xff\xff\xff\x7f\x85U\x01b\x87R(K\x01J\xff\xff\xff\x7fJ\xff\xff\xff\x7f\x86cnumpy\ndtype\n"
    content += b"U\x02u1K\x00K\x01\x87R\x89U\x00tbs."
    data = load(content, "x")["data"]
    assert isinstance(data, PickledArray) and data.raw == b"" and data.shape == (2**31 - 1,) * 2


@pytest.mark.parametrize("part", [0.1, 0.5, 0.9, 0.999])
def test_a_truncated_batch_is_refused(part, python2_pickle):
    content = python2_pickle(LABELS, PIXELS, "labels")
    refused(content[: int(part * len(content))])


@given(content=st.binary(max_size=300), protocol=st.sampled_from([b"", b"\x80\x02", b"\x80\x02}(", b"\x80\x04\x95"]))
def test_random_bytes_give_a_dictionary_or_one_line(content, protocol):
    try:
        assert isinstance(load(protocol + content, "x"), dict)
    except PipelineError as error:
        assert "\n" not in str(error)


@given(changes=st.lists(st.tuples(st.integers(0, 200), st.integers(0, 255)), min_size=1, max_size=6))
def test_a_batch_with_changed_bytes_gives_a_dictionary_or_one_line(changes, python2_pickle):
    content = bytearray(python2_pickle(LABELS, PIXELS[:, :3072], "labels"))
    for place, value in changes:
        content[place] = value
    try:
        assert isinstance(load(bytes(content), "x"), dict)
    except PipelineError as error:
        assert "\n" not in str(error)


def test_tuples_that_share_each_other_are_refused_before_anything_hashes_them():
    content = b"\x80\x02})q\x00"
    for number in range(40):
        content += b"h" + bytes([number]) + b"\x86q" + bytes([number + 1])
    content += b"K\x01s."
    assert "used twice" in refused(content)
