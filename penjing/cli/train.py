"""``penjing train``: a recipe from its first stage to its last, and on from where it stopped."""

import argparse
import json
import shlex
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

from penjing.cli.answer import Answer, Json, table
from penjing.cli.progress import Progress, clock
from penjing.errors import BadCommand, Contradiction, RequestError
from penjing.units import format_bytes

if TYPE_CHECKING:
    from penjing.train.contents import Recipe
    from penjing.train.explain import Explained

NAME = "train"
HELP = "train by a recipe, stage by stage; without one, the quickstart that ships"
VALUE_WIDTH = 48

_SHOWN = {
    "loss": "loss {:.3f}",
    "reward": "reward {:.2f}",
    "reward.accuracy": "right {:.0%}",
    "length": "length {:.0f}",
    "thinks": "think {:.0%}",
    "entropy": "entropy {:.2f}",
    "largest_gap": "gap {:.1e}",
    "right": "{} right",
}


def configure(parser: argparse.ArgumentParser) -> None:
    parser.epilog = (
        "Ctrl-C finishes the step and takes a snapshot; --resume goes on from there, or from the "
        "last snapshot after a kill, to the same weights."
    )
    parser.add_argument(
        "recipe",
        nargs="?",
        default="quickstart",
        metavar="RECIPE",
        help="one that ships, or a .toml file (default: quickstart)",
    )
    parser.add_argument("--run-dir", metavar="FOLDER", help="(default: runs/NAME-SEED)")
    parser.add_argument("--resume", action="store_true", help="go on in a folder that has a run")
    parser.add_argument("--seed", type=int, metavar="N", help="(default: the recipe's)")
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="STAGE.KEY=VALUE, or a key of the recipe, in place of what it says; may be repeated",
    )
    parser.add_argument(
        "--plan",
        action="store_true",
        help="print what each stage takes, in time and memory, and train nothing",
    )
    parser.add_argument(
        "--explain",
        action="store_true",
        help="print each value and where it comes from, and train nothing",
    )


def answer(arguments: argparse.Namespace) -> Answer:
    try:
        from penjing.train.explain import explained
        from penjing.train.journey import Journey
        from penjing.train.loop import Interrupted
        from penjing.train.recipe import load_recipe
    except ImportError as error:
        if (error.name or "").partition(".")[0] == "penjing":
            raise
        why = " ".join(str(error).split())
        raise RequestError(f"to train takes more ({why}); pip install 'penjing[run]'") from None
    recipe = load_recipe(arguments.recipe, arguments.set)
    seed = recipe.seed if arguments.seed is None else arguments.seed
    if seed < 0:
        raise BadCommand(f"--seed is {seed}; it must be at least 0")
    if arguments.explain:
        return _explained(recipe, explained(recipe, arguments.seed))
    folder = Path(arguments.run_dir or f"runs/{recipe.name}-{seed}")
    if arguments.plan:
        planned = Journey(recipe, folder, seed).plan()
        return Answer(document={"stages": [dict(one) for one in planned]}, text=_planned(planned))
    if (folder / "run.json").exists() and not arguments.resume:
        raise Contradiction(
            f"{folder} has a run already; give --resume to go on, or another folder"
        )
    stopping = _Stopping()
    shown = _Shown()
    journey = Journey(
        recipe,
        folder,
        seed,
        show=shown,
        tell=shown.tell,
        is_stopping=stopping.is_asked,
        planned=lambda stages: shown.tell(f"the plan\n{_planned(stages)}"),
    )
    with stopping:
        try:
            done = journey.run()
        except Interrupted:
            shown.end()
            shown.tell(f"stopped; go on with: {_going_on(arguments, folder)}")
            raise KeyboardInterrupt from None
    shown.end()
    text = f"{_stages(done)}\n\n{folder}"
    return Answer(document={"run": str(folder), "stages": list(done)}, text=text)


def _planned(stages: Sequence[Mapping[str, Any]]) -> str:
    rows = [
        (one["stage"], clock(one["seconds"]), format_bytes(one["bytes"]), _parts(one["parts"]))
        for one in stages
    ]
    whole = ("all", clock(sum(one["seconds"] for one in stages)), "", "")
    return table(("stage", "time", "memory", "of which"), [*rows, whole])


def _parts(parts: Mapping[str, float]) -> str:
    largest = sorted(parts.items(), key=lambda part: -part[1])
    return ", ".join(f"{name} {format_bytes(size)}" for name, size in largest[:3])


def _stages(done: Sequence[Mapping[str, Any]]) -> str:
    rows = []
    for facts in done:
        measures = facts.get("measures") or {}
        rows.append((
            facts["stage"],
            facts["kind"],
            _estimate(measures.get("pass_at_k", {}).get("1")),
            _estimate(measures.get("consensus")),
            f"{measures['lengths']['mean']:.1f}" if measures else "",
            f"{facts['wall_s']:.0f} s",
        ))  # fmt: skip
    return table(("stage", "kind", "pass@1", "cons@n", "tokens", "time"), rows)


def _estimate(found: Mapping[str, Any] | None) -> str:
    if not found:
        return ""
    low, high = found["interval"]["low"], found["interval"]["high"]
    return f"{100 * found['value']:.1f} % ({100 * low:.0f} to {100 * high:.0f})"


def _explained(recipe: "Recipe", found: Sequence["Explained"]) -> Answer:
    """What was given stands before defaults, stage by stage; JSON has all in one order."""
    stages = {one.stage: place for place, one in reversed(list(enumerate(found)))}
    shown = sorted(found, key=lambda one: (stages[one.stage], one.source.startswith("default")))
    rows = [(one.stage, one.key, _value(one.value), one.source) for one in shown]
    document: Json = {
        "recipe": recipe.name,
        "recipe_sha256": recipe.digest,
        "values": [one.to_json() for one in found],
    }
    return Answer(document=document, text=table(("stage", "key", "value", "source"), rows))


def _value(value: object) -> str:
    """On one line; all of it is in the JSON."""
    text = value if isinstance(value, str) else json.dumps(value)
    return text if len(text) <= VALUE_WIDTH else f"{text[:VALUE_WIDTH]} ..."


def _going_on(arguments: argparse.Namespace, folder: Path) -> str:
    words = ["penjing", "train", arguments.recipe, "--run-dir", str(folder)]
    words += ["--seed", str(arguments.seed)] if arguments.seed is not None else []
    words += [word for setting in arguments.set for word in ("--set", setting)]
    return shlex.join([*words, "--resume"])


class _Stopping:
    """Ctrl-C, or SIGTERM, asks for an end after the step; a second Ctrl-C ends at once."""

    def __init__(self) -> None:
        self._is_asked = False
        self._before: dict[signal.Signals, Any] = {}

    def is_asked(self) -> bool:
        return self._is_asked

    def __enter__(self) -> None:
        for kind in (signal.SIGINT, signal.SIGTERM):
            self._before[kind] = signal.signal(kind, self._ask)

    def __exit__(self, *_: object) -> None:
        for kind, before in self._before.items():
            signal.signal(kind, before)

    def _ask(self, number: int, frame: FrameType | None) -> None:
        if self._is_asked:
            raise KeyboardInterrupt
        self._is_asked = True


class _Shown:
    """Where a run is; of each stage, the last step too."""

    def __init__(self) -> None:
        self._progress = Progress()
        self._stage, self._began, self._first = "", 0.0, 0

    def __call__(self, stage: str, facts: Mapping[str, Any], num_steps: int) -> None:
        now, step = time.monotonic(), facts["step"]
        if stage != self._stage:
            self._stage, self._began, self._first = stage, now, step
        done = step - self._first
        left = (now - self._began) / done * (num_steps - step - 1) if done else None
        said = [form.format(facts[name]) for name, form in _SHOWN.items() if name in facts]
        if left is not None:
            said.append(f"{clock(left)} to go")
        text = f"{stage} {step + 1}/{num_steps}: {', '.join(said)}"
        if step + 1 == num_steps:
            self.tell(text)
        else:
            self._progress.show(text)

    def tell(self, text: str) -> None:
        self.end()
        print(f"penjing train: {text}", file=sys.stderr, flush=True)

    def end(self) -> None:
        self._progress.end()
