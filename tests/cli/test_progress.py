"""Progress on standard error: a line that is written over, or one now and then."""

import io
import sys
from types import SimpleNamespace

import pytest

from penjing.cli.progress import Progress, clock


def ticking(monkeypatch: pytest.MonkeyPatch, *seconds: float) -> None:
    left = iter(seconds)
    monkeypatch.setattr("penjing.cli.progress.time", SimpleNamespace(monotonic=lambda: next(left)))


class Tty(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_on_a_terminal_one_line_is_written_over(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", err := Tty())
    ticking(monkeypatch, 0.0, 0.0, 0.0, 0.1, 0.3, 0.3)
    progress = Progress()
    for text in ("1 of 10", "left out", "2 of"):
        progress.show(text)
    progress.end()
    progress.end()
    assert err.getvalue() == "\r1 of 10\r2 of   \r    \r"


def test_elsewhere_a_line_every_ten_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", err := io.StringIO())
    ticking(monkeypatch, 0.0, 9.0, 10.0, 10.0, 19.0, 21.0, 21.0)
    progress = Progress()
    for text in ("early", "1", "early", "2"):
        progress.show(text)
    progress.end()
    assert err.getvalue() == "1\n2\n"


@pytest.mark.parametrize(
    ("seconds", "told"), [(0.9, "0:00"), (61, "1:01"), (3599, "59:59"), (36061, "10:01:01")]
)
def test_times_as_a_clock_shows_them(seconds: float, told: str) -> None:
    assert clock(seconds) == told
