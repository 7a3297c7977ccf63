"""How far a command has come, on standard error."""

import sys
import time


class Progress:
    """On a terminal one line that is written over; elsewhere a line every ten seconds."""

    def __init__(self) -> None:
        self._err = sys.stderr
        self._is_live = self._err.isatty()
        self._every_s = 0.2 if self._is_live else 10.0
        self._next_s = time.monotonic() + (0.0 if self._is_live else self._every_s)
        self._width = 0

    def show(self, text: str) -> None:
        """Now and then: most are left out."""
        if time.monotonic() < self._next_s:
            return
        self._next_s = time.monotonic() + self._every_s
        if not self._is_live:
            print(text, file=self._err, flush=True)
            return
        self._err.write(f"\r{text:<{self._width}}")
        self._err.flush()
        self._width = len(text)

    def end(self) -> None:
        """Takes the line away, so that others can follow."""
        if self._width:
            self._err.write(f"\r{'':<{self._width}}\r")
            self._err.flush()
            self._width = 0


def clock(seconds: float) -> str:
    """``59:59``, ``1:00:00``."""
    minutes, seconds = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"
