"""Promises of the plan: a fixed order, shuffled for class-sorted sources, and shard identities from content alone."""

import dataclasses
import hashlib
import json
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.errors import UsageError
from pipeline.formats.sample_key import sample_key
from pipeline.numerics.geometry import NATIVE
from pipeline.numerics.variants import Variant
from pipeline.planning import manifest
from pipeline.planning import plan as plan_module
from pipeline.planning.job import Job
from pipeline.planning.output_spec import Content, resolve
from pipeline.planning.plan import Plan, Shard, make_plan, tar_name
from pipeline.sources import open_source
from pipeline.sources.index import SourceIndex, SplitIndex
from pipeline.sources.names import Names
from pipeline.sources.shapes import Shapes
from tests.conftest import SmallCifar


def index_of(train: int, test: int = 0, classes: int = 4) -> SourceIndex:
    """Returns the index of a class-sorted source without files."""
    splits = {}
    for split, count in (("train", train), ("test", test)):
        labels = np.sort(np.arange(count) % classes).astype(np.int32)
        names = [f"{labels[i]}/{i:05d}.png" for i in range(count)]
        ids, sizes = np.arange(count, dtype=np.int32), np.full(count, 100, np.int64)
        splits[split] = SplitIndex(names, labels, names, ids, np.zeros(count, np.int64), sizes)
    return SourceIndex([str(i) for i in range(classes)], splits, (32, 32), "title", "terms")


def plan_of(index: SourceIndex, **options: Any) -> Plan:
    raw = {"dataset": "folder", "data-dir": "x", "ranks": "3"} | {k.replace("_", "-"): v for k, v in options.items()}
    return make_plan(resolved(Job.parse(raw), index, "shuffled"), index)


def resolved(job: Job, index: SourceIndex, order: str) -> Content:
    shape = index.shape or (12, 12)
    return resolve(job, index, order, NATIVE, Shapes.of([shape]))


def order(plan: Plan, split: str = "train") -> list[int]:
    return [int(place) for place in plan.positions[split]]


def test_the_shuffled_order_is_a_permutation_of_every_split() -> None:
    plan = plan_of(index_of(1000, 300))
    assert sorted(order(plan)) == list(range(1000))
    assert sorted(order(plan, "test")) == list(range(300))
    assert order(plan) != sorted(order(plan))


def test_every_shard_of_a_class_sorted_source_mixes_the_classes() -> None:
    index = index_of(5000, classes=10)
    plan = plan_of(index, samples_per_shard=250)
    for shard in plan.shards:
        counts = np.bincount([entry.label for entry in plan.entries(shard)], minlength=10)
        assert counts.min() >= 10
        assert counts.max() <= 45


def test_another_seed_is_another_order_and_the_same_seed_the_same() -> None:
    index = index_of(1000)
    assert order(plan_of(index)) == order(plan_of(index, seed=0))
    assert order(plan_of(index, seed=1)) != order(plan_of(index, seed=0))
    assert order(plan_of(index, seed=1)) == order(plan_of(index, seed=1))


def test_an_images_place_depends_on_its_name_and_the_seed_alone() -> None:
    """Two images keep their relative order when others are added or removed."""
    many, few = index_of(400, classes=1), index_of(100, classes=1)
    assert [i for i in order(plan_of(many)) if i < 100] == order(plan_of(few))


def test_the_sources_own_order_is_kept_where_it_is_asked_for() -> None:
    assert order(plan_of(index_of(100), order="source")) == list(range(100))


def test_the_sources_default_order_holds_where_none_is_asked_for() -> None:
    index = index_of(10)
    job = Job.parse({"dataset": "folder", "ranks": "3"})
    assert resolved(job, index, "source").order == "source"
    assert resolved(job, index, "shuffled").order == "shuffled"


def test_a_seed_without_a_shuffled_order_is_refused() -> None:
    index, job = index_of(100), {"dataset": "cifar10", "ranks": "3", "seed": "5"}
    line = "seed: 5 does not go with the source's order, which cifar10 has by default; add --order shuffled"
    with pytest.raises(UsageError, match=f"^{line}$"):
        resolved(Job.parse(job), index, "source")
    with pytest.raises(UsageError, match="^seed: 5 does not go with the source's order; add --order shuffled$"):
        resolved(Job.parse(job | {"order": "source"}), index, "shuffled")
    assert resolved(Job.parse(job | {"order": "shuffled"}), index, "source").seed == 5
    assert resolved(Job.parse(job | {"seed": "0"}), index, "source").seed == 0


def test_shards_are_equal_ranges_but_for_the_last_of_each_split() -> None:
    plan = plan_of(index_of(25, 10), samples_per_shard=10)
    assert plan.shards == (
        Shard("train", 0, 0, 10),
        Shard("train", 1, 10, 20),
        Shard("train", 2, 20, 25),
        Shard("test", 0, 0, 10),
    )


@pytest.mark.parametrize(("size", "samples"), [(32, 1250), (64, 1250), (65, 1000), (224, 1000)])
def test_small_images_go_1250_to_a_shard_and_larger_ones_1000(size: int, samples: int) -> None:
    index = dataclasses.replace(index_of(10), shape=(size, size))
    assert plan_of(index).content.samples_per_shard == samples


def test_the_limit_takes_the_first_positions_of_every_split() -> None:
    index = index_of(1000, 300)
    whole, part = plan_of(index), plan_of(index, limit=50)
    for split in ("train", "test"):
        assert order(part, split) == order(whole, split)[:50]
    assert {entry.label for entry in part.entries(part.shards[0])} == {0, 1, 2, 3}
    assert order(plan_of(index, limit=10**9)) == order(whole)


def test_entries_are_those_of_the_positions() -> None:
    index = index_of(100)
    plan = plan_of(index, samples_per_shard=30)
    listed = [entry for shard in plan.shards for entry in plan.entries(shard)]
    assert [entry.index for entry in listed] == order(plan)
    assert [entry.name for entry in listed] == [index.splits["train"].names[i] for i in order(plan)]


def test_keys_carry_the_place_in_the_sources_order() -> None:
    assert sample_key("train", 42) == "train-00000042"


def test_tars_are_named_after_variant_split_and_number() -> None:
    content = plan_of(index_of(10), name="mine").content
    shard = Shard("train", 12, 0, 1)
    assert tar_name(content, Variant("high", 5), shard) == "mine-highrank5/mine-highrank5-train-000012.tar"


def identities(plan: Plan) -> list[str]:
    return [plan.identity(shard) for shard in plan.shards]


def test_every_shard_has_an_identity_of_its_own() -> None:
    plan = plan_of(index_of(100, 30), samples_per_shard=10)
    assert len(set(identities(plan))) == len(plan.shards) == 13


def test_identity_depends_neither_on_paths_nor_on_workers_nor_on_what_may_grow() -> None:
    index = index_of(100, 30)
    base = identities(plan_of(index, samples_per_shard=50))
    for options in (
        {"out": "elsewhere", "data_dir": "/other/place", "workers": 7},
        {"ranks": "1,30", "components": "full,low"},
        {"max_rejects": 9, "quiet": True, "recheck": True, "overwrite": True},
    ):
        assert identities(plan_of(index, samples_per_shard=50, **options)) == base
    assert identities(plan_of(index, samples_per_shard=50, splits="train")) == base[:2]
    assert identities(plan_of(index, samples_per_shard=50, limit=50)) == [base[0], base[2]]


@pytest.mark.parametrize(
    "options", [{"seed": 1}, {"order": "source"}, {"samples_per_shard": 49}, {"name": "other"}, {"limit": 30}]
)
def test_identity_depends_on_what_the_bytes_depend_on(options: dict[str, Any]) -> None:
    index = index_of(100)
    base = identities(plan_of(index, samples_per_shard=50))
    assert not set(identities(plan_of(index, **{"samples_per_shard": 50} | options))) & set(base)


def test_identity_depends_on_the_source() -> None:
    index = index_of(100)
    base = identities(plan_of(index))
    names = [f"x{name}" for name in index.splits["train"].names]
    renamed = dataclasses.replace(index.splits["train"], names=Names.of(names))
    for other in (
        dataclasses.replace(index, splits=index.splits | {"train": renamed}),
        dataclasses.replace(index, shape=(31, 32)),
        dataclasses.replace(index, checksums={"data_batch_1": "0"}),
        dataclasses.replace(index, classes=["a", "b", "c", "d"]),
    ):
        assert not set(identities(plan_of(other))) & set(base)


def test_the_same_images_elsewhere_have_the_same_identity(
    pictures: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = pictures("one"), pictures("somewhere/deeper/two")
    for image in second.rglob("*.png"):
        os.utime(image, (1, 1))
    monkeypatch.chdir(tmp_path)
    plans = []
    for folder in (first, second, Path("one")):
        source = open_source("folder", folder)
        plans.append(plan_of(source.index()))
    assert identities(plans[0]) == identities(plans[1]) == identities(plans[2])


def test_the_same_cifar_elsewhere_has_the_same_identity(cifar_binary: SmallCifar, tmp_path: Path) -> None:
    before = identities(plan_of(open_source("cifar10", cifar_binary.folder).index()))
    moved = cifar_binary.folder.rename(tmp_path / "moved")
    assert identities(plan_of(open_source("cifar10", moved).index())) == before


def test_the_description_of_an_output_names_no_path() -> None:
    content = plan_of(index_of(10), out="/secret/out", data_dir="/secret/data").content
    assert isinstance(content, Content)
    assert "secret" not in content.to_json().decode()
    assert json.loads(content.to_json())["grows"]["variants"] == ["rank3", "highrank3"]


def test_the_shuffled_order_is_that_of_the_hashes(monkeypatch: pytest.MonkeyPatch) -> None:
    names = Names.of([f"class/{i}.png" for i in range(500)])
    expected = sorted(range(500), key=lambda i: hashlib.sha256(f"7/class/{i}.png".encode()).digest())
    assert plan_module.shuffled(names, 7).tolist() == expected
    real = plan_module._heads
    monkeypatch.setattr(plan_module, "_heads", lambda digests, count: real(digests, count) >> np.uint64(60))
    assert plan_module.shuffled(names, 7).tolist() == expected  # whole hashes decide between equal heads


def test_an_identity_is_the_hash_of_what_the_bytes_depend_on() -> None:
    plan = plan_of(index_of(50), samples_per_shard=20)
    fixed = {key: value for key, value in plan.content.fixed().items() if key != "source fingerprint"}
    for shard in plan.shards:
        places = plan.positions["train"][shard.start : shard.stop]
        index = plan.index.splits["train"]
        own = hashlib.sha256("\0".join(index.names[int(i)] for i in places).encode())
        for column in (places, index.labels[places], index.sizes[places]):
            own.update(column.astype("<i8").tobytes())
        parts = [fixed, shard.split, shard.start, shard.stop, plan.index.classes, {}, own.hexdigest()]
        expected = hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()
        assert plan.identity(shard) == plan.identity(shard) == expected


def test_a_pickled_task_holds_its_own_entries_only() -> None:
    plan = plan_of(index_of(5000), samples_per_shard=10)
    entries = plan.entries(plan.shards[3])
    pickled = pickle.dumps(entries)
    assert len(pickled) < 3000
    again = pickle.loads(pickled)
    assert list(again) == list(entries) and again.digest() == entries.digest()
    assert list(pickle.loads(pickle.dumps(again))) == list(entries)


@pytest.mark.parametrize("names", [["a.png", "b.png"], ['a".png', "b.png"], ["\u00e9.png", "\udcff.png"]])
def test_lists_of_samples_are_lines_of_json(names: list[str]) -> None:
    index = index_of(2)
    index.splits["train"] = dataclasses.replace(index.splits["train"], names=Names.of(names))
    lines = manifest.samples(plan_of(index, order="source"), "train").splitlines()
    expected = [{"key": f"train-{i:08d}", "label": i, "name": name} for i, name in enumerate(names)]
    assert lines == [json.dumps(line).encode() for line in expected]


@pytest.mark.parametrize(
    ("train", "test", "options", "size", "shards"),
    [
        (50_000, 10_000, {}, 1250, [40, 8]),
        (50_000, 10_000, {"shards_divisible_by": 8}, 1250, [40, 8]),
        (50_000, 10_000, {"shards_divisible_by": 16}, 632, [80, 16]),
        (50_000, 10_000, {"shards_divisible_by": 48, "splits": "train"}, 1063, [48]),
        (50_000, 10_000, {"shards_divisible_by": 7, "samples_per_shard": 500}, None, None),
        (50_000, 10_000, {"shards_divisible_by": 3, "limit": 20_000}, None, None),
        (1_281_167, 50_000, {"shards_divisible_by": 8}, None, None),
    ],
)
def test_the_number_of_shards_of_every_split_is_divisible(
    train: int, test: int, options: dict[str, Any], size: int | None, shards: list[int] | None
) -> None:
    content = resolved(
        Job.parse(
            {"dataset": "folder", "data-dir": "x", "ranks": "3"} | {k.replace("_", "-"): v for k, v in options.items()}
        ),
        index_of(train, test),
        "source",
    )
    counts = {"train": train, "test": test}
    limit = options.get("limit", max(train, test))
    actual = [-(-min(counts[split], limit) // content.samples_per_shard) for split in content.splits]
    most, divisor = options.get("samples_per_shard", 1250), options.get("shards_divisible_by", 1)
    assert all(count % divisor == 0 for count in actual)
    assert most / 4 <= content.samples_per_shard <= most
    larger = range(content.samples_per_shard + 1, most + 1)  # none of them fits
    assert not any(all(-(-min(counts[s], limit) // n) % divisor == 0 for s in content.splits) for n in larger)
    assert size in (None, content.samples_per_shard)
    assert shards in (None, actual)


@pytest.mark.parametrize("options", [{"shards_divisible_by": 64}, {"shards_divisible_by": 3, "limit": 2}])
def test_a_divisor_that_no_size_fits_is_one_line(options: dict[str, Any]) -> None:
    with pytest.raises(
        UsageError, match=r"no number of shards of train \(\d+ images\) and test .* is divisible by"
    ) as error:
        plan_of(index_of(100, 40), **options)
    assert "\n" not in str(error.value)
