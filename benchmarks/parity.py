"""Every variant that runs, beside transformers on the same random weights.

    python benchmarks/parity.py

Runs the tests that compare the two, collects the figures that they record, and writes
`benchmarks/results/parity.json` (with machine, commit and date) and the table of docs/results.md.
"""

import json
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from xml.etree import ElementTree

import torch
import transformers
from result import ROOT, publish, save, table

from penjing.models.kernels.choice import choose_kernels

TESTS = ("tests/models/test_decoder.py", "tests/models/test_run.py")
COLUMNS = {
    "logits, exact": "logits",
    "logits, exact, torch": "without a compiler",
    "logits, fast": "fast",
    "expanded, exact": "expanded beside absorbed",
    "gradients": "gradients",
    "token by token": "decoded beside prefilled",
}
OPTIONAL = {"expanded, exact"}  # only latents are ever expanded
Figures = Mapping[str, Mapping[str, float]]


def main() -> None:
    figures = measured()
    save(
        "parity",
        {
            "torch": torch.__version__,
            "transformers": transformers.__version__,
            "kernels": choose_kernels(torch.device("cpu")).digest,
            "variants": {name: dict(found) for name, found in figures.items()},
        },
    )
    publish("parity", [table(("variant", *COLUMNS.values()), rows(figures))])


def measured() -> Figures:
    """What the tests record, by variant; a test that fails ends this."""
    with TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        # Properties of tests belong to the older of pytest's two formats.
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:xdist", *TESTS]
        command += [f"--junit-xml={report}", "-o", "junit_family=xunit1"]
        if subprocess.run(command, cwd=ROOT, check=False).returncode:
            raise SystemExit("the tests fail: there is no parity to publish")
        return collected(report)


def collected(report: Path) -> Figures:
    figures: dict[str, dict[str, float]] = {}
    for variant, name, figure in recorded(report):
        figures.setdefault(variant, {})[name] = figure
    missing = {v: COLUMNS.keys() - found.keys() - OPTIONAL for v, found in figures.items()}
    assert figures, "no test recorded a figure"
    assert not any(missing.values()), missing
    return figures


def recorded(report: Path) -> Iterator[tuple[str, str, float]]:
    for found in ElementTree.parse(report).iter("property"):
        if found.get("name") == "parity":
            variant, name, figure = json.loads(found.get("value", ""))
            yield variant, name, figure


def rows(figures: Figures) -> Iterator[list[str]]:
    for variant, found in figures.items():
        yield [variant, *(cell(found.get(name)) for name in COLUMNS)]


def cell(figure: float | None) -> str:
    if figure is None:
        return ""
    return f"{figure:.1e}" if figure else "same bits"


if __name__ == "__main__":
    main()
