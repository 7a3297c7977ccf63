"""Runs that are killed, damaged and gone on with, beside one that was left alone: the same files?

    python benchmarks/resume.py [--kills 100] [--seed 0] [--dry-run]

The recipe beside this file has every kind of stage. It is run once without a break; then SIGKILL
ends it at instants drawn over its life or aimed at a phase (see `resume_watch.py`), now and then
something on the disk is spoilt (see `resume_damage.py`), and `penjing train --resume` goes on,
until it is done; and all that again until there were enough kills. Every file of every run must
then be that of the first, but for times. Writes `benchmarks/results/resume.json` (with machine,
commit and date) and a part of docs/results.md.
"""

import os

os.environ["OMP_NUM_THREADS"] = os.environ["OPENBLAS_NUM_THREADS"] = "1"  # forks dislike threads

import argparse
import json
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from random import Random
from typing import Any, NoReturn

import torch
from result import publish, save, table
from resume_damage import spoil, told_damages
from resume_watch import AIMS, Board, watch

from penjing.cli.answer import Json
from penjing.cli.main import main as penjing
from penjing.models.kernels.native import load_native
from penjing.train.journey import made_task
from penjing.train.recipe import Recipe, load_recipe
from penjing.train.snapshot import KEPT

RECIPE = Path(__file__).with_suffix(".toml")
KILLS_A_RUN = 6  # about; twice as many, and a run is left to its end
AIMED, DAMAGED, OWN = 0.6, 0.3, 0.1  # shares: of kills, of resumes, of resumes by a new interpreter
POLL_S = 0.0001
TIMES = ("times.jsonl", "plan.json")  # files of what was measured, or foretold from this machine


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=100, help="at least so many")
    parser.add_argument("--seed", type=int, default=0, help="of the instants and the damages")
    parser.add_argument("--dry-run", action="store_true", help="print the result, write nothing")
    parser.add_argument("--watched", nargs=2, metavar=("BOARD", "FOLDER"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.watched:
        board, folder = map(Path, arguments.watched)
        sys.exit(watched(Board(board), folder))
    recipe = load_recipe(str(RECIPE))
    prepare(recipe)
    with tempfile.TemporaryDirectory() as scratch:
        document = measured(recipe, Path(scratch), arguments.kills, Random(arguments.seed))
    document = {"seed": arguments.seed, "recipe_sha256": recipe.digest, **document}
    if arguments.dry_run:
        print(json.dumps(document, indent=1))
    else:
        save("resume", document)
        publish("resume", parts(document))


def prepare(recipe: Recipe) -> None:
    """All that takes seconds and starts no thread, so that each fork finds it done."""
    torch.set_num_threads(1)
    load_native()
    for task in recipe.tasks.values():
        if not task.mixture:
            made_task(task)


def watched(board: Board, folder: Path) -> int:
    """The command itself, which tells the board where it is."""
    torch.set_num_threads(1)
    watch(board, [stage.name for stage in load_recipe(str(RECIPE)).stages])
    return penjing(["train", str(RECIPE), "--run-dir", str(folder), "--resume"])


@dataclass
class Child:
    """A run that was begun, or gone on with, in a process of its own."""

    pid: int
    status: int | None = None

    @classmethod
    def begin(cls, board: Board, folder: Path, log: Path, *, hash_seed: int | None) -> "Child":
        """A fork of this process, or a new interpreter where a ``hash_seed`` is given."""
        sys.stdout.flush()
        pid = os.fork()
        return cls(pid) if pid else _in_child(board, folder, log, hash_seed)

    @property
    def has_ended(self) -> bool:
        if self.status is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            self.status = os.waitstatus_to_exitcode(status) if pid else None
        return self.status is not None

    def kill(self) -> None:
        os.kill(self.pid, signal.SIGKILL)
        self.wait()

    def wait(self) -> int:
        while not self.has_ended:
            time.sleep(0.005)
        assert self.status is not None
        return self.status


def _in_child(board: Board, folder: Path, log: Path, hash_seed: int | None) -> NoReturn:
    status = 70
    try:
        said = os.open(log, os.O_CREAT | os.O_APPEND | os.O_WRONLY)
        os.dup2(said, 1)
        os.dup2(said, 2)
        if hash_seed is not None:
            words = [sys.executable, __file__, "--watched", str(board.path), str(folder)]
            environment = {**os.environ, "PYTHONHASHSEED": str(hash_seed)}
            os.execve(sys.executable, words, environment)
        status = watched(board, folder)
        sys.stdout.flush()
        sys.stderr.flush()
    except BaseException:
        traceback.print_exc()
    os._exit(status)


@dataclass(frozen=True, kw_only=True)
class Aim:
    """``delay_s`` after the ``entry``-th time that ``phase`` begins, or after the process does."""

    phase: str | None
    entry: int
    delay_s: float


@dataclass(frozen=True, kw_only=True)
class Straight:
    """The run that was left alone; ``seconds`` and ``entries`` by phase, of what is innermost."""

    files: Mapping[str, str]
    wall_s: float
    seconds: Mapping[str, float]
    entries: Mapping[str, int]

    def aim(self, random: Random) -> Aim:
        if random.random() >= AIMED:
            delay_s = random.uniform(0, 2 * self.wall_s / KILLS_A_RUN)
            return Aim(phase=None, entry=0, delay_s=delay_s)
        phase = random.choice(AIMS)
        count = self.entries[phase]
        return Aim(
            phase=phase,
            entry=random.randint(1, max(1, 2 * count // KILLS_A_RUN)),
            delay_s=random.uniform(0, self.seconds[phase] / count),
        )


def measured(recipe: Recipe, scratch: Path, kills: int, random: Random) -> dict[str, Json]:
    board = Board(scratch / "board")
    straight = left_alone(board, scratch)
    tally = Tally()
    while tally.num_kills < kills:
        folder = scratch / f"run{tally.runs}"
        log = folder.with_suffix(".log")
        failure = killed_run(recipe, straight, board, folder, tally, random)
        tally.close(failure or differences(straight.files, outcome(folder)), folder, log)
        print(f"{tally.runs} runs, {tally.num_kills} kills, {tally.equal} equal", file=sys.stderr)
    return {
        "stages": {stage.name: stage.kind for stage in recipe.stages},
        "straight": {
            "wall_s": straight.wall_s,
            "files": len(straight.files),
            "seconds": dict(straight.seconds),
            "entries": dict(straight.entries),
        },
        **tally.document(),
    }


def left_alone(board: Board, scratch: Path) -> Straight:
    folder, log = scratch / "straight", scratch / "straight.log"
    board.clear()
    began = time.perf_counter()
    status = Child.begin(board, folder, log, hash_seed=None).wait()
    if status:
        raise SystemExit(f"the run that was left alone failed:\n{log.read_text('utf-8')[-2000:]}")
    wall_s = time.perf_counter() - began
    return Straight(
        files=outcome(folder), wall_s=wall_s, seconds=board.seconds, entries=board.entries
    )


@dataclass
class Tally:
    runs: int = 0
    equal: int = 0
    by_place: Counter[tuple[str, str]] = field(default_factory=Counter)  # stage, phase
    aimed: int = 0
    aims_hit: int = 0
    own: int = 0  # kills of new interpreters
    damages: Counter[str] = field(default_factory=Counter)
    told: int = 0
    left_folders: int = 0
    left_bytes: int = 0
    differences: list[Json] = field(default_factory=list)

    @property
    def num_kills(self) -> int:
        return self.by_place.total()

    def take(self, board: Board, aim: Aim, *, own: bool) -> None:
        """Counts a kill."""
        self.by_place[board.stage, board.phase] += 1
        self.aimed += aim.phase is not None
        self.aims_hit += aim.phase == board.phase
        self.own += own

    def close(self, found: list[str], folder: Path, log: Path) -> None:
        """Counts a run that is done."""
        self.runs += 1
        self.equal += not found
        self.told += told_damages(log)
        if found:
            self.differences.append({"run": self.runs - 1, "files": list(found)})
        left = [*folder.rglob(".*/"), *(p for s in folder.glob("*/snapshots") for p in outdated(s))]
        self.left_folders += len(left)
        self.left_bytes += sum(f.stat().st_size for p in left for f in p.rglob("*") if f.is_file())

    def document(self) -> dict[str, Json]:
        stages = dict.fromkeys(stage for stage, _ in self.by_place)
        phases = dict.fromkeys(phase for _, phase in self.by_place)
        return {
            "kills": self.num_kills,
            "runs": self.runs,
            "equal": self.equal,
            "kills_aimed": self.aimed,
            "aims_hit": self.aims_hit,
            "kills_of_new_interpreters": self.own,
            "kills_by_stage": {s: sum(self.by_place[s, p] for p in phases) for s in stages},
            "kills_by_phase": {p: sum(self.by_place[s, p] for s in stages) for p in phases},
            "damages": dict(self.damages),
            "damages_told": self.told,  # again at each start, until the snapshot is replaced
            "left_behind": {"folders": self.left_folders, "bytes": self.left_bytes},
            "differences": self.differences,
        }


def killed_run(
    recipe: Recipe, straight: Straight, board: Board, folder: Path, tally: Tally, random: Random
) -> list[str]:
    """One run, killed again and again, to its end. Returns how it failed, if it did."""
    log, kills = folder.with_suffix(".log"), 0
    while True:
        own = random.random() < OWN
        hash_seed = random.randrange(1 << 32) if own else None
        board.clear()
        child = Child.begin(board, folder, log, hash_seed=hash_seed)
        aim = straight.aim(random) if kills < 2 * KILLS_A_RUN else None
        if aim is None or not hit(child, board, aim):
            status = child.wait()
            return [f"exit status {status}: {last_line(log)}"] if status else []
        kills += 1
        tally.take(board, aim, own=own)
        if random.random() < DAMAGED and (damage := spoiled(recipe, folder, random)):
            tally.damages[damage] += 1


def hit(child: Child, board: Board, aim: Aim) -> bool:
    """Whether it was killed before it ended."""
    if aim.phase is not None:
        while not board.is_in(aim.phase, aim.entry):
            if child.has_ended:
                return False
            time.sleep(POLL_S)
    until = time.perf_counter() + aim.delay_s
    while time.perf_counter() < until:
        if child.has_ended:
            return False
        time.sleep(min(POLL_S, max(0.0, until - time.perf_counter())))
    if child.has_ended:
        return False
    child.kill()
    return child.status == -signal.SIGKILL


def spoiled(recipe: Recipe, folder: Path, random: Random) -> str | None:
    """Something of the stage that is not done; what others rest on is left alone."""
    for stage in recipe.stages:
        if not (folder / stage.name / "done.json").exists():
            return spoil(folder / stage.name, random)
    return None


def last_line(log: Path) -> str:
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    return lines[-1] if lines else "without a word"


def differences(straight: Mapping[str, str], other: Mapping[str, str]) -> list[str]:
    """Names of files that only one has, or that differ."""
    return sorted(n for n in straight.keys() | other.keys() if straight.get(n) != other.get(n))


def outcome(folder: Path) -> dict[str, str]:
    """A digest of every file that the seed decides; what a kill left half done is hidden."""
    return {
        str(path.relative_to(folder)): sha256(content(path)).hexdigest()
        for path in visible(folder)
        if path.name not in TIMES
    }


def outdated(snapshots: Path) -> list[Path]:
    """What a kill kept from being deleted, perhaps half way."""
    return sorted(path for path in snapshots.iterdir() if path.name.isdigit())[:-KEPT]


def visible(folder: Path) -> Iterator[Path]:
    passed_over = outdated(folder) if folder.name == "snapshots" else []
    for path in sorted(folder.iterdir()):
        if path.name.startswith(".") or path.name == "events" or path in passed_over:
            continue
        if path.is_dir():
            yield from visible(path)
        else:
            yield path


def content(path: Path) -> bytes:
    """Without times; samples in order, as judges at work side by side may end in any."""
    if path.name == "done.json":
        return _written(_timeless(json.loads(path.read_bytes())))
    if path.name == "samples.jsonl":
        samples = [_timeless(json.loads(line)) for line in path.read_bytes().splitlines()]
        return _written(sorted(samples, key=lambda s: (s["problem"], s["index"])))
    return path.read_bytes()


def _written(value: Any) -> bytes:
    return json.dumps(value, sort_keys=True).encode()


def _timeless(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    named = ("wall_s", "peak_bytes", "predicted")
    return {k: _timeless(v) for k, v in value.items() if k not in named}


def parts(document: Mapping[str, Json]) -> list[str]:
    by_stage, by_phase = document["kills_by_stage"], document["kills_by_phase"]
    assert isinstance(by_stage, dict)
    assert isinstance(by_phase, dict)
    said = (
        f"{document['kills']} kills of {document['runs']} runs, {document['equal']} of which ended "
        f"with the files of the run that was left alone."
    )
    return [
        said,
        table(("killed in the stage", "kills"), ((s, str(n)) for s, n in by_stage.items())),
        table(("while at", "kills"), ((p, str(n)) for p, n in by_phase.items())),
    ]


if __name__ == "__main__":
    main()
