"""The front door: exit statuses, one line for an error, one document for a program."""

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Callable

import pytest

from penjing import __version__, cli
from penjing.cli import chips, main
from penjing.cli.answer import Answer
from penjing.errors import BadFile, DoesNotFit, PenjingError

Say = Callable[[Answer | BaseException], None]


@pytest.fixture
def say(monkeypatch: pytest.MonkeyPatch) -> Say:
    """Let ``penjing chips list`` answer, or fail, as the test wants."""

    def put(outcome: Answer | BaseException) -> None:
        def answer(_: argparse.Namespace) -> Answer:
            if isinstance(outcome, BaseException):
                raise outcome
            return outcome

        monkeypatch.setattr(chips, "answer", answer)

    return put


@pytest.mark.parametrize("status", [0, 1])
def test_the_answer_sets_the_exit_status(
    status: int, say: Say, capsys: pytest.CaptureFixture[str]
) -> None:
    say(Answer(document={"a": 1}, text="one", exit_status=status))
    assert main(["chips", "list"]) == status
    assert capsys.readouterr() == ("one\n", "")


def test_json_is_one_document_on_stdout(say: Say, capsys: pytest.CaptureFixture[str]) -> None:
    say(Answer(document={"figure": "4.0 µs"}, text="never printed"))
    assert main(["chips", "list", "--json"]) == 0
    out, err = capsys.readouterr()
    assert json.loads(out) == {"figure": "4.0 µs"}
    assert "µs" in out
    assert err == ""


def test_a_document_holds_no_number_that_json_lacks(say: Say) -> None:
    say(Answer(document={"seconds": float("nan")}, text=""))
    with pytest.raises(ValueError, match="not JSON compliant"):
        main(["chips", "list", "--json"])


@pytest.mark.parametrize(
    ("error", "status"), [(BadFile("x.toml: not TOML"), 2), (DoesNotFit("needs 94 GiB"), 1)]
)
def test_an_error_is_one_line_on_stderr(
    error: PenjingError, status: int, say: Say, capsys: pytest.CaptureFixture[str]
) -> None:
    say(error)
    assert main(["chips", "list"]) == status
    assert capsys.readouterr() == ("", f"penjing chips: {error}\n")


def test_an_error_is_a_document_too(say: Say, capsys: pytest.CaptureFixture[str]) -> None:
    say(BadFile("x.toml: not TOML"))
    assert main(["chips", "list", "--json"]) == 2
    out, err = capsys.readouterr()
    assert json.loads(out) == {"error": {"type": "BadFile", "message": "x.toml: not TOML"}}
    assert err == "penjing chips: x.toml: not TOML\n"


def test_what_does_not_fit_says_by_how_much(say: Say, capsys: pytest.CaptureFixture[str]) -> None:
    say(DoesNotFit("needs 94 GiB, has 80", shortfall_bytes=14 * 2**30, nearest="2xH20"))
    assert main(["chips", "list", "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["error"] == {
        "type": "DoesNotFit",
        "message": "needs 94 GiB, has 80",
        "shortfall_bytes": 14 * 2**30,
        "nearest": "2xH20",
    }


def test_an_interrupt_is_no_traceback(say: Say, capsys: pytest.CaptureFixture[str]) -> None:
    say(KeyboardInterrupt())
    assert main(["chips", "list", "--json"]) == 130
    assert capsys.readouterr() == ("", "penjing chips: interrupted\n")


def test_a_bug_of_ours_is_not_dressed_up(say: Say) -> None:
    say(AssertionError("page owned twice"))
    with pytest.raises(AssertionError, match="page owned twice"):
        main(["chips", "list"])


@pytest.mark.parametrize(
    ("words", "line"),
    [
        ([], "penjing: the following arguments are required: VERB; penjing --help shows"),
        (["chisp"], "penjing: argument VERB: invalid choice: 'chisp' (choose from 'plan', "),
        (["chips", "show"], "penjing chips: the following arguments are required: NAME; "),
        (["chips", "list", "--jason"], "penjing chips: unrecognized arguments: --jason; "),
        (["chips", "list", "--js"], "penjing chips: unrecognized arguments: --js; "),
        (["plan", "--model", "R1", "--chips"], "penjing plan: argument --chips: expected one "),
        (["plan", "--model", "x", "--chips", "-3xH20"], "penjing plan: unknown model 'x'"),
        (["plan", "--model", "deepseek-r1", "--chips", "-3xH20"], "penjing plan: chips '-3xH20'"),
    ],
)
def test_a_wrong_command_line_is_an_error_like_any_other(
    words: list[str], line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert err.startswith(line)


def test_a_wrong_command_line_is_a_document_too(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", "--chips", "8xH20", "--json"]) == 2
    error = json.loads(capsys.readouterr().out)["error"]
    assert error["type"] == "BadCommand"
    assert error["message"].startswith("the following arguments are required: --model; ")


def test_the_version(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        main(["--version"])
    assert (left.value.code, capsys.readouterr().out) == (0, f"penjing {__version__}\n")


def test_the_package_offers_the_front_door() -> None:
    assert cli.main is main


def penjing(*words: str, stdout: int = subprocess.PIPE) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "penjing", *words]
    return subprocess.run(command, stdout=stdout, stderr=subprocess.PIPE, text=True, check=False)


def test_the_package_runs_as_a_module() -> None:
    done = penjing("chips", "show", "H20", "--json")
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout)["name"] == "H20"
    wrong = penjing("chips", "show", "H2O")
    assert (wrong.returncode, wrong.stdout) == (2, "")
    assert wrong.stderr.startswith("penjing chips: unknown chip 'H2O'; nearest: H20")


@pytest.mark.parametrize(
    "words", [("chips", "list"), ("chips", "list", "--json"), ("chips", "show", "S60")]
)
def test_a_reader_that_leaves_is_no_traceback(words: tuple[str, ...]) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    try:
        done = penjing(*words, stdout=writing)
    finally:
        os.close(writing)
    assert (done.returncode, done.stderr) == (141, "")


def test_a_reader_that_leaves_while_a_verb_prints_is_no_traceback() -> None:
    code = """
import sys
from penjing.cli import chips, main
def answer(_):
    print("never read", flush=True)
chips.answer = answer
sys.exit(main(["chips", "list"]))
"""
    reading, writing = os.pipe()
    os.close(reading)
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, stdout=writing, stderr=subprocess.PIPE, text=True, check=False)
    os.close(writing)
    assert (done.returncode, done.stderr) == (141, "")


def test_what_a_verb_printed_itself_gets_no_empty_line(
    say: Say, capsys: pytest.CaptureFixture[str]
) -> None:
    say(Answer(document=None, text=""))
    assert main(["chips", "list"]) == 0
    assert capsys.readouterr() == ("", "")
