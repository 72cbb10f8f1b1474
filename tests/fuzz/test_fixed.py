"""Inputs that fuzzing, or reading the code for it, has found to cause faults. All are fixed: each ends in one line."""

import json
import struct
import zlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from pipeline.data import RankDataset, RankView
from pipeline.data.output import open_output
from pipeline.data.pixels import decode_png
from pipeline.errors import PipelineError
from pipeline.execution.run import plan_job
from pipeline.formats.sealed_json import seal
from pipeline.planning import output_spec, output_state, record
from pipeline.planning.job import Job
from pipeline.report.page.facts import collect
from pipeline.sources.imagenet.meta import read_synsets
from pipeline.storage import lock
from pipeline.storage.file_claims import FileClaims
from pipeline.storage.object_claims import ObjectClaims
from pipeline.storage.store import open_store
from pipeline.study.networks.weights import read_weights
from pipeline.study.training import checkpoint
from pipeline.verification.faults import Faults
from pipeline.verification.files import check_links
from pipeline.verification.manifest.claims import FileClaim
from pipeline.verification.manifest.document import load
from pipeline.verification.shards.image import BadImage, decode, size_of
from tests.fuzz import place
from tests.fuzz.harnesses.weights import packed

DEEP = b"[" * 100_000
HUGE = 10**4299  # as long as JSON's numbers may be: the next one has too many digits to be printed


@pytest.fixture(scope="module")
def plan():
    place.output()
    return plan_job(Job.parse(place.OPTIONS))[1]


def edited(name: str, *path: str | int, value: object) -> bytes:
    """A JSON file of the output with one value replaced, and the checksum of that."""
    document = json.loads((place.output() / name).read_bytes())
    document.pop("checksum", None)
    inside = document
    for key in path[:-1]:
        inside = inside[key]
    inside[path[-1]] = value
    return seal(document)


def test_what_is_nested_too_deeply_is_no_lock_no_output_and_no_description(tmp_path, plan):
    (tmp_path / "lock").write_bytes(DEEP)
    with pytest.raises(lock.LostLock), lock.publishing(FileClaims(tmp_path), "r"):
        pass

    class Bucket:
        def names(self, folder):
            return ["000001"]

        def read(self, name):
            return DEEP

    assert ObjectClaims(Bucket()).last().fields == {}
    with pytest.raises(PipelineError, match="description .build/job.json is damaged"):
        output_spec.grow(DEEP, plan.content, plan.index)
    (tmp_path / "manifest.json").write_bytes(DEEP)
    with pytest.raises(PipelineError, match="nothing says that a build has written them"):
        output_state.check_place(open_store(tmp_path), tmp_path)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("samples",), float("inf")),
        (("samples",), True),
        (("pixels",), -1),
        (("pixels",), HUGE),
        (("converted",), {"grey": float("nan")}),
        (("spectra", 0, 1), 2**63),
        (("rejects",), [["train", 0, 0, "a", 2**70, "damaged"]]),
    ],
)
def test_a_record_of_impossible_numbers_is_none(plan, path, value):
    name = ".build/records/train-000000.json"
    data = edited(name, *path, value=value)
    with pytest.raises(ValueError, match="not a shard record"):
        record.Record.from_json(data)
    with place.replaced(name, data):
        store = open_store(place.output())
        assert output_state.merged(store, plan.content, plan.index, overwrite=False) == plan.content
        assert plan.shards[0] not in output_state.survey(store, plan, recheck=False)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("grows", "limit"), -1),
        (("grows", "limit"), True),
        (("grows", "variants"), [f"rank{10**12}"]),
        (("grows", "factors", "rank"), HUGE),
        (("grows", "factors", "rank"), True),
    ],
)
def test_a_description_of_impossible_growth_is_damaged(plan, path, value):
    with pytest.raises(PipelineError, match="is damaged"):
        output_spec.grow(edited(output_state.STATE, *path, value=value), plan.content, plan.index)


SPLIT = ("variants", "rank1", "splits", "train")


@pytest.mark.parametrize("value", [HUGE, -1, 1.5])
@pytest.mark.parametrize("path", [(*SPLIT, "bytes"), (*SPLIT, "shards", 0, "bytes"), (*SPLIT, "shards", 1, "samples")])
def test_a_manifest_of_impossible_numbers_is_damaged_and_names_its_folder(path, value):
    with place.replaced("manifest.json", edited("manifest.json", *path, value=value)):
        with pytest.raises(PipelineError, match="manifest.json is damaged") as proof:
            load(place.output(), Faults())
        assert str(proof.value).startswith(str(place.output()))
        if path[-1] != "bytes" or len(path) > 5:
            with pytest.raises(PipelineError, match="manifest.json is damaged") as read:
                open_output(place.output()).part("rank1", "train")
            assert str(read.value).startswith(str(place.output()))


def test_a_folder_of_too_long_a_name_is_no_link():
    manifest, long, faults = load(place.output(), Faults()), "1" * 300, Faults()
    check_links(replace(manifest, files=manifest.files | {f"{long}/file": FileClaim(1, "0" * 64)}), faults)
    assert faults.count == 0  # its file is missing, which is reported with all files


@pytest.mark.parametrize("data", [b"", b"{", DEEP, b"[]", b"\xff", b'{"format": 1}'])
def test_a_damaged_manifest_names_its_folder(data):
    with place.replaced("manifest.json", data):
        for reader in (lambda: load(place.output(), Faults()), lambda: open_output(place.output())):
            with pytest.raises(PipelineError) as refusal:
                reader()
            assert str(refusal.value).startswith(str(place.output()))


@pytest.mark.parametrize("value", [HUGE, float("nan"), float("inf"), 1e300])
@pytest.mark.parametrize("key", ["mean", "std"])
def test_a_report_of_means_that_are_none_is_refused(key, value):
    manifest = edited("manifest.json", *SPLIT, key, value=[value] * 3)
    with place.replaced("manifest.json", manifest), pytest.raises(PipelineError, match="is damaged"):
        collect(open_output(place.output()), {"train": [0, 1]})


@pytest.mark.parametrize("position", [2**31, -9, 10**30])
def test_a_reject_at_no_place_of_the_output_is_damage(position):
    line = {"key": "train-00000007", "position": position, "name": "b/7.png", "reason": "damaged"}
    rejects = json.dumps(line).encode() + b"\n"
    with (
        place.replaced("rejects.jsonl", rejects),
        pytest.raises(PipelineError, match="rejects.jsonl (is damaged|does not agree)"),
    ):
        RankView(place.output(), 1)


def test_a_key_of_a_megabyte_is_not_multiplied_by_the_number_of_samples():
    name = "folder-rank1/folder-rank1-train-000000.idx"
    words = (place.output() / name).read_bytes().split()
    words[5] = b"x" * (1 << 20) + b".png"
    words[9] = b"x" * (1 << 20) + b".cls"
    lines = [b" ".join(words[:2])] + [b" ".join(words[at : at + 8]) for at in range(2, len(words), 8)]
    with (
        place.replaced(name, b"\n".join(lines) + b"\n"),
        pytest.raises(PipelineError, match="is no index|more than it can have"),
    ):
        RankDataset(place.output(), "rank1")


@pytest.mark.parametrize("shape", [(-3, -5, 3), (0, 4, 3), (4, -1, 3)])
def test_an_array_of_negative_sides_is_no_image(shape):
    head = f"{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}".encode().ljust(117) + b"\n"
    raw = b"\x93NUMPY\x01\0" + struct.pack("<H", len(head)) + head + bytes(4 * abs(int(np.prod(shape))))
    with pytest.raises(BadImage):
        size_of(raw, "npy")
    with pytest.raises(BadImage):
        decode(raw, shape[:2], "npy")


@pytest.mark.parametrize(("height", "width"), [(7_995_397, 7), (8000, 8000)])
def test_a_png_file_of_fewer_bytes_than_its_pixels_need_is_not_decoded(height, width):
    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = [(b"IHDR", head), (b"IDAT", zlib.compress(bytes(500))), (b"IEND", b"")]
    raw = b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
        for kind, content in chunks
    )
    for call in (lambda: size_of(raw, "png"), lambda: decode(raw, (height, width), "png")):
        with pytest.raises(BadImage, match="(pixels|bytes of rows) in "):
            call()
    with pytest.raises(ValueError, match="it is"):
        decode_png(raw, None)


def test_a_mean_that_is_not_a_number_is_refused(tmp_path: Path):
    torch.save({"state_dict": {"w": torch.zeros(1)}, "mean": [10**400, 0, 0]}, tmp_path / "w.pt")
    with pytest.raises(PipelineError, match="mean is not three numbers"):
        read_weights(tmp_path / "w.pt")


@pytest.mark.parametrize(
    "raw",
    [
        b"\x80\x02.",
        b"\x80\x02h\x05.",
        b"\x80\x50N.",
        b"(" * 2000,
        b"\x80\x02cbuiltins\nbytearray\nJ\xff\xff\xff\xff\x85R.",
    ],
)
def test_a_damaged_pickle_of_weights_is_one_line_and_no_warning(tmp_path, raw, recwarn):
    path = tmp_path / checkpoint.NAME
    path.write_bytes(packed(raw))
    with pytest.raises(PipelineError, match="holds no plain weights"):
        read_weights(path)
    with pytest.raises(PipelineError, match="is no checkpoint"):
        checkpoint.load(tmp_path, {})
    assert not recwarn.list


def test_tables_that_unpack_one_after_the_other_share_one_bound():
    bomb = zlib.compress(bytes(40 << 20))
    element = (15).to_bytes(4, "little") + len(bomb).to_bytes(4, "little") + bomb
    with pytest.raises(PipelineError, match="unpacks to far more"):
        read_synsets(bytes(126) + b"IM" + element * 2, "meta.mat")
