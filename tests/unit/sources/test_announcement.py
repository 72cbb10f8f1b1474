"""Builds print how they understood a source before they begin, and what they leave out even with --quiet."""

import json
import os
import shutil

import pytest

from pipeline.build import main
from pipeline.sources import tree

OPTIONS = ("--dataset", "folder", "--ranks", "3", "--workers", "0", "--out", "out")


@pytest.fixture
def source(pictures, tmp_path, monkeypatch):
    """A source with the folders training, valid and extra, in the current directory."""
    monkeypatch.chdir(tmp_path)
    for split in ("training", "valid"):
        shutil.copytree(pictures(f"in_{split}"), tmp_path / "in" / split)
    shutil.copytree(tmp_path / "in_valid/a", tmp_path / "in/extra")
    return tmp_path / "in"


def lines(capsys, source, *more):
    assert main([*OPTIONS, "--data-dir", str(source), *more]) == 0
    return capsys.readouterr().err


def test_a_build_says_what_it_understood(source, capsys):
    err = lines(capsys, source)
    assert "train 8 images, val 8 images; 2 classes, a (0) to b (1)" in err
    assert "training/ is the split train" in err and "left out" in err and "extra" in err


def test_a_dry_run_says_it_too(source, capsys, tmp_path):
    err = lines(capsys, source, "--dry-run")
    assert "train 8 images, val 8 images" in err and "extra" in err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("more", [(), ("--dry-run",)])
def test_a_quiet_build_says_what_is_left_out_and_nothing_else(source, capsys, more):
    (line,) = lines(capsys, source, "--quiet", *more).splitlines()
    assert line.startswith("left out") and "extra" in line


def test_a_program_gets_what_is_left_out_as_an_event(source, capsys):
    events = [json.loads(line) for line in lines(capsys, source, "--log-json").splitlines()]
    assert any(event["event"] == "message" and "extra" in event["text"] for event in events)


def test_splits_may_be_asked_for_by_the_names_of_their_folders(source, capsys, tmp_path):
    lines(capsys, source, "--splits", "training,valid", "--quiet")
    assert list(json.loads((tmp_path / "out/manifest.json").read_text())["splits"]) == ["train", "val"]


def test_an_output_of_the_earlier_rules_says_why_it_cannot_grow(pictures, tmp_path, monkeypatch, build):
    monkeypatch.chdir(tmp_path)
    folder = pictures("in")
    shutil.copytree(folder / "a", folder / "__MACOSX")
    with monkeypatch.context() as earlier:
        earlier.setattr(tree, "is_system_file", lambda name: False)
        assert build("--dataset", "folder", "--data-dir", folder, "--ranks", "3", "--out", "out").status == 0
    grown = build("--dataset", "folder", "--data-dir", folder, "--ranks", "3,5", "--out", "out")
    line = grown.err.splitlines()[-1]
    assert grown.status == 1 and "earlier version" in line and "__MACOSX" in line and "--overwrite" in line


@pytest.mark.parametrize("name", ["lost+found", "System Volume Information", ".Trash-1000", ".DS_Store", "desktop.ini"])
def test_a_fresh_volume_may_be_the_output(pictures, tmp_path, build, name):
    out, folder = tmp_path / "out", pictures()
    out.mkdir()
    (out / name).touch() if name in (".DS_Store", "desktop.ini") else (out / name).mkdir()
    for ranks in ("3", "3,5"):
        assert build("--dataset", "folder", "--data-dir", folder, "--ranks", ranks, "--out", out).status == 0
    assert (out / name).exists()


def test_a_folder_with_files_of_somebody_is_refused_as_before(pictures, tmp_path, refused):
    (tmp_path / "out/lost+found").mkdir(parents=True)
    (tmp_path / "out/thesis.txt").touch()
    line = refused("--dataset", "folder", "--data-dir", pictures(), "--ranks", "3", "--out", tmp_path / "out", status=1)
    assert "holds files" in line


def test_a_finished_output_may_share_its_volume(pictures, tmp_path, build):
    out, folder = tmp_path / "out", pictures()
    options = ("--dataset", "folder", "--data-dir", folder, "--out", out, "--ranks")
    assert build(*options, "3").status == 0
    os.mkfifo(tmp_path / "pipe")
    (out / "lost+found").mkdir()
    (tmp_path / "pipe").rename(out / "lost+found/pipe")  # nothing there is looked at, as a user may not list it
    assert build(*options, "3,5").status == 0
