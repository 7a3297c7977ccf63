"""``penjing report``: a run as one page."""

import argparse
import os
from pathlib import Path
from secrets import token_hex

from penjing.cli.answer import Answer
from penjing.cli.progress import Progress
from penjing.errors import BadFile

NAME = "report"
HELP = "a run as one page of HTML: what was planned, what happened, what was learnt"


def configure(parser: argparse.ArgumentParser) -> None:
    parser.epilog = "The page is one file: it fetches nothing, and prints."
    parser.add_argument("run", metavar="RUN", help="a folder that penjing train wrote")
    parser.add_argument("--out", metavar="FILE", help="(default: report.html in the folder)")
    parser.add_argument(
        "--no-cost",
        action="store_true",
        help="leave out what the recipe would cost at R1's size, which takes a minute to plan",
    )


def answer(arguments: argparse.Namespace) -> Answer:
    from penjing.report.at_scale import at_scale  # these take a while to import
    from penjing.report.page import page
    from penjing.report.run import read_run

    folder = Path(arguments.run)
    run = read_run(folder)
    path = Path(arguments.out) if arguments.out else folder / "report.html"
    scale = None
    if not arguments.no_cost:
        progress = Progress()
        scale = at_scale(run, lambda text: progress.show(f"penjing report: planning {text}"))
        progress.end()
    _write(path, page(run, scale))
    text = "\n".join([str(path), *(f"not read: {one}" for one in run.complaints)])
    return Answer(
        document={
            "report": str(path),
            "stages": len(run.stages),
            "done": sum(stage.done is not None for stage in run.stages),
            "complaints": list(run.complaints),
        },
        text=text,
    )


def _write(path: Path, text: str) -> None:
    """Whole or not at all."""
    partial = path.with_name(f".{path.name}.{token_hex(4)}")
    try:
        partial.write_text(text, encoding="utf-8")
        os.replace(partial, path)
    except OSError as error:
        raise BadFile(f"{path} cannot be written: {error.strerror}; give another --out") from None
    finally:
        partial.unlink(missing_ok=True)
