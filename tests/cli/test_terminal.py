"""What a reply looks like on a terminal and in a file, and what Ctrl-C does where."""

import io
import os
import pty
import signal
import sys
from collections.abc import Callable, Iterator

import pytest

from penjing.cli.terminal import Terminal, first_interrupt
from penjing.errors import BadFile

REPLY = (("\nh", True), ("m\n", True), ("\n", False), ("\nYe", False), ("s.", False))
_END = "<end>"


class Screen:
    """Standard output on a terminal."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self._patch = patch
        self._master, slave = pty.openpty()
        self._out = os.fdopen(slave, "w")

    def terminal(self) -> Terminal:
        with self._patch.context() as patch:
            patch.setattr(sys, "stdin", io.StringIO(""))
            patch.setattr(sys, "stdout", self._out)
            return Terminal()

    def seen(self) -> str:
        """Since it was last asked."""
        self._out.write(_END)
        self._out.flush()
        seen = b""
        while not seen.endswith(_END.encode()):  # it may come in pieces
            seen += os.read(self._master, 4096)
        return seen.decode().removesuffix(_END).replace("\r\n", "\n")

    def close(self) -> None:
        self._out.close()
        os.close(self._master)


@pytest.fixture
def screen(monkeypatch: pytest.MonkeyPatch) -> Iterator[Screen]:
    monkeypatch.delenv("NO_COLOR", raising=False)
    made = Screen(monkeypatch)
    yield made
    made.close()


def reply(terminal: Terminal, *pieces: tuple[str, bool]) -> None:
    for text, is_thinking in pieces:
        terminal.show(text, is_thinking)
    terminal.end()


def from_stdin(monkeypatch: pytest.MonkeyPatch, content: bytes) -> Terminal:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content), encoding="utf-8"))
    return Terminal()


def test_a_terminal_dims_the_thinking(screen: Screen) -> None:
    terminal = screen.terminal()
    reply(terminal, *REPLY)
    assert screen.seen() == "\x1b[2mhm\n\x1b[0m\nYes.\n"
    reply(terminal, ("Yes.\n", False))
    assert screen.seen() == "Yes.\n"


def test_a_reply_stopped_while_it_thinks_leaves_no_dim_terminal(screen: Screen) -> None:
    reply(screen.terminal(), ("hm", True))
    assert screen.seen() == "\x1b[2mhm\x1b[0m\n"


@pytest.mark.parametrize(("value", "dims"), [("1", False), ("", True)])
def test_no_color_means_tags(
    value: str, dims: bool, screen: Screen, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NO_COLOR", value)
    reply(screen.terminal(), *REPLY)
    seen = screen.seen()
    assert ("\x1b" in seen) is dims
    assert (seen == "<think>\nhm\n</think>\n\nYes.\n") is not dims


def test_a_model_does_not_steer_the_terminal(screen: Screen) -> None:
    reply(screen.terminal(), ("a\x1b[2J\r\tb\x9bc\n", False))
    assert screen.seen().split() == ["a\ufffd[2J", "b\ufffdc"]


def test_a_file_gets_the_answer_alone_and_as_it_is(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    terminal = from_stdin(monkeypatch, b"")
    assert not terminal.is_interactive
    reply(terminal, *REPLY)
    reply(terminal, ("\x1b\r\n", False))
    assert capsys.readouterr() == ("Yes.\n\x1b\r\n", "<think>\nhm\n</think>\n")


def test_lines_of_a_pipe_are_given_without_prompts(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert list(from_stdin(monkeypatch, b"a\n\nb").lines()) == ["a\n", "\n", "b"]
    assert from_stdin(monkeypatch, "ä\n\nb\n\n".encode()).rest() == "ä\n\nb\n"
    assert capsys.readouterr() == ("", "")


def test_a_service_has_no_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", None)
    terminal = Terminal()
    assert (terminal.is_interactive, list(terminal.lines())) == (False, [])


@pytest.mark.parametrize("read", [lambda t: list(t.lines()), lambda t: t.rest()])
def test_what_is_no_text_is_refused(
    read: Callable[[Terminal], object], monkeypatch: pytest.MonkeyPatch
) -> None:
    terminal = from_stdin(monkeypatch, b"\xff\n")
    with pytest.raises(BadFile, match=r"standard input is no text: .*; send utf-8"):
        read(terminal)


def typed(monkeypatch: pytest.MonkeyPatch, *given: str | BaseException) -> Terminal:
    """A terminal at which that is typed, one after the other."""
    rest = iter(given)

    def answer(prompt: str = "") -> str:
        one = next(rest)
        if isinstance(one, str):
            return one
        raise one

    monkeypatch.setattr("builtins.input", answer)
    terminal = from_stdin(monkeypatch, b"")
    terminal.is_interactive = True
    return terminal


def test_ctrl_c_leaves_only_twice_in_a_row(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    stop = KeyboardInterrupt()
    terminal = typed(monkeypatch, stop, "a", stop, stop, "never")
    assert list(terminal.lines()) == ["a"]
    assert capsys.readouterr().err.count("Ctrl-C once more leaves") == 2


def test_ctrl_c_leaves_at_once_where_it_stopped_a_reply(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = typed(monkeypatch, "a", KeyboardInterrupt(), "never")
    lines = terminal.lines()
    assert next(lines) == "a"
    terminal.is_leaving = True
    assert list(lines) == []


def test_a_typed_line_that_is_no_text_is_told(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    wrong = UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte")
    assert list(typed(monkeypatch, wrong, "a", EOFError()).lines()) == ["a"]
    assert "> that is no text: 'utf-8' codec can't decode" in capsys.readouterr().err


def test_ctrl_d_leaves_and_prompts_stay_out_of_a_file(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert list(typed(monkeypatch, "a", EOFError()).lines()) == ["a"]
    assert capsys.readouterr() == ("", "> > \n")


def test_the_first_ctrl_c_is_asked_for_and_the_second_raises() -> None:
    before = signal.getsignal(signal.SIGINT)
    with first_interrupt() as is_pressed:
        assert not is_pressed()
        signal.raise_signal(signal.SIGINT)
        assert is_pressed()
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is before
