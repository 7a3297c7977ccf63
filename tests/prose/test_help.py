"""Help pages: complete, narrow, and kept in docs/help.md.

``PENJING_UPDATE=1 make test`` writes that file anew.
"""

import argparse
import os
import sys
from pathlib import Path

import pytest

from penjing.cli import main
from penjing.cli.main import _VERBS, _parser

PAGES = Path(__file__).parents[2] / "docs" / "help.md"
WIDTH = 100
HEADER = "# Help pages\n\nWritten by `tests/prose/test_help.py`; change the code, not this file.\n"


@pytest.fixture(autouse=True)
def _terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", str(WIDTH))
    monkeypatch.setenv("NO_COLOR", "1")


def below(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    """The parsers of the verbs right below this one."""
    groups = [a for a in parser._actions if isinstance(a, argparse._SubParsersAction)]
    return {name: sub for group in groups for name, sub in group.choices.items()}


def parsers(parser: argparse.ArgumentParser) -> list[argparse.ArgumentParser]:
    return [parser, *(p for sub in below(parser).values() for p in parsers(sub))]


def commands() -> list[list[str]]:
    return [parser.prog.split()[1:] for parser in parsers(_parser())]


def page(words: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    with pytest.raises(SystemExit) as left:
        main([*words, "--help"])
    out, err = capsys.readouterr()
    assert (left.value.code, err) == (0, "")
    return out


def name_of(action: argparse.Action) -> str:
    return "/".join(action.option_strings) or str(action.metavar or action.dest)


@pytest.mark.parametrize("words", commands(), ids=" ".join)
def test_every_page_is_narrow_and_names_its_command(
    words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    text = page(words, capsys)
    assert text.startswith(" ".join(["usage: penjing", *words]))
    assert [line for line in text.splitlines() if len(line) > WIDTH] == []


@pytest.mark.parametrize("parser", parsers(_parser()), ids=lambda p: p.prog)
def test_every_option_says_what_it_is_for(parser: argparse.ArgumentParser) -> None:
    groups = [a for a in parser._actions if isinstance(a, argparse._SubParsersAction)]
    silent = [name_of(a) for a in parser._actions if a not in groups and not a.help]
    silent += [a.dest for group in groups for a in group._choices_actions if not a.help]
    assert not silent, f"{parser.prog}: no help for {', '.join(silent)}"


def test_the_verbs_are_those_of_the_front_door(capsys: pytest.CaptureFixture[str]) -> None:
    names = [verb.NAME for verb in _VERBS]
    assert list(below(_parser())) == names
    text = page([], capsys)
    listed = text.split("VERB\n")[1].split("\n\n")[0].splitlines()
    assert [line.split()[0] for line in listed if line[4:5].strip()] == names


@pytest.mark.skipif(
    sys.version_info >= (3, 13), reason="argparse breaks lines elsewhere since 3.13"
)
def test_the_pages_are_kept(capsys: pytest.CaptureFixture[str]) -> None:
    blocks = [
        f"\n```console\n$ {' '.join(['penjing', *words, '--help'])}\n{page(words, capsys)}```\n"
        for words in commands()
    ]
    whole = HEADER + "".join(blocks)
    if os.environ.get("PENJING_UPDATE") == "1":
        PAGES.write_text(whole, encoding="utf-8")
    assert PAGES.is_file(), "docs/help.md is missing; PENJING_UPDATE=1 make test writes it"
    kept = PAGES.read_text(encoding="utf-8")
    assert kept == whole, "docs/help.md is out of date; PENJING_UPDATE=1 make test writes it anew"
