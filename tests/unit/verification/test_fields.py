"""Promise: no field of a manifest can be missing, of another kind, or impossible, without verify and repair saying so."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pipeline import build, repair, verify
from pipeline.errors import PipelineError
from pipeline.verification.faults import Faults
from pipeline.verification.manifest.claims import NAME
from pipeline.verification.manifest.document import compare_clients, load

JOB = (
    *("--limit", "4", "--samples-per-shard", "2", "--resize", "24", "--ranks", "3", "--bands", "3:5", "--radii", "2"),
    *("--components", "low,high,full", "--exact", "--factors", "--workers", "0", "--quiet"),
)
GONE = object()
WRONG: tuple[Any, ...] = (GONE, None, -1, 0.5, "x", [], [{}], {}, True)
Place = tuple[str | int, ...]

# What only the pixels, the source or nothing at all can tell.
UNKNOWABLE: dict[str, tuple[Any, ...]] = {
    "job.limit": (None,),  # nobody can tell that there would have been more
    "source.checksums_verified": (None, True),
    "image.encoder": ("x",),
    "image.geometry.crop": (None,),
}
BY_THE_PIXELS = ("mean", "std", "clipped")


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("fields") / "out"
    assert build.main([*JOB, "--out", str(out)]) == 0
    return out


@pytest.fixture
def out(built: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(built, tmp_path / "out"))


def places(raw: Any, *above: str | int) -> Iterator[Place]:
    """Every field; of variants that are alike one, and of files none."""
    if (above and above[0] == "files") or "shards" in above[:-1]:
        return
    if above:
        yield above
    if isinstance(raw, dict):
        for key in raw:
            yield from places(raw[key], *above, key)


def changed(raw: dict[str, Any], place: Place, value: Any) -> dict[str, Any]:
    copy = json.loads(json.dumps(raw))
    where = copy
    for key in place[:-1]:
        where = where[key]
    if value is GONE:
        del where[place[-1]]
    else:
        where[place[-1]] = value
    return dict(copy)


def at(raw: Any, place: Place) -> Any:
    for key in place:
        raw = raw[key]
    return raw


def is_faulty(out: Path) -> bool:
    faults = Faults()
    try:
        load(out, faults)
        if not faults.count:  # the client files take most of the time
            compare_clients(out, faults)
    except PipelineError:
        return True
    return faults.count > 0


def test_every_field_is_compared_with_what_a_build_writes(out: Path) -> None:
    path = out / NAME
    raw = json.loads(path.read_bytes())
    assert not is_faulty(out)
    passed = []
    for place in places(raw):
        name = ".".join(map(str, place))
        known = [value for value in WRONG if value is GONE or json.dumps(value) != json.dumps(at(raw, place))]
        for value in known:
            if value in UNKNOWABLE.get(name, ()) or any(part in BY_THE_PIXELS for part in place):
                continue
            path.write_text(json.dumps(changed(raw, place, value)))
            if not is_faulty(out):
                passed.append((name, value))
    assert not passed, passed


@pytest.mark.parametrize("key", BY_THE_PIXELS)
@pytest.mark.parametrize("value", [value for value in WRONG if value != 0.5])
def test_statistics_are_compared_with_the_pixels(out: Path, key: str, value: object) -> None:
    raw = json.loads((out / NAME).read_bytes())
    (out / NAME).write_text(json.dumps(changed(raw, ("variants", "rank3", "splits", "test", key), value)))
    assert verify.main([str(out), "--workers", "1", "--sample", "0"]) == 1


@pytest.mark.parametrize(
    ("place", "value"),
    [
        (("job", "limit"), 3),
        (("image", "geometry", "crop"), 20),
        (("job", "order"), "shuffled"),
        (("job", "seed"), 1),
        (("dataset",), "imagenet2"),
        (("versions",), [{"numpy": "1.0"}]),
        (("variants", "rank3", "relative_rank"), 0.25),
        (("variants", "rank3", "splits", "test", "near_ties"), 3 * 24 * 24 * 4 + 1),
        (("variants", "rank3", "splits", "test", "degenerate_planes"), 13),
        (("variants", "full", "splits", "test", "near_ties"), 1),
        (("variants", "full", "splits", "test", "recomputed_planes"), 1),
        (("factors",), None),
        (("factors", "error"), "none at all"),
        (("numerics", "more"), "x"),
        (("more",), "x"),
    ],
)
def test_impossible_claims_are_faults(out: Path, place: Place, value: object) -> None:
    raw = json.loads((out / NAME).read_bytes())
    (out / NAME).write_text(json.dumps(changed(raw, place, value)))
    assert verify.main([str(out), "--workers", "1", "--sample", "0"]) == 1


@pytest.mark.parametrize("place", [("job", "limit"), ("job", "seed"), ("image", "encoder"), ("dataset",)])
def test_repair_says_in_one_line_that_the_manifest_is_at_fault(
    out: Path, place: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    raw = json.loads((out / NAME).read_bytes())
    (out / NAME).write_text(json.dumps(changed(raw, place, GONE)))
    next((out / "sample-rank3").glob("*.tar")).unlink()
    assert repair.main([str(out), "--workers", "0"]) == 1
    told = capsys.readouterr().err
    assert told.count("\n") == 1 and told.startswith("error: ") and NAME in told


@pytest.mark.parametrize("seed", ["0", "7"])
def test_a_shuffled_order_is_that_of_its_seed(seed: str, tmp_path: Path) -> None:
    out = tmp_path / "out"
    given = ["--limit", "6", "--ranks", "3", "--resize", "24", "--order", "shuffled", "--seed", seed]
    assert build.main([*given, "--out", str(out), "--workers", "0", "--quiet"]) == 0
    assert verify.main([str(out), "--workers", "1"]) == 0
    raw = json.loads((out / NAME).read_bytes())
    for place, value in ((("job", "seed"), 1), (("job", "order"), "source")):
        (out / NAME).write_text(json.dumps(changed(raw, place, value)))
        assert verify.main([str(out), "--workers", "1"]) == 1
