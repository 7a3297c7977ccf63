"""``penjing eval``: how often a model is right, how sure that is, and what it costs."""

import argparse
import os
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from hashlib import file_digest, sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

from penjing import __version__
from penjing.cli.answer import Answer, Json, table
from penjing.cli.tasks import SPLITS
from penjing.errors import BadCommand, BadFile, RequestError
from penjing.evaluate.compare import compare
from penjing.evaluate.generator import Generator, Missing
from penjing.evaluate.measures import measure
from penjing.evaluate.run import Progress, evaluate
from penjing.evaluate.store import Settings, Store, read_run
from penjing.evaluate.table import comparison_text, measures_text
from penjing.tasks.attack import COLUMNS, attack
from penjing.tasks.catalogue import data_path, load_task
from penjing.tasks.problem import Problem
from penjing.tasks.task import Task
from penjing.tasks.template import Style, Template

if TYPE_CHECKING:  # torch takes seconds to import, and an endpoint does without
    from penjing.engine.sampling import Sampling

NAME = "eval"
HELP = "measure a checkpoint or an endpoint on a task; compare two runs; attack a judge"

_SAMPLED: Mapping[str, tuple[type, str]] = {
    "temperature": (float, "0 takes the likeliest token, 1 leaves the model as it is"),
    "top_p": (float, "likeliest tokens to draw from, by their share of probability; 1 is all"),
    "top_k": (int, "likeliest tokens to draw from, by their number; 0 is all"),
    "max_tokens": (int, "most of a response, thinking included (default: to the context's end)"),
    "thinking_budget": (int, "most tokens of thinking; the block is then closed (default: any)"),
}
_MISSING_SHOWN = 3


def configure(parser: argparse.ArgumentParser) -> None:
    parser.epilog = (
        "Every sample is kept under --output; the same command again goes on where it stopped. "
        "Sampling is the checkpoint's own where nothing is said."
    )
    parser.add_argument(
        "checkpoint",
        nargs="?",
        metavar="CHECKPOINT",
        help="a folder in Hugging Face format, or owner/name on its hub",
    )
    what = parser.add_argument_group("what is asked")
    what.add_argument("--task", metavar="TASK", help="a name of `penjing tasks list`")
    what.add_argument("--data", metavar="FILE", help="its file, or hub:owner/name/path")
    what.add_argument("--judge", metavar="FILE:FUNCTION", help="your own, for the task jsonl")
    what.add_argument(
        "--split", choices=SPLITS, help="(default: all of a file, held_out of what is made)"
    )
    what.add_argument("--size", type=int, metavar="N", help="problems (default: all; 100 if made)")
    what.add_argument("--samples", type=int, default=1, metavar="K", help="a problem (default: 1)")
    what.add_argument("--seed", type=int, default=0, metavar="N", help="(default: 0)")
    what.add_argument("--template", choices=list(Style), help="(default: the task's)")
    what.add_argument("--output", metavar="FOLDER", help="(default: evals/TASK-CHECKPOINT)")
    sampling = parser.add_argument_group("sampling")
    for name, (kind, words) in _SAMPLED.items():
        sampling.add_argument(f"--{name.replace('_', '-')}", type=kind, metavar="N", help=words)
    engine = parser.add_argument_group("engine")
    engine.add_argument("--dtype", default="float32", help="of weights (default: float32)")
    engine.add_argument("--device", default="cpu", help="cpu or cuda (default: cpu)")
    engine.add_argument("--max-length", type=int, metavar="N", help="tokens of prompt and response")
    endpoint = parser.add_argument_group("endpoint")
    endpoint.add_argument("--endpoint", metavar="URL", help="of an OpenAI-compatible server, /v1")
    endpoint.add_argument("--model", metavar="NAME", help="(default: the only one it has)")
    endpoint.add_argument(
        "--concurrency", type=int, default=8, metavar="N", help="requests at once (default: 8)"
    )
    endpoint.add_argument(
        "--api-key-env", default="OPENAI_API_KEY", metavar="NAME", help="variable with the key"
    )
    other = parser.add_argument_group("instead")
    other.add_argument(
        "--compare", nargs=2, metavar="FOLDER", help="two runs on the same problems, paired"
    )
    other.add_argument(
        "--attack", metavar="TASK", help="try to fool the judge of a task, or the `sandbox`"
    )


def answer(arguments: argparse.Namespace) -> Answer:
    if arguments.compare:
        return _compare(*map(Path, arguments.compare))
    if arguments.attack == "sandbox":
        return _attack_sandbox()
    if arguments.attack:
        return _attack(arguments)
    return _evaluate(arguments)


def _evaluate(arguments: argparse.Namespace) -> Answer:
    if not arguments.task:
        raise BadCommand("--task is needed: a name of `penjing tasks list`")
    if (arguments.checkpoint is None) is (arguments.endpoint is None):
        raise BadCommand("give a CHECKPOINT or an --endpoint, one of them")
    if arguments.samples < 1:
        raise BadCommand(f"--samples is {arguments.samples}; it must be at least 1")
    if arguments.concurrency < 1:
        raise BadCommand(f"--concurrency is {arguments.concurrency}; it must be at least 1")
    task = _templated(load_task(arguments.task, arguments.data, arguments.judge), arguments)
    problems = _problems(task, arguments)
    folder = Path(arguments.output or _default_output(arguments))
    with_progress = _Shown()
    generator, asked = _generator(arguments, task)
    settings = {**_settings(arguments, task, problems), **asked}
    with Store(folder, settings) as store:
        try:
            missing = evaluate(
                task,
                problems,
                generator,
                store,
                samples=arguments.samples,
                seed=arguments.seed,
                show=with_progress,
            )
        except KeyboardInterrupt:
            with_progress.end()
            _say(f"{len(store.samples):,} samples are kept in {folder}; the same command goes on")
            raise
        with_progress.end()
        samples = list(store.samples)
    return _report(folder, settings, samples, missing)


def _report(
    folder: Path, settings: Settings, samples: Sequence[Any], missing: Sequence[Missing]
) -> Answer:
    lines = [f"{one.ask.problem.id}: {one.reason}" for one in missing[:_MISSING_SHOWN]]
    if missing:
        lines.insert(0, f"{len(missing):,} samples could not be had; the same command asks again")
    if not samples:
        raise RequestError("; ".join(lines))
    found = measure(samples)
    document: dict[str, Json] = {
        "settings": dict(settings),
        "measures": found.to_json(),
        "missing": len(missing),
        "output": str(folder),
    }
    text = "\n\n".join([measures_text(found), *lines, f"samples: {folder}"])
    is_whole = not missing and not found.num_faults
    return Answer(document=document, text=text, exit_status=0 if is_whole else 1)


def _templated(task: Task, arguments: argparse.Namespace) -> Task:
    if arguments.template is None:
        return task
    template = Template(style=Style(arguments.template), answer_format=task.template.answer_format)
    return replace(task, template=template)


def _problems(task: Task, arguments: argparse.Namespace) -> Sequence[Problem]:
    is_made = arguments.data is None
    split = arguments.split or ("held_out" if is_made else "all")
    size = arguments.size or (100 if is_made else None)
    return task.problems(SPLITS[split], seed=arguments.seed, size=size)


def _default_output(arguments: argparse.Namespace) -> str:
    whose = arguments.checkpoint or arguments.model or arguments.endpoint
    name = "".join(c if c.isalnum() or c in "-._" else "-" for c in f"{arguments.task}-{whose}")
    return str(Path("evals") / name.strip("-."))


def _settings(
    arguments: argparse.Namespace, task: Task, problems: Sequence[Problem]
) -> dict[str, Any]:
    """All that a sample hangs on; with other settings, a folder is another run's."""
    ids = "\n".join(f"{p.id} {sha256(p.prompt.encode()).hexdigest()}" for p in problems)
    data = data_path(arguments.data) if arguments.data else None
    return {
        "penjing": __version__,
        "task": arguments.task,
        "data_sha256": None if data is None or data.is_dir() else _digest(data),
        "judge": arguments.judge,
        "problems": len(problems),
        "problems_sha256": sha256(ids.encode()).hexdigest(),
        "samples": arguments.samples,
        "seed": arguments.seed,
        "template": str(task.template.style),
        "answer_format": str(task.template.answer_format),
    }


def _generator(arguments: argparse.Namespace, task: Task) -> tuple[Generator, dict[str, Any]]:
    """And what its samples hang on."""
    given = {name: getattr(arguments, name) for name in _SAMPLED}
    try:
        if arguments.endpoint:
            return _endpoint(arguments, task, given)
        return _local(arguments, task, given)
    except ImportError as error:
        if (error.name or "").partition(".")[0] == "penjing":
            raise
        why = " ".join(str(error).split())
        raise RequestError(
            f"to run a model takes more than to plan ({why}); pip install 'penjing[run]'"
        ) from None


def _endpoint(
    arguments: argparse.Namespace, task: Task, given: Mapping[str, Any]
) -> tuple[Generator, dict[str, Any]]:
    from penjing.evaluate.endpoint import EndpointGenerator, EndpointSampling

    named = ("temperature", "top_p", "max_tokens")
    spelled = {"top_k": "top_k", "thinking_budget": "thinking_token_budget"}
    extra = {spelled[n]: v for n, v in given.items() if n in spelled and v is not None}
    sampling = EndpointSampling(**{name: given[name] for name in named}, extra=extra)
    generator = EndpointGenerator(
        arguments.endpoint,
        os.environ.get(arguments.api_key_env) or "none",
        task,
        sampling,
        model=arguments.model,
        concurrency=arguments.concurrency,
    )
    asked = {"endpoint": arguments.endpoint, "model": generator.model}
    return generator, {**asked, **_named(sampling.named()), **_named(extra)}


def _local(
    arguments: argparse.Namespace, task: Task, given: Mapping[str, Any]
) -> tuple[Generator, dict[str, Any]]:
    from penjing.engine.engine import Engine
    from penjing.evaluate.local import LocalGenerator

    engine = Engine.load(
        arguments.checkpoint,
        device=arguments.device,
        dtype=arguments.dtype,
        max_length=arguments.max_length,
    )
    if engine.tokenizer is None:
        raise BadFile(f"{arguments.checkpoint} has no tokenizer.json, so it cannot be asked texts")
    chosen = {name: value for name, value in given.items() if value is not None}
    sampling: Sampling = replace(engine.default_sampling, **chosen)
    asked = {
        "checkpoint": _identity(arguments.checkpoint),
        "numerics": engine.digest,
        "max_length": engine.plan.max_length,
        **_named({name: getattr(sampling, name) for name in _SAMPLED}),
    }
    return LocalGenerator(engine=engine, task=task, sampling=sampling), asked


def _named(sampling: Mapping[str, Any]) -> dict[str, Any]:
    return {f"sampling.{name}": value for name, value in sampling.items()}


def _identity(checkpoint: str) -> str:
    """Of a folder: sizes of its files, and the first MiB of each, which holds weights of all
    that a training step changes; of a name on the hub, the name."""
    folder = Path(os.path.expanduser(checkpoint))
    if not folder.is_dir():
        return checkpoint
    found = sha256()
    for file in sorted(folder.glob("*")):
        if file.suffix in (".json", ".safetensors", ".jinja") and file.is_file():
            with file.open("rb") as opened:
                found.update(f"{file.name} {file.stat().st_size}\n".encode() + opened.read(1 << 20))
    return f"sha256 {found.hexdigest()}"


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return file_digest(file, "sha256").hexdigest()


def _compare(first: Path, second: Path) -> Answer:
    (settings, ours), (others, theirs) = read_run(first), read_run(second)
    different = [n for n in ("task", "template") if settings.get(n) != others.get(n)]
    if different:
        told = ", ".join(f"{n}: {settings.get(n)} and {others.get(n)}" for n in different)
        raise BadCommand(f"{first} and {second} are runs of different things: {told}")
    found = compare(ours, theirs)
    head = f"first: {first}\nsecond: {second}\n"
    return Answer(document=found.to_json(), text=f"{head}\n{comparison_text(found)}")


def _attack(arguments: argparse.Namespace) -> Answer:
    task = load_task(arguments.attack, arguments.data, arguments.judge)
    size = arguments.size or 3
    problems = task.problems(SPLITS[arguments.split or "all"], seed=arguments.seed, size=size)
    shown = _Shown()
    report = attack(task, problems, progress=lambda done, total: shown.line(f"{done} of {total}"))
    shown.end()
    wrong = [*report.false_rewards, *report.refused_controls, *report.faults, *report.slow]
    lines = [table((task.name, *COLUMNS), report.rows())]
    lines += [str(trial) for trial in dict.fromkeys(wrong)]
    lines.append(report.stopped or ("nothing got through" if report.is_clean else "NOT CLEAN"))
    return Answer(
        document=dict(report.summary()),  # type: ignore[arg-type]
        text="\n".join(lines),
        exit_status=0 if report.is_clean else 1,
    )


def _attack_sandbox() -> Answer:
    from penjing.tasks.sandbox.attacks import ATTACK_LIMITS, run_attacks
    from penjing.tasks.sandbox.sandbox import Sandbox

    report = run_attacks(Sandbox(ATTACK_LIMITS))
    document: dict[str, Json] = {
        "attacks": len(report.results),
        "succeeded": [f"{r.attack.group}: {r.attack.name}" for r in report.succeeded],
        "control": report.control,
    }
    is_clean = not report.succeeded and report.control is None
    return Answer(document=document, text=str(report), exit_status=0 if is_clean else 1)


class _Shown:
    """Progress on standard error: one line that is written over, or now and then a line."""

    def __init__(self) -> None:
        self._err = sys.stderr
        self._every_s = 0.2 if self._err.isatty() else 10.0
        self._last = time.monotonic() if not self._err.isatty() else 0.0
        self._width = 0

    def __call__(self, progress: Progress) -> None:
        pace = progress.num_tokens / max(progress.wall_s, 1e-9)
        left = progress.left_s
        parts = [
            f"{progress.num_done:,} of {progress.num_all:,} samples",
            f"{progress.num_correct:,} right",
            f"{pace:,.0f} tok/s",
            "" if left is None else f"{_clock(left)} to go",
            f"{progress.num_missing:,} missing" if progress.num_missing else "",
        ]
        self.line(", ".join(part for part in parts if part))

    def line(self, text: str) -> None:
        if time.monotonic() - self._last < self._every_s:
            return
        self._last = time.monotonic()
        if self._err.isatty():
            self._err.write(f"\r{text:<{self._width}}")
            self._width = len(text)
        else:
            self._err.write(f"{text}\n")
        self._err.flush()

    def end(self) -> None:
        if self._width:
            self._err.write(f"\r{'':<{self._width}}\r")
            self._err.flush()


def _say(text: str) -> None:
    print(f"penjing eval: {text}", file=sys.stderr)


def _clock(seconds: float) -> str:
    minutes, seconds = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"
