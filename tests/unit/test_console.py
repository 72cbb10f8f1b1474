"""Promise: an empty path, and a value for an option that takes none, are refused in one line."""

import importlib

import pytest

from pipeline.verify import main as verify


def test_a_value_for_an_option_that_takes_none_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert verify(["out", "--quick=yes"]) == 2
    assert capsys.readouterr().err == "error: --quick takes no value, not 'yes'\n"


@pytest.mark.parametrize(
    ("name", "arguments", "empty"),
    [
        ("build", ["--config", ""], "--config"),
        ("verify", [""], "OUT"),
        ("verify", ["out", "--source", ""], "--source"),
        ("verify", ["out", "--json", ""], "--json"),
        ("repair", ["out", "--source", ""], "--source"),
        ("report", [""], "OUT"),
        ("export", ["", "--variant", "rank3", "--to", "there"], "OUT"),
        ("show", [""], "PICTURE"),
        ("study.spectrum", ["--images", "", "--out", "there"], "--images"),
        ("study.train", ["", "--variants", "full", "--out", "there"], "DATA"),
    ],
)
def test_an_empty_path_is_refused(
    name: str, arguments: list[str], empty: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Otherwise an unset shell variable would mean the working directory."""
    module = importlib.import_module(f"pipeline.{name}.__main__" if name == "report" else f"pipeline.{name}")
    assert module.main(arguments) == 2
    assert capsys.readouterr().err == f"error: {empty}: it is empty\n"
