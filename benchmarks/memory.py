"""Memory that our engine takes, beside what its plan says before anything is loaded.

    python benchmarks/memory.py

For each of six configurations a fresh process loads a checkpoint of random weights and runs the
worst case that its plan allows. Writes `benchmarks/results/memory.json` (with machine, commit and
date) and the table of docs/results.md.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from checkpoints import TINY_R1, bundled, write_checkpoint
from result import publish, save, table

from penjing.cli.answer import Json
from penjing.units import format_bytes

MODELS: Mapping[str, Mapping[str, Json]] = {
    "Qwen2.5-0.5B": bundled("Qwen2.5-0.5B"),
    "Qwen3-0.6B": bundled("Qwen3-0.6B"),
    "R1 made small": TINY_R1,
}
PROGRAM = Path(__file__).with_name("memory_peak.py")
HEADERS = ("model", "dtype", "sequences x tokens", "planned", "measured", "error")


@dataclass(frozen=True, kw_only=True)
class Setting:
    """``max_length`` counts prompt and answer, of each of ``sequences`` at once."""

    model: str
    dtype: str
    max_length: int
    sequences: int


SETTINGS = (
    Setting(model="Qwen2.5-0.5B", dtype="bfloat16", max_length=512, sequences=4),
    Setting(model="Qwen2.5-0.5B", dtype="bfloat16", max_length=2048, sequences=2),
    Setting(model="Qwen2.5-0.5B", dtype="float32", max_length=1024, sequences=2),
    Setting(model="Qwen3-0.6B", dtype="bfloat16", max_length=1024, sequences=4),
    Setting(model="R1 made small", dtype="bfloat16", max_length=512, sequences=16),
    Setting(model="R1 made small", dtype="float32", max_length=2048, sequences=2),
)


@dataclass(frozen=True, kw_only=True)
class Peak:
    planned_bytes: float
    measured_bytes: float

    @property
    def error(self) -> float:
        """Above zero where the plan says more than was taken."""
        return self.planned_bytes / self.measured_bytes - 1


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", default="", help="models whose name has this in it")
    parser.add_argument("--dry-run", action="store_true", help="print the table, write nothing")
    arguments = parser.parse_args()
    found = measured([s for s in SETTINGS if arguments.only.lower() in s.model.lower()])
    rows = table(HEADERS, [row(setting, peak) for setting, peak in found.items()])
    if arguments.dry_run:
        print(rows)
        return
    save("memory", {"settings": [document(setting, peak) for setting, peak in found.items()]})
    publish("memory", [rows])


def measured(settings: Sequence[Setting]) -> dict[Setting, Peak]:
    found = {}
    with tempfile.TemporaryDirectory() as scratch:
        for setting in settings:
            folder = Path(scratch) / setting.model.replace(" ", "-")
            if not folder.exists():
                write_checkpoint(folder, MODELS[setting.model])
            found[setting] = in_a_fresh_process(folder, setting)
    return found


def in_a_fresh_process(folder: Path, setting: Setting) -> Peak:
    told = {**asdict(setting), "vocab_size": MODELS[setting.model]["vocab_size"]}
    command = [sys.executable, str(PROGRAM), str(folder), json.dumps(told)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return Peak(**json.loads(done.stdout.splitlines()[-1]))


def document(setting: Setting, peak: Peak) -> Json:
    return {**asdict(setting), **asdict(peak), "error": peak.error}


def row(setting: Setting, peak: Peak) -> list[str]:
    return [
        setting.model,
        setting.dtype,
        f"{setting.sequences} x {setting.max_length:,}",
        format_bytes(peak.planned_bytes),
        format_bytes(peak.measured_bytes),
        f"{peak.error:+.1%}",
    ]


if __name__ == "__main__":
    main()
