"""Promise: what cannot or may not be published is refused in one line, before anything is uploaded."""

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from pipeline.publish.__main__ import main
from tests.publish.conftest import WHERE, Publish, error
from tests.publish.hub_server import Server


@pytest.mark.parametrize("damage", ["content", "size", "missing", "unfinished"])
def test_a_damaged_output_is_refused(damage: str, hub: Server, out: Path, publish: Publish) -> None:
    tar = out / "sample-rank3" / "sample-rank3-train-000001.tar"
    content = bytearray(tar.read_bytes())
    content[700] ^= 1
    if damage == "content":
        tar.write_bytes(content)
    elif damage == "size":
        tar.write_bytes(content[:-512])
    elif damage == "missing":
        tar.unlink()
    else:
        (out / "manifest.json").unlink()
    assert ("manifest.json" if damage == "unfinished" else tar.name) in error(publish(out, WHERE))
    assert hub.state.datasets == {}


def test_imagenet_cannot_be_published(out: Path, hub: Server, publish: Publish) -> None:
    document = json.loads((out / "manifest.json").read_text())
    document["dataset"] = "imagenet"
    document["source"]["terms"] = "for research only"
    remade(out, document)
    for words in ([], ["--i-have-the-right-to-share"], ["--dry-run"]):
        assert "imagenet cannot be published" in error(publish(out, WHERE, *words))
    assert hub.state.requests == []


def test_images_of_unknown_terms_need_a_confirmation(out: Path, hub: Server, publish: Publish) -> None:
    document = json.loads((out / "manifest.json").read_text())
    document["dataset"] = "folder"
    remade(out, document)
    assert "--i-have-the-right-to-share" in error(publish(out, WHERE))
    assert hub.state.requests == []
    assert publish(out, WHERE, "--i-have-the-right-to-share").returncode == 0
    document["classes"] = [f"n0144{i:04d}" for i in range(len(document["classes"]))]
    remade(out, document)
    assert "ImageNet" in error(publish(out, WHERE))


def remade(out: Path, document: dict[str, Any]) -> None:
    """Writes a manifest and the clients' files that are made from it, as a build would."""
    from pipeline.formats import clients

    for name, content in clients.files(document).items():
        (out / name).write_bytes(content)
        document["files"][name] = {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    (out / "manifest.json").write_text(json.dumps(document, indent=1) + "\n")


def test_a_dry_run_uses_no_network(hub: Server, built: Path, publish: Publish) -> None:
    done = publish(built, WHERE, "--dry-run", HF_TOKEN=None)
    assert (done.returncode, done.stderr) == (0, "")
    assert WHERE in done.stdout
    total = sum(claim["bytes"] for claim in json.loads((built / "manifest.json").read_text())["files"].values())
    assert f"{total:,} bytes" in done.stdout
    files = list((built / "sample-rank3").iterdir())
    assert f"sample-rank3: {len(files)} files, {sum(path.stat().st_size for path in files):,} bytes" in done.stdout
    assert hub.state.requests == []


@pytest.mark.parametrize(
    ("name", "quoted"),
    [
        ("sample", "sample"),
        ("lab/", "lab/"),
        ("/sample", "/sample"),
        ("lab/a/b", "lab/a/b"),
        ("lab/a b", "a b"),
        ("lab/a--b", "a--b"),
        ("lab/x.git", "x.git"),
        ("lab/é", "é"),
        (f"lab/{'x' * 97}", "x" * 97),
    ],
)
def test_a_name_that_the_hub_does_not_allow_is_refused(
    name: str, quoted: str, built: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(built), name, "--dry-run"]) == 2
    assert f"ORG/NAME: '{quoted}'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("refuse", "line"),
    [
        ({"repos/create": (403, "You don't have the rights")}, "may not write"),
        ({"/preupload/": (403, "Forbidden")}, "may not write to lab/sample-ranks"),
        ({"/commit/": (500, "out of order")}, "500"),
        ({"repos/create": (402, "Payment required")}, "must pay"),
        ({"whoami": (429, "slow down")}, "too many requests"),
    ],
)
def test_a_refusal_of_the_hub_is_one_line(
    refuse: dict[str, tuple[int, str]], line: str, hub: Server, built: Path, publish: Publish
) -> None:
    hub.state.refuse = refuse
    assert line in error(publish(built, WHERE))


def test_no_token_a_wrong_one_another_owner_and_no_network_are_one_line(
    hub: Server, built: Path, publish: Publish
) -> None:
    assert "there is no token" in error(publish(built, WHERE, HF_TOKEN=None))
    assert "token is not valid" in error(publish(built, WHERE, HF_TOKEN="hf_wrong"))
    assert "characters that no token has" in error(publish(built, WHERE, HF_TOKEN="hf_é"))
    assert "no member of an organization" in error(publish(built, "somebody/else"))
    assert "cannot be reached" in error(publish(built, WHERE, HF_ENDPOINT="http://127.0.0.1:9"))
    assert "HF_HUB_OFFLINE" in error(publish(built, WHERE, HF_HUB_OFFLINE="1"))
    assert hub.state.datasets == {}


def test_an_upload_that_the_server_refuses_is_one_line(hub: Server, built: Path, publish: Publish) -> None:
    hub.state.fail_uploads_after = 3
    line = error(publish(built, WHERE))
    assert "uploading sample-" in line
    assert "answered 403" in line
    assert "/lfs/" not in line
    hub.state.fail_uploads_after = None
    assert publish(built, WHERE).returncode == 0


def test_tars_of_another_output_in_the_dataset_are_refused(hub: Server, built: Path, publish: Publish) -> None:
    assert publish(built, WHERE).returncode == 0
    files = hub.state.datasets[WHERE].branches["main"]
    files["LICENSE"] = files["README.md"]
    assert publish(built, WHERE).returncode == 0
    files["sample-rank3/sample-rank3-train-000009.tar"] = files["README.md"]
    assert "sample-rank3-train-000009.tar (1 such files)" in error(publish(built, WHERE))


def test_a_missing_library_is_one_line_with_the_command(built: Path, publish: Publish, tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text("import sys; sys.modules['huggingface_hub'] = None")
    line = error(publish(built, WHERE, PYTHONPATH=str(tmp_path)))
    assert "pip install 'rank-shards[hub]'" in line
