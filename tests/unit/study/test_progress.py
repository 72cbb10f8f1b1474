"""Progress in logs: a line every ten seconds with the rate and the remaining time."""

import pytest

from pipeline.study import progress


def test_a_log_gets_a_line_every_ten_seconds(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    now = 100.0
    monkeypatch.setattr("time.monotonic", lambda: now)
    show = progress.counter("images", start=100)
    for second in range(1, 31):
        now = 100.0 + second
        show(100 + 2 * second, 1000)
    assert capsys.readouterr().err.splitlines() == [
        "120 of 1,000 images, 2/s, 7 min 20 s left",
        "140 of 1,000 images, 2/s, 7 min 10 s left",
        "160 of 1,000 images, 2/s, 7 min 00 s left",
    ]


def test_there_is_no_rate_before_the_first_unit() -> None:
    assert progress.pace(0, 10, 5.0) == ""
    assert progress.pace(250, 1000, 10.0) == ", 25/s, 40 s left"
