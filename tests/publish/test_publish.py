"""Promise: an output is on the Hub with the hashes of its manifest, or the command fails and can be repeated."""

import json
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.data import RankDataset
from pipeline.verify import main as verify
from tests.compat.conftest import digests
from tests.publish.conftest import WHERE, Publish, error
from tests.publish.hub_server import Server
from tests.publish.hub_state import TOKEN


def files_on(hub: Server, branch: str = "main") -> dict[str, bytes]:
    return {path: file.content for path, file in hub.state.datasets[WHERE].branches[branch].items()}


def downloaded(hub: Server, folder: Path, branch: str = "main") -> Path:
    """Writes what the Hub holds into a folder."""
    for name, content in files_on(hub, branch).items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


def test_an_output_is_published_and_its_copy_is_valid(
    hub: Server, built: Path, publish: Publish, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = digests(built)
    done = publish(built, WHERE, "--date", "2026-12-24")
    assert (done.returncode, "published" in done.stdout) == (0, True), done
    assert TOKEN not in done.stdout + done.stderr
    assert digests(built) == before
    copy = downloaded(hub, tmp_path / "copy")
    assert not any(name.startswith((".build", ".cache", "report")) for name in files_on(hub))
    after = digests(copy)
    changed = {name for name in before if after[name] != before[name]}
    assert after.keys() == before.keys()
    assert {Path(name).name for name in changed} == {"manifest.json", "croissant.json"}
    assert verify([str(copy), "--workers", "1", "--same-as", str(built)]) == 0, capsys.readouterr()
    document = json.loads((copy / "croissant.json").read_text())
    assert (document["datePublished"], document["url"]) == ("2026-12-24", f"{hub.address}/datasets/{WHERE}")
    # The manifest came last, so a dataset with a manifest is complete.
    [*_, (_, last)] = hub.state.datasets[WHERE].commits
    assert "manifest.json" in last


def test_the_published_dataset_loads(
    hub: Server, built: Path, publish: Publish, environment: dict[str, str], tmp_path: Path
) -> None:
    """With Hugging Face datasets by its name, and with mlcroissant by the address of its croissant.json."""
    assert publish(built, WHERE).returncode == 0
    script = f"""
import json, sys
from datasets import load_dataset
import mlcroissant

rows = []
for split, data in load_dataset("{WHERE}", "sample-rank3").items():
    rows += [("datasets", split, row["cls"], row["png"].tobytes().hex()) for row in data]
for row in load_dataset("{WHERE}", "sample-rank3", split="test", streaming=True):
    rows.append(("stream", "test", row["cls"], row["png"].tobytes().hex()))
data = mlcroissant.Dataset("{hub.address}/datasets/{WHERE}/resolve/main/sample-rank3/croissant.json")
for row in data.records("rank3"):
    rows.append(("croissant", row["rank3/split"].decode(), row["rank3/label"], row["rank3/image"].tobytes().hex()))
json.dump(rows, open(sys.argv[1], "w"))
"""
    settings = environment | {"CROISSANT_CACHE": str(tmp_path / "croissant")}
    command = [sys.executable, "-c", script, str(tmp_path / "rows.json")]
    ran = subprocess.run(command, env=settings, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr[-2000:]
    rows = Counter(map(tuple, json.loads((tmp_path / "rows.json").read_text())))
    expected: Counter[Any] = Counter()
    for split in ("train", "test"):
        for image, label in RankDataset(built, "rank3", split):
            pixels = np.asarray(image).tobytes().hex()
            expected.update({("datasets", split, label, pixels): 1, ("croissant", split, label, pixels): 1})
            expected.update({("stream", split, label, pixels): 1} if split == "test" else {})
    assert rows == expected


def test_a_killed_upload_continues(
    hub: Server, built: Path, publish: Publish, environment: dict[str, str], tmp_path: Path
) -> None:
    hub.state.hold_uploads_after = 7
    command = [sys.executable, "-m", "pipeline.publish", str(built), WHERE]
    process = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE)
    assert hub.state.held.wait(120)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    hub.state.released.set()
    assert "manifest.json" not in files_on(hub)
    before = list(hub.state.uploads)
    assert len(before) >= 7
    hub.state.hold_uploads_after = None
    assert publish(built, WHERE).returncode == 0
    assert set(Counter(hub.state.uploads).values()) == {1}  # nothing was uploaded twice
    assert len(hub.state.uploads) > len(before)
    assert verify([str(downloaded(hub, tmp_path / "copy")), "--workers", "1", "--sample", "0"]) == 0


def test_ctrl_c_is_one_line(hub: Server, built: Path, environment: dict[str, str]) -> None:
    hub.state.hold_uploads_after = 2
    command = [sys.executable, "-m", "pipeline.publish", str(built), WHERE]
    process = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)
    assert hub.state.held.wait(120)
    process.send_signal(signal.SIGINT)
    hub.state.released.set()
    _, text = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "the same command continues" in text.splitlines()[-1]
    assert "Traceback" not in text


def test_publishing_again_changes_nothing(hub: Server, built: Path, publish: Publish) -> None:
    assert publish(built, WHERE, "--date", "2020-02-02").returncode == 0
    before, commits = files_on(hub), len(hub.state.datasets[WHERE].commits)
    assert publish(built, WHERE).returncode == 0  # today's date would be another
    assert (files_on(hub), len(hub.state.datasets[WHERE].commits)) == (before, commits)


def test_another_version_retracts_the_manifest_first(hub: Server, out: Path, built: Path, publish: Publish) -> None:
    assert publish(built, WHERE).returncode == 0
    job = ["--dataset", "sample", "--ranks", "3,5", "--limit", "30", "--samples-per-shard", "10", "--out", str(out)]
    grown = subprocess.run(
        [sys.executable, "-m", "pipeline.build", *job, "--workers", "0", "--quiet"], capture_output=True, text=True
    )
    assert grown.returncode == 0, grown
    commits = len(hub.state.datasets[WHERE].commits)
    assert publish(out, WHERE).returncode == 0
    [(_, first), *_, (_, last)] = hub.state.datasets[WHERE].commits[commits:]
    assert first == ["manifest.json"]
    assert "manifest.json" in last
    assert any(name.startswith("sample-rank5/") for name in files_on(hub))


def test_a_branch_and_a_private_dataset(hub: Server, built: Path, publish: Publish) -> None:
    assert publish(built, WHERE, "--private", "--revision", "v1").returncode == 0
    assert hub.state.datasets[WHERE].private
    assert files_on(hub) == {}
    assert "manifest.json" in files_on(hub, "v1")
    croissant = json.loads(files_on(hub, "v1")["croissant.json"])
    assert f"{hub.address}/datasets/{WHERE}/resolve/v1/" in croissant["distribution"][0]["contentUrl"]
    hub.state.datasets[WHERE].private = False
    assert "exists and is public" in error(publish(built, WHERE, "--private"))


def test_the_hub_s_hashes_are_compared_with_the_manifest(hub: Server, built: Path, publish: Publish) -> None:
    tar = "sample-rank3/sample-rank3-train-000001.tar"
    for name in (tar, "sample-rank3/classnames.txt"):  # an LFS file and a git blob
        hub.state.datasets.clear()
        hub.state.corrupt = name
        assert f"other content than {built} for {name} (1 such files)" in error(publish(built, WHERE))
