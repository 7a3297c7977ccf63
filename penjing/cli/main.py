"""The front door: parse, call the verb, print its answer, turn errors into one line."""

import argparse
import json
import os
import re
import sys
from collections.abc import Callable, Sequence
from typing import Any, NoReturn, Protocol

from penjing import __version__
from penjing.cli import chat, chips, eval, models, plan, report, tasks, train, validate
from penjing.cli.answer import Answer, Json
from penjing.errors import BadCommand, DoesNotFit, PenjingError


class Verb(Protocol):
    """What a verb's module offers."""

    NAME: str
    HELP: str

    def configure(self, parser: argparse.ArgumentParser) -> None: ...

    def answer(self, arguments: argparse.Namespace) -> Answer: ...


_VERBS = (plan, train, report, chat, eval, tasks, chips, models, validate)


class _Parser(argparse.ArgumentParser):
    """Wrong commands are errors like all others; a value may begin with a minus.

    ``-3xH20`` and ``-5ms`` are then refused for what they are, not for looking like options.
    """

    def __init__(self, **named: Any) -> None:
        super().__init__(**{**named, "allow_abbrev": False})
        self._negative_number_matcher = re.compile(r"-\.?\d")

    def error(self, message: str) -> NoReturn:
        raise BadCommand(f"{message}; {self.prog} --help shows what there is")


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns 0 done, 1 the answer is no, 2 the request is wrong."""
    words = sys.argv[1:] if argv is None else list(argv)
    known = [word for word in words if word in (verb.NAME for verb in _VERBS)]
    who = " ".join(["penjing", *known[:1]])
    try:
        arguments = _parser().parse_args(words)
        answer: Callable[[argparse.Namespace], Answer] = arguments.answer
        result = answer(arguments)
    except PenjingError as error:
        print(f"{who}: {error}", file=sys.stderr)
        if "--json" in words:
            _print_json(_error_document(error))
        return error.exit_status
    except KeyboardInterrupt:
        print(f"{who}: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:
        return _reader_left()
    try:
        if arguments.json:
            _print_json(result.document)
        elif result.text:  # a verb that streams has printed it already
            print(result.text)
        sys.stdout.flush()
    except BrokenPipeError:
        return _reader_left()
    return result.exit_status


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="penjing",
        description="Plan DeepSeek-R1 and its relatives on the hardware you can actually get.",
        epilog="Exit status: 0 done, 1 the answer is no, 2 the request is wrong.",
    )
    parser.add_argument("--version", action="version", version=f"penjing {__version__}")
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
    for verb in _VERBS:
        sub = verbs.add_parser(verb.NAME, help=verb.HELP, description=verb.HELP)
        verb.configure(sub)
        sub.add_argument("--json", action="store_true", help="print one JSON document on stdout")
        sub.set_defaults(answer=verb.answer)
    return parser


def _reader_left() -> int:
    """``| head`` has what it wanted: drop the rest, with what would be flushed at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 141  # as a shell counts a broken pipe


def _print_json(document: Json) -> None:
    print(json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False))


def _error_document(error: PenjingError) -> Json:
    document: dict[str, Json] = {"type": type(error).__name__, "message": str(error)}
    if isinstance(error, DoesNotFit):
        document |= {"shortfall_bytes": error.shortfall_bytes, "nearest": error.nearest}
    return {"error": document}
