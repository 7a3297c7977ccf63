"""``penjing eval``: how often a model is right, how sure that is, and what it costs."""

import argparse
import json
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from hashlib import file_digest, sha256
from pathlib import Path
from typing import Any

from penjing import __version__
from penjing.cli.answer import Answer, Json
from penjing.cli.eval_attack import attacked
from penjing.cli.progress import Progress, clock
from penjing.cli.tasks import SPLITS
from penjing.errors import BadCommand, BadFile, RequestError
from penjing.evaluate.compare import compare
from penjing.evaluate.generator import Generator, Missing
from penjing.evaluate.measures import measure
from penjing.evaluate.run import Progress as Reached
from penjing.evaluate.run import evaluate
from penjing.evaluate.store import Settings, Store, read_run
from penjing.evaluate.table import comparison_text, measures_text
from penjing.models.hub import checkpoint_folder
from penjing.tasks.catalogue import data_path, load_task
from penjing.tasks.problem import Problem
from penjing.tasks.task import Task
from penjing.tasks.template import Style, Template

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
_OF_CHECKPOINT = ("*.json", "*.safetensors", "*.jinja")
_COMPARABLE = ("task", "data_sha256", "judge_sha256")  # where these differ, problems are no pairs


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
    what.add_argument("--output", metavar="FOLDER", help="(default: evals/TASK-MODEL)")
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
    modes = {name: getattr(arguments, name) for name in ("task", "compare", "attack")}
    given = [f"--{name}" for name, value in modes.items() if value]
    if not given:
        raise BadCommand("--task is needed: a name of `penjing tasks list`")
    if len(given) > 1:
        raise BadCommand(f"{' and '.join(given)} are different things to do; give one of them")
    if arguments.size is not None and arguments.size < 1:
        raise BadCommand(f"--size is {arguments.size}; it must be at least 1")
    if arguments.task:
        return _evaluated(arguments)
    if arguments.checkpoint or arguments.endpoint:
        raise BadCommand(f"{given[0]} asks no model; leave the checkpoint or the endpoint out")
    if arguments.attack:
        return attacked(arguments)
    return _compared(*map(Path, arguments.compare))


def _check(arguments: argparse.Namespace) -> None:
    if (arguments.checkpoint is None) is (arguments.endpoint is None):
        raise BadCommand("give a CHECKPOINT or an --endpoint, one of them")
    if arguments.samples < 1:
        raise BadCommand(f"--samples is {arguments.samples}; it must be at least 1")
    if arguments.concurrency < 1:
        raise BadCommand(f"--concurrency is {arguments.concurrency}; it must be at least 1")
    if arguments.model and not arguments.endpoint:
        raise BadCommand("--model goes with an --endpoint; a CHECKPOINT is one model")
    if arguments.max_length and arguments.endpoint:
        raise BadCommand("--max-length is of our engine; an --endpoint takes --max-tokens")


def _evaluated(arguments: argparse.Namespace) -> Answer:
    _check(arguments)
    task = _templated(load_task(arguments.task, arguments.data, arguments.judge), arguments)
    problems = _problems(task, arguments)
    generator, asked = _generator(arguments, task)
    folder = Path(arguments.output or _default_output(arguments.task, asked))
    settings = {**_settings(arguments, task, problems), **asked}
    progress = Progress()
    with Store(folder, settings) as store:
        try:
            missing = evaluate(
                task,
                problems,
                generator,
                store,
                samples=arguments.samples,
                seed=arguments.seed,
                show=lambda reached: progress.show(_reached(reached)),
            )
        except KeyboardInterrupt:
            progress.end()
            num_kept = len(read_run(folder)[1])  # also one that was cut off from the count
            _say(f"{num_kept:,} samples are kept in {folder}; the same command goes on")
            raise
        progress.end()
        samples = list(store.samples)
    return _report(folder, settings, samples, missing)


def _report(
    folder: Path, settings: Settings, samples: Sequence[Any], missing: Sequence[Missing]
) -> Answer:
    lines = [f"{one.ask.problem.id}: {one.reason}" for one in missing[:_MISSING_SHOWN]]
    if missing:
        lines.insert(0, f"missing samples: {len(missing):,}; the same command asks again")
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
    size = 100 if is_made and arguments.size is None else arguments.size
    return task.problems(SPLITS[split], seed=arguments.seed, size=size)


def _default_output(task: str, asked: Mapping[str, Any]) -> str:
    named = f"{task}-{asked.get('checkpoint_path') or asked['model']}"
    return str(Path("evals") / "".join(c if c.isalnum() or c in "-._" else "-" for c in named))


def _settings(
    arguments: argparse.Namespace, task: Task, problems: Sequence[Problem]
) -> dict[str, Any]:
    """All that a sample hangs on; with other settings, a folder is another run's."""
    asked = sha256()
    for problem in problems:
        asked.update(json.dumps([problem.id, problem.prompt, problem.reference]).encode())
    judge = None if arguments.judge is None else Path(arguments.judge.rpartition(":")[0])
    return {
        "penjing": __version__,
        "task": arguments.task,
        "data_sha256": None if arguments.data is None else _digest(data_path(arguments.data)),
        "judge": arguments.judge,
        "judge_sha256": None if judge is None else _digest(judge),
        "problems": len(problems),
        "problems_sha256": asked.hexdigest(),
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
        os.environ.get(arguments.api_key_env),
        task,
        sampling,
        model=arguments.model,
        concurrency=arguments.concurrency,
    )
    asked = {"endpoint": generator.url, "model": generator.model}
    return generator, {**asked, **_named(sampling.named()), **_named(extra)}


def _local(
    arguments: argparse.Namespace, task: Task, given: Mapping[str, Any]
) -> tuple[Generator, dict[str, Any]]:
    from penjing.engine.engine import Engine
    from penjing.engine.sampling import Sampling
    from penjing.evaluate.local import LocalGenerator

    chosen = {name: value for name, value in given.items() if value is not None}
    Sampling(**chosen)  # what is wrong with it is told before the weights are read
    folder = checkpoint_folder(arguments.checkpoint)
    engine = Engine.load(
        str(folder),
        device=arguments.device,
        dtype=arguments.dtype,
        max_length=arguments.max_length,
    )
    if engine.tokenizer is None:
        raise BadFile(f"{arguments.checkpoint} has no tokenizer.json, so it cannot be asked texts")
    sampling = replace(engine.default_sampling, **chosen)
    generator = LocalGenerator(engine=engine, task=task, sampling=sampling)
    if generator.is_plain and task.template.style is Style.R1:
        _say(f"{arguments.checkpoint} has no chat template: it is asked the text as it is")
    asked = {
        "checkpoint_path": arguments.checkpoint,
        "checkpoint_sha256": _digest(folder, _OF_CHECKPOINT),
        "numerics": engine.digest,
        "max_length": engine.plan.max_length,
        **_named({name: getattr(sampling, name) for name in _SAMPLED}),
    }
    return generator, asked


def _named(sampling: Mapping[str, Any]) -> dict[str, Any]:
    return {f"sampling.{name}": value for name, value in sampling.items()}


def _digest(path: Path, patterns: Sequence[str] = ("**/*",)) -> str:
    """SHA-256 of a file; of a folder, one over the names and digests of its files."""
    if path.is_file():
        with path.open("rb") as opened:
            return file_digest(opened, "sha256").hexdigest()
    files = sorted({f for pattern in patterns for f in path.glob(pattern) if f.is_file()})
    lines = [f"{file.relative_to(path).as_posix()} {_digest(file)}\n" for file in files]
    return sha256("".join(lines).encode("utf-8", "surrogateescape")).hexdigest()


def _compared(first: Path, second: Path) -> Answer:
    (settings, ours), (others, theirs) = read_run(first), read_run(second)
    names = sorted(settings.keys() | others.keys())
    different = [name for name in names if settings.get(name) != others.get(name)]
    unlike = [name for name in different if name in _COMPARABLE]
    if unlike:
        told = "; ".join(
            f"{n} is {settings.get(n)!r:.40} and {others.get(n)!r:.40}" for n in unlike
        )
        raise BadCommand(f"{first} and {second} cannot be compared: {told}")
    found = compare(ours, theirs)
    head = [
        f"first: {first}",
        f"second: {second}",
        f"differ in: {', '.join(different) or 'nothing'}",
    ]
    document = {**found.to_json(), "differ_in": different}
    return Answer(document=document, text="\n".join([*head, "", comparison_text(found)]))


def _reached(progress: Reached) -> str:
    pace = progress.num_tokens / max(progress.wall_s, 1e-9)
    parts = [
        f"{progress.num_done:,} of {progress.num_all:,} samples",
        f"{progress.num_correct:,} right",
        f"{pace:,.0f} tok/s",
        "" if progress.left_s is None else f"{clock(progress.left_s)} to go",
        f"{progress.num_missing:,} missing" if progress.num_missing else "",
    ]
    return ", ".join(part for part in parts if part)


def _say(text: str) -> None:
    print(f"penjing eval: {text}", file=sys.stderr)
