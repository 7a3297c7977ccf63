"""Where a conversation is read from and written to: a terminal, or pipes."""

import contextlib
import io
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TextIO

from penjing.errors import BadFile

_DIM, _PLAIN = "\x1b[2m", "\x1b[0m"
_PROMPT = "> "
# What a model writes must not move the cursor, or set the title of the window.
_HARMLESS = dict.fromkeys((*range(32), *range(127, 160)), "\N{REPLACEMENT CHARACTER}")
_HARMLESS |= {ord("\n"): "\n", ord("\t"): "\t", ord("\r"): ""}


class Terminal:
    """Standard input, output and error, as they are when it is made.

    A terminal shows the thinking with the answer: dimmed, or between tags where ``NO_COLOR`` is
    set. A file or a pipe gets the answer alone, and standard error the thinking.
    """

    def __init__(self) -> None:
        self._in = sys.stdin or io.StringIO()  # a service may have none
        self._out, self._err = sys.stdout, sys.stderr
        self.is_interactive = self._in.isatty()
        self.is_leaving = False  # the next Ctrl-C leaves
        self._shows_all = self._out.isatty()
        self._dims = self._shows_all and not os.environ.get("NO_COLOR")
        self._is_thinking = False
        self._is_fresh = True  # nothing of the block is shown yet
        self._last = {self._out: "\n", self._err: "\n"}  # character there

    def lines(self) -> Iterator[str]:
        """What is typed, until Ctrl-D, a second Ctrl-C, or the end of the file."""
        if not self.is_interactive:
            yield from _decoded(self._in)
            return
        with contextlib.suppress(ImportError):
            import readline  # noqa: F401 - lines can then be edited
        while True:
            try:
                line = self._asked()
            except EOFError:
                self.note("")
                return
            except KeyboardInterrupt:
                self.note("")
                if self.is_leaving:
                    return
                self.is_leaving = True
                self.note("Ctrl-C once more leaves; so do Ctrl-D and /exit")
                continue
            except UnicodeDecodeError as error:
                self.note(f"that is no text: {error}; send {error.encoding}")
                continue
            self.is_leaving = False
            yield line

    def rest(self) -> str:
        """All of standard input, without the end of its last line."""
        return "".join(_decoded(self._in)).removesuffix("\n")

    def note(self, text: str) -> None:
        """A line beside the conversation."""
        self._write(self._err, text + "\n")

    def show(self, text: str, is_thinking: bool) -> None:
        """Adds to a reply. Empty lines before a block only part it from others: they are left out.

        On a terminal one stands between the thinking and the answer.
        """
        if is_thinking is not self._is_thinking:
            self._switch(is_thinking)
            if self._shows_all and not is_thinking:
                self._out.write("\n")
        if self._is_fresh:
            text = text.lstrip("\n")
        if not text:
            return
        self._is_fresh = False
        self._write(self._file(is_thinking), text)

    def end(self) -> None:
        """Ends a reply, and its line."""
        if self._is_thinking:
            self._switch(False)
        self._break_line(self._out)
        self._is_fresh = True

    def _file(self, is_thinking: bool) -> TextIO:
        return self._err if is_thinking and not self._shows_all else self._out

    def _switch(self, is_thinking: bool) -> None:
        self._is_thinking, self._is_fresh = is_thinking, True
        file = self._file(True)
        if self._dims:
            file.write(_DIM if is_thinking else _PLAIN)
        self._break_line(file)
        if not self._dims:
            self._write(file, "<think>\n" if is_thinking else "</think>\n")

    def _break_line(self, file: TextIO) -> None:
        if self._last[file] != "\n":
            self._write(file, "\n")

    def _write(self, file: TextIO, text: str) -> None:
        file.write(text.translate(_HARMLESS) if file.isatty() else text)
        file.flush()
        self._last[file] = text[-1]

    def _asked(self) -> str:
        """``input`` edits and remembers lines, but writes its prompt to standard output."""
        if self._shows_all:
            return input(_PROMPT)
        self._err.write(_PROMPT)
        self._err.flush()
        return input()


@contextmanager
def first_interrupt() -> Iterator[Callable[[], bool]]:
    """Whether Ctrl-C was pressed, to be asked where stopping does no harm; the second raises."""
    pressed = False

    def press(*_: object) -> None:
        nonlocal pressed
        if pressed:
            raise KeyboardInterrupt
        pressed = True

    before = signal.signal(signal.SIGINT, press)
    try:
        yield lambda: pressed
    finally:
        signal.signal(signal.SIGINT, before)


def _decoded(file: TextIO) -> Iterator[str]:
    try:
        yield from file
    except UnicodeDecodeError as error:
        raise BadFile(f"standard input is no text: {error}; send {error.encoding}") from None
